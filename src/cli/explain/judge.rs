//! A request on the way of a live one, told step by step.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    client::{Client, Who},
    request::Asked,
};
use crate::{
    cli::rules as listed,
    gateway::{
        head::{self, HeadError},
        headers::Trust,
    },
    geo,
    policy::{
        client::client_tls,
        decision::Verdict,
        explain::{ExplainedRule, Explanation, Places, Telling, Turn},
        facts::{Continent, Country, GeoFacts, RequestFacts},
        lang::{Unknown, UnknownHeaders, fields::Fact},
        normalize::{HostName, Target},
        phases::Scratch,
        policy::Policy,
        rule::{RefusalStatus, Timestamp},
        site::HostPattern,
    },
    reload::now,
    snapshot::{CompiledSite, Snapshot},
    telemetry::redacted_target,
};

/// What is asked, and under which circumstances.
pub(super) struct Question {
    pub(super) asked: Asked,
    pub(super) who: Who,
    pub(super) country: Option<Country>,
    pub(super) asn: Option<u32>,
    pub(super) at: Timestamp,
    /// Whether the time is another one than now.
    pub(super) is_past: bool,
}

/// Everything there is to tell.
pub(super) struct Told {
    pub(super) asked: Asked,
    /// The method and the URL, without what is never shown.
    pub(super) shown: String,
    /// How the client IP came about; after what stopped it, nothing.
    pub(super) client: Option<Client>,
    pub(super) site: Option<Site>,
    pub(super) path: Option<Path>,
    pub(super) outcome: Outcome,
    /// What the client gets.
    pub(super) answer: Option<RefusalStatus>,
    /// What it comes to at this moment, if that is another verdict.
    pub(super) now: Option<&'static str>,
    pub(super) turns: Vec<Turn>,
    /// The rules that were asked about alone, under the reading of the path that decided.
    pub(super) rules: Vec<ExplainedRule>,
}

pub(super) enum Outcome {
    Judged(Explanation),
    /// Refused before any rule was asked.
    Refused(HeadError),
    /// It cannot be judged again.
    Unjudged(String),
}

pub(super) struct Site {
    pub(super) name: String,
    pub(super) upstream: String,
    /// The host pattern that led to it.
    pub(super) by: String,
}

pub(super) struct Path {
    pub(super) canonical: String,
    pub(super) sent: String,
    pub(super) changes: Vec<String>,
    pub(super) others: Vec<String>,
}

impl Told {
    /// Takes the request through everything that a live one goes through.
    /// `rule`: the one to tell of alone.
    pub(super) fn new(question: Question, rule: Option<&str>, snapshot: &Snapshot) -> Self {
        let shown = question
            .asked
            .shown(|target| redacted_target(&snapshot.settings.log, target));
        let mut told = Self {
            shown,
            client: None,
            site: None,
            path: None,
            outcome: Outcome::Unjudged(String::new()),
            answer: None,
            now: None,
            turns: Vec::new(),
            rules: Vec::new(),
            asked: question.asked,
        };
        let circumstances = Circumstances {
            rule,
            who: question.who,
            country: question.country,
            asn: question.asn,
            at: question.at,
            is_past: question.is_past,
        };
        let recorded = told.asked.recorded.as_ref();
        told.outcome = match recorded.and_then(|recorded| recorded.unjudged.clone()) {
            Some(why) => Outcome::Unjudged(why),
            None => told.judge(&circumstances, snapshot).unwrap_or_else(Outcome::Refused),
        };
        told
    }

    fn judge(&mut self, circumstances: &Circumstances<'_>, snapshot: &Snapshot) -> Result<Outcome, HeadError> {
        let who = circumstances.who;
        // Cloned: the headers are changed on the way, and still shown afterwards.
        let mut parts = self.asked.parts.clone();
        let mut client = Client::derive(who, &parts.headers, snapshot)?;
        circumstances.state(&mut client);
        let facts = client.facts;
        self.client = Some(client);
        let head = head::check(&parts, &snapshot.headers)?;
        let chosen = snapshot
            .site_table
            .choose(&head.host.name, self.asked.server_name.as_ref())?;
        let Some(compiled) = snapshot.sites.get(chosen) else {
            return Ok(Outcome::Unjudged("its site is gone".to_owned()));
        };
        self.site = Some(site(compiled, &head.host.name));
        let target = head::target(&parts, compiled.settings.paths)?;
        let redacted = |text: &str| redacted_target(&snapshot.settings.log, text);
        self.path = Some(path(&target, redacted));
        let tls = match self.asked.recorded {
            // What rules saw, a proxy's word included.
            Some(_) => self.asked.tls,
            None => client_tls(self.asked.tls, who.source(), &parts.headers, &snapshot.client_ip)?,
        };
        let trust = match snapshot.client_ip.trusts(who.source()) {
            true => Trust::Trusted,
            false => Trust::Untrusted,
        };
        snapshot.headers.prepare_for_rules(&mut parts.headers, trust);
        let facts = RequestFacts {
            now: circumstances.at,
            site: &compiled.settings.facts,
            tls,
            version: head.version,
            method: parts.method.as_str(),
            host: &head.host,
            target: &target,
            headers: &parts.headers,
            client: facts,
        };
        let secret = secret_facts(&target, &parts.headers, redacted);
        Ok(Outcome::Judged(self.decide(
            &facts,
            &secret,
            compiled,
            circumstances,
            snapshot,
        )))
    }

