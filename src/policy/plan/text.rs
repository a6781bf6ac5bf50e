//! All tests of one string at once.
//!
//! Whole strings are looked up in a table. Every other test has a literal without which it cannot pass; all literals are
//! searched in one scan, letter case aside, and only what was found is asked further. A test without a literal of its own
//! shares one automaton of regular expressions with its like.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use hashbrown::HashMap;
use regex_automata::{PatternSet, meta};

use super::{
    atoms::AtomId,
    clues::{Confirm, Pattern, Sought},
    literals::Alternative,
};
use crate::policy::{
    lang::{interpreter, types::Datum},
    list::{List, ListKind},
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
    /// The string that it was found in, if it was found in one.
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
    /// Lists that are large: each is asked itself, so that a reload that leaves it as it is need not take it apart.
    lists: Box<[(Arc<List>, Lead)]>,
    literals: Option<LiteralScan>,
    expressions: Option<ExpressionScan>,
    /// Tests that nothing leads to: they are asked of every string.
    always: Box<[Lead]>,
}

/// All literals in one automaton.
#[derive(Debug)]
struct LiteralScan {
    automaton: AhoCorasick,
    /// What each literal leads to.
    leads: Box<[Box<[LiteralLead]>]>,
}

#[derive(Debug, Clone)]
enum LiteralLead {
    Lead(Lead),
    /// The literal must stand there in this case.
    SameCase(AtomId, Box<[u8]>),
}

/// Regular expressions that share their literals with too many others, in one automaton.
#[derive(Debug)]
struct ExpressionScan {
    automaton: meta::Regex,
    leads: Box<[Lead]>,
}

/// What a search reuses from request to request.
#[derive(Debug)]
pub(super) struct TextScratch {
    patterns: PatternSet,
    /// How many strings were searched so far.
    serial: u64,
}

impl Default for TextScratch {
    fn default() -> Self {
        Self {
            patterns: PatternSet::new(0),
            serial: 0,
        }
    }
}

