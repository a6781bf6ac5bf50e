//! Shows faults: to people as rustc shows its own, to programs as JSON. And what was folded of lists.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use serde_json::{Value, json};

use crate::policy::{
    fault::{Fault, Place, Severity},
    lint::{self, Finding},
    list::{List, ListKind},
};

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
    let renderer = renderer(colour);
    joined(faults.iter().map(|fault| renderer.render(&[group(fault)])))
}

/// All findings of lint, as faults are shown, with the check in brackets and the other places that have to do with it.
pub fn findings<'f>(findings: impl IntoIterator<Item = &'f Finding>, colour: Colour) -> String {
    let renderer = renderer(colour);
    joined(
        findings
            .into_iter()
            .map(|finding| renderer.render(&finding_groups(finding))),
    )
}

fn renderer(colour: Colour) -> Renderer {
    match colour {
        Colour::On => Renderer::styled(),
        Colour::Off => Renderer::plain(),
    }
    .decor_style(DecorStyle::Ascii)
}

/// A blank line between two.
fn joined(shown: impl Iterator<Item = String>) -> String {
    let mut text = shown.collect::<Vec<String>>().join("\n\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn finding_groups(finding: &Finding) -> Vec<Group<'_>> {
    let level = match finding.severity {
        lint::Severity::Warning => Level::WARNING,
        lint::Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(printable(&finding.message)).id(finding.check.id());
    let main = match &finding.place {
        Some(place) => title.element(snippet(place, &finding.label)),
        None => Group::with_title(title),
    };
    let mut groups = vec![main];
    for related in &finding.related {
        let title = Level::NOTE.secondary_title(printable(&related.message));
        groups.push(title.element(snippet(&related.place, "")));
    }
    // What to do comes last, whatever stands between.
    if let Some(last) = groups.pop() {
        let help = finding.help.iter().map(|help| Level::HELP.message(printable(help)));
        groups.push(help.fold(last, Group::element));
    }
    groups
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
    let span = shown_span(place);
    let (lines, first) = lines_of(place, &span);
    let annotation = AnnotationKind::Primary.span(span.start - lines.start..span.end - lines.start);
    let annotation = if label.is_empty() {
        annotation
    } else {
        annotation.label(printable(label))
    };
    Snippet::source(place.source.text.get(lines).unwrap_or_default())
        .line_start(first)
        .path(&place.source.name)
        .annotation(annotation)
}

/// The line that the marked part of a place is in, and its number: the renderer would go through all of a list's million.
fn lines_of(place: &Place, span: &Range<usize>) -> (Range<usize>, usize) {
    let text = place.source.text.as_bytes();
    let (before, after) = text.split_at(span.start.min(text.len()));
    let start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
    let end = memchr::memchr(b'\n', after).map_or(text.len(), |end| span.start + end);
    (start..end.max(span.end), place.line_column().0)
}

/// The part of the place that is marked: of a place over several lines the first one, and never nothing, where the text
/// has a character to mark.
fn shown_span(place: &Place) -> Range<usize> {
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

/// What was folded of a list, in one line: `list blocked: 1,000,000 entries, 1,204 duplicates or inside wider ones`.
pub fn folded(list: &List) -> Option<String> {
    let (entries, folded) = (grouped(list.len()), list.folded());
    (folded > 0).then(|| {
        let what = if folded == 1 { "duplicate" } else { "duplicates" };
        let (name, folded) = (list.name(), grouped(folded));
        match list.kind() {
            ListKind::Ip => format!("list {name}: {entries} entries, {folded} {what} or inside wider ones"),
            ListKind::Asn | ListKind::Country | ListKind::String => {
                format!("list {name}: {entries} entries, {folded} {what}")
            }
        }
    })
}

/// A number with a comma between thousands.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A place for programs.
pub fn place_json(place: &Place) -> Value {
    let (line, column) = place.line_column();
    json!({
        "file": place.source.name,
        "line": line,
        "column": column,
        "start": place.span.start,
        "end": place.span.end,
    })
}

/// One fault for programs.
pub fn json(fault: &Fault) -> Value {
    let severity = match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "severity": severity,
        "message": fault.message,
        "place": fault.place.as_ref().map(place_json),
        "label": fault.label,
        "help": fault.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{fault::Source, network::IpRange};

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
    fn a_fault_deep_in_a_list_is_shown_with_its_own_line() {
        let text_of = "192.0.2.1\n".repeat(4_999) + "192.0.2.300\n192.0.2.2\n";
        let at = text_of.find("300").expect("it is there");
        let source = Source::new("blocked.txt", text_of);
        let fault = Fault::error(Place::new(&source, at - 8..at + 3), "no address");
        assert_eq!(
            text(&[fault], Colour::Off),
            "error: no address\n    \
             --> blocked.txt:5000:1\n     \
             |\n\
             5000 | 192.0.2.300\n     \
             | ^^^^^^^^^^^\n"
        );
    }

    #[test]
    fn what_was_folded_is_told_of_lists_with_such_entries_only() {
        let range = |text| IpRange::parse(text).expect("a range");
        let thousand = std::iter::repeat_n(range("192.0.2.1"), 1_205);
        let list = List::ip("blocked", thousand.chain([range("192.0.2.0/24")]));
        let said = "list blocked: 1,206 entries, 1,205 duplicates or inside wider ones";
        assert_eq!(folded(&list).as_deref(), Some(said));
        let said = "list bots: 3 entries, 1 duplicate";
        assert_eq!(folded(&List::string("bots", ["a", "b", "a"])).as_deref(), Some(said));
        assert_eq!(folded(&List::asn("own", [1, 2])), None);
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
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
