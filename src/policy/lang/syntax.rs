//! An expression as written, before names and types are looked at: what the parser makes and the checker reads.

use std::ops::Range;

use super::lexer::Symbol;

/// A stretch of the expression's text.
pub(super) type Span = Range<usize>;

/// Anything with its place.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) span: Span,
    pub(super) node: T,
}

pub(super) type Syntax = At<Node>;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Not(Box<Syntax>),
    Group(Logic, Vec<Syntax>),
    Compare {
        left: Box<Syntax>,
        operator: At<Operator>,
        right: At<Right>,
    },
    /// A field, call or literal, with what is in brackets behind it.
    Path {
        base: At<Base>,
        steps: Vec<At<Step>>,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Name(String),
    Call { name: At<String>, arguments: Vec<Syntax> },
    Literal(Literal),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Key(At<Literal>),
    Index(String),
    Each,
}

/// A value written in the rule, not yet understood: what it means depends on what it is compared with.
#[derive(Debug, Clone)]
pub(super) enum Literal {
    /// A number, an address, a network or a range.
    Word(String),
    /// A string's body as written.
    Text { raw: bool, body: String },
}

/// What stands on the right of an operator.
#[derive(Debug, Clone)]
pub(super) enum Right {
    Literal(Literal),
    Set(Vec<At<Literal>>),
    List(String),
    /// A bare name: never right, but worth a good message.
    Name(String),
}

impl Right {
    /// As rules write it, for messages.
    pub(super) fn written(&self) -> String {
        match self {
            Self::Literal(literal) => literal.written(),
            Self::Set(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| element.node.written()).collect();
                format!("{{{}}}", elements.join(" "))
            }
            Self::List(name) => format!("${name}"),
            Self::Name(name) => name.clone(),
        }
    }
}

impl Literal {
    fn written(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text { raw: false, body } => format!("\"{body}\""),
            Self::Text { raw: true, body } if body.contains('"') => format!("r#\"{body}\"#"),
            Self::Text { raw: true, body } => format!("r\"{body}\""),
        }
    }
}

/// How conditions are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Logic {
    /// All hold.
    And,
    /// An odd number holds; of two, exactly one.
    Xor,
    /// At least one holds.
    Or,
}

impl Logic {
    /// As rules spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Xor => "xor",
            Self::Or => "or",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Relation(Relation),
    Contains,
    Matches,
    Wildcard,
    StrictWildcard,
    In,
}

impl Operator {
    /// The comparison that a symbol stands for.
    pub(super) fn of_symbol(symbol: Symbol) -> Option<Self> {
        match symbol {
            Symbol::Equal => Some(Self::Relation(Relation::Equal)),
            Symbol::NotEqual => Some(Self::Relation(Relation::NotEqual)),
            Symbol::Less => Some(Self::Relation(Relation::Less)),
            Symbol::LessEqual => Some(Self::Relation(Relation::LessEqual)),
            Symbol::Greater => Some(Self::Relation(Relation::Greater)),
            Symbol::GreaterEqual => Some(Self::Relation(Relation::GreaterEqual)),
            Symbol::Tilde => Some(Self::Matches),
            Symbol::ParenOpen
            | Symbol::ParenClose
            | Symbol::BraceOpen
            | Symbol::BraceClose
            | Symbol::BracketOpen
            | Symbol::BracketClose
            | Symbol::Comma
            | Symbol::Star
            | Symbol::Not
            | Symbol::And
            | Symbol::Or
            | Symbol::Xor => None,
        }
    }

    /// The comparison that a word stands for; `strict wildcard` is two.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Relation(Relation::Equal),
            "ne" => Self::Relation(Relation::NotEqual),
            "lt" => Self::Relation(Relation::Less),
            "le" => Self::Relation(Relation::LessEqual),
            "gt" => Self::Relation(Relation::Greater),
            "ge" => Self::Relation(Relation::GreaterEqual),
            "contains" => Self::Contains,
            "matches" => Self::Matches,
            "wildcard" => Self::Wildcard,
            "in" => Self::In,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Relation(relation) => relation.as_str(),
            Self::Contains => "contains",
            Self::Matches => "matches",
            Self::Wildcard => "wildcard",
            Self::StrictWildcard => "strict wildcard",
            Self::In => "in",
        }
    }
}

/// How two values of one type relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// `eq`, `==`
    Equal,
    /// `ne`, `!=`
    NotEqual,
    /// `lt`, `<`
    Less,
    /// `le`, `<=`
    LessEqual,
    /// `gt`, `>`
    Greater,
    /// `ge`, `>=`
    GreaterEqual,
}

impl Relation {
    /// In letters, as the canonical text has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::NotEqual => "ne",
            Self::Less => "lt",
            Self::LessEqual => "le",
            Self::Greater => "gt",
            Self::GreaterEqual => "ge",
        }
    }

    /// Whether values that compare so relate so.
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterEqual => ordering.is_ge(),
        }
    }
}

/// All words that join or compare; none of them is a name.
pub(super) const OPERATOR_WORDS: [&str; 14] = [
    "eq", "ne", "lt", "le", "gt", "ge", "contains", "matches", "wildcard", "strict", "in", "and", "or", "xor",
];

/// Whether the word belongs to the grammar.
pub(super) fn is_reserved(word: &str) -> bool {
    word == "not" || OPERATOR_WORDS.contains(&word)
}

/// Names begin with a letter and hold no colon or slash; addresses begin with a digit or hold a colon.
pub(super) fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !word.contains([':', '/'])
}
