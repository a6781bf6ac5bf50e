//! One `[[test]]`: what was expected, what came, and what to look at when they differ.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::judged::with_facts;
use crate::{
    config::settings::LogSettings,
    gateway::{
        head::HeadError,
        refusal::{Answer, DecidingRule, Refusal},
    },
    policy::{
        decision::{self, Reason},
        explain::{ExplainedRule, Explanation, Fate},
        facts::RequestFacts,
        fault::Fault,
        phases::Scratch,
        rule::Rule,
        stated::{Asker, BEFORE_EVERY_DATE, Expected, StatedRequest, StatedTest, Verdict},
    },
    snapshot::{CompiledSite, Snapshot},
    telemetry,
};

/// How a test came out.
#[derive(Debug)]
pub struct Outcome<'t> {
    /// The test.
    pub test: &'t StatedTest,
    /// What came of its request.
    pub came: Came,
    /// Whether that is what was expected.
    pub holds: bool,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// Whether it would reach its origin.
    pub verdict: Verdict,
    /// The deciding rule's id and place.
    pub rule: Option<(String, String)>,
    /// The cause of its refusal.
    pub reason: Option<Reason>,
    /// The status of its refusal; 444: no answer.
    pub status: Option<StatusCode>,
    /// Why it was refused before any rule was asked.
    pub before_rules: Option<&'static str>,
}

/// Judges the request of a test.
pub fn outcome<'t>(test: &'t StatedTest, snapshot: &Snapshot) -> Outcome<'t> {
    let came = with_facts(&test.request, BEFORE_EVERY_DATE, snapshot, |facts, site| {
        decided(facts, site, snapshot)
    });
    let came = came.unwrap_or_else(Came::from);
    Outcome {
        holds: came.meets(&test.expected),
        came,
        test,
    }
}

pub(super) fn decided(facts: &RequestFacts<'_>, site: &CompiledSite, snapshot: &Snapshot) -> Came {
    let place = |rule: &Rule| (rule.id.to_string(), rule.place.to_string());
    match snapshot.policy.decide(facts, &mut Scratch::new()).verdict {
        decision::Verdict::Allow { rule, .. } => Came {
            verdict: Verdict::Allow,
            rule: rule.map(place),
            reason: None,
            status: None,
            before_rules: None,
        },
        decision::Verdict::Block { reason, rule } => Came {
            verdict: Verdict::Block,
            rule: rule.map(place),
            reason: Some(reason),
            status: Some(status(facts, site, reason, rule)),
            before_rules: None,
        },
    }
}

/// The status of the answer that the client would get.
fn status(facts: &RequestFacts<'_>, site: &CompiledSite, reason: Reason, rule: Option<&Rule>) -> StatusCode {
    let method = facts.method.parse().unwrap_or(http::Method::GET);
    let answer = site.answers.respond(&Refusal {
        reason,
        status: None,
        fault: None,
        rule: rule.map(DecidingRule::from),
        method: &method,
        headers: facts.headers,
        request_id: "-",
        client: Some(facts.client.ip),
        country: facts.client.geo.country,
        host: Some(facts.host.name.as_str()),
        now: facts.now,
    });
    match answer {
        Answer::Respond(response) => response.status(),
        Answer::Close => StatusCode::from_u16(CLOSED).unwrap_or(StatusCode::FORBIDDEN),
    }
}

impl From<HeadError> for Came {
    fn from(error: HeadError) -> Self {
        Self {
            verdict: Verdict::Block,
            rule: None,
            reason: Some(error.reason),
            status: Some(error.status),
            before_rules: Some(error.detail),
        }
    }
}

/// nginx's status for no answer at all.
const CLOSED: u16 = 444;

