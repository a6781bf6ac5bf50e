//! `${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` inside strings of `portcullis.toml`; `$$` is a dollar.
//!
//! Replaced after parsing: a value can never become syntax, another key, or another table.

use std::{borrow::Cow, ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::files::Files;
use crate::policy::fault::{Fault, Faults, Place, Source};

/// Where variables come from: the process's environment, or a test's.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces what is to be replaced in every string of `table`, at any depth. Keys stay as written. Comes back with the spans
/// of the strings that could not be completed: what else seems wrong with them is no fault of its own.
pub(super) fn interpolate(
    table: &mut DeTable<'_>,
    source: &Arc<Source>,
    variables: Variables<'_>,
    files: &mut Files,
    faults: &mut Faults,
) -> Vec<Range<usize>> {
    let mut replacer = Replacer {
        source,
        variables,
        files,
        faults,
        incomplete: Vec::new(),
    };
    replacer.table(table);
    replacer.incomplete
}

struct Replacer<'a> {
    source: &'a Arc<Source>,
    variables: Variables<'a>,
    files: &'a mut Files,
    faults: &'a mut Faults,
    incomplete: Vec<Range<usize>>,
}

impl Replacer<'_> {
    fn table(&mut self, table: &mut DeTable<'_>) {
        for (_, value) in table.iter_mut() {
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                if text.contains('$') {
                    let place = Place::new(self.source, span);
                    *text = Cow::Owned(self.text(text, &place));
                }
            }
            DeValue::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            DeValue::Table(table) => self.table(table),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn text(&mut self, text: &str, place: &Place) -> String {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, from)) = rest.split_once('$') {
            replaced.push_str(before);
            rest = if let Some(after) = from.strip_prefix('$') {
                replaced.push('$');
                after
            } else if let Some(inside) = from.strip_prefix('{') {
                let Some((name, after)) = inside.split_once('}') else {
                    let fault = Fault::error(narrow(place, "${"), "`${` is not closed");
                    self.faults.push(
                        fault
                            .expected("expected `}` after the name")
                            .help("write `$$` for a plain dollar"),
                    );
                    return replaced;
                };
                match self.replacement(name) {
                    Ok(value) => replaced.push_str(&value),
                    Err((message, help)) => {
                        self.incomplete.push(place.span.clone());
                        let place = narrow(place, &format!("${{{name}}}"));
                        self.faults.push(Fault::error(place, message).help(help));
                    }
                }
                after
            } else {
                // A dollar alone begins a list's name (`$partners`), and is itself anywhere else.
                replaced.push('$');
                from
            };
        }
        replaced.push_str(rest);
        replaced
    }

    fn replacement(&mut self, name: &str) -> Result<String, (String, String)> {
        if let Some(path) = name.strip_prefix("file:") {
            return self.file(path);
        }
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid || name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err((
                format!("`{name}` is not the name of a variable"),
                "write `${NAME}`, `${NAME:-default}` or `${file:/path}`; `$$` for a plain dollar".to_owned(),
            ));
        }
        // As in a shell, `:-` also stands in for a variable that is set to nothing.
        let value = (self.variables)(name).filter(|value| default.is_none() || !value.is_empty());
        value.or_else(|| default.map(str::to_owned)).ok_or_else(|| {
            (
                format!("the environment variable `{name}` is not set"),
                format!("set it, or give a default: `${{{name}:-value}}`"),
            )
        })
    }

    fn file(&mut self, path: &str) -> Result<String, (String, String)> {
        let resolved = self.files.resolve(path.as_ref());
        let text = self.files.read_text(&resolved).map_err(|cause| {
            (
                format!("cannot read `{path}`: {cause}"),
                "the file must exist and be readable when the configuration is loaded".to_owned(),
            )
        })?;
        // Editors and `echo` end a file with a line feed; no secret means to.
        let text = &text.text;
        let text = text.strip_suffix('\n').unwrap_or(text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// The part of the written string that is at fault; the whole string when escapes hide it.
fn narrow(place: &Place, part: &str) -> Place {
    let written = place.source.text.get(place.span.clone()).unwrap_or_default();
    match written.find(part) {
        Some(at) => {
            let start = place.span.start + at;
            Place::new(&place.source, start..start + part.len())
        }
        None => place.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::table::parse;

    fn variable(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8443".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("\"\nadmin = ${PORT}".to_owned()),
            _ => None,
        }
    }

    fn replace(text: &str) -> (String, Vec<String>) {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("secret"), "s3cret\n").expect("written");
        let source = Source::new("c.toml", format!("v = [{{ x = '{text}' }}]\n"));
        let mut faults = Faults::new();
        let mut document = parse(&source, &mut faults);
        let mut files = Files::new(folder.path());
        interpolate(document.get_mut(), &source, &variable, &mut files, &mut faults);
        let inner = document
            .get_ref()
            .get("v")
            .and_then(|v| v.get_ref().get(0)?.get_ref().get("x"));
        let value = inner.and_then(|x| x.get_ref().as_str()).unwrap_or_default().to_owned();
        (value, faults.into_sorted().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn variables_defaults_files_and_dollars_are_replaced() {
        for (text, expected) in [
            ("127.0.0.1:${PORT}", "127.0.0.1:8443"),
            ("${NONE:-fallback}", "fallback"),
            ("${EMPTY:-fallback}", "fallback"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${file:secret}", "s3cret"),
            ("a$$b", "a$b"),
            ("$${PORT}", "${PORT}"),
            ("$partners", "$partners"),
        ] {
            assert_eq!(replace(text), (expected.to_owned(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_value_is_never_read_again() {
        assert_eq!(replace("${TRICK}"), ("\"\nadmin = ${PORT}".to_owned(), Vec::new()));
    }

    #[test]
    fn an_unset_variable_is_a_fault_at_its_place() {
        let (_, faults) = replace("a${NONE}");
        assert_eq!(
            faults,
            [
                "c.toml:1:14: error: the environment variable `NONE` is not set; set it, or give a default: `${NONE:-value}`"
            ]
        );
    }

    #[test]
    fn what_is_malformed_is_a_fault() {
        for text in ["${", "${}", "${A B}", "${1}", "${file:absent}"] {
            assert_eq!(replace(text).1.len(), 1, "{text}");
        }
    }

    proptest! {
        #[test]
        fn doubled_dollars_give_back_any_text(text in "[^'\\p{Cc}]{0,40}") {
            let (value, faults) = replace(&text.replace('$', "$$"));
            prop_assert_eq!(value, text);
            prop_assert!(faults.is_empty());
        }
    }
}
