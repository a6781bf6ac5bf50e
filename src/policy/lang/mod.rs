//! The expression language: compatible with Cloudflare's Rules language, typed, and total once compiled.
//!
//! Text becomes tokens (`lexer`), syntax (`parser`), and a checked tree ([`ast`], by `check`), which the interpreter
//! asks about requests. [`fields::ALL`] and [`functions::ALL`] are the language's vocabulary.

use std::{fmt, sync::Arc};

use bumpalo::Bump;

pub mod ast;
mod check;
mod diagnostics;
pub mod elsewhere;
mod environment;
pub mod fields;
mod format;
pub mod functions;
mod impossible;
pub(super) mod interpreter;
mod lexer;
pub(super) mod literals;
pub(super) mod located;
mod mistakes;
mod needle;
mod parser;
mod print;
pub mod reads;
pub(super) mod request;
mod sets;
mod syntax;
mod tokens;
pub(super) mod trace;
mod transform;
mod truth;
pub mod types;
mod values;
mod wildcard;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use diagnostics::Diagnostic;
pub use environment::{Environment, GeoKnown};
pub use format::layout;
pub use needle::Needle;
pub use parser::MAX_DEPTH;
pub use print::{quoted, quoted_regex};
pub use request::Input;
pub use trace::Trace;
pub use truth::{Kleene, Truth, Unknown, UnknownHeaders};
pub use wildcard::{Case, Wildcard, WildcardError};

use super::facts::RequestFacts;

/// A parsed and type-checked boolean expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Arc<str>,
    root: Arc<ast::Predicate>,
}

impl Expression {
    /// Parses and checks an expression.
    ///
    /// # Errors
    /// The first fault of its syntax, or all faults of its names and types.
    pub fn compile(text: &str, environment: &Environment<'_>) -> Result<Self, Vec<Diagnostic>> {
        let syntax = parser::parse(text).map_err(|fault| vec![fault])?;
        check::check(&syntax, environment).map(Self::from)
    }

    /// The canonical text: it compiles to the same expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The checked tree.
    pub fn root(&self) -> &ast::Predicate {
        &self.root
    }

    /// Whether it matches, with `path` as the reading of the target's path.
    pub fn matches(&self, facts: &RequestFacts<'_>, path: &str) -> bool {
        let arena = Bump::new();
        self.truth(&Input::new(facts, path, &arena))
    }

    /// What it comes to, as far as the facts are known. This is the interpreter: what the language means.
    pub fn truth<'a, T: Truth>(&'a self, input: &Input<'a>) -> T {
        interpreter::holds(&self.root, input)
    }

    /// How it comes to its outcome, for people to read. Values that depend on what is `secret` are not shown.
    pub fn trace(&self, input: &Input<'_>, secret: &Unknown<'_>) -> Trace {
        trace::trace(&self.root, input, secret)
    }
}

impl From<ast::Predicate> for Expression {
    fn from(root: ast::Predicate) -> Self {
        Self {
            text: root.to_string().into(),
            root: Arc::new(root),
        }
    }
}

/// The canonical text.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Equal when they say the same, word for word.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}
