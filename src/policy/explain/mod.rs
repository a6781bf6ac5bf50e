//! Tells how a decision came about: every rule in order, what became of it and why, under every reading of the path.
//!
//! It watches the walk that [`Policy::decide`] takes, with every rule asked by the interpreter. The verdict is the plan's, which
//! judges live traffic; should the two ever differ, that is a bug of ours, and is said. Of a request that is not wholly known
//! (a log line, one whose credentials nobody kept), the verdict is told only if it is the same whatever the rest was.

mod altered;
mod candidates;
mod change;
mod subject;
mod worlds;

use bumpalo::Bump;
use serde::Serialize;

use super::{
    decision::{Reason, Verdict},
    facts::RequestFacts,
    lang::{Input, Trace, Unknown},
    phases::{LeftOut, Outcome, Position, Scratch, Witness},
    policy::Policy,
    rule::{Action, Phase, Rule, SkipTarget, Tier},
};

pub use change::{Change, Places, Turn};
use worlds::{Known, Possible};

/// A decision with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What the client gets.
    #[serde(flatten)]
    pub verdict: ExplainedVerdict,
    /// What it may be, when that depends on what is not known; empty also when there are too many ways to tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub possible: Vec<ExplainedVerdict>,
    /// What is not known of the request and asked by a rule that was asked: `the header x-foo`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What the rules below come to, when that is not the verdict: a bug in Portcullis, to be reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bug: Option<ExplainedVerdict>,
    /// Each reading of the path, the canonical one first. One that blocks is enough.
    pub readings: Vec<ExplainedReading>,
}

impl Explanation {
    /// The reading of the path under which the decision was taken.
    pub fn decisive(&self) -> Option<&ExplainedReading> {
        let mut same = self.readings.iter().filter(|reading| reading.verdict == self.verdict);
        same.next().or(self.readings.first())
    }
}

/// A verdict in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedVerdict {
    /// `allow`, `block`, or `undecided`: it depends on what is not known.
    pub verdict: &'static str,
    /// The cause of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The deciding rule, if one decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl ExplainedVerdict {
    fn of(verdict: &Verdict<'_>) -> Self {
        let (verdict, reason, rule) = match verdict {
            Verdict::Allow { rule, .. } => ("allow", None, *rule),
            Verdict::Block { reason, rule } => ("block", Some(reason.as_str()), *rule),
        };
        Self {
            verdict,
            reason,
            rule: rule.map(|rule| rule.id.to_string()),
        }
    }

    fn undecided() -> Self {
        Self {
            verdict: "undecided",
            reason: None,
            rule: None,
        }
    }
}

/// The walk of one reading of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedReading {
    /// The path as an origin may read it.
    pub path: String,
    /// What this reading alone comes to.
    #[serde(flatten)]
    pub verdict: ExplainedVerdict,
    /// The phases in order, each with its rules.
    pub phases: Vec<ExplainedPhase>,
}

/// The rules of one phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedPhase {
    /// Its name.
    pub phase: &'static str,
    /// The tier of `ip_access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'static str>,
    /// Its rules in written order.
    pub rules: Vec<ExplainedRule>,
}

/// What became of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedRule {
    /// Its id.
    pub id: String,
    /// Its table.
    pub kind: &'static str,
    /// What a match does.
    pub action: &'static str,
    /// What a match leaves out: phases and rules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skips: Vec<String>,
    /// `enforce` or `shadow`.
    pub mode: &'static str,
    /// `file:line:column`
    pub place: String,
    /// Why it exists, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it stops matching, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// The expression that it stands for.
    pub expression: String,
    /// What became of it.
    pub fate: Fate,
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How its expression came to its outcome, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was asked and matched.
    Matched,
    /// It was asked and did not match.
    NotMatched,
    /// It was asked, and whether it matched depends on what is not known.
    Undecided,
    /// Another rule leaves it out.
    Skipped,
    /// The decision was taken before.
    NotReached,
    /// `enabled = false`
    Disabled,
}

impl Fate {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::NotMatched => "not matched",
            Self::Undecided => "not known",
            Self::Skipped => "skipped",
            Self::NotReached => "not reached",
            Self::Disabled => "disabled",
        }
    }
}

/// What may be told of a request.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'t> {
    /// What nobody knows of it.
    pub unknown: &'t Unknown<'t>,
    /// What is not to be shown of it, credentials aside, which never are.
    pub secret: &'t Unknown<'t>,
}

impl Telling<'static> {
    /// Everything is known, and may be shown.
    pub const EVERYTHING: Self = Self {
        unknown: Unknown::NOTHING,
        secret: Unknown::NOTHING,
    };
}

