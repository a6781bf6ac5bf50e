//! Shows faults: to people as rustc shows its own, to programs as JSON.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use serde_json::{Value, json};

use crate::policy::fault::{Fault, Place, Severity};

/// Whether the text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With terminal escapes.
    On,
    /// Plain text.
    Off,
}

/// All faults, each with its line and a caret under the place, and a blank line between two.
pub fn text(faults: &[Fault], colour: Colour) -> String {
    let renderer = match colour {
        Colour::On => Renderer::styled(),
        Colour::Off => Renderer::plain(),
    }
    .decor_style(DecorStyle::Ascii);
    let shown: Vec<String> = faults.iter().map(|fault| renderer.render(&[group(fault)])).collect();
    let mut text = shown.join("\n\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn group(fault: &Fault) -> Group<'_> {
    let level = match fault.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(printable(&fault.message));
    let mut group = match &fault.place {
        Some(place) => title.element(snippet(place, &fault.label)),
        None if fault.label.is_empty() => Group::with_title(title),
        None => Group::with_title(title).element(Level::NOTE.message(printable(&fault.label))),
    };
    for help in &fault.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    group
}

fn snippet<'a>(place: &'a Place, label: &'a str) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let annotation = AnnotationKind::Primary.span(shown_span(place));
    let annotation = if label.is_empty() {
        annotation
    } else {
        annotation.label(printable(label))
    };
    Snippet::source(&place.source.text)
        .path(&place.source.name)
        .annotation(annotation)
}

/// The part of the place that is marked: of a place over several lines the first one, and never nothing, where the text
/// has a character to mark.
fn shown_span(place: &Place) -> std::ops::Range<usize> {
    let text = &place.source.text;
    let start = boundary(text, place.span.start);
    let end = boundary(text, place.span.end);
    let first_line = text
        .get(start..end)
        .and_then(|span| span.find('\n'))
        .map(|at| start + at);
    let end = first_line.unwrap_or(end).max(start);
    if end > start {
        return start..end;
    }
    let next = text.get(start..).and_then(|rest| rest.chars().next());
    start..start + next.filter(|c| *c != '\n').map_or(0, char::len_utf8)
}

/// The beginning of the character that `at` lies in.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Control characters of a configuration's own text must not reach the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
        .collect()
}

/// One fault for programs.
pub fn json(fault: &Fault) -> Value {
    let severity = match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = fault.place.as_ref().map(|place| {
        let (line, column) = place.line_column();
        json!({
            "file": place.source.name,
            "line": line,
            "column": column,
            "start": place.span.start,
            "end": place.span.end,
        })
    });
    json!({
        "severity": severity,
        "message": fault.message,
        "place": place,
        "label": fault.label,
        "help": fault.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fault::Source;

    #[test]
    fn a_fault_is_shown_with_its_line_and_a_caret() {
        let source = Source::new("rules/geo.toml", "[[geo]]\nactoin = \"block\"\n");
        let fault = Fault::error(Place::new(&source, 8..14), "unknown key `actoin` in [[geo]]")
            .expected("not a key of this table")
            .help("did you mean `action`?");
        assert_eq!(
            text(&[fault], Colour::Off),
            "error: unknown key `actoin` in [[geo]]\n \
             --> rules/geo.toml:2:1\n  \
             |\n\
             2 | actoin = \"block\"\n  \
             | ^^^^^^ not a key of this table\n  \
             |\n  \
             = help: did you mean `action`?\n"
        );
    }

    #[test]
    fn no_place_panics() {
        let source = Source::new("a.toml", "ä\n\tx\r\n");
        for start in 0..=source.text.len() {
            for end in start..=source.text.len() {
                let fault = Fault::warning(Place::new(&source, start..end), "m\u{7}").expected("l");
                assert!(!text(&[fault], Colour::On).is_empty());
            }
        }
        assert!(!text(&[Fault::without_place("m").expected("l").help("h")], Colour::Off).is_empty());
    }
}
