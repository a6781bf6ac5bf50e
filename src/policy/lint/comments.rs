//! `# lint: allow(id) reason`: silences a check for the table that follows, or for the line that it stands on.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::finding::{Check, Finding};
use crate::policy::{
    fault::{Faults, Place, Source, nearest},
    table,
};

/// One name in a comment, and what it silences.
struct Comment {
    place: Place,
    check: Check,
    reason: String,
    /// The bytes of the file whose findings it silences.
    covers: Range<usize>,
    used: bool,
}

const MARK: &str = "lint:";

/// Marks the findings that comments silence, and adds those about comments themselves.
pub(super) fn apply(sources: &[Arc<Source>], findings: &mut Vec<Finding>) {
    let mut said = Vec::new();
    for source in sources {
        let mut comments = read(source, &mut said);
        for finding in findings.iter_mut() {
            let silenced = comments.iter_mut().find(|comment| comment.silences(source, finding));
            if let Some(comment) = silenced {
                comment.used = true;
                finding.allowed = Some(comment.reason.clone());
            }
        }
        said.extend(comments.iter().filter(|comment| !comment.used).map(|comment| {
            let message = format!("this comment silences no `{}`", comment.check);
            Finding::new(Check::UnusedSuppression, comment.place.clone(), message)
                .label("nothing is found here")
                .help("remove the comment")
        }));
    }
    findings.extend(said);
}

impl Comment {
    fn silences(&self, source: &Arc<Source>, finding: &Finding) -> bool {
        let places = [&finding.place, &finding.table];
        let mut here = places
            .into_iter()
            .flatten()
            .filter(|place| Arc::ptr_eq(&place.source, source));
        self.check == finding.check && here.any(|place| self.covers.contains(&place.span.start))
    }
}

/// The comments of a file; what is wrong with them is said.
fn read(source: &Arc<Source>, said: &mut Vec<Finding>) -> Vec<Comment> {
    if !source.text.contains(MARK) {
        return Vec::new();
    }
    let document = table::parse(source, &mut Faults::new());
    let mut strings = Vec::new();
    strings_of_table(document.get_ref(), &mut strings);
    strings.sort_by_key(|span| span.start);
    let mut comments = Vec::new();
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        let bytes = start..start + line.len();
        start = bytes.end;
        let Some(hash) = comment_start(line, bytes.start, &strings) else {
            continue;
        };
        let text = line[hash + 1..].trim();
        let Some(rest) = text.strip_prefix(MARK) else { continue };
        let at = bytes.start + hash;
        let end = bytes.start + line.trim_end().len();
        let place = Place::new(source, at..end);
        let stands_alone = line[..hash].trim().is_empty();
        let covers = if stands_alone {
            what_follows(&source.text, bytes.end)
        } else {
            bytes.clone()
        };
        comments.extend(parse(rest.trim(), &place, &covers, said));
    }
    comments
}

/// Where the comment of a line begins: at the first `#` that is in no string.
fn comment_start(line: &str, offset: usize, strings: &[Range<usize>]) -> Option<usize> {
    let hashes = line.match_indices('#').map(|(at, _)| at);
    hashes.into_iter().find(|at| {
        let at = at + offset;
        let before = strings.partition_point(|span| span.start <= at);
        let inside = before.checked_sub(1).and_then(|last| strings.get(last));
        !inside.is_some_and(|span| span.contains(&at))
    })
}

/// The bytes that a comment on its own line is about: the whole table, if a table's header follows, else the next line.
fn what_follows(text: &str, from: usize) -> Range<usize> {
    let mut start = from;
    for line in text[from..].split_inclusive('\n') {
        let trimmed = line.trim();
        let end = start + line.len();
        if trimmed.starts_with('[') && is_header(trimmed) {
            let body = text[end..].split_inclusive('\n').scan(end, |at, line| {
                let begins = *at;
                *at += line.len();
                Some((begins, line))
            });
            let mut headers = body.filter(|(_, line)| is_header(line.trim()));
            return start..headers.next().map_or(text.len(), |(at, _)| at);
        }
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            return start..end;
        }
        start = end;
    }
    start..start
}

fn is_header(line: &str) -> bool {
    let named = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '"');
    line.strip_prefix("[[").or_else(|| line.strip_prefix('[')).is_some_and(named)
        && line.split('#').next().is_some_and(|code| code.trim_end().ends_with(']') && !code.contains([',', '=']))
        // An element of an array over several lines is in quotes, or a number.
        && !line.starts_with("[\"")
}

/// `allow(id, id) reason`
fn parse(text: &str, place: &Place, covers: &Range<usize>, said: &mut Vec<Finding>) -> Vec<Comment> {
    let mut wrong = |message: String, help: String| {
        said.push(Finding::new(Check::BadSuppression, place.clone(), message).help(help));
    };
    let ids = text
        .strip_prefix("allow(")
        .and_then(|rest| rest.split_once(')'))
        .filter(|(ids, _)| !ids.trim().is_empty());
    let Some((ids, reason)) = ids else {
        let message = "this comment is not understood".to_owned();
        wrong(
            message,
            "write `# lint: allow(id) reason`, with the id of a finding".to_owned(),
        );
        return Vec::new();
    };
    // A second `#` begins another comment.
    let reason = reason
        .split('#')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_start_matches([':', '-'])
        .trim();
    if reason.is_empty() {
        let message = "this comment gives no reason".to_owned();
        wrong(message, format!("write why after it: `# lint: allow({ids}) because …`"));
        return Vec::new();
    }
    let mut comments = Vec::new();
    for id in ids.split(',').map(str::trim) {
        match Check::named(id) {
            Some(check) => comments.push(Comment {
                place: place.clone(),
                check,
                reason: reason.to_owned(),
                covers: covers.clone(),
                used: false,
            }),
            None => {
                let near = nearest(id, Check::ALL.iter().map(|check| check.id()));
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`portcullis lint --list` names all checks".to_owned(),
                };
                wrong(format!("there is no check `{id}`"), help);
            }
        }
    }
    comments
}

fn strings_of_table(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        spans.push(key.span());
        strings_of(value, spans);
    }
}

fn strings_of(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(_) => spans.push(value.span()),
        DeValue::Array(items) => items.iter().for_each(|item| strings_of(item, spans)),
        DeValue::Table(table) => strings_of_table(table, spans),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}
