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
    telemetry::access::Judgement,
    upstream::Destination,
};

/// What becomes of a judged request. It owns everything, so that the head can be taken apart.
pub(super) enum Ruling {
    /// It goes to its origin.
    Forward(Destination),
    /// It is refused by the policy.
    Refuse(refusal::Answer),
    /// It cannot be sent as it was judged.
    Fail(Failure),
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
        let asked = Instant::now();
        let decision = arrival.terms.snapshot.policy.decide(&facts, &mut scratch);
        let judgement = Judgement::Decided {
            decision: &decision,
            took: asked.elapsed(),
        };
        let record = self
            .telemetry
            .begin(&arrival.record(parts, Known::of(checked), judgement));
        (OpenRecord::new(record), arrival.ruling(checked, parts, &decision))
    }
}

impl Arrival<'_> {
    fn ruling(&self, checked: &Checked, parts: &Parts, decision: &Decision<'_>) -> Ruling {
        match decision.verdict {
            Verdict::Allow { permit, .. } => match Destination::of(permit) {
                Ok(destination) => Ruling::Forward(destination),
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
