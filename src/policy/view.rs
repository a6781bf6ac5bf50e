//! A policy as seen by who does not know everything of a request: what it decides whatever the unknown facts are, and what
//! a change of it changes.
//!
//! The walk through the phases is that of live traffic, with a judge that may answer "unknown". An unknown block is noted
//! and the walk goes on as if it did not match; an unknown allow or skip changes the way, so both ways are gone. What comes
//! out is a verdict only if it is the same on every way. Unknown rules are taken to be independent of each other: that can
//! make a verdict undecided which is not, never the other way round.

mod change;

pub use change::{Change, Facts, change};

use super::{
    decision::{Reason, Verdict},
    facts::RequestFacts,
    lang::{Input, Kleene, Unknown},
    list::List,
    phases::{Judge, Outcome, Position, Scratch, Weight, reuse},
    plan::{Asking, Sight},
    policy::Policy,
    rule::{Action, Mode, Phase, Rule},
};

/// The most ways that are gone for one request. Each unknown allow or skip that it meets doubles them; beyond, it is undecided.
const MAX_WAYS: usize = 64;

/// A policy, where certain facts of every request are unknown.
#[derive(Debug)]
pub struct View<'p> {
    policy: &'p Policy,
    sight: Sight,
    /// For each rule which question its expression is: the same one in two views gets the same answer.
    questions: Box<[Question]>,
}

/// The question whether an expression matches. Those of the second of two views that are none of the first come after them.
type Question = usize;

/// What is known of a decision.
#[derive(Debug, Clone, Copy)]
pub enum Foreseen<'p> {
    /// The request is forwarded.
    Allow {
        /// The enforced allow that matches first, if any does.
        rule: Option<&'p Rule>,
        /// Whether that is certain; if not, another may come first.
        is_sure: bool,
    },
    /// The request is refused.
    Block {
        /// The cause.
        reason: Reason,
        /// The deciding rule; `None` for a site's default.
        rule: Option<&'p Rule>,
        /// Whether that is certain; if not, another may come first.
        is_sure: bool,
    },
    /// It depends on facts that are not known, because this rule does.
    Undecided(&'p Rule),
}

/// What deciding over unknown facts reuses from request to request.
#[derive(Debug, Default)]
pub struct ViewScratch {
    scratch: Scratch,
    supposed: Suppositions,
    before: Ways,
    after: Ways,
}

/// What is supposed of unknown rules on the way under way, in the order in which they were met.
#[derive(Debug, Default)]
struct Suppositions {
    taken: Vec<Supposition>,
}

#[derive(Debug)]
struct Supposition {
    reading: usize,
    question: Question,
    holds: bool,
}

/// What one way came to.
#[derive(Debug, Default)]
struct Ways {
    /// The blocks that may match on it, before its outcome does.
    perhaps: Vec<Perhaps>,
}

/// A block that may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Perhaps {
    reading: usize,
    question: Question,
    rule: Position,
}

impl Policy {
    /// This policy, where of every request the same is unknown.
    pub fn view(&self, unknown: &Unknown<'_>) -> View<'_> {
        View {
            policy: self,
            sight: Sight::new(&self.plan, unknown),
            questions: (0..self.rules.len()).collect(),
        }
    }
}

impl<'p> View<'p> {
    /// The policy that is seen.
    pub fn policy(&self) -> &'p Policy {
        self.policy
    }

    /// This view beside that of another policy: an expression that both have, over lists that hold the same, is one question.
    #[must_use]
    pub fn beside(mut self, other: &View<'_>) -> Self {
        let others = other.policy.rules.iter().zip(&other.questions);
        let known: std::collections::HashMap<&str, (&Rule, Question)> = others
            .map(|(rule, question)| (rule.expression.as_str(), (rule, *question)))
            .collect();
        let first = other.questions.iter().max().map_or(0, |last| last + 1);
        for (at, (rule, question)) in self.policy.rules.iter().zip(&mut self.questions).enumerate() {
            let same = known.get(rule.expression.as_str());
            let same = same.filter(|(other, _)| lists_of(rule) == lists_of(other));
            *question = same.map_or(first + at, |(_, question)| *question);
        }
        self
    }

