//! How an expression came to its outcome, part by part, with the values that it saw, and which parts decided.

use super::{
    ast::{Base, Call, Elementwise, Logic, Predicate, Step, Test, Value},
    interpreter::{holds, value},
    request::Input,
    truth::{Kleene, Truth, Unknown},
};

/// The outcome of a part of an expression. Every part is asked, also those that could not change the outcome any more.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Trace {
    /// The part's text.
    pub text: String,
    /// Whether it holds; `None` depends on what is not known.
    pub outcome: Option<bool>,
    /// Whether the whole came to its outcome because of this part.
    pub decides: bool,
    /// How its parts are joined: `and`, `or`, `xor`, `not`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<&'static str>,
    /// What a part that compares looks at: a field or a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What the request said there; credentials are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Option<String>,
    /// What nobody knows of the request, if the outcome depends on it: `the header x-foo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// The list that is asked, without its `$`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// The parts that it is joined of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Trace>,
}

/// What stands where a credential would.
const REDACTED: &str = "(not shown)";

/// Traces a whole expression. Values that depend on what is `secret` are not shown.
pub(super) fn trace<'a>(predicate: &'a Predicate, input: &Input<'a>, secret: &Unknown<'_>) -> Trace {
    Tracer { input, secret }.part(predicate, true)
}

struct Tracer<'t, 'a> {
    input: &'t Input<'a>,
    secret: &'t Unknown<'t>,
}

impl<'a> Tracer<'_, 'a> {
    fn part(&self, predicate: &'a Predicate, decides: bool) -> Trace {
        let outcome = holds::<Kleene>(predicate, self.input).value();
        let mut trace = Trace {
            text: predicate.to_string(),
            outcome,
            decides,
            join: None,
            about: None,
            saw: None,
            unknown: None,
            list: None,
            parts: Vec::new(),
        };
        match predicate {
            Predicate::Constant(_) => {}
            Predicate::Not(inner) => {
                trace.join = Some("not");
                trace.parts.push(self.part(inner, decides));
            }
            Predicate::Group(logic, parts) => {
                trace.join = Some(logic.as_str());
                let deciding = deciding(*logic, parts, self.input);
                let parts = parts.iter().zip(deciding);
                trace.parts = parts.map(|(part, is)| self.part(part, decides && is)).collect();
            }
            Predicate::Compare(comparison) => {
                self.look(&comparison.value, &mut trace);
                trace.list = list(&comparison.test);
            }
            Predicate::Holds(value) => self.look(basis(value).unwrap_or(value), &mut trace),
            Predicate::Quantified(_, each) => {
                self.look(compared(each), &mut trace);
                trace.list = tested(each).and_then(list);
            }
        }
        trace
    }

    /// Notes what a part looks at, and what is there.
    fn look(&self, value: &'a Value, trace: &mut Trace) {
        trace.unknown = self.input.unknown.missing(value);
        // A field that is a condition is its own outcome.
        if matches!(&value.base, Base::Field(_)) && value.to_string() == trace.text {
            return;
        }
        trace.about = Some(value.to_string());
        if trace.unknown.is_none() {
            trace.saw = Some(self.seen(value));
        }
    }

    fn seen(&self, shown: &'a Value) -> String {
        if is_secret(shown) || self.secret.touches(shown) {
            return REDACTED.to_owned();
        }
        match value(shown, self.input) {
            Some(datum) => datum.to_string(),
            None => "absent".to_owned(),
        }
    }
}

/// Which parts of a group made its outcome: the first that settles it, or all of them where all are needed.
fn deciding<'a>(logic: Logic, parts: &'a [Predicate], input: &Input<'a>) -> Vec<bool> {
    let outcomes: Vec<Kleene> = parts.iter().map(|part| holds(part, input)).collect();
    let settles = match logic {
        Logic::And => Kleene::False,
        Logic::Or => Kleene::True,
        Logic::Xor => return vec![true; parts.len()],
    };
    if let Some(first) = outcomes.iter().position(|outcome| *outcome == settles) {
        return (0..parts.len()).map(|at| at == first).collect();
    }
    let any_unknown = outcomes.contains(&Kleene::Unknown);
    let counts = |outcome: &Kleene| !any_unknown || *outcome == Kleene::Unknown;
    outcomes.iter().map(counts).collect()
}

/// The parts, none of them joined of others, because of which the whole came to its outcome; each with whether it holds.
pub(in crate::policy) fn deciding_parts<'a>(
    predicate: &'a Predicate,
    input: &Input<'a>,
    found: &mut Vec<(&'a Predicate, Kleene)>,
) {
    match predicate {
        Predicate::Not(inner) => deciding_parts(inner, input, found),
        Predicate::Group(logic, parts) => {
            let chosen = parts.iter().zip(deciding(*logic, parts, input));
            for (part, _) in chosen.filter(|(_, decides)| *decides) {
                deciding_parts(part, input, found);
            }
        }
        Predicate::Constant(_) => {}
        Predicate::Compare(_) | Predicate::Holds(_) | Predicate::Quantified(..) => {
            found.push((predicate, holds(predicate, input)));
        }
    }
}

fn list(test: &Test) -> Option<String> {
    match test {
        Test::InList(list) => Some(list.name().to_owned()),
        Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_) => None,
    }
}

fn tested(each: &Elementwise) -> Option<&Test> {
    match each {
        Elementwise::Not(inner) => tested(inner),
        Elementwise::Compare(comparison) => Some(&comparison.test),
        Elementwise::Holds(_) => None,
    }
}

fn compared(each: &Elementwise) -> &Value {
    match each {
        Elementwise::Not(inner) => compared(inner),
        Elementwise::Compare(comparison) => &comparison.value,
        Elementwise::Holds(value) => basis(value).unwrap_or(value),
    }
}

/// What a condition made by a function is about: its first argument.
fn basis(value: &Value) -> Option<&Value> {
    match &value.base {
        Base::Call(call) => call.arguments.first(),
        Base::Field(_) | Base::Literal(_) => None,
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
