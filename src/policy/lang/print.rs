//! The canonical text of an expression: it parses back to the same expression.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{Base, Comparison, Elementwise, Literal, Predicate, Set, Step, Test, Value};
use super::lexer::has_no_width;
use super::wildcard::Case;

impl Display for Predicate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => value.fmt(f),
            Self::Not(inner) => {
                f.write_str("not ")?;
                write_operand(f, inner)
            }
            Self::Group(logic, parts) => {
                for (at, part) in parts.iter().enumerate() {
                    if at > 0 {
                        write!(f, " {} ", logic.as_str())?;
                    }
                    write_operand(f, part)?;
                }
                Ok(())
            }
            Self::Compare(comparison) => comparison.fmt(f),
            Self::Holds(value) => value.fmt(f),
            Self::Quantified(quantifier, each) => write!(f, "{}({each})", quantifier.as_str()),
        }
    }
}

/// Groups inside anything are in parentheses: nobody has to know what binds tighter.
fn write_operand(f: &mut Formatter<'_>, operand: &Predicate) -> fmt::Result {
    match operand {
        Predicate::Group(..) => write!(f, "({operand})"),
        Predicate::Constant(_)
        | Predicate::Not(_)
        | Predicate::Compare(_)
        | Predicate::Holds(_)
        | Predicate::Quantified(..) => operand.fmt(f),
    }
}

impl Predicate {
    /// How deep the canonical text nests, as the parser counts: parentheses, `not`s and calls.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::Not(inner) => 1 + inner.depth_as_operand(),
            Self::Group(_, parts) => parts.iter().map(Self::depth_as_operand).max().unwrap_or(0),
            Self::Compare(comparison) => comparison.value.depth(),
            Self::Holds(value) => value.depth(),
            Self::Quantified(_, each) => 1 + each.depth(),
        }
    }

    fn depth_as_operand(&self) -> usize {
        match self {
            Self::Group(..) => 1 + self.depth(),
            Self::Constant(_) | Self::Not(_) | Self::Compare(_) | Self::Holds(_) | Self::Quantified(..) => self.depth(),
        }
    }
}

impl Elementwise {
    fn depth(&self) -> usize {
        match self {
            Self::Not(inner) => 1 + inner.depth(),
            Self::Compare(comparison) => comparison.value.depth(),
            Self::Holds(value) => value.depth(),
        }
    }
}

impl Value {
    fn depth(&self) -> usize {
        match &self.base {
            Base::Call(call) => 1 + call.arguments.iter().map(Self::depth).max().unwrap_or(0),
            Base::Field(_) | Base::Literal(_) => 0,
        }
    }
}

impl Display for Elementwise {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::Compare(comparison) => comparison.fmt(f),
            Self::Holds(value) => value.fmt(f),
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.test)
    }
}

impl Display for Test {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relation(relation, literal) => write!(f, "{} {literal}", relation.as_str()),
            Self::Contains(needle) => {
                f.write_str("contains ")?;
                write_string(f, needle.text())
            }
            Self::Matches(regex) => {
                f.write_str("matches ")?;
                write_regex(f, regex.as_str())
            }
            Self::Wildcard(wildcard) => {
                f.write_str(match wildcard.case() {
                    Case::Insensitive => "wildcard ",
                    Case::Sensitive => "strict wildcard ",
                })?;
                write_string(f, &wildcard.pattern())
            }
            Self::In(set) => write!(f, "in {set}"),
            Self::InList(list) => write!(f, "in ${}", list.name()),
        }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Field(field) => f.write_str(field.name)?,
            Base::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (at, argument) in call.arguments.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{argument}")?;
                }
                f.write_str(")")?;
            }
            Base::Literal(literal) => literal.fmt(f)?,
        }
        for step in &self.steps {
            match step {
                Step::Key(key) => {
                    f.write_str("[")?;
                    write_string(f, key.as_bytes())?;
                    f.write_str("]")?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Each => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => write_string(f, text),
            Self::Ip(address) => address.fmt(f),
            Self::Bool(value) => value.fmt(f),
        }
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { written, .. } => write_set(f, written, |f, (first, last)| {
                if first == last {
                    first.fmt(f)
                } else {
                    write!(f, "{first}..{last}")
                }
            }),
            Self::Text { written, .. } => write_set(f, written, |f, text| write_string(f, text)),
            Self::Ip { written, .. } => write_set(f, written, |f, range| range.fmt(f)),
        }
    }
}

fn write_set<T>(
    f: &mut Formatter<'_>,
    elements: &[T],
    write: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("{")?;
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            f.write_str(" ")?;
        }
        write(f, element)?;
    }
    f.write_str("}")
}

/// A string literal that means these bytes, for whoever builds an expression's text.
pub fn quoted(text: &str) -> String {
    Literal::Text(text.as_bytes().into()).to_string()
}

/// A literal for the right side of `matches` that means this regular expression. There, only `\"` is an escape.
pub fn quoted_regex(pattern: &str) -> String {
    struct Quoted<'t>(&'t str);
    impl Display for Quoted<'_> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write_regex(f, self.0)
        }
    }
    Quoted(pattern).to_string()
}

/// Quoted, or raw where a backslash would have to be doubled.
fn write_string(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('\\') && !text.chars().any(is_unseen) => write_raw(f, text),
        Ok(text) => {
            f.write_str("\"")?;
            for c in text.chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    _ if is_unseen(c) => write_hex(f, c.encode_utf8(&mut [0; 4]).as_bytes())?,
                    _ => f.write_char(c)?,
                }
            }
            f.write_str("\"")
        }
        Err(_) => {
            f.write_str("\"")?;
            for byte in bytes {
                match byte {
                    b'"' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    b' '..=b'~' => f.write_char(char::from(*byte))?,
                    _ => write_hex(f, &[*byte])?,
                }
            }
            f.write_str("\"")
        }
    }
}

fn is_unseen(c: char) -> bool {
    c.is_control() || has_no_width(c)
}

fn write_hex(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// A quoted regex keeps its backslashes, so a raw string is the only form without traps.
fn write_regex(f: &mut Formatter<'_>, pattern: &str) -> fmt::Result {
    if pattern.contains(['\\', '"']) {
        write_raw(f, pattern)
    } else {
        write!(f, "\"{pattern}\"")
    }
}

fn write_raw(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let longest = text
        .split('"')
        .skip(1)
        .map(|after| 1 + after.len() - after.trim_start_matches('#').len())
        .max()
        .unwrap_or(0);
    let hashes = "#".repeat(longest);
    write!(f, "r{hashes}\"{text}\"{hashes}")
}

/// How many bytes of a value a trace shows.
const SHOWN_BYTES: usize = 200;

/// A request's text, as a trace shows it: quoted, escaped, cut short.
pub(super) fn write_shown(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    write!(f, "\"{}\"", shown.escape_ascii())?;
    if shown.len() < bytes.len() {
        write!(f, "… ({} bytes)", bytes.len())?;
    }
    Ok(())
}
