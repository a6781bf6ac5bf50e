//! The compiled policy: ten thousand rules at the cost of ten.
//!
//! An interpreter asks every rule in turn. But nearly every rule is about something that nearly no request has: one of a
//! million addresses, a path, a program's name. So the plan turns the question round and asks what the *request* has that
//! any rule is about.
//!
//! # An example
//! ```text
//! a:  block  ip.src in {203.0.113.0/24} and not ssl
//! b:  block  http.request.uri.path wildcard "/wp-*" and ip.src in {10.0.0.0/8}
//! c:  block  lower(http.user_agent) contains "sqlmap" or lower(http.user_agent) contains "nikto"
//! d:  log    not ip.src.country in {"DE" "AT"}
//! ```
//! 1. **Atoms** (`atoms`): the rules are taken apart into predicates over one value, each kept once. A rule is what is left:
//!    `and`, `or` and `not` over atoms, constants folded away.
//! 2. **Clues** (`clues`, `literals`): what must be there for an atom to hold? An address in 203.0.113.0/24. A path with
//!    "/wp-" in it. A user agent with "sqlmap" in it. `not …` and `ssl` give none: they hold too often.
//! 3. **Guards** (`guards`): each rule gets atoms with clues, of which one holds whenever the rule does, and which hold as
//!    rarely as can be. `a`: the network. `b`: the path, since the network is a wide one. `c`: both names. `d` has none: it
//!    is always asked.
//! 4. **Matchers** (`matchers`): all clues about one thing go into one matcher. Networks into a sorted table (`blocks`).
//!    Whole strings into hash tables, parts of them into one scan a string, and expressions without a literal of their own
//!    into one automaton (`text`). Names of headers, cookies and arguments into a table that the request's own names are
//!    looked up in (`keys`).
//! 5. **Evaluation** (`evaluation`): a request is put to each matcher of a phase, once, and never to those of phases that it
//!    does not reach. What they tell are the atoms that hold, and so the rules whose guards hold. Only these, and `d`, are
//!    asked, in their order. An atom that no matcher tells is asked by itself, once, if a rule comes to it.
//!
//! A browser's request to `/products` from an unlisted address costs one look-up of its address and one scan each of its
//! path and user agent, and `d` is asked: as much as with the other three rules alone, or with ten thousand more like them.
//!
//! The interpreter ([`lang`](super::lang)) says what expressions mean. Tests hold the plan against it, request by request.

mod atoms;
mod blocks;
mod clues;
mod evaluation;
mod guards;
mod keys;
mod literals;
mod matchers;
mod stats;
mod text;

#[cfg(test)]
pub(in crate::policy) mod tests;

pub(in crate::policy) use clues::about;
pub(super) use evaluation::{Answers, Asking, Sight};
pub use stats::{AlwaysAsked, Held, MatcherStats, PlanStats};

use self::{
    atoms::{AtomId, Atoms, Node},
    clues::Clue,
    guards::{Choice, Guard, Settled},
    matchers::{Matcher, MatcherId, MatchersBuilder},
};
use super::{
    lang::ast::Predicate,
    phases::{Position, phase_index},
    rule::{Phase, Rule},
};

/// All enabled rules, compiled.
#[derive(Debug)]
pub(super) struct Plan {
    atoms: Box<[Atom]>,
    matchers: Box<[Matcher]>,
    /// By position; `None` for rules that are never asked.
    rules: Box<[Option<PlannedRule>]>,
    phases: [PlannedPhase; Phase::ALL.len()],
    /// The rules that are asked every time, with the part of each that cannot be looked up.
    unguarded: Box<[(Position, Box<str>)]>,
}

/// A predicate over one value.
#[derive(Debug)]
struct Atom {
    predicate: Predicate,
    /// Who tells whether it holds; `None`: it is asked by itself.
    told_by: Option<MatcherId>,
    /// The rules that are asked when it holds.
    guarded: Box<[Position]>,
}

#[derive(Debug)]
struct PlannedRule {
    phase: Phase,
    node: Node,
    /// `None`: it is asked every time.
    guard: Option<Settled>,
}

#[derive(Debug, Default)]
struct PlannedPhase {
    /// The matchers that tell guards of its rules.
    matchers: Box<[MatcherId]>,
    /// The rules that are asked every time, in order.
    always: Box<[Position]>,
    /// All its rules, in order.
    all: Box<[Position]>,
}