impl Came {
    /// A refusal that no rule took part in is what was meant only where the test says so: a misspelt host would pass for a
    /// block otherwise.
    fn meets(&self, expected: &Expected) -> bool {
        let says_which = expected.reason.is_some() || expected.status.is_some();
        let id = self.rule.as_ref().map(|(id, _)| id);
        self.verdict == expected.verdict
            && (self.before_rules.is_none() || says_which)
            && expected.rule.as_ref().is_none_or(|rule| id == Some(&rule.value))
            && expected.reason.is_none_or(|reason| self.reason == Some(reason))
            && expected
                .status
                .is_none_or(|status| self.status.map(|came| came.as_u16()) == Some(status))
    }

    fn is_by(&self, id: &str) -> bool {
        self.rule.as_ref().is_some_and(|(by, _)| by == id)
    }

    /// Whether it passes, and no rule had a word in it.
    pub fn is_plain_allow(&self) -> bool {
        self.verdict == Verdict::Allow && self.rule.is_none()
    }

    /// `block by admin (lockdown), status 403`
    pub fn words(&self) -> String {
        let by = match (&self.rule, self.before_rules) {
            (Some((id, _)), _) => format!(" by {id}"),
            (None, Some(detail)) => format!(" before any rule: {detail}"),
            (None, None) if self.verdict == Verdict::Allow => ", no rule objects".to_owned(),
            (None, None) => String::new(),
        };
        let verdict = self.verdict.as_str();
        let reason = self.reason.map(|reason| format!(" ({})", reason.as_str()));
        let status = self.status.map(|status| format!(", status {}", status.as_u16()));
        format!(
            "{verdict}{by}{}{}",
            reason.unwrap_or_default(),
            status.unwrap_or_default()
        )
    }

    fn json(&self) -> Value {
        json!({
            "verdict": self.verdict.as_str(),
            "rule": self.rule.as_ref().map(|(id, _)| id),
            "rule_place": self.rule.as_ref().map(|(_, place)| place),
            "reason": self.reason.map(Reason::as_str),
            "status": self.status.map(|status| status.as_u16()),
            "refused_before_rules": self.before_rules,
        })
    }
}

impl Outcome<'_> {
    /// What is to be said of a test that fails.
    pub fn fault(&self, snapshot: &Snapshot) -> Option<Fault> {
        if self.holds {
            return None;
        }
        let (test, came) = (self.test, &self.came);
        let message = format!("test \"{}\" fails: it came to {}", test.name, came.words());
        let expected = format!("expected {}", test.expected.words());
        // What is wrong is shown: the rule, where only that is another one.
        let place = match (&test.expected.rule, came.verdict == test.expected.verdict) {
            (Some(rule), true) if came.before_rules.is_none() && !came.is_by(&rule.value) => rule.place.clone(),
            _ => test.expected.place.clone(),
        };
        let mut fault = Fault::error(place, message).expected(expected);
        if let Some((id, place)) = &came.rule {
            fault = fault.help(format!("`{id}` stands at {place}"));
        }
        if let Some(why) = self.why_not_the_expected_rule(snapshot) {
            fault = fault.help(why);
        }
        if came.before_rules.is_some() && came.verdict == test.expected.verdict {
            fault = fault.help("if that is what you mean, say so: a `reason` or a `status`");
        }
        Some(fault.help(every_step(&test.request, snapshot)))
    }

    /// What became of the rule that should have decided.
    fn why_not_the_expected_rule(&self, snapshot: &Snapshot) -> Option<String> {
        let wanted = &self.test.expected.rule.as_ref()?.value;
        if self.came.is_by(wanted) {
            return None;
        }
        let explained = with_facts(&self.test.request, BEFORE_EVERY_DATE, snapshot, |facts, _| {
            snapshot.policy.explain(facts)
        });
        let explained = explained.ok()?;
        let rule = found(&explained, wanted)?;
        Some(match (&rule.why, rule.fate) {
            (Some(why), _) => format!("`{wanted}` was skipped: {why}"),
            (None, Fate::Matched) if rule.mode == "shadow" => {
                format!("`{wanted}` matched, and is in shadow mode: it decides nothing")
            }
            (None, Fate::Matched) => format!("`{wanted}` matched, and did not decide"),
            (None, Fate::NotMatched) => format!("`{wanted}` did not match"),
            (None, Fate::Skipped) => format!("`{wanted}` was skipped"),
            (None, Fate::NotReached) => format!("`{wanted}` was not reached: the decision was taken before"),
            (None, Fate::Disabled) => format!("`{wanted}` is disabled"),
            // A test states everything.
            (None, Fate::Undecided) => format!("`{wanted}` depends on what is not known"),
        })
    }

    /// For programs.
    pub fn json(&self, snapshot: &Snapshot) -> Value {
        let expected = &self.test.expected;
        let (line, _) = self.test.place.line_column();
        json!({
            "name": self.test.name,
            "file": self.test.place.source.name,
            "line": line,
            "ok": self.holds,
            "expected": {
                "verdict": expected.verdict.as_str(),
                "rule": expected.rule.as_ref().map(|rule| &rule.value),
                "reason": expected.reason.map(Reason::as_str),
                "status": expected.status,
            },
            "came": self.came.json(),
            "explain": (!self.holds).then(|| explain_line(&self.test.request, snapshot)),
        })
    }
}

