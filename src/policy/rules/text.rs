//! Writes expressions: the text that a friendly table stands for, and that `portcullis rules` prints.

pub(super) use crate::policy::lang::{quoted, quoted_regex};

/// A condition of the expression language as text, put together without a parenthesis too few or too many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct Condition {
    text: String,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Binds tighter than anything around it.
    Single,
    /// Parts joined by `and`.
    All,
    /// Parts joined by `or`, or whatever an operator wrote.
    Any,
}

impl Condition {
    /// One test, such as a comparison or a call.
    pub(super) fn single(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            shape: Shape::Single,
        }
    }

    /// What an operator wrote: anything may be in it.
    pub(super) fn written(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            shape: Shape::Any,
        }
    }

    /// `field eq item`, or `field in {…}` for several. `None`: there is nothing to compare with.
    pub(super) fn one_of(field: &str, items: &[String]) -> Option<Self> {
        match items {
            [] => None,
            [item] => Some(Self::single(format!("{field} eq {item}"))),
            items => Some(Self::single(format!("{field} in {{{}}}", items.join(" ")))),
        }
    }

    /// At least one of them. `None`: there are none.
    pub(super) fn any_of(conditions: impl IntoIterator<Item = Self>) -> Option<Self> {
        Self::joined(conditions, " or ", Shape::Any)
    }

    /// All of them. `None`: there are none.
    pub(super) fn all_of(conditions: impl IntoIterator<Item = Self>) -> Option<Self> {
        Self::joined(conditions, " and ", Shape::All)
    }

    fn joined(conditions: impl IntoIterator<Item = Self>, operator: &str, shape: Shape) -> Option<Self> {
        let mut conditions: Vec<Self> = conditions.into_iter().collect();
        if conditions.len() < 2 {
            return conditions.pop();
        }
        let parts: Vec<String> = conditions.into_iter().map(|part| part.inside(shape)).collect();
        Some(Self {
            text: parts.join(operator),
            shape,
        })
    }

    /// This and the other one.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        Self::all_of(std::iter::once(self.clone()).chain(other)).unwrap_or(self)
    }

    /// The opposite.
    pub(super) fn not(self) -> Self {
        let text = match self.shape {
            Shape::Single => format!("not {}", self.text),
            Shape::All | Shape::Any => format!("not ({})", self.text),
        };
        Self::single(text)
    }

    /// As a part of a condition of that shape.
    fn inside(self, outer: Shape) -> String {
        if self.shape == Shape::Single || self.shape == outer && outer == Shape::All {
            self.text
        } else {
            format!("({})", self.text)
        }
    }

    /// The text.
    pub(in crate::policy) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(text: &str) -> Condition {
        Condition::single(text)
    }

    #[test]
    fn parentheses_stand_where_they_are_needed() {
        let any = Condition::any_of([single("a"), single("b")]).expect("two");
        assert_eq!(any.as_str(), "a or b");
        assert_eq!(any.clone().not().as_str(), "not (a or b)");
        assert_eq!(single("a").not().as_str(), "not a");
        assert_eq!(any.clone().and(Some(single("c"))).as_str(), "(a or b) and c");
        let all = single("a").and(Some(single("b"))).and(Some(single("c")));
        assert_eq!(all.as_str(), "a and b and c");
        assert_eq!(
            Condition::any_of([all, any]).expect("two").as_str(),
            "(a and b and c) or (a or b)"
        );
        assert_eq!(Condition::written("x or y").and(None).as_str(), "x or y");
        assert_eq!(
            Condition::written("x or y").and(Some(single("z"))).as_str(),
            "(x or y) and z"
        );
    }
}