impl Policy {
    /// Judges a request as [`Policy::decide`] does, and tells how.
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Explanation {
        self.explain_what_is_known(facts, Telling::EVERYTHING)
    }

    /// The same for a request that is not wholly known, or not to be shown wholly.
    pub fn explain_what_is_known(&self, facts: &RequestFacts<'_>, telling: Telling<'_>) -> Explanation {
        let others = facts.target.other_readings().iter().map(String::as_str);
        let paths = std::iter::once(facts.target.path()).chain(others);
        let walks: Vec<(Outcome, ExplainedReading)> =
            paths.map(|path| self.explain_reading(facts, path, telling)).collect();
        let outcomes = walks.iter().map(|(outcome, _)| *outcome);
        let decisive = outcomes.reduce(|first, other| if other.weight() > first.weight() { other } else { first });
        let decisive = decisive.unwrap_or(Outcome::BlockedByDefault);
        let readings: Vec<ExplainedReading> = walks.into_iter().map(|(_, reading)| reading).collect();
        let (verdict, possible, bug) = if telling.unknown.is_nothing() {
            let interpreted = self.in_words(decisive);
            let verdict = ExplainedVerdict::of(&self.decide(facts, &mut Scratch::new()).verdict);
            let bug = (interpreted != verdict).then_some(interpreted);
            (verdict, Vec::new(), bug)
        } else {
            let (verdict, possible) = self.verdict_of(&self.possible(facts, telling.unknown));
            (verdict, possible, None)
        };
        Explanation {
            verdict,
            possible,
            depends_on: depends_on(&readings),
            bug,
            readings,
        }
    }

    /// How the expression of one rule comes to its outcome, asked or not; `None` when there is no rule of this id.
    pub fn trace(&self, id: &str, facts: &RequestFacts<'_>, path: &str, telling: Telling<'_>) -> Option<Trace> {
        let rule = self.rules.iter().find(|rule| rule.id.as_str() == id)?;
        let arena = Bump::new();
        let input = Input {
            unknown: telling.unknown,
            ..Input::new(facts, path, &arena)
        };
        Some(rule.expression.trace(&input, telling.secret))
    }

    /// The one verdict that all possible outcomes come to, if they do, and else what it may be.
    fn verdict_of(&self, possible: &Possible) -> (ExplainedVerdict, Vec<ExplainedVerdict>) {
        let Possible::OneOf(outcomes) = possible else {
            return (ExplainedVerdict::undecided(), Vec::new());
        };
        let verdicts: Vec<_> = outcomes.iter().map(|outcome| self.in_words(*outcome)).collect();
        match verdicts.as_slice() {
            [only] => (only.clone(), Vec::new()),
            [first, others @ ..] if others.iter().all(|other| other.verdict == first.verdict) => {
                let verdict = ExplainedVerdict {
                    reason: first
                        .reason
                        .filter(|reason| others.iter().all(|other| other.reason == Some(reason))),
                    rule: None,
                    ..first.clone()
                };
                (verdict, verdicts)
            }
            _ => (ExplainedVerdict::undecided(), verdicts),
        }
    }

    fn explain_reading(
        &self,
        facts: &RequestFacts<'_>,
        path: &str,
        telling: Telling<'_>,
    ) -> (Outcome, ExplainedReading) {
        let arena = Bump::new();
        let input = Input {
            unknown: telling.unknown,
            ..Input::new(facts, path, &arena)
        };
        let mut notes = Notes(vec![None; self.rules.len()]);
        let outcome = self.walk_judged(facts, Known { policy: self, input }, &mut notes);
        let phases = Phase::ALL.into_iter().map(|phase| {
            let rules = self.rules.iter().enumerate().filter(|(_, rule)| rule.phase == phase);
            ExplainedPhase {
                phase: phase.as_str(),
                tier: tier(phase),
                rules: rules
                    .map(|(at, rule)| self.explain_rule(rule, notes.of(at), &input, telling.secret))
                    .collect(),
            }
        });
        let verdict = match telling.unknown.is_nothing() {
            true => self.in_words(outcome),
            false => self.verdict_of(&self.possible_of(facts, path, telling.unknown)).0,
        };
        let reading = ExplainedReading {
            path: path.to_owned(),
            verdict,
            phases: phases.filter(|phase| !phase.rules.is_empty()).collect(),
        };
        (outcome, reading)
    }

