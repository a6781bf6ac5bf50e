//! A checked expression: every name is found, every literal understood, every pattern compiled. What the interpreter
//! walks, what is printed, and what a plan is compiled from.

use std::{collections::HashSet, sync::Arc};

pub use super::syntax::{Logic, Relation};
use super::{
    fields::Field,
    functions::Function,
    needle::Needle,
    types::{Scalar, Type},
    wildcard::Wildcard,
};
use crate::policy::{
    list::List,
    network::{IpRange, IpSet},
};

/// What is true or false of a request.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// `true` or `false`
    Constant(bool),
    /// `not …`
    Not(Box<Predicate>),
    /// Several, joined; never directly inside one joined by the same.
    Group(Logic, Vec<Predicate>),
    /// A value put to a test.
    Compare(Comparison),
    /// A value of type Bool; an absent one does not hold.
    Holds(Value),
    /// `any(…)` or `all(…)` over the elements of an array.
    Quantified(Quantifier, Elementwise),
}

/// How many elements must pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantifier {
    /// At least one.
    Any,
    /// Every one; of none, all do. Of an absent array, none do.
    All,
}

impl Quantifier {
    /// The function's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::All => "all",
        }
    }
}

/// What is true or false of each element of an array.
#[expect(
    clippy::large_enum_variant,
    reason = "made once a load; a box would cost every judged request a jump"
)]
#[derive(Debug, Clone)]
pub enum Elementwise {
    /// `not …` of each.
    Not(Box<Elementwise>),
    /// Each element put to a test; the value is one of [`Type::Each`].
    Compare(Comparison),
    /// An array of Bool.
    Holds(Value),
}

/// A value and what it is tested for. An absent value passes no test.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The left side.
    pub value: Value,
    /// Operator and right side.
    pub test: Test,
}

/// An operator with its right side.
#[derive(Debug, Clone)]
pub enum Test {
    /// `eq`, `ne`, `lt`, `le`, `gt`, `ge`
    Relation(Relation, Literal),
    /// `contains`, byte for byte.
    Contains(Needle),
    /// `matches`
    Matches(regex::bytes::Regex),
    /// `wildcard` and `strict wildcard`
    Wildcard(Wildcard),
    /// `in {…}`
    In(Set),
    /// `in $list`
    InList(Arc<List>),
}

/// A value: where it starts, and the way from there.
#[derive(Debug, Clone)]
pub struct Value {
    /// A field, a call or a literal.
    pub base: Base,
    /// What is in brackets behind it.
    pub steps: Vec<Step>,
    /// The type of it all.
    pub ty: Type,
}

/// Where a value starts.
#[derive(Debug, Clone)]
pub enum Base {
    /// A fact of the request.
    Field(&'static Field),
    /// A function of other values.
    Call(Call),
    /// A value written in the rule.
    Literal(Literal),
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `["name"]`
    Key(String),
    /// `[0]`
    Index(usize),
    /// `[*]`, always the last.
    Each,
}

/// A function with its arguments. If the first is [`Type::Each`], it is called for every element.
#[derive(Debug, Clone)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments, as its parameters want them.
    pub arguments: Vec<Value>,
}

/// A value written in the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// An integer.
    Int(i64),
    /// Bytes.
    Text(Box<[u8]>),
    /// An address.
    Ip(std::net::IpAddr),
    /// True or false.
    Bool(bool),
}

impl Literal {
    /// Its type.
    pub fn ty(&self) -> Type {
        match self {
            Self::Int(_) => Type::INT,
            Self::Text(_) => Type::STRING,
            Self::Ip(_) => Type::IP,
            Self::Bool(_) => Type::BOOL,
        }
    }
}

/// The elements of `{…}`, as written and compiled for lookup.
#[derive(Debug, Clone)]
pub enum Set {
    /// Integers and ranges of them, both ends included.
    Int {
        /// As written.
        written: Vec<(i64, i64)>,
        /// Sorted by their first; each end is the greatest so far.
        sorted: Box<[(i64, i64)]>,
    },
    /// Strings.
    Text {
        /// As written.
        written: Vec<Box<[u8]>>,
        /// For lookup.
        set: HashSet<Box<[u8]>>,
    },
    /// Addresses.
    Ip {
        /// As written.
        written: Vec<IpRange>,
        /// For lookup.
        set: IpSet,
    },
}

impl Set {
    /// A set of integers.
    pub fn int(written: Vec<(i64, i64)>) -> Self {
        let mut sorted = written.clone();
        sorted.sort_unstable();
        let mut greatest = i64::MIN;
        for (_, last) in &mut sorted {
            greatest = greatest.max(*last);
            *last = greatest;
        }
        Self::Int {
            written,
            sorted: sorted.into_boxed_slice(),
        }
    }

    /// A set of strings.
    pub fn text(written: Vec<Box<[u8]>>) -> Self {
        let set = written.iter().cloned().collect();
        Self::Text { written, set }
    }

    /// A set of addresses.
    pub fn ip(written: Vec<IpRange>) -> Self {
        let set = written.iter().copied().collect();
        Self::Ip { written, set }
    }

    /// The type of its elements.
    pub fn scalar(&self) -> Scalar {
        match self {
            Self::Int { .. } => Scalar::Int,
            Self::Text { .. } => Scalar::String,
            Self::Ip { .. } => Scalar::Ip,
        }
    }

    /// Whether the integer is in it.
    pub fn contains_int(&self, value: i64) -> bool {
        match self {
            Self::Int { sorted, .. } => {
                let after = sorted.partition_point(|(first, _)| *first <= value);
                after
                    .checked_sub(1)
                    .and_then(|at| sorted.get(at))
                    .is_some_and(|(_, last)| value <= *last)
            }
            Self::Text { .. } | Self::Ip { .. } => false,
        }
    }
}