    fn decide(
        &mut self,
        facts: &RequestFacts<'_>,
        secret: &[Fact],
        site: &CompiledSite,
        circumstances: &Circumstances<'_>,
        snapshot: &Snapshot,
    ) -> Explanation {
        let withheld: Vec<&str> = self.asked.withheld.iter().map(String::as_str).collect();
        let known: Vec<&str> = facts.headers.keys().map(http::HeaderName::as_str).collect();
        let unknown = Unknown {
            facts: &self.asked.unknown,
            headers: match (self.asked.any_header, withheld.is_empty()) {
                (true, _) => UnknownHeaders::AllBut(&known),
                (false, true) => UnknownHeaders::None,
                (false, false) => UnknownHeaders::Only(&withheld),
            },
        };
        let secret = Unknown {
            facts: secret,
            headers: UnknownHeaders::None,
        };
        let telling = Telling {
            unknown: &unknown,
            secret: &secret,
        };
        let explanation = snapshot.policy.explain_what_is_known(facts, telling);
        if let Some(id) = circumstances.rule {
            self.rules = alone(id, &explanation, facts, telling, &snapshot.policy);
        }
        self.answer = (explanation.verdict.verdict == "block").then(|| {
            let rules = snapshot.policy.rules().iter();
            let mut deciding = rules.filter(|rule| Some(rule.id.as_str()) == explanation.verdict.rule.as_deref());
            let own = deciding.next().and_then(|rule| rule.response.as_ref()?.status);
            own.unwrap_or(site.settings.status)
        });
        if circumstances.is_past && unknown.is_nothing() {
            let today = RequestFacts { now: now(), ..*facts };
            let mut scratch = Scratch::new();
            let verdict = match snapshot.policy.decide(&today, &mut scratch).verdict {
                Verdict::Allow { .. } => "allow",
                Verdict::Block { .. } => "block",
            };
            self.now = (verdict != explanation.verdict.verdict).then_some(verdict);
        }
        self.turns = snapshot.policy.turning(facts, &unknown, &Sources(snapshot));
        explanation
    }

    pub(super) fn json(&self) -> Value {
        let refused = match &self.outcome {
            Outcome::Refused(error) => Some(json!({
                "status": error.status.as_u16(),
                "reason": error.reason.as_str(),
                "detail": error.detail,
            })),
            Outcome::Judged(_) | Outcome::Unjudged(_) => None,
        };
        let (decision, unjudged) = match &self.outcome {
            Outcome::Judged(explanation) => (Some(explanation), None),
            Outcome::Refused(_) => (None, None),
            Outcome::Unjudged(why) => (None, Some(why)),
        };
        json!({
            "request": self.shown,
            "stated_by": self.asked.stated.as_str(),
            "remarks": self.asked.remarks,
            "recorded": self.recorded(),
            "client": self.client.as_ref().map(Client::json),
            "site": self.site.as_ref().map(|site| &site.name),
            "site_by": self.site.as_ref().map(|site| &site.by),
            "upstream": self.site.as_ref().map(|site| &site.upstream),
            "path": self.path.as_ref().map(|path| &path.canonical),
            "path_sent": self.path.as_ref().map(|path| &path.sent),
            "path_changes": self.path.as_ref().map(|path| &path.changes),
            "path_readings": self.path.as_ref().map(|path| &path.others),
            "refused_before_rules": refused,
            "not_judged": unjudged,
            "decision": decision,
            "answer": self.answer.map(answer),
            "verdict_now": self.now,
            "changes": self.turns,
            "rules": self.rules,
        })
    }

    fn recorded(&self) -> Option<Value> {
        let recorded = self.asked.recorded.as_ref()?;
        let record = &recorded.record;
        Some(json!({
            "time": record.time,
            "id": record.id,
            "action": record.action,
            "reason": record.reason,
            "detail": record.detail,
            "rule": record.rule,
            "matched": record.matched,
            "shadow": record.shadow,
            "status": record.status,
            "generation": record.generation,
            "generation_in_force": recorded.in_force.as_ref().map(|(generation, _)| generation),
            "loaded": recorded.in_force.as_ref().map(|(_, loaded)| loaded),
            "same": self.is_as_recorded(),
        }))
    }

