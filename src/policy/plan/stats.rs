//! What a plan is made of, for `check --stats`.

use serde::Serialize;

use super::{
    Plan,
    atoms::Node,
    guards::{Choice, Guard},
};
use crate::policy::{phases::Position, rule::Rule};

/// What the rules were compiled to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanStats {
    /// Enabled rules; an entry of a table may lower to several.
    pub rules: usize,
    /// Different predicates over one value.
    pub atoms: usize,
    /// Atoms that bring up rules when they hold.
    pub guards: usize,
    /// Rules that can never match.
    pub never_asked: usize,
    /// Rules that every request is asked about, and why.
    pub always_asked: Vec<AlwaysAsked>,
    /// What requests are put to, in the order in which the rules first need it.
    pub matchers: Vec<MatcherStats>,
    /// Bytes of the rules' expressions over atoms, and of what atoms bring up.
    pub rule_bytes: usize,
}

/// A rule without a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AlwaysAsked {
    /// The rule.
    pub id: String,
    /// `file:line:column`
    pub place: String,
    /// The part of its expression that cannot be looked up.
    pub because: String,
}

/// So many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Held {
    /// In plural.
    pub what: &'static str,
    /// How many.
    pub count: usize,
}

/// One matcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatcherStats {
    /// The field or value that it is about.
    pub subject: String,
    /// What it looks for.
    pub holds: Vec<Held>,
    /// Its bytes, large lists aside.
    pub bytes: usize,
}

impl Plan {
    /// What it is made of.
    pub(in crate::policy) fn stats(&self, rules: &[Rule]) -> PlanStats {
        let planned = self.rules.iter().flatten();
        let nodes = planned.map(|rule| bytes_of(&rule.node));
        let guarded = self.atoms.iter().map(|atom| size_of_val(&*atom.guarded));
        PlanStats {
            rules: rules.iter().filter(|rule| rule.enabled).count(),
            atoms: self.atoms.len(),
            guards: self.atoms.iter().filter(|atom| !atom.guarded.is_empty()).count(),
            never_asked: rules
                .iter()
                .zip(&self.rules)
                .filter(|(rule, planned)| rule.enabled && planned.is_none())
                .count(),
            always_asked: self.always_asked(rules),
            matchers: self.matchers.iter().map(MatcherStats::of).collect(),
            rule_bytes: nodes.sum::<usize>() + guarded.sum::<usize>(),
        }
    }

    fn always_asked(&self, rules: &[Rule]) -> Vec<AlwaysAsked> {
        let unguarded = self.unguarded.iter().filter_map(|(at, because)| {
            let rule = rules.get(*at)?;
            Some(AlwaysAsked {
                id: rule.id.to_string(),
                place: rule.place.to_string(),
                because: because.to_string(),
            })
        });
        unguarded.collect()
    }
}

impl MatcherStats {
    fn of(matcher: &super::matchers::Matcher) -> Self {
        Self {
            subject: matcher.subject.clone(),
            holds: matcher.holds().into_iter().filter(|held| held.count > 0).collect(),
            bytes: matcher.memory(),
        }
    }
}

fn bytes_of(node: &Node) -> usize {
    let inside = match node {
        Node::Constant(_) | Node::Atom(_) => 0,
        Node::Not(inner) => bytes_of(inner),
        Node::All(parts) | Node::Any(parts) | Node::Odd(parts) => parts.iter().map(bytes_of).sum(),
    };
    size_of::<Node>() + inside
}

/// The rules without a guard, each with the part that has nothing to look it up by.
pub(super) fn unguarded(
    nodes: &[Option<Node>],
    guards: &[Option<Guard>],
    choice: &Choice<'_>,
) -> Box<[(Position, Box<str>)]> {
    let rules = nodes.iter().zip(guards).enumerate();
    let unguarded = rules.filter_map(|(at, (node, guard))| match (node, guard) {
        (Some(node), Some(Guard::Always)) => Some((at, choice.culprit(node).into_boxed_str())),
        _ => None,
    });
    unguarded.collect()
}

/// How much of an expression is shown.
const SHOWN: usize = 100;

impl Choice<'_> {
    /// The part of a node because of which it has no guard.
    fn culprit(&self, node: &Node) -> String {
        match node {
            Node::Any(parts) | Node::Odd(parts) => match parts.iter().find(|part| self.guard(part) == Guard::Always) {
                Some(part) => self.culprit(part),
                None => self.text(node),
            },
            Node::Constant(_) | Node::Atom(_) | Node::Not(_) | Node::All(_) => self.text(node),
        }
    }

    fn text(&self, node: &Node) -> String {
        let whole = self.whole_text(node);
        match whole.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &whole[..end]),
            None => whole,
        }
    }

    fn whole_text(&self, node: &Node) -> String {
        let operand = |part: &Node| match part {
            Node::All(_) | Node::Any(_) | Node::Odd(_) => format!("({})", self.whole_text(part)),
            Node::Constant(_) | Node::Atom(_) | Node::Not(_) => self.whole_text(part),
        };
        let joined = |parts: &[Node], by: &str| parts.iter().map(operand).collect::<Vec<_>>().join(by);
        match node {
            Node::Constant(value) => value.to_string(),
            Node::Atom(atom) => self.atoms.text(*atom),
            Node::Not(inner) => format!("not {}", operand(inner)),
            Node::All(parts) => joined(parts, " and "),
            Node::Any(parts) => joined(parts, " or "),
            Node::Odd(parts) => joined(parts, " xor "),
        }
    }
}
