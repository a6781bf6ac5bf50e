//! Places inside TOML strings: where the third character of an expression stands in the file, whatever quotes and escapes
//! it is written in.

use std::{ops::Range, sync::Arc};

use crate::policy::fault::Place;

/// The place of `span` of the string `value`, which is written at `written` (quotes included). The whole string when the
/// two do not go together.
pub(in crate::policy) fn inside(written: &Place, value: &str, span: Range<usize>) -> Place {
    let raw = written.source.text.get(written.span.clone()).unwrap_or_default();
    let Some(offsets) = offsets(raw, value) else {
        return written.clone();
    };
    let at = |index: usize| offsets.get(index.min(value.len())).copied().unwrap_or(raw.len());
    let start = at(span.start);
    let end = at(span.end).max(start);
    let base = written.span.start;
    Place::new(&Arc::clone(&written.source), base + start..base + end)
}

/// For each byte of `value`, and for its end, the offset in `raw` where it is written.
fn offsets(raw: &str, value: &str) -> Option<Vec<usize>> {
    let (mut at, style) = opening(raw)?;
    let mut offsets = Vec::with_capacity(value.len() + 1);
    for expected in value.chars() {
        at += skipped(raw.get(at..)?, style, expected);
        offsets.extend(std::iter::repeat_n(at, expected.len_utf8()));
        at += written_len(raw.get(at..)?, style, expected)?;
    }
    offsets.push(at);
    Some(offsets)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Literal,
    Basic,
}

/// How long the opening quotes are, with the line break that multi-line strings may begin with.
fn opening(raw: &str) -> Option<(usize, Style)> {
    let style = match raw.as_bytes().first()? {
        b'\'' => Style::Literal,
        b'"' => Style::Basic,
        _ => return None,
    };
    if !(raw.starts_with("'''") || raw.starts_with("\"\"\"")) || raw.len() < 6 {
        return Some((1, style));
    }
    let line_break = match raw.as_bytes().get(3..5) {
        Some(b"\r\n") => 2,
        Some([b'\n', _]) => 1,
        Some(_) | None => 0,
    };
    Some((3 + line_break, style))
}

/// Bytes that stand for nothing: a backslash that ends a line with the white space after it, and the CR of a CRLF that
/// was read as LF.
fn skipped(raw: &str, style: Style, expected: char) -> usize {
    let mut rest = raw;
    if style == Style::Basic {
        while let Some(after) = rest.strip_prefix('\\') {
            let same_line = after.trim_start_matches([' ', '\t']);
            if !same_line.starts_with(['\n', '\r']) {
                break;
            }
            rest = same_line.trim_start_matches([' ', '\t', '\n', '\r']);
        }
    }
    if expected == '\n' && rest.starts_with("\r\n") {
        rest = rest.get(1..).unwrap_or_default();
    }
    raw.len() - rest.len()
}

/// How many bytes write this character.
fn written_len(raw: &str, style: Style, expected: char) -> Option<usize> {
    if style == Style::Basic && raw.starts_with('\\') {
        return match raw.as_bytes().get(1)? {
            b'x' => Some(4),
            b'u' => Some(6),
            b'U' => Some(10),
            _ => Some(2),
        };
    }
    raw.starts_with(expected).then(|| expected.len_utf8())
}

#[cfg(test)]
mod tests {
    use toml::de::DeValue;

    use super::*;
    use crate::policy::{fault::Faults, fault::Source, table};

    /// What the file says at the place of `needle` inside the string of key `x`.
    fn found(text: &str, needle: &str) -> String {
        let source = Source::new("a.toml", text);
        let mut faults = Faults::new();
        let document = table::parse(&source, &mut faults);
        let node = document.get_ref().get("x").expect("the key is written");
        let DeValue::String(value) = node.get_ref() else {
            panic!("{text} is no string");
        };
        let start = value.find(needle).expect("the needle is in the value");
        let place = inside(&Place::new(&source, node.span()), value, start..start + needle.len());
        format!("{}@{place}", &source.text[place.span.clone()])
    }

    #[test]
    fn every_way_to_write_a_string_is_mapped() {
        for (text, needle, expected) in [
            ("x = 'a bad c'", "bad", "bad@a.toml:1:8"),
            (r#"x = "a \"bad\" c""#, "bad", "bad@a.toml:1:10"),
            (r#"x = "\u00e4\U0001f600\x41 bad""#, "bad", "bad@a.toml:1:27"),
            ("x = \"ä bad\"", "bad", "bad@a.toml:1:8"),
            ("x = '''\na\n  bad'''", "bad", "bad@a.toml:3:3"),
            ("x = '''a\n  bad'''", "bad", "bad@a.toml:2:3"),
            ("x = \"\"\"\na\\\n   bad\"\"\"", "bad", "bad@a.toml:3:4"),
            ("x = \"\"\"a \\\n\n  \\\n bad\"\"\"", "bad", "bad@a.toml:4:2"),
            ("x = '''\r\na\r\nbad'''", "bad", "bad@a.toml:3:1"),
            (r#"x = "a \"b\" c""#, "\"b\"", "\\\"b\\\"@a.toml:1:8"),
        ] {
            assert_eq!(found(text, needle), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_the_string_is_before_its_closing_quote() {
        let source = Source::new("a.toml", "'abc'");
        let place = inside(&Place::new(&source, 0..5), "abc", 3..3);
        assert_eq!(place.span, 4..4);
    }
}
