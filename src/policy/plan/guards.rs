//! What must be found before a rule is worth asking: atoms of which at least one holds whenever the rule does.

use std::net::IpAddr;

use super::{
    atoms::{AtomId, Atoms, Node},
    clues::{Among, Clue},
};
use crate::policy::{
    lang::ast::{Base, Value},
    network::IpRange,
};

/// When a rule is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Guard {
    /// Never: it cannot match.
    Never,
    /// When one of these atoms holds.
    Atoms(Vec<AtomId>, Settled),
    /// Every time: there is nothing to look it up by.
    Always,
}

/// What of the rule needs no asking once its guard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Nothing,
    /// The part at this place of a conjunction.
    Part(usize),
    All,
}

/// What is known of atoms when guards are chosen.
pub(super) struct Choice<'c> {
    pub(super) atoms: &'c Atoms,
    /// How often each atom is expected to hold; `None`: nothing leads to it.
    pub(super) frequencies: Vec<Option<usize>>,
}

/// A possible guard, with how often it is expected to hold where it should not.
struct Candidate {
    atoms: Vec<AtomId>,
    cost: usize,
    /// Whether its atoms are all there is to say.
    is_whole: bool,
}

impl<'c> Choice<'c> {
    pub(super) fn new(atoms: &'c Atoms, clues: &[Option<Clue>]) -> Self {
        Self {
            atoms,
            frequencies: clues.iter().map(|clue| clue.as_ref().map(frequency)).collect(),
        }
    }

    /// The guard that holds least often.
    pub(super) fn guard(&self, node: &Node) -> Guard {
        let candidates = match node {
            Node::All(parts) => parts.iter().enumerate().filter_map(|(at, part)| {
                let candidate = self.candidate(part)?;
                let settled = if candidate.is_whole {
                    Settled::Part(at)
                } else {
                    Settled::Nothing
                };
                Some((candidate, settled))
            }),
            Node::Constant(false) => return Guard::Never,
            Node::Constant(true) | Node::Atom(_) | Node::Not(_) | Node::Any(_) | Node::Odd(_) => {
                return match self.candidate(node) {
                    Some(Candidate {
                        atoms, is_whole: true, ..
                    }) => Guard::Atoms(atoms, Settled::All),
                    Some(Candidate { atoms, .. }) => Guard::Atoms(atoms, Settled::Nothing),
                    None => Guard::Always,
                };
            }
        };
        let best = candidates.min_by_key(|(candidate, _)| candidate.cost);
        best.map_or(Guard::Always, |(candidate, settled)| {
            Guard::Atoms(candidate.atoms, settled)
        })
    }

    fn candidate(&self, node: &Node) -> Option<Candidate> {
        match node {
            Node::Constant(false) => Some(Candidate {
                atoms: Vec::new(),
                cost: 0,
                is_whole: true,
            }),
            Node::Atom(atom) => {
                let frequency = (*self.frequencies.get(atom.index())?)?;
                Some(Candidate {
                    atoms: vec![*atom],
                    cost: frequency * self.atoms.uses(*atom),
                    is_whole: true,
                })
            }
            Node::All(parts) => {
                let best = parts
                    .iter()
                    .filter_map(|part| self.candidate(part))
                    .min_by_key(|best| best.cost)?;
                Some(Candidate {
                    is_whole: false,
                    ..best
                })
            }
            Node::Any(parts) => self.every(parts),
            Node::Odd(parts) => Some(Candidate {
                is_whole: false,
                ..self.every(parts)?
            }),
            Node::Constant(true) | Node::Not(_) => None,
        }
    }

    /// One of several parts holds: the guards of all of them.
    fn every(&self, parts: &[Node]) -> Option<Candidate> {
        let mut all = Candidate {
            atoms: Vec::new(),
            cost: 0,
            is_whole: true,
        };
        for part in parts {
            let candidate = self.candidate(part)?;
            all.atoms.extend(candidate.atoms);
            all.cost = all.cost.saturating_add(candidate.cost);
            all.is_whole &= candidate.is_whole;
        }
        Some(all)
    }
}

/// How often an atom is expected to hold, in ten thousand requests. Only the order of magnitude counts.
fn frequency(clue: &Clue) -> usize {
    match clue {
        Clue::Address(among) => address_frequency(among),
        Clue::Key(_, _, None, _) => 50,
        Clue::Key(_, _, Some(_), _) => 5,
        Clue::Number(value, _) | Clue::Text(value, ..) => field_name(value).map_or(1_000, field_frequency),
    }
}

/// Few clients are in a narrow network; in a wide one may be most.
fn address_frequency(among: &Among<IpRange>) -> usize {
    let is_wide = match among {
        Among::Ranges(ranges) => ranges.iter().copied().any(is_wide),
        Among::List(list) => list.addresses().is_some_and(|set| set.iter().any(is_wide)),
    };
    if is_wide { 500 } else { 2 }
}

/// As wide as an IPv4 /12 or an IPv6 /20, which are whole providers.
fn is_wide(range: IpRange) -> bool {
    match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u32::from(last) - u32::from(first) >= (1 << 20) - 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => u128::from(last) - u128::from(first) >= (1 << 108) - 1,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn field_name(value: &Value) -> Option<&'static str> {
    match &value.base {
        Base::Field(field) => Some(field.name),
        Base::Call(_) | Base::Literal(_) => None,
    }
}

/// Fields of which many requests say the same come last.
fn field_frequency(name: &str) -> usize {
    match name {
        "http.request.method" | "http.request.version" | "portcullis.site" | "ip.src.continent" => 3_000,
        "http.host" | "portcullis.referer.host" => 1_000,
        "ip.src.country" | "http.request.uri.path.extension" => 300,
        "portcullis.user_agent.category" => 100,
        "ip.src.asnum" => 20,
        _ => 10,
    }
}