    /// Whether it comes to what it came to when it was recorded; `None` when one of both is not known.
    pub(super) fn is_as_recorded(&self) -> Option<bool> {
        let record = &self.asked.recorded.as_ref()?.record;
        match &self.outcome {
            Outcome::Judged(explanation) if explanation.verdict.verdict != "undecided" => {
                let verdict = &explanation.verdict;
                Some(record.action == verdict.verdict && record.rule == verdict.rule)
            }
            Outcome::Refused(error) => {
                Some(record.action == "reject" && record.detail.as_deref() == Some(error.detail))
            }
            Outcome::Judged(_) | Outcome::Unjudged(_) => None,
        }
    }
}

/// The rules of an entry, each with how its expression comes out, asked or not.
fn alone(
    id: &str,
    explanation: &Explanation,
    facts: &RequestFacts<'_>,
    telling: Telling<'_>,
    policy: &Policy,
) -> Vec<ExplainedRule> {
    let Some(reading) = explanation.decisive() else {
        return Vec::new();
    };
    let named = |explained: &&ExplainedRule| {
        let mut rules = policy.rules().iter();
        rules.any(|rule| rule.id.as_str() == explained.id && listed::is_named(rule, id))
    };
    let rules = reading.phases.iter().flat_map(|phase| &phase.rules).filter(named);
    let traced = |explained: &ExplainedRule| ExplainedRule {
        trace: policy.trace(&explained.id, facts, &reading.path, telling),
        ..explained.clone()
    };
    rules.map(traced).collect()
}

/// What the caller said of the circumstances.
struct Circumstances<'c> {
    rule: Option<&'c str>,
    who: Who,
    country: Option<Country>,
    asn: Option<u32>,
    at: Timestamp,
    is_past: bool,
}

impl Circumstances<'_> {
    fn state(&self, client: &mut Client) {
        if let Some(country) = self.country {
            client.facts.geo.country = country;
            client.facts.geo.continent = geo::continent_of(country);
            client.stated.push("country");
        }
        if let Some(asn) = self.asn {
            client.facts.geo.asn = asn;
            client.stated.push("asn");
        }
    }
}

/// What the geo sources of a load know.
struct Sources<'s>(&'s Snapshot);

impl Places for Sources<'_> {
    fn of(&self, address: IpAddr) -> GeoFacts {
        self.0.geo.facts(address)
    }

    fn continent(&self, country: Country) -> Continent {
        geo::continent_of(country)
    }
}

fn site(site: &CompiledSite, host: &HostName) -> Site {
    let facts = &site.settings.facts;
    let asked = HostPattern::Exact(host.clone());
    // The longest pattern is the narrowest.
    let patterns = facts.hosts.iter().filter(|pattern| pattern.covers(&asked));
    let narrowest = patterns.max_by_key(|pattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Below(name) => name.as_str().len(),
        HostPattern::Any => 0,
    });
    Site {
        name: facts.name.clone(),
        upstream: facts.upstream.clone(),
        by: narrowest.map(HostPattern::to_string).unwrap_or_default(),
    }
}

fn path(target: &Target, redacted: impl Fn(&str) -> String) -> Path {
    Path {
        canonical: redacted(target.path()),
        sent: redacted(target.raw_path()),
        changes: target.changes(),
        others: target.other_readings().iter().map(|path| redacted(path)).collect(),
    }
}

/// What is not to be shown: what holds a value that is never logged.
fn secret_facts(target: &Target, headers: &http::HeaderMap, redacted: impl Fn(&str) -> String) -> Vec<Fact> {
    let is_secret = |text: &str| redacted(text) != text;
    let mut secret = Vec::new();
    if is_secret(target.raw()) {
        secret.extend([Fact::Query, Fact::RawTarget]);
    }
    if is_secret(target.path()) {
        secret.push(Fact::Path);
    }
    let referer = headers
        .get(http::header::REFERER)
        .and_then(|referer| referer.to_str().ok());
    if referer.is_some_and(is_secret) {
        secret.push(Fact::Header("referer"));
    }
    secret
}

fn answer(status: RefusalStatus) -> Value {
    match status {
        RefusalStatus::Status(status) => json!({ "status": status.as_u16() }),
        RefusalStatus::Conceal => json!({ "status": 404, "concealed": true }),
        RefusalStatus::Close => json!({ "status": null, "closed": true }),
    }
}