    fn explain_rule(&self, rule: &Rule, note: Option<Note>, input: &Input<'_>, secret: &Unknown<'_>) -> ExplainedRule {
        let trace = match note {
            Some(Note::Asked { .. }) => Some(rule.expression.trace(input, secret)),
            Some(Note::LeftOut(_)) | None => None,
        };
        let is_known = trace.as_ref().is_none_or(|trace| trace.outcome.is_some());
        ExplainedRule {
            id: rule.id.to_string(),
            kind: rule.kind.as_str(),
            action: rule.action.as_str(),
            skips: skips(&rule.action),
            mode: rule.mode.as_str(),
            place: rule.place.to_string(),
            note: rule.note.clone(),
            owner: rule.owner.clone(),
            expires: rule.expires.map(|expires| expires.0),
            expression: rule.expression.as_str().to_owned(),
            fate: match note {
                None if !rule.enabled => Fate::Disabled,
                None => Fate::NotReached,
                Some(Note::Asked { .. }) if !is_known => Fate::Undecided,
                Some(Note::Asked { matched: true }) => Fate::Matched,
                Some(Note::Asked { matched: false }) => Fate::NotMatched,
                Some(Note::LeftOut(_)) => Fate::Skipped,
            },
            why: match note {
                Some(Note::LeftOut(why)) => Some(self.why(why)),
                Some(Note::Asked { .. }) | None => None,
            },
            trace,
        }
    }

    fn why(&self, why: LeftOut) -> String {
        match why {
            LeftOut::Allowed(by) => format!("`{}` allows: no block of its tier or a broader one counts", self.id(by)),
            LeftOut::PhaseSkipped(by) => format!("`{}` matched and skips this phase", self.id(by)),
            LeftOut::RuleSkipped(by) => format!("`{}` matched and skips this rule", self.id(by)),
            LeftOut::PhaseEnded(by) => format!("`{}` matched and ended the phase", self.id(by)),
        }
    }

    fn in_words(&self, outcome: Outcome) -> ExplainedVerdict {
        match outcome {
            Outcome::Passed(allow) => ExplainedVerdict {
                verdict: "allow",
                reason: None,
                rule: allow.map(|at| self.id(at).to_owned()),
            },
            Outcome::BlockedByDefault => ExplainedVerdict {
                verdict: "block",
                reason: Some(Reason::Default.as_str()),
                rule: None,
            },
            Outcome::BlockedBy(at) => ExplainedVerdict {
                verdict: "block",
                reason: self.rules.get(at).map(|rule| rule.reason.as_str()),
                rule: Some(self.id(at).to_owned()),
            },
        }
    }

    fn id(&self, at: Position) -> &str {
        self.rules.get(at).map_or("", |rule| rule.id.as_str())
    }
}

/// What is not known and keeps rules from being decided, each once.
fn depends_on(readings: &[ExplainedReading]) -> Vec<String> {
    fn gather(trace: &Trace, found: &mut Vec<String>) {
        if let Some(unknown) = trace
            .unknown
            .as_ref()
            .filter(|unknown| trace.decides && !found.contains(unknown))
        {
            found.push(unknown.clone());
        }
        trace.parts.iter().for_each(|part| gather(part, found));
    }
    let mut found = Vec::new();
    let rules = readings
        .iter()
        .flat_map(|reading| &reading.phases)
        .flat_map(|phase| &phase.rules);
    for rule in rules.filter(|rule| rule.fate == Fate::Undecided) {
        rule.trace.iter().for_each(|trace| gather(trace, &mut found));
    }
    found
}

fn skips(action: &Action) -> Vec<String> {
    let targets = match action {
        Action::Skip(targets) => targets.as_slice(),
        Action::Allow | Action::Block | Action::Log => &[],
    };
    let name = |target: &SkipTarget| match target {
        SkipTarget::Phase(phase) => phase.as_str().to_owned(),
        SkipTarget::Rule(id) => id.to_string(),
    };
    targets.iter().map(name).collect()
}

fn tier(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::IpAccess(Tier::Address) => Some("address"),
        Phase::IpAccess(Tier::Asn) => Some("asn"),
        Phase::IpAccess(Tier::Place) => Some("place"),
        Phase::Rule | Phase::Lockdown | Phase::UserAgent | Phase::Hotlink => None,
    }
}

/// What the walk said of each rule.
struct Notes(Vec<Option<Note>>);

#[derive(Debug, Clone, Copy)]
enum Note {
    Asked { matched: bool },
    LeftOut(LeftOut),
}

impl Notes {
    fn of(&self, at: Position) -> Option<Note> {
        self.0.get(at).copied().flatten()
    }

    fn note(&mut self, at: Position, note: Note) {
        if let Some(place) = self.0.get_mut(at) {
            *place = Some(note);
        }
    }
}

impl Witness for Notes {
    const WANTS_LEFT_OUT: bool = true;

    fn asked(&mut self, at: Position, _rule: &Rule, matched: bool) {
        self.note(at, Note::Asked { matched });
    }

    fn left_out(&mut self, rules: &[Position], why: LeftOut) {
        for at in rules {
            self.note(*at, Note::LeftOut(why));
        }
    }
}