/// What to run to see it.
pub(super) fn every_step(request: &StatedRequest, snapshot: &Snapshot) -> String {
    format!("every step: {}", explain_line(request, snapshot))
}

/// The command that shows how it came about. Secrets of the request are left out of it, for it is logged.
fn explain_line(request: &StatedRequest, snapshot: &Snapshot) -> String {
    let asked = &request.asked;
    let scheme = if asked.tls { "https" } else { "http" };
    let target = telemetry::redacted_target(&snapshot.settings.log, &asked.parts.uri.to_string());
    let mut line = format!(
        "portcullis explain {}",
        quoted(&format!("{scheme}://{}{target}", asked.host()))
    );
    if asked.parts.method != http::Method::GET {
        line += &format!(" -X {}", asked.parts.method);
    }
    match request.from {
        Asker::Client(ip) => line += &format!(" --ip {ip}"),
        peer if peer == Asker::NOBODY => {}
        Asker::Peer(peer) => line += &format!(" --peer {peer}"),
    }
    if let Some(country) = request.country {
        line += &format!(" --country {}", country.as_str());
    }
    if let Some(asn) = request.asn {
        line += &format!(" --asn {asn}");
    }
    line += &header_options(&asked.parts.headers, &snapshot.settings.log);
    match request.now {
        Some(at) => line += &format!(" --at {}", at),
        None if depends_on_time(snapshot) => line += &format!(" --at {}", BEFORE_EVERY_DATE),
        None => {}
    }
    line
}

fn found<'e>(explained: &'e Explanation, id: &str) -> Option<&'e ExplainedRule> {
    let phases = explained.readings.iter().flat_map(|reading| &reading.phases);
    phases.flat_map(|phase| &phase.rules).find(|rule| rule.id == id)
}

/// Of headers with credentials only the name is told.
fn header_options(headers: &HeaderMap, log: &LogSettings) -> String {
    let mut options = String::new();
    for (name, value) in headers {
        if *name == http::header::HOST {
            continue;
        }
        let value = match telemetry::is_withheld(log, name, value) {
            true => "…".to_owned(),
            false if *name == http::header::REFERER => telemetry::redacted_referer(value.as_bytes()),
            false => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        };
        options += &format!(" -H {}", quoted(&format!("{name}: {value}")));
    }
    options
}

/// A word as a shell takes it whole.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/@%+,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Whether what a rule says today may be something else than what it said to a test.
fn depends_on_time(snapshot: &Snapshot) -> bool {
    let says = |rule: &Rule| match rule.expires {
        Some(expires) => expires <= snapshot.loaded,
        None => rule.expression.as_str().contains("portcullis.now"),
    };
    snapshot.policy.rules().iter().any(says)
}