    /// Judges a request, as far as its known facts tell. What it says in place of the unknown ones is not looked at.
    pub fn decide(&self, facts: &RequestFacts<'_>, scratch: &mut ViewScratch) -> Foreseen<'p> {
        let ViewScratch {
            scratch,
            supposed,
            before: ways,
            ..
        } = scratch;
        supposed.taken.clear();
        let mut first: Option<Foreseen<'p>> = None;
        for _ in 0..MAX_WAYS {
            let outcome = self.go(facts, supposed, ways, scratch, 0);
            let seen = self.foreseen(outcome, &ways.perhaps, facts);
            let known = match first {
                None => Some(seen),
                Some(first) => first.agreeing(seen),
            };
            first = match known {
                Some(Foreseen::Undecided(_)) => return seen,
                Some(known) => Some(known),
                None => break,
            };
            if !supposed.turn() {
                return known.unwrap_or(seen);
            }
        }
        self.undecided_by(supposed)
    }

    /// The undecided verdict of ways that part at the first thing supposed.
    fn undecided_by(&self, supposed: &Suppositions) -> Foreseen<'p> {
        let asked = supposed.taken.first().map(|first| first.question);
        match asked.and_then(|question| self.rule_of(question)) {
            Some(rule) => Foreseen::Undecided(rule),
            // Ways part only where something was supposed.
            None => Foreseen::Block {
                reason: Reason::Default,
                rule: None,
                is_sure: false,
            },
        }
    }

    fn rule_of(&self, question: Question) -> Option<&'p Rule> {
        let at = self.questions.iter().position(|asked| *asked == question)?;
        self.policy.rules.get(at)
    }

    /// Goes one way: under what is supposed, and whatever is supposed on it for the first time.
    fn go(
        &self,
        facts: &RequestFacts<'_>,
        supposed: &mut Suppositions,
        ways: &mut Ways,
        scratch: &mut Scratch,
        apart: Question,
    ) -> Outcome {
        ways.perhaps.clear();
        let (answers, values, walking) = scratch.for_walk();
        let others = facts.target.other_readings().iter().map(String::as_str);
        let mut outcome: Option<Outcome> = None;
        for (reading, path) in std::iter::once(facts.target.path()).chain(others).enumerate() {
            reuse(values);
            let asking = Asking::new(&self.policy.plan, Input::new(facts, path, values), answers).in_sight(&self.sight);
            let judge = Supposing {
                view: self,
                asking,
                reading,
                apart,
                supposed: &mut *supposed,
                perhaps: &mut ways.perhaps,
            };
            let read = self.policy.walk(facts, judge, walking, &mut ());
            if outcome.is_none_or(|outcome| read.weight() > outcome.weight()) {
                outcome = Some(read);
            }
            if read.weight() == Weight::Rule {
                break;
            }
        }
        outcome.unwrap_or(Outcome::BlockedByDefault)
    }

    fn foreseen(&self, outcome: Outcome, perhaps: &[Perhaps], facts: &RequestFacts<'_>) -> Foreseen<'p> {
        let policy = self.policy;
        let is_sure = perhaps.is_empty();
        match (outcome, perhaps.first()) {
            (Outcome::Passed(_), Some(perhaps)) => match policy.rules.get(perhaps.rule) {
                Some(rule) => Foreseen::Undecided(rule),
                None => self.certain(outcome, facts, false),
            },
            (Outcome::Passed(_), None) | (Outcome::BlockedBy(_) | Outcome::BlockedByDefault, _) => {
                self.certain(outcome, facts, is_sure)
            }
        }
    }

    fn certain(&self, outcome: Outcome, facts: &RequestFacts<'_>, is_sure: bool) -> Foreseen<'p> {
        let policy: &'p Policy = self.policy;
        let rule = match outcome {
            Outcome::Passed(at) => at,
            Outcome::BlockedBy(at) => Some(at),
            Outcome::BlockedByDefault => None,
        };
        let rule = rule.and_then(|at| policy.rules.get(at));
        match policy.verdict(outcome, facts) {
            Verdict::Allow { .. } => Foreseen::Allow { rule, is_sure },
            Verdict::Block { reason, .. } => Foreseen::Block { reason, rule, is_sure },
        }
    }
}

/// The lists that a rule looks into, in order.
fn lists_of(rule: &Rule) -> Vec<&List> {
    let mut lists = Vec::new();
    rule.expression.root().lists(&mut |list| lists.push(&**list));
    lists
}

impl<'p> Foreseen<'p> {
    /// The deciding rule.
    pub fn rule(&self) -> Option<&'p Rule> {
        match self {
            Self::Allow { rule, .. } | Self::Block { rule, .. } => *rule,
            Self::Undecided(rule) => Some(rule),
        }
    }

    /// What is known when this is what one way comes to and `other` what another one does; `None`: they disagree.
    fn agreeing(self, other: Self) -> Option<Self> {
        let same = same_rule(self.rule(), other.rule());
        match (self, other) {
            (Self::Undecided(_), _) => Some(self),
            (_, Self::Undecided(_)) => Some(other),
            (Self::Allow { rule, is_sure }, Self::Allow { is_sure: also, .. }) => Some(Self::Allow {
                rule: rule.filter(|_| same),
                is_sure: is_sure && also && same,
            }),
            (Self::Block { reason, rule, is_sure }, Self::Block { is_sure: also, .. }) => Some(Self::Block {
                reason,
                rule,
                is_sure: is_sure && also && same,
            }),
            (Self::Allow { .. }, Self::Block { .. }) | (Self::Block { .. }, Self::Allow { .. }) => None,
        }
    }
}