impl TextMatcher {
    /// Tells every atom that a string leads to, some of them more than once.
    pub(super) fn find(&self, text: &[u8], scratch: &mut TextScratch, mut found: impl FnMut(Find<'_>)) {
        scratch.serial += 1;
        let serial = scratch.serial;
        let mut found = |lead| found(Find { lead, text, serial });
        if !self.whole.is_empty() {
            self.whole.get(text).into_iter().flatten().copied().for_each(&mut found);
        }
        let datum = Datum::Text(text);
        let listed = self
            .lists
            .iter()
            .filter(|(list, _)| interpreter::is_listed(list, &datum));
        listed.map(|(_, lead)| *lead).for_each(&mut found);
        if let Some(literals) = &self.literals {
            literals.find(text, &mut found);
        }
        if let Some(expressions) = &self.expressions {
            expressions.find(text, scratch, &mut found);
        }
        self.always.iter().copied().for_each(&mut found);
    }

    /// How many of what it looks for.
    pub(super) fn counts(&self) -> [(&'static str, usize); 5] {
        [
            ("whole strings", self.whole.len()),
            ("large lists", self.lists.len()),
            ("literals", self.literals.as_ref().map_or(0, |scan| scan.leads.len())),
            (
                "expressions",
                self.expressions.as_ref().map_or(0, |scan| scan.leads.len()),
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
        let literals = self.literals.as_ref().map_or(0, |scan| {
            let leads = scan.leads.iter().map(|leads| size_of_val(&**leads));
            scan.automaton.memory_usage() + size_of_val(&*scan.leads) + leads.sum::<usize>()
        });
        let expressions = self
            .expressions
            .as_ref()
            .map_or(0, |scan| scan.automaton.memory_usage());
        whole.sum::<usize>() + literals + expressions
    }
}

impl LiteralScan {
    fn find(&self, text: &[u8], found: &mut impl FnMut(Lead)) {
        for occurrence in self.automaton.find_overlapping_iter(text) {
            let leads = self.leads.get(occurrence.pattern().as_usize());
            for lead in leads.into_iter().flatten() {
                match lead {
                    LiteralLead::Lead(lead) => found(*lead),
                    LiteralLead::SameCase(atom, written) if text.get(occurrence.range()) == Some(written) => {
                        found(Lead {
                            atom: *atom,
                            confirm: Confirm::Sure,
                        });
                    }
                    LiteralLead::SameCase(..) => {}
                }
            }
        }
    }
}

impl ExpressionScan {
    fn find(&self, text: &[u8], scratch: &mut TextScratch, found: &mut impl FnMut(Lead)) {
        let patterns = &mut scratch.patterns;
        if patterns.capacity() < self.leads.len() {
            *patterns = PatternSet::new(self.leads.len());
        }
        patterns.clear();
        self.automaton
            .which_overlapping_matches(&regex_automata::Input::new(text), patterns);
        let leads = patterns.iter().filter_map(|pattern| self.leads.get(pattern.as_usize()));
        leads.copied().for_each(found);
    }
}

/// Gathers tests for a matcher.
#[derive(Debug, Default)]
pub(super) struct TextMatcherBuilder {
    whole: HashMap<Box<[u8]>, Vec<Lead>>,
    lists: Vec<(Arc<List>, Lead)>,
    parts: Vec<(Box<[u8]>, Lead)>,
    sought: Vec<(Vec<Alternative>, Pattern, Lead)>,
    always: Vec<Lead>,
}

/// A list of more strings than this is not taken apart.
const LARGE_LIST: usize = 10_000;

impl TextMatcherBuilder {
    pub(super) fn add(&mut self, sought: Sought, lead: Lead) {
        match sought {
            Sought::Exactly(strings) => strings.into_iter().for_each(|text| self.add_whole(text, lead)),
            Sought::Listed(list) if list.len() > LARGE_LIST || list.kind() != ListKind::String => {
                self.lists.push((list, lead));
            }
            Sought::Listed(list) => list.strings().for_each(|text| self.add_whole(text.into(), lead)),
            Sought::Part(part) => self.parts.push((part, lead)),
            Sought::OneOf(alternatives, pattern) => self.sought.push((alternatives, pattern, lead)),
        }
    }

    fn add_whole(&mut self, text: Box<[u8]>, lead: Lead) {
        let leads = self.whole.entry(text).or_default();
        if !leads.contains(&lead) {
            leads.push(lead);
        }
    }

    pub(super) fn build(self) -> TextMatcher {
        let mut always = self.always;
        let mut chosen = Chosen::of(self.sought, &mut always);
        self.parts
            .into_iter()
            .for_each(|(part, lead)| chosen.add_part(part, lead));
        let expressions = ExpressionScan::new(std::mem::take(&mut chosen.expressions), &mut always);
        let literals = LiteralScan::new(chosen.literals, &mut always);
        let whole = self
            .whole
            .into_iter()
            .map(|(text, leads)| (text, leads.into_boxed_slice()));
        TextMatcher {
            whole: whole.collect(),
            lists: self.lists.into_boxed_slice(),
            literals,
            expressions,
            always: always.into_boxed_slice(),
        }
    }
}

/// What leads to each test: its best literals, or an automaton for all that have none.
#[derive(Default)]
struct Chosen {
    literals: HashMap<Vec<u8>, Vec<LiteralLead>>,
    expressions: Vec<(String, Lead)>,
}

impl Chosen {
    /// More tests behind one literal than this are worth an automaton of their own.
    const CROWD: usize = 16;

    fn of(sought: Vec<(Vec<Alternative>, Pattern, Lead)>, always: &mut Vec<Lead>) -> Self {
        let mut shared: HashMap<Vec<u8>, usize> = HashMap::default();
        for literal in sought
            .iter()
            .flat_map(|(alternatives, ..)| alternatives)
            .flat_map(|set| &set.0)
        {
            *shared.entry(literal.clone()).or_default() += 1;
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
                (Some(set), Some(pattern)) if crowd(&set) > Self::CROWD => chosen.expressions.push((pattern, lead)),
                (Some(set), _) => chosen.add_literals(set, lead),
                (None, Some(pattern)) => chosen.expressions.push((pattern, lead)),
                (None, None) => always.push(lead),
            }
        }
        chosen
    }

    fn add_part(&mut self, part: Box<[u8]>, lead: Lead) {
        let is_caseless = !part.iter().any(u8::is_ascii_alphabetic);
        let leads = self.literals.entry(part.to_ascii_lowercase()).or_default();
        leads.push(match lead.confirm {
            Confirm::SameCase if is_caseless => LiteralLead::Lead(Lead {
                confirm: Confirm::Sure,
                ..lead
            }),
            Confirm::SameCase => LiteralLead::SameCase(lead.atom, part),
            Confirm::Sure | Confirm::Test | Confirm::Atom => LiteralLead::Lead(lead),
        });
    }

    fn add_literals(&mut self, Alternative(literals): Alternative, lead: Lead) {
        for literal in literals {
            self.literals.entry(literal).or_default().push(LiteralLead::Lead(lead));
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

impl LiteralScan {
    fn new(literals: HashMap<Vec<u8>, Vec<LiteralLead>>, always: &mut Vec<Lead>) -> Option<Self> {
        if literals.is_empty() {
            return None;
        }
        let mut literals: Vec<_> = literals.into_iter().collect();
        literals.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let (patterns, leads): (Vec<Vec<u8>>, Vec<Box<[LiteralLead]>>) = literals
            .into_iter()
            .map(|(literal, leads)| (literal, leads.into_boxed_slice()))
            .unzip();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(kind_for(&patterns)))
            .build(&patterns);
        match automaton {
            Ok(automaton) => Some(Self {
                automaton,
                leads: leads.into_boxed_slice(),
            }),
            Err(_) => {
                // Too many states to count them: each test is asked by itself, which is slow and right.
                always.extend(leads.iter().flatten().map(LiteralLead::asked));
                None
            }
        }
    }
}

/// One step a byte, as long as its table stays within a few megabytes; else fewer bytes and more steps.
fn kind_for(patterns: &[Vec<u8>]) -> AhoCorasickKind {
    const DENSE_BYTES: usize = 50_000;
    if patterns.iter().map(Vec::len).sum::<usize>() <= DENSE_BYTES {
        AhoCorasickKind::DFA
    } else {
        AhoCorasickKind::ContiguousNFA
    }
}

impl LiteralLead {
    fn asked(&self) -> Lead {
        match self {
            Self::Lead(lead) => *lead,
            Self::SameCase(atom, _) => Lead {
                atom: *atom,
                confirm: Confirm::Atom,
            },
        }
    }
}

impl ExpressionScan {
    fn new(expressions: Vec<(String, Lead)>, always: &mut Vec<Lead>) -> Option<Self> {
        if expressions.is_empty() {
            return None;
        }
        let (patterns, leads): (Vec<String>, Vec<Lead>) = expressions.into_iter().unzip();
        let leads: Vec<Lead> = leads
            .into_iter()
            .map(|lead| match lead.confirm {
                // The automaton is the test.
                Confirm::Test => Lead {
                    confirm: Confirm::Sure,
                    ..lead
                },
                Confirm::Sure | Confirm::SameCase | Confirm::Atom => lead,
            })
            .collect();
        let automaton = meta::Builder::new()
            .configure(
                meta::Config::new()
                    .match_kind(regex_automata::MatchKind::All)
                    .utf8_empty(false)
                    .nfa_size_limit(None)
                    .hybrid_cache_capacity(8 << 20),
            )
            .syntax(regex_automata::util::syntax::Config::new().utf8(false))
            .build_many(&patterns);
        match automaton {
            Ok(automaton) => Some(Self {
                automaton,
                leads: leads.into_boxed_slice(),
            }),
            Err(_) => {
                let asked = |lead: Lead| Lead {
                    confirm: Confirm::Atom,
                    ..lead
                };
                always.extend(leads.into_iter().map(asked));
                None
            }
        }
    }
}
