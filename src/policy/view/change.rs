//! What a change from one policy to another changes, whatever the unknown facts are.

use super::{Foreseen, MAX_WAYS, Perhaps, Question, View, ViewScratch, same_rule};
use crate::policy::{facts::RequestFacts, policy::Policy, rule::Rule};

/// What becomes of a request when one policy takes the place of another.
#[derive(Debug, Clone, Copy)]
pub enum Change<'p> {
    /// The same verdict by the same rule, whatever the unknown facts are.
    None {
        /// Whether the verdict itself is known.
        is_decided: bool,
        /// Whether it may be, or is, a block.
        blocks: bool,
    },
    /// It was allowed and is blocked.
    Blocks(Foreseen<'p>, Foreseen<'p>),
    /// It was blocked and is allowed.
    Allows(Foreseen<'p>, Foreseen<'p>),
    /// The same verdict, decided by another rule.
    OtherRule(Foreseen<'p>, Foreseen<'p>),
    /// It depends on facts that are not known, because this rule does.
    Undecided(&'p Rule),
}

/// Whether the unknown facts of a request are the same before and after, so that an expression that both policies have
/// comes to the same in both. They are not where a site, a geo source or the reading of paths differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facts {
    /// They are.
    Shared,
    /// They may not be.
    Apart,
}

/// Beyond every question of a view.
const APART: Question = usize::MAX / 2;

/// What becomes of a request when the policy of one view takes the place of another's. `after` was put [`View::beside`]
/// `before`; each is told the request's facts as its configuration makes them.
pub fn change<'p>(
    before: (&View<'p>, &RequestFacts<'_>),
    after: (&View<'p>, &RequestFacts<'_>),
    facts: Facts,
    scratch: &mut ViewScratch,
) -> Change<'p> {
    let ViewScratch {
        scratch,
        supposed,
        before: ways_before,
        after: ways_after,
    } = scratch;
    let apart = match facts {
        Facts::Shared => 0,
        Facts::Apart => APART,
    };
    supposed.taken.clear();
    let mut known: Option<Change<'p>> = None;
    for _ in 0..MAX_WAYS {
        let was = before.0.go(before.1, supposed, ways_before, scratch, 0);
        let is = after.0.go(after.1, supposed, ways_after, scratch, apart);
        let way = Way {
            was: before.0.foreseen(was, &ways_before.perhaps, before.1),
            is: after.0.foreseen(is, &ways_after.perhaps, after.1),
            before: (before.0, &ways_before.perhaps),
            after: (after.0, &ways_after.perhaps),
            apart,
        };
        let change = way.change();
        known = match known {
            None => Some(change),
            Some(known) => known.agreeing(change),
        };
        match known {
            Some(undecided @ Change::Undecided(_)) => return undecided,
            None => break,
            Some(change) if !supposed.turn() => return change,
            Some(_) => {}
        }
    }
    let first = supposed.taken.first().map_or(0, |first| first.question);
    let rule = after.0.rule_of(first.checked_sub(apart).unwrap_or(first));
    match rule.or_else(|| before.0.rule_of(first)) {
        Some(rule) => Change::Undecided(rule),
        // Ways part only where something was supposed.
        None => Change::None {
            is_decided: false,
            blocks: true,
        },
    }
}

/// What one way comes to before and after.
struct Way<'w, 'p> {
    was: Foreseen<'p>,
    is: Foreseen<'p>,
    before: (&'w View<'p>, &'w [Perhaps]),
    after: (&'w View<'p>, &'w [Perhaps]),
    apart: Question,
}

impl<'p> Way<'_, 'p> {
    fn change(&self) -> Change<'p> {
        match (self.was, self.is) {
            (Foreseen::Allow { .. }, Foreseen::Block { .. }) => Change::Blocks(self.was, self.is),
            (Foreseen::Block { .. }, Foreseen::Allow { .. }) => Change::Allows(self.was, self.is),
            (Foreseen::Allow { rule: was, .. }, Foreseen::Allow { rule: is, .. }) => match same_rule(was, is) {
                true => Change::None {
                    is_decided: true,
                    blocks: false,
                },
                false => Change::OtherRule(self.was, self.is),
            },
            (Foreseen::Block { rule: was, .. }, Foreseen::Block { rule: is, .. }) => {
                match same_rule(was, is) && self.the_same_may_block() {
                    true => Change::None {
                        is_decided: true,
                        blocks: true,
                    },
                    false => Change::OtherRule(self.was, self.is),
                }
            }
            (Foreseen::Undecided(_), Foreseen::Undecided(_)) => match self.may_block_apart() {
                None => Change::None {
                    is_decided: false,
                    blocks: true,
                },
                Some(rule) => Change::Undecided(rule),
            },
            (_, Foreseen::Undecided(rule)) | (Foreseen::Undecided(rule), _) => Change::Undecided(rule),
        }
    }

    /// Whether the blocks that may match are the same: of the same names, and by the same questions.
    fn the_same_may_block(&self) -> bool {
        let named = |(view, perhaps): (&View<'p>, &[Perhaps])| -> Vec<(usize, Question, Option<&'p str>)> {
            let policy: &'p Policy = view.policy;
            let name = |at: &Perhaps| {
                (
                    at.reading,
                    at.question,
                    policy.rules.get(at.rule).map(|rule| rule.id.as_str()),
                )
            };
            perhaps.iter().map(name).collect()
        };
        named(self.before) == named(self.after)
    }

    /// A block that may match in one of the policies, and in the other is none.
    fn may_block_apart(&self) -> Option<&'p Rule> {
        let same = |one: &Perhaps, other: &Perhaps| (one.reading, one.question) == (other.reading, other.question);
        // What the two have in common is mostly all that they have.
        let (before, after) = (self.before.1, self.after.1);
        let alike = before.len() == after.len() && before.iter().zip(after).all(|(one, other)| same(one, other));
        if alike {
            return None;
        }
        let only = |(view, of): (&View<'p>, &[Perhaps]), others: &[Perhaps]| {
            let policy: &'p Policy = view.policy;
            let found = of.iter().find(|one| !others.iter().any(|other| same(one, other)));
            found.and_then(|found| policy.rules.get(found.rule))
        };
        debug_assert!(self.apart == 0 || after.iter().all(|one| one.question >= self.apart));
        only(self.after, before).or_else(|| only(self.before, after))
    }
}

impl Change<'_> {
    /// What is known when this is what one way comes to and `other` what another one does; `None`: they disagree.
    fn agreeing(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Undecided(_), _) => Some(self),
            (_, Self::Undecided(_)) => Some(other),
            (
                Self::None { is_decided, blocks },
                Self::None {
                    is_decided: also,
                    blocks: too,
                },
            ) => Some(Self::None {
                is_decided: is_decided && also && blocks == too,
                blocks: blocks || too,
            }),
            (Self::Blocks(..), Self::Blocks(..))
            | (Self::Allows(..), Self::Allows(..))
            | (Self::OtherRule(..), Self::OtherRule(..) | Self::None { .. }) => Some(self),
            (Self::None { .. }, Self::OtherRule(..)) => Some(other),
            (Self::None { .. } | Self::OtherRule(..), Self::Blocks(..) | Self::Allows(..))
            | (Self::Blocks(..) | Self::Allows(..), Self::None { .. } | Self::OtherRule(..))
            | (Self::Blocks(..), Self::Allows(..))
            | (Self::Allows(..), Self::Blocks(..)) => None,
        }
    }
}
