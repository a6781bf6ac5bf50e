//! What the policy says, and what that means.

use std::time::Instant;

use http::request::Parts;

use super::{Arrival, Checked, Gateway, Known, timestamp};
use crate::{
    gateway::{
        answer::OpenRecord,
        failures::Failure,
        refusal::{self, DecidingRule, Refusal},
    },
    policy::{
        decision::{Decision, Verdict},
        facts::RequestFacts,
    },
    telemetry::{
        access::Judgement,
        metrics::{PhaseTimes, SAMPLED_REQUESTS},
    },
    upstream::Destination,
};

/// What becomes of a judged request. It owns everything, so that the head can be taken apart.
pub(super) enum Ruling {
    /// It goes to its origin.
    Forward(Permitted),
    /// It is refused by the policy.
    Refuse(refusal::Answer),
    /// It cannot be sent as it was judged.
    Fail(Failure),
}

/// What may go to an origin, since when.
pub(super) struct Permitted {
    pub(super) destination: Destination,
    pub(super) since: Instant,
}

impl Gateway {
    /// Asks the policy, and begins the record of what it says.
    pub(super) fn decide(&self, arrival: &Arrival<'_>, checked: &Checked, parts: &Parts) -> (OpenRecord, Ruling) {
        let facts = RequestFacts {
            now: timestamp(arrival.received),
            site: &checked.site.settings.facts,
            tls: checked.tls,
            version: checked.head.version,
            method: parts.method.as_str(),
            host: &checked.head.host,
            target: &checked.target,
            headers: &parts.headers,
            client: checked.client,
        };
        let mut scratch = self.scratch.borrow_mut();
        let policy = &arrival.terms.snapshot.policy;
        let mut phases = self.is_sampled().then(PhaseTimes::start);
        let asked = Instant::now();
        let decision = match &mut phases {
            Some(phases) => policy.decide_in_laps(&facts, &mut scratch, phases),
            None => policy.decide(&facts, &mut scratch),
        };
        let decided = Instant::now();
        let judgement = Judgement::Decided {
            decision: &decision,
            took: decided - asked,
        };
        if let Some(phases) = phases {
            self.telemetry.metrics().phases_took(self.telemetry.index(), &phases);
        }
        let record = self
            .telemetry
            .begin(&arrival.record(parts, Known::of(checked), judgement));
        (
            OpenRecord::new(record),
            arrival.ruling(checked, parts, &decision, decided),
        )
    }
}

impl Gateway {
    /// Whether the phases of this request are measured.
    fn is_sampled(&self) -> bool {
        let judged = self.judged.get();
        self.judged.set(judged.wrapping_add(1));
        judged.is_multiple_of(SAMPLED_REQUESTS)
    }
}

impl Arrival<'_> {
    fn ruling(&self, checked: &Checked, parts: &Parts, decision: &Decision<'_>, decided: Instant) -> Ruling {
        match decision.verdict {
            Verdict::Allow { permit, .. } => match Destination::of(permit) {
                Ok(destination) => Ruling::Forward(Permitted {
                    destination,
                    since: decided,
                }),
                Err(error) => Ruling::Fail(Failure::from(&error)),
            },
            Verdict::Block { reason, rule } => {
                let known = Known::of(checked);
                Ruling::Refuse(checked.site.answers.respond(&Refusal {
                    rule: rule.map(DecidingRule::from),
                    ..self.refusal(reason, known, &parts.method, &parts.headers)
                }))
            }
        }
    }
}
