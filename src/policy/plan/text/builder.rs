//! From tests of one string to a matcher: which literals lead to each, and what is asked otherwise.

use std::sync::Arc;

use hashbrown::HashMap;

use super::{CrowdId, ExpressionScan, Lead, LiteralLeads, Literals, TextMatcher};
use crate::policy::{
    lang::Case,
    list::{List, ListKind},
    literal_scan::LiteralScan,
    plan::{
        clues::{Confirm, Part, Pattern, Sought},
        literals::Alternative,
    },
};

/// Gathers tests for a matcher.
#[derive(Debug, Default)]
pub(in crate::policy::plan) struct TextMatcherBuilder {
    whole: HashMap<Box<[u8]>, Vec<Lead>>,
    lists: Vec<(Arc<List>, Lead)>,
    parts: Vec<(Part, Lead)>,
    sought: Vec<(Vec<Alternative>, Pattern, Lead)>,
}

/// A list of more strings than this is not taken apart.
const LARGE_LIST: usize = 10_000;

impl TextMatcherBuilder {
    pub(in crate::policy::plan) fn add(&mut self, sought: Sought, lead: Lead) {
        match sought {
            Sought::Exactly(strings) => strings.into_iter().for_each(|text| self.add_whole(text, lead)),
            Sought::Listed(list) if list.len() > LARGE_LIST || list.kind() != ListKind::String => {
                self.lists.push((list, lead));
            }
            Sought::Listed(list) => list.strings().for_each(|text| self.add_whole(text.into(), lead)),
            Sought::Parts(parts) => self.parts.extend(parts.into_iter().map(|part| (part, lead))),
            Sought::OneOf(alternatives, pattern) => self.sought.push((alternatives, pattern, lead)),
        }
    }

    fn add_whole(&mut self, text: Box<[u8]>, lead: Lead) {
        let leads = self.whole.entry(text).or_default();
        if !leads.contains(&lead) {
            leads.push(lead);
        }
    }

    /// `crowds` counts the literals of all matchers that lead to many tests.
    pub(in crate::policy::plan) fn build(self, crowds: &mut CrowdId) -> TextMatcher {
        let mut chosen = Chosen::of(self.sought);
        self.parts
            .into_iter()
            .for_each(|(part, lead)| chosen.add_part(part, lead));
        let Chosen {
            literals,
            expressions,
            mut always,
        } = chosen;
        let literals = literal_scan(literals, crowds, &mut always);
        let expressions = expression_scan(expressions, &mut always);
        let whole = self
            .whole
            .into_iter()
            .map(|(text, leads)| (text, leads.into_boxed_slice()));
        let whole: HashMap<_, _> = whole.collect();
        TextMatcher {
            lengths: whole.keys().fold(0, |lengths, text| lengths | super::length_bit(text)),
            whole,
            lists: self.lists.into_boxed_slice(),
            literals,
            expressions,
            always: always.into_boxed_slice(),
        }
    }
}

/// What one literal leads to.
#[derive(Default)]
struct LeadsOfLiteral {
    any_case: Vec<Lead>,
    same_case: Vec<(Lead, Box<[u8]>)>,
}

/// What leads to each test.
#[derive(Default)]
struct Chosen {
    /// Its best literals.
    literals: HashMap<Vec<u8>, LeadsOfLiteral>,
    /// An automaton for all that share theirs with too many others, or have none.
    expressions: Vec<(String, Lead)>,
    /// Nothing.
    always: Vec<Lead>,
}

