//! Tells how a decision came about: every rule in order, what became of it and why, under every reading of the path.
//!
//! It watches the walk that [`Policy::decide`] takes, with every rule asked by the interpreter. The verdict is the plan's, which
//! judges live traffic; should the two ever differ, that is a bug of ours, and is said.

use serde::Serialize;

use super::{
    decision::{Reason, Verdict},
    facts::RequestFacts,
    lang::Trace,
    phases::{LeftOut, Outcome, Position, Scratch, Witness},
    policy::Policy,
    rule::{Phase, Rule, Tier},
};

/// A decision with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What the client gets.
    #[serde(flatten)]
    pub verdict: ExplainedVerdict,
    /// What the rules below come to, when that is not the verdict: a bug in Portcullis, to be reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bug: Option<ExplainedVerdict>,
    /// Each reading of the path, the canonical one first. One that blocks is enough.
    pub readings: Vec<ExplainedReading>,
}

/// A verdict in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedVerdict {
    /// `allow` or `block`.
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
    /// `enforce` or `shadow`.
    pub mode: &'static str,
    /// `file:line:column`
    pub place: String,
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
            Self::Skipped => "skipped",
            Self::NotReached => "not reached",
            Self::Disabled => "disabled",
        }
    }
}

impl Policy {
    /// Judges a request as [`Policy::decide`] does, and tells how.
    pub fn explain(&self, facts: &RequestFacts<'_>) -> Explanation {
        let others = facts.target.other_readings().iter().map(String::as_str);
        let paths = std::iter::once(facts.target.path()).chain(others);
        let walks: Vec<(Outcome, ExplainedReading)> = paths.map(|path| self.explain_reading(facts, path)).collect();
        let outcomes = walks.iter().map(|(outcome, _)| *outcome);
        let decisive = outcomes.reduce(|first, other| if other.weight() > first.weight() { other } else { first });
        let interpreted = self.in_words(decisive.unwrap_or(Outcome::BlockedByDefault));
        let verdict = ExplainedVerdict::of(&self.decide(facts, &mut Scratch::new()).verdict);
        Explanation {
            bug: (interpreted != verdict).then_some(interpreted),
            verdict,
            readings: walks.into_iter().map(|(_, reading)| reading).collect(),
        }
    }

    fn explain_reading(&self, facts: &RequestFacts<'_>, path: &str) -> (Outcome, ExplainedReading) {
        let mut notes = Notes(vec![None; self.rules.len()]);
        let outcome = self.walk_interpreted(facts, path, &mut notes);
        let phases = Phase::ALL.into_iter().map(|phase| {
            let rules = self.rules.iter().enumerate().filter(|(_, rule)| rule.phase == phase);
            ExplainedPhase {
                phase: phase.as_str(),
                tier: tier(phase),
                rules: rules
                    .map(|(at, rule)| self.explain_rule(rule, notes.of(at), facts, path))
                    .collect(),
            }
        });
        let reading = ExplainedReading {
            path: path.to_owned(),
            verdict: self.in_words(outcome),
            phases: phases.filter(|phase| !phase.rules.is_empty()).collect(),
        };
        (outcome, reading)
    }

    fn explain_rule(&self, rule: &Rule, note: Option<Note>, facts: &RequestFacts<'_>, path: &str) -> ExplainedRule {
        let fate = match note {
            None if !rule.enabled => Fate::Disabled,
            None => Fate::NotReached,
            Some(Note::Asked { matched: true }) => Fate::Matched,
            Some(Note::Asked { matched: false }) => Fate::NotMatched,
            Some(Note::LeftOut(_)) => Fate::Skipped,
        };
        ExplainedRule {
            id: rule.id.to_string(),
            kind: rule.kind.as_str(),
            action: rule.action.as_str(),
            mode: rule.mode.as_str(),
            place: rule.place.to_string(),
            expression: rule.expression.as_str().to_owned(),
            fate,
            why: match note {
                Some(Note::LeftOut(why)) => Some(self.why(why)),
                Some(Note::Asked { .. }) | None => None,
            },
            trace: match note {
                Some(Note::Asked { .. }) => Some(rule.expression.trace(facts, path)),
                Some(Note::LeftOut(_)) | None => None,
            },
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