impl Plan {
    /// Compiles rules, which are in the order in which they are asked.
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut atoms = Atoms::default();
        let enabled = rules
            .iter()
            .map(|rule| rule.enabled.then(|| atoms.lower(rule.expression.root())));
        let nodes: Vec<Option<Node>> = enabled.collect();
        let clues: Vec<Option<Clue>> = atoms.iter().map(|(_, predicate)| Clue::of(predicate)).collect();
        let choice = Choice::new(&atoms, &clues);
        let guards: Vec<Option<Guard>> = nodes.iter().map(|node| Some(choice.guard(node.as_ref()?))).collect();
        let unguarded = stats::unguarded(&nodes, &guards, &choice);
        let guarded = guarded_rules(&guards, clues.len());
        let (told_by, matchers) = matchers(clues, &guarded);
        let phases = Phase::ALL.map(|phase| PlannedPhase::new(phase, rules, &guards, &told_by));
        let rules = rules.iter().zip(nodes).zip(guards);
        let atoms = atoms.into_predicates().into_iter().zip(told_by).zip(guarded);
        Self {
            atoms: atoms
                .map(|((predicate, told_by), guarded)| Atom {
                    predicate,
                    told_by,
                    guarded: guarded.into_boxed_slice(),
                })
                .collect(),
            matchers,
            rules: rules
                .map(|((rule, node), guard)| PlannedRule::new(rule.phase, node?, guard?))
                .collect(),
            phases,
            unguarded,
        }
    }

    fn phase(&self, phase: Phase) -> &PlannedPhase {
        &self.phases[phase_index(phase)]
    }
}

impl PlannedRule {
    fn new(phase: Phase, node: Node, guard: Guard) -> Option<Self> {
        let guard = match guard {
            Guard::Never => return None,
            Guard::Atoms(_, settled) => Some(settled),
            Guard::Always => None,
        };
        Some(Self { phase, node, guard })
    }
}

/// For each atom the rules that it guards.
fn guarded_rules(guards: &[Option<Guard>], atoms: usize) -> Vec<Vec<Position>> {
    let mut guarded = vec![Vec::new(); atoms];
    for (at, guard) in guards.iter().enumerate() {
        let Some(Guard::Atoms(atoms, _)) = guard else { continue };
        for atom in atoms {
            let rules: &mut Vec<Position> = &mut guarded[atom.index()];
            if rules.last() != Some(&at) {
                rules.push(at);
            }
        }
    }
    guarded
}

/// The matchers, and for each atom which one tells it. Sets that guard nothing are left out: many rules name the same
/// addresses or countries as an exception, and all of them would be told for every client that is one.
fn matchers(clues: Vec<Option<Clue>>, guarded: &[Vec<Position>]) -> (Vec<Option<MatcherId>>, Box<[Matcher]>) {
    let mut builder = MatchersBuilder::default();
    let told_by = clues.into_iter().zip(guarded).enumerate().map(|(at, (clue, guarded))| {
        let clue = clue.filter(|clue| !guarded.is_empty() || clue.is_scanned())?;
        Some(builder.add(AtomId::new(at), clue))
    });
    let told_by = told_by.collect();
    (told_by, builder.build())
}

impl PlannedPhase {
    fn new(phase: Phase, rules: &[Rule], guards: &[Option<Guard>], told_by: &[Option<MatcherId>]) -> Self {
        let of_phase = rules.iter().zip(guards).enumerate();
        let of_phase = of_phase.filter(|(_, (rule, _))| rule.phase == phase);
        let (mut matchers, mut always, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (_, guard)) in of_phase {
            match guard {
                None => continue,
                Some(Guard::Never) => {}
                Some(Guard::Always) => always.push(at),
                Some(Guard::Atoms(atoms, _)) => {
                    matchers.extend(atoms.iter().filter_map(|atom| *told_by.get(atom.index())?));
                }
            }
            all.push(at);
        }
        matchers.sort_unstable();
        matchers.dedup();
        Self {
            matchers: matchers.into_boxed_slice(),
            always: always.into_boxed_slice(),
            all: all.into_boxed_slice(),
        }
    }
}
