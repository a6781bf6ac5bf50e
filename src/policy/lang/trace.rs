//! How an expression came to its outcome, part by part, with the values that it saw.

use super::{
    ast::{Base, Call, Elementwise, Predicate, Step, Value},
    interpreter::{holds, passes, quantified, value},
    request::Input,
};

/// The outcome of a part of an expression. Every part is asked, also those that could not change the outcome any more.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trace {
    /// The part's text.
    pub text: String,
    /// Whether it holds.
    pub outcome: bool,
    /// What the request said, for a part that compares; credentials are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Option<String>,
    /// The parts that it is joined of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Trace>,
}

/// What stands where a credential would.
const REDACTED: &str = "(not shown)";

pub(super) fn trace<'a>(predicate: &'a Predicate, input: &Input<'a>) -> Trace {
    let (saw, parts) = match predicate {
        Predicate::Constant(_) => (None, Vec::new()),
        Predicate::Not(inner) => (None, vec![trace(inner, input)]),
        Predicate::Group(_, parts) => (None, parts.iter().map(|part| trace(part, input)).collect()),
        Predicate::Compare(comparison) => (Some(seen(&comparison.value, input)), Vec::new()),
        Predicate::Holds(value) => (basis(value).map(|basis| seen(basis, input)), Vec::new()),
        Predicate::Quantified(_, each) => (Some(seen(compared(each), input)), Vec::new()),
    };
    let outcome = match predicate {
        // Already known for single parts; groups are cheap enough to ask again.
        Predicate::Compare(comparison) => passes(comparison, input),
        Predicate::Quantified(quantifier, each) => quantified(*quantifier, each, input),
        Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) | Predicate::Holds(_) => {
            holds(predicate, input)
        }
    };
    Trace {
        text: predicate.to_string(),
        outcome,
        saw,
        parts,
    }
}

fn compared(each: &Elementwise) -> &Value {
    match each {
        Elementwise::Not(inner) => compared(inner),
        Elementwise::Compare(comparison) => &comparison.value,
        Elementwise::Holds(value) => basis(value).unwrap_or(value),
    }
}

/// What a condition made by a function is about: its first argument. A field that is a condition is its own outcome.
fn basis(value: &Value) -> Option<&Value> {
    match &value.base {
        Base::Call(call) => call.arguments.first(),
        Base::Field(_) | Base::Literal(_) => None,
    }
}

fn seen<'a>(shown: &'a Value, input: &Input<'a>) -> String {
    if is_secret(shown) {
        return REDACTED.to_owned();
    }
    match value(shown, input) {
        Some(datum) => datum.to_string(),
        None => "absent".to_owned(),
    }
}

fn is_secret(value: &Value) -> bool {
    match &value.base {
        Base::Field(field) => {
            let key = value.steps.iter().find_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) | Step::Each => None,
            });
            field.is_secret(key)
        }
        Base::Call(Call { arguments, .. }) => arguments.iter().any(is_secret),
        Base::Literal(_) => false,
    }
}
