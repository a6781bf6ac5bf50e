//! An expression with the places of its parts, for whoever points at one of them.

use std::ops::Range;

use super::{
    ast::Predicate,
    check::Checker,
    environment::Environment,
    parser,
    syntax::{Logic, Node, Syntax},
};

/// A condition, where it stands in the expression's text, and what it is made of.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Located {
    /// What it says.
    pub(in crate::policy) predicate: Predicate,
    /// The bytes of the text.
    pub(in crate::policy) span: Range<usize>,
    /// Its parts.
    pub(in crate::policy) shape: Shape,
}

/// What a condition is made of.
#[derive(Debug, Clone)]
pub(in crate::policy) enum Shape {
    /// `not …`
    Not(Box<Located>),
    /// Several, joined.
    Group(Logic, Vec<Located>),
    /// One test; `right`: where what it compares with stands.
    Test {
        /// The right side of the operator.
        right: Option<Range<usize>>,
    },
}

impl Located {
    /// The expression with its places; `None` if it does not compile.
    pub(in crate::policy) fn read(text: &str, environment: &Environment<'_>) -> Option<Self> {
        Self::of(&parser::parse(text).ok()?, environment)
    }

    fn of(syntax: &Syntax, environment: &Environment<'_>) -> Option<Self> {
        let all =
            |parts: &[Syntax]| -> Option<Vec<Self>> { parts.iter().map(|part| Self::of(part, environment)).collect() };
        let shape = match &syntax.node {
            Node::Not(inner) => Shape::Not(Box::new(Self::of(inner, environment)?)),
            Node::Group(logic, parts) => Shape::Group(*logic, all(parts)?),
            Node::Compare { right, .. } => Shape::Test {
                right: Some(right.span.clone()),
            },
            Node::Path { .. } => Shape::Test { right: None },
        };
        Some(Self {
            predicate: Checker::checked(syntax, environment)?,
            span: syntax.span.clone(),
            shape,
        })
    }
}
