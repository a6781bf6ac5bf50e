//! The quick way to render a simple template: text and values in turn.

use super::{
    template::Format,
    values::{Values, Variable},
};

/// A template that has nothing but text, `{{ variable }}`, `{% if variable %}`, `{% else %}`, `{% endif %}` and comments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// The length of all text, to reserve at once.
    text_length: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Variable),
    /// What follows, up to `end`, is only for values that are there (or, with `when` false, that are not).
    Branch {
        variable: Variable,
        when: bool,
        end: usize,
    },
}

impl Parts {
    /// `None` for a template that needs the engine. Never wrong about one: what it does not know, it leaves.
    pub(super) fn cut(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        let mut rest = text;
        while let Some(at) = find_tag(rest) {
            push_text(&mut parts, &rest[..at]);
            let (tag, inside, after) = take_tag(&rest[at..])?;
            rest = after;
            match tag {
                Tag::Comment => {}
                Tag::Value => parts.push(Part::Value(Variable::named(inside)?)),
                Tag::Block => block(inside, &mut parts, &mut open)?,
            }
        }
        push_text(&mut parts, rest);
        open.is_empty().then_some(Self {
            parts,
            text_length: text.len(),
        })
    }

    /// All of it, if there is nothing to be put in.
    pub(super) fn only_text(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The template with its values.
    pub(super) fn join(&self, values: &Values<'_>, format: Format) -> String {
        let mut out = String::with_capacity(self.text_length + 256);
        let mut next = 0;
        while let Some(part) = self.parts.get(next) {
            next += 1;
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Value(variable) => format
                    .write(&values.value(*variable), &mut out)
                    .expect("a String takes everything"),
                Part::Branch { variable, when, end } if values.value(*variable).is_true() != *when => next = *end,
                Part::Branch { .. } => {}
            }
        }
        out
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
}

/// `if`, `else` and `endif`; `open` holds the branches whose end is not known yet.
fn block(inside: &str, parts: &mut Vec<Part>, open: &mut Vec<usize>) -> Option<()> {
    let here = parts.len();
    match inside {
        "else" => {
            let opened = open.pop()?;
            let (variable, when) = close(parts, opened, here + 1)?;
            if !when {
                return None;
            }
            open.push(here);
            parts.push(Part::Branch {
                variable,
                when: false,
                end: 0,
            });
        }
        "endif" => {
            let opened = open.pop()?;
            close(parts, opened, here)?;
        }
        other => {
            let variable = Variable::named(other.strip_prefix("if ")?.trim())?;
            open.push(here);
            parts.push(Part::Branch {
                variable,
                when: true,
                end: 0,
            });
        }
    }
    Some(())
}

fn close(parts: &mut [Part], opened: usize, at: usize) -> Option<(Variable, bool)> {
    match parts.get_mut(opened)? {
        Part::Branch { variable, when, end } => {
            *end = at;
            Some((*variable, *when))
        }
        Part::Text(_) | Part::Value(_) => None,
    }
}

enum Tag {
    Value,
    Block,
    Comment,
}

fn find_tag(text: &str) -> Option<usize> {
    text.as_bytes()
        .windows(2)
        .position(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

/// The tag at the start of `text`, what is inside of it, and what follows it.
fn take_tag(text: &str) -> Option<(Tag, &str, &str)> {
    let (tag, end) = match text.get(..2)? {
        "{{" => (Tag::Value, "}}"),
        "{%" => (Tag::Block, "%}"),
        _ => (Tag::Comment, "#}"),
    };
    let (inside, after) = text[2..].split_once(end)?;
    // `{%-` and its like eat white space around them: for the engine.
    if inside.starts_with(['-', '+']) || inside.ends_with(['-', '+']) {
        return None;
    }
    Some((tag, inside.trim(), after))
}