impl Chosen {
    fn of(sought: Vec<(Vec<Alternative>, Pattern, Lead)>) -> Self {
        let mut shared: HashMap<Vec<u8>, usize> = HashMap::new();
        for literal in sought
            .iter()
            .flat_map(|(alternatives, ..)| alternatives)
            .flat_map(|set| &set.0)
        {
            *shared.entry_ref(literal.as_slice()).or_default() += 1;
        }
        let crowd = |set: &Alternative| {
            let shares = set.0.iter().map(|literal| shared.get(literal).copied().unwrap_or(0));
            shares.max().unwrap_or(0)
        };
        let mut chosen = Self::default();
        for (alternatives, Pattern(pattern), lead) in sought {
            let best = alternatives
                .into_iter()
                .min_by_key(|set| (crowd(set) * commonness(set), set.0.len()));
            match (best, pattern) {
                (Some(set), Some(pattern)) if crowd(&set) > CROWD => chosen.expressions.push((pattern, lead)),
                (Some(set), _) => chosen.add_literals(set, lead),
                (None, Some(pattern)) => chosen.expressions.push((pattern, lead)),
                (None, None) => chosen.always.push(lead),
            }
        }
        chosen
    }

    fn add_part(&mut self, Part { text, case }: Part, lead: Lead) {
        let has_case = text.iter().any(u8::is_ascii_alphabetic);
        let leads = self.literals.entry(text.to_ascii_lowercase()).or_default();
        match case {
            Case::Sensitive if has_case => leads.same_case.push((lead, text.into_boxed_slice())),
            Case::Sensitive | Case::Insensitive => leads.any_case.push(lead),
        }
    }

    fn add_literals(&mut self, Alternative(literals): Alternative, lead: Lead) {
        for literal in literals {
            self.literals.entry(literal).or_default().any_case.push(lead);
        }
    }
}

/// How much likelier a short literal is to stand in a string by chance.
fn commonness(set: &Alternative) -> usize {
    let shortest = set.0.iter().map(Vec::len).min().unwrap_or(0);
    match shortest {
        0 | 1 => 64,
        2 => 16,
        3 => 4,
        _ => 1,
    }
}

/// More tests than this behind one literal are a crowd: worth an automaton of their own where there can be one, and not to
/// be gone through once more for each place of the literal.
const CROWD: usize = 16;

fn literal_scan(
    literals: HashMap<Vec<u8>, LeadsOfLiteral>,
    crowds: &mut CrowdId,
    always: &mut Vec<Lead>,
) -> Option<Box<Literals>> {
    if literals.is_empty() {
        return None;
    }
    let (texts, leads): (Vec<Vec<u8>>, Vec<LeadsOfLiteral>) = literals.into_iter().unzip();
    let Some(scan) = LiteralScan::new(texts) else {
        // More states than an automaton can number: each test is asked by itself, which is slow and right.
        always.extend(leads.into_iter().flat_map(LeadsOfLiteral::asked));
        return None;
    };
    let leads = leads.into_iter().map(|leads| LiteralLeads {
        crowd: (leads.any_case.len() > CROWD).then(|| {
            *crowds += 1;
            *crowds - 1
        }),
        leads: leads.any_case.into_boxed_slice(),
        same_case: leads.same_case.into_boxed_slice(),
    });
    Some(Box::new(Literals {
        scan,
        leads: leads.collect(),
    }))
}

impl LeadsOfLiteral {
    /// All of them, without the literal as a proof.
    fn asked(self) -> impl Iterator<Item = Lead> {
        let same_case = self.same_case.into_iter().map(|(lead, _)| lead);
        self.any_case.into_iter().chain(same_case).map(|lead| Lead {
            confirm: Confirm::Atom,
            ..lead
        })
    }
}

fn expression_scan(expressions: Vec<(String, Lead)>, always: &mut Vec<Lead>) -> Option<(ExpressionScan, Box<[Lead]>)> {
    if expressions.is_empty() {
        return None;
    }
    let (patterns, leads): (Vec<String>, Vec<Lead>) = expressions.into_iter().unzip();
    match ExpressionScan::new(&patterns) {
        Some(scan) => Some((scan, leads.into_boxed_slice())),
        None => {
            always.extend(leads);
            None
        }
    }
}
