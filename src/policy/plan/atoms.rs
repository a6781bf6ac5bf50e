//! Expressions taken apart: atoms, each kept once however many rules ask for it, and how a rule joins them.

use std::collections::HashMap;

use crate::policy::lang::ast::{Base, Comparison, Literal, Logic, Predicate, Relation, Test};

/// An atom's place in [`Atoms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AtomId(u32);

impl AtomId {
    /// The atom at this place. A load with more than 2^32 atoms does not fit into memory.
    pub(super) fn new(at: usize) -> Self {
        Self(u32::try_from(at).unwrap_or(u32::MAX))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An expression over atoms, with what is constant folded away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Constant(bool),
    Atom(AtomId),
    Not(Box<Node>),
    All(Box<[Node]>),
    Any(Box<[Node]>),
    /// `xor`: an odd number of them.
    Odd(Box<[Node]>),
}

/// All different predicates about single values, and how often rules ask for each.
#[derive(Debug, Default)]
pub(super) struct Atoms {
    predicates: Vec<Predicate>,
    uses: Vec<usize>,
    /// By canonical text: two predicates that print alike say the same.
    by_text: HashMap<String, AtomId>,
}

impl Atoms {
    /// Takes an expression apart.
    pub(super) fn lower(&mut self, predicate: &Predicate) -> Node {
        match predicate {
            Predicate::Constant(value) => Node::Constant(*value),
            Predicate::Not(inner) => negated(self.lower(inner)),
            Predicate::Group(logic, parts) => {
                let parts: Vec<Node> = parts.iter().map(|part| self.lower(part)).collect();
                match logic {
                    Logic::And => all(parts),
                    Logic::Or => any(parts),
                    Logic::Xor => odd(parts),
                }
            }
            Predicate::Compare(comparison) => match other_than(comparison) {
                // A field that is always there is either equal or not, and equality can be looked up.
                Some(equal) => negated(Node::Atom(self.intern(Predicate::Compare(equal)))),
                None => Node::Atom(self.intern(predicate.clone())),
            },
            Predicate::Holds(_) | Predicate::Quantified(..) => Node::Atom(self.intern(predicate.clone())),
        }
    }

    fn intern(&mut self, predicate: Predicate) -> AtomId {
        let next = AtomId::new(self.predicates.len());
        let atom = *self.by_text.entry(predicate.to_string()).or_insert(next);
        if atom == next {
            self.predicates.push(predicate);
            self.uses.push(0);
        }
        if let Some(uses) = self.uses.get_mut(atom.index()) {
            *uses += 1;
        }
        atom
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AtomId, &Predicate)> {
        let ids = (0..).map(AtomId::new);
        ids.zip(&self.predicates)
    }

    /// How often rules ask for the atom.
    pub(super) fn uses(&self, atom: AtomId) -> usize {
        self.uses.get(atom.index()).copied().unwrap_or(0)
    }

    /// The atom's text.
    pub(super) fn text(&self, atom: AtomId) -> String {
        self.predicates
            .get(atom.index())
            .map_or(String::new(), Predicate::to_string)
    }