fn same_rule(one: Option<&Rule>, other: Option<&Rule>) -> bool {
    one.map(|rule| &rule.id) == other.map(|rule| &rule.id)
}

impl Suppositions {
    /// What is supposed of a rule's expression: at first, that it does not match.
    fn ask(&mut self, reading: usize, question: Question) -> bool {
        let known = self
            .taken
            .iter()
            .find(|known| (known.reading, known.question) == (reading, question));
        match known {
            Some(known) => known.holds,
            None => {
                self.taken.push(Supposition {
                    reading,
                    question,
                    holds: false,
                });
                false
            }
        }
    }

    /// Turns to the next way; `false`: all have been gone.
    fn turn(&mut self) -> bool {
        while let Some(last) = self.taken.last_mut() {
            if !last.holds {
                last.holds = true;
                return true;
            }
            // The first thing supposed is kept: it is what the ways part at.
            if self.taken.len() == 1 {
                return false;
            }
            self.taken.pop();
        }
        false
    }
}

/// Asks the plan what is known, and supposes the rest.
struct Supposing<'v, 'r> {
    view: &'v View<'v>,
    asking: Asking<'r>,
    reading: usize,
    /// Added to every question, where answers are not to be shared.
    apart: Question,
    supposed: &'v mut Suppositions,
    perhaps: &'v mut Vec<Perhaps>,
}

impl Judge for Supposing<'_, '_> {
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        self.asking.candidates::<Kleene>(phase, rules);
    }

    fn matches(&mut self, at: Position) -> bool {
        match self.asking.matches::<Kleene>(at) {
            Kleene::True => true,
            Kleene::False => false,
            Kleene::Unknown => self.suppose(at),
        }
    }
}

impl Supposing<'_, '_> {
    fn suppose(&mut self, at: Position) -> bool {
        let (Some(rule), Some(question)) = (self.view.policy.rules.get(at), self.view.questions.get(at)) else {
            return false;
        };
        let (reading, question) = (self.reading, question + self.apart);
        match (&rule.action, rule.mode) {
            // Neither changes what becomes of the request.
            (Action::Log, _) | (_, Mode::Shadow) => false,
            (Action::Block, Mode::Enforce) => {
                self.perhaps.push(Perhaps {
                    reading,
                    question,
                    rule: at,
                });
                false
            }
            (Action::Allow | Action::Skip(_), Mode::Enforce) => self.supposed.ask(reading, question),
        }
    }
}

#[cfg(test)]
mod tests;
