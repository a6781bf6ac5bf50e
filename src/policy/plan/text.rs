//! All tests of one string at once.
//!
//! Whole strings are looked up in a table. Nearly every other test has a literal without which it cannot pass; all literals
//! are searched in one pass, letter case aside, and only what was found is asked further. Tests that have no literal, or
//! share theirs with a crowd, go through one automaton of regular expressions together. What is left, such as an
//! expression with Unicode word boundaries and no literal, is asked of every string.

mod builder;
mod expression_scan;

use std::sync::Arc;

use hashbrown::HashMap;

pub(super) use self::builder::TextMatcherBuilder;
use self::expression_scan::ExpressionScan;
use super::{atoms::AtomId, clues::Confirm};
use crate::policy::{
    lang::{interpreter, types::Datum},
    list::List,
    literal_scan::{LiteralScan, Lowered},
};

/// An atom that a find leads to, and what remains to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) atom: AtomId,
    pub(super) confirm: Confirm,
}

/// A lead that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Find<'t> {
    pub(super) lead: Lead,
    /// The string that it was found in; empty when it was a name.
    pub(super) text: &'t [u8],
    /// The number of that string: what was asked of it once need not be asked again.
    pub(super) serial: u64,
}

impl Find<'_> {
    /// What the presence of a name leads to. Its lead asks the whole atom, which needs no string.
    pub(super) fn of_name(lead: Lead) -> Self {
        Self {
            lead,
            text: &[],
            serial: 0,
        }
    }
}

/// Every test of one string.
#[derive(Debug, Default)]
pub(super) struct TextMatcher {
    whole: HashMap<Box<[u8]>, Box<[Lead]>>,
    /// Which lengths the whole strings have: most texts have another.
    lengths: u64,
    /// Lists that are large: each is asked itself, so that a reload that leaves it as it is need not take it apart.
    lists: Box<[(Arc<List>, Lead)]>,
    literals: Option<Box<Literals>>,
    expressions: Option<(ExpressionScan, Box<[Lead]>)>,
    /// Tests that nothing leads to: they are asked of every string.
    always: Box<[Lead]>,
}

/// All literals, and what each of them leads to.
#[derive(Debug)]
struct Literals {
    scan: LiteralScan,
    leads: Box<[LiteralLeads]>,
}

/// What a literal leads to.
#[derive(Debug)]
struct LiteralLeads {
    leads: Box<[Lead]>,
    /// Those for which it must stand there in this case.
    same_case: Box<[(Lead, Box<[u8]>)]>,
    /// Its number among the literals that lead to many tests: they are told once a string, not once a place.
    crowd: Option<CrowdId>,
}

impl LiteralLeads {
    fn memory(&self) -> usize {
        let written: usize = self.same_case.iter().map(|(_, written)| written.len()).sum();
        size_of::<Self>() + size_of_val(&*self.leads) + size_of_val(&*self.same_case) + written
    }
}

type CrowdId = usize;

/// What a search reuses from request to request.
#[derive(Debug, Default)]
pub(super) struct TextScratch {
    /// The text in lower case.
    lowered: Vec<u8>,
    /// How many strings were searched so far.
    serial: u64,
    /// For each crowd the last string in which its literal was found.
    crowds: Vec<u64>,
}

impl TextScratch {
    /// Whether this crowd was told of this string before.
    fn is_told(&mut self, crowd: CrowdId) -> bool {
        if self.crowds.len() <= crowd {
            self.crowds.resize(crowd + 1, 0);
        }
        let last = self.crowds.get_mut(crowd);
        last.is_some_and(|last| std::mem::replace(last, self.serial) == self.serial)
    }
}

impl TextMatcher {
    /// Tells every atom that a string leads to, some of them more than once.
    pub(super) fn find(&self, text: &[u8], scratch: &mut TextScratch, mut found: impl FnMut(Find<'_>)) {
        scratch.serial += 1;
        let serial = scratch.serial;
        let mut found = |lead| found(Find { lead, text, serial });
        if self.lengths & length_bit(text) != 0 {
            self.whole.get(text).into_iter().flatten().copied().for_each(&mut found);
        }
        if !self.lists.is_empty() {
            let datum = Datum::Text(text);
            let listed = self
                .lists
                .iter()
                .filter(|(list, _)| interpreter::is_listed(list, &datum));
            listed.map(|(_, lead)| *lead).for_each(&mut found);
        }
        if let Some(literals) = &self.literals {
            literals.find(text, scratch, &mut found);
        }
        if let Some((scan, leads)) = &self.expressions {
            find_expressions(scan, leads, text, &mut found);
        }
        self.always.iter().copied().for_each(&mut found);
    }

    /// How many of what it looks for.
    pub(super) fn counts(&self) -> [(&'static str, usize); 5] {
        [
            ("whole strings", self.whole.len()),
            ("large lists", self.lists.len()),
            (
                "literals",
                self.literals.as_ref().map_or(0, |literals| literals.scan.len()),
            ),
            (
                "expressions",
                self.expressions.as_ref().map_or(0, |(scan, _)| scan.len()),
            ),
            ("unindexed tests", self.always.len()),
        ]
    }

    /// The bytes that it takes, lists aside.
    pub(super) fn memory(&self) -> usize {
        let whole = self
            .whole
            .iter()
            .map(|(text, leads)| size_of::<(Box<[u8]>, Box<[Lead]>)>() + text.len() + size_of_val(&**leads));
        let literals = self.literals.as_ref().map_or(0, |literals| {
            let leads = literals.leads.iter().map(LiteralLeads::memory);
            literals.scan.memory() + leads.sum::<usize>()
        });
        let expressions = self.expressions.as_ref().map_or(0, |(scan, _)| scan.memory());
        whole.sum::<usize>() + literals + expressions
    }
}

/// The bit of a string's length among 64.
fn length_bit(text: &[u8]) -> u64 {
    1 << text.len().min(63)
}

impl Literals {
    fn find(&self, text: &[u8], scratch: &mut TextScratch, found: &mut impl FnMut(Lead)) {
        let mut buffer = std::mem::take(&mut scratch.lowered);
        let lowered = Lowered::in_buffer(text, &mut buffer);
        self.scan.find(&lowered, |literal, start| {
            let Some(LiteralLeads {
                leads,
                same_case,
                crowd,
            }) = self.leads.get(literal as usize)
            else {
                return;
            };
            if !crowd.is_some_and(|crowd| scratch.is_told(crowd)) {
                leads.iter().copied().for_each(&mut *found);
            }
            for (lead, written) in same_case {
                if text.get(start..start + written.len()) == Some(written) {
                    found(*lead);
                }
            }
        });
        scratch.lowered = buffer;
    }
}

/// What the automaton says is the outcome of a test; where it gives up, each test is asked.
fn find_expressions(scan: &ExpressionScan, leads: &[Lead], text: &[u8], found: &mut impl FnMut(Lead)) {
    let told = scan.find(text, |expression| {
        if let Some(lead) = leads.get(expression) {
            found(Lead {
                atom: lead.atom,
                confirm: match lead.confirm {
                    Confirm::Test => Confirm::Sure,
                    confirm @ (Confirm::Sure | Confirm::Atom) => confirm,
                },
            });
        }
    });
    if told.is_err() {
        leads.iter().copied().for_each(found);
    }
}