    /// The predicates, by the places that their atoms name.
    pub(super) fn into_predicates(self) -> Box<[Predicate]> {
        self.predicates.into_boxed_slice()
    }
}

/// `x ne v` as `x eq v`, where `x` is never absent: then one is what the other is not.
fn other_than(comparison: &Comparison) -> Option<Comparison> {
    match &comparison.test {
        Test::Relation(Relation::NotEqual, literal) if is_always_there(comparison) => Some(Comparison {
            value: comparison.value.clone(),
            test: Test::Relation(Relation::Equal, literal.clone()),
        }),
        _ => None,
    }
}

fn is_always_there(comparison: &Comparison) -> bool {
    let base_is_there = match &comparison.value.base {
        Base::Field(_) => true,
        Base::Literal(Literal::Int(_) | Literal::Text(_) | Literal::Ip(_) | Literal::Bool(_)) => true,
        Base::Call(_) => false,
    };
    base_is_there && comparison.value.steps.is_empty()
}

fn negated(node: Node) -> Node {
    match node {
        Node::Constant(value) => Node::Constant(!value),
        Node::Not(inner) => *inner,
        Node::Atom(_) | Node::All(_) | Node::Any(_) | Node::Odd(_) => Node::Not(Box::new(node)),
    }
}

fn all(parts: Vec<Node>) -> Node {
    joined(parts, false, Node::All)
}

fn any(parts: Vec<Node>) -> Node {
    joined(parts, true, Node::Any)
}

/// A join that one part of the value `settles` decides, and to which parts of the other value say nothing.
fn joined(parts: Vec<Node>, settles: bool, join: fn(Box<[Node]>) -> Node) -> Node {
    let mut left: Vec<Node> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Node::Constant(value) if value == settles => return Node::Constant(settles),
            Node::Constant(_) => {}
            part => left.push(part),
        }
    }
    dedup_atoms(&mut left);
    one_or(left, !settles, join)
}

/// The same atom twice says nothing new. Sets of thousands of patterns are written by programs, which repeat themselves.
fn dedup_atoms(parts: &mut Vec<Node>) {
    let mut seen = std::collections::HashSet::new();
    parts.retain(|part| match part {
        Node::Atom(atom) => seen.insert(*atom),
        Node::Constant(_) | Node::Not(_) | Node::All(_) | Node::Any(_) | Node::Odd(_) => true,
    });
}

fn odd(parts: Vec<Node>) -> Node {
    let mut flipped = false;
    let mut left = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Node::Constant(value) => flipped ^= value,
            part => left.push(part),
        }
    }
    let odd = one_or(left, false, Node::Odd);
    if flipped { negated(odd) } else { odd }
}

/// Nothing is the constant, one part is itself.
fn one_or(mut parts: Vec<Node>, nothing: bool, join: fn(Box<[Node]>) -> Node) -> Node {
    match parts.len() {
        0 => Node::Constant(nothing),
        1 => parts.remove(0),
        _ => join(parts.into_boxed_slice()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        lang::{Environment, Expression},
        list::Lists,
    };

    fn lowered(text: &str) -> (Node, usize) {
        let lists = Lists::new();
        let expression = Expression::compile(text, &Environment::new(&lists)).expect("an expression");
        let mut atoms = Atoms::default();
        let node = atoms.lower(expression.root());
        (node, atoms.predicates.len())
    }

    fn atom(at: usize) -> Node {
        Node::Atom(AtomId::new(at))
    }

    #[test]
    fn an_atom_is_kept_once() {
        let (node, atoms) = lowered(r#"(ssl and http.host eq "a") or (http.host eq "a" and not ssl)"#);
        assert_eq!(atoms, 2);
        let first = Node::All([atom(0), atom(1)].into());
        let second = Node::All([atom(1), Node::Not(Box::new(atom(0)))].into());
        assert_eq!(node, Node::Any([first, second].into()));
    }

    #[test]
    fn constants_are_folded_away() {
        for (text, expected) in [
            ("true and ssl", atom(0)),
            ("false and ssl", Node::Constant(false)),
            ("true or ssl", Node::Constant(true)),
            ("not (not ssl)", atom(0)),
            ("true xor ssl", Node::Not(Box::new(atom(0)))),
            ("ssl and ssl", atom(0)),
        ] {
            assert_eq!(lowered(text).0, expected, "{text}");
        }
    }

    #[test]
    fn what_is_never_absent_is_equal_or_not() {
        assert_eq!(lowered(r#"http.host ne "a""#).0, Node::Not(Box::new(atom(0))));
        assert_eq!(lowered(r#"http.request.headers["x"][0] ne "a""#).0, atom(0));
    }
}
