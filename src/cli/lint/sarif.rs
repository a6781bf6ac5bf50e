//! Findings as SARIF 2.1.0, what editors and code hosts read (OASIS, Static Analysis Results Interchange Format).

use std::path::{Component, Path};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::policy::{
    fault::Place,
    lint::{Check, Finding, Severity},
};

/// What may stand in a URI's path as it is (RFC 3986 §3.3).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'+')
    .remove(b'@');

/// The whole log: one run, with every check as a rule.
pub(super) fn log(findings: &[Finding]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portcullis",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": Check::ALL.iter().map(|check| rule(*check)).collect::<Vec<_>>(),
            } },
            // Columns count characters.
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(check: Check) -> Value {
    json!({
        "id": check.id(),
        "name": camel(check.id()),
        "shortDescription": { "text": check.summary() },
        "fullDescription": { "text": check.summary() },
        "help": { "text": check.fix() },
        "defaultConfiguration": { "level": level(check.severity()), "enabled": !check.is_opt_in() },
    })
}

/// `shadowed-item` as `ShadowedItem`.
fn camel(id: &str) -> String {
    let words = id.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn result(finding: &Finding) -> Value {
    let index = Check::ALL.iter().position(|check| *check == finding.check);
    let mut result = json!({
        "ruleId": finding.check.id(),
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": message(finding) },
        "locations": finding.place.iter().map(|place| json!({ "physicalLocation": location(place) })).collect::<Vec<_>>(),
    });
    let related: Vec<Value> = finding
        .related
        .iter()
        .enumerate()
        .map(|(id, related)| {
            json!({
                "id": id,
                "physicalLocation": location(&related.place),
                "message": { "text": related.message },
            })
        })
        .collect();
    if let Some(members) = result.as_object_mut() {
        if !related.is_empty() {
            members.insert("relatedLocations".to_owned(), related.into());
        }
        if let Some(reason) = &finding.allowed {
            let suppression = json!([{ "kind": "inSource", "justification": reason }]);
            members.insert("suppressions".to_owned(), suppression);
        }
        // The same finding in the next run, though lines have moved.
        let about = finding.rule.as_ref().map_or("", |rule| rule.as_str());
        let print = format!("{}:{about}:{}", finding.check, finding.message);
        members.insert("partialFingerprints".to_owned(), json!({ "finding/v1": print }));
    }
    result
}

/// The sentence, what stands under the caret, and what to do.
fn message(finding: &Finding) -> String {
    let mut text = finding.message.clone();
    if !finding.label.is_empty() {
        text = format!("{text}: {}", finding.label);
    }
    let help = finding.help.iter().map(|help| format!(" Help: {help}."));
    format!("{text}.{}", help.collect::<String>())
}

fn location(place: &Place) -> Value {
    let (line, column) = place.line_column();
    let end = Place::new(&place.source, shown_end(place)..place.span.end);
    let (end_line, end_column) = end.line_column();
    json!({
        "artifactLocation": { "uri": uri(&place.source.name) },
        "region": {
            "startLine": line,
            "startColumn": column,
            "endLine": end_line,
            "endColumn": end_column,
        },
    })
}

/// The end of what is marked: of several lines, that of the first.
fn shown_end(place: &Place) -> usize {
    let marked = place.source.text.get(place.span.clone()).unwrap_or_default();
    let first = marked.lines().next().unwrap_or_default();
    place.span.start + first.len()
}

/// A relative reference, from where the program was started, without dot segments where they can be resolved; `file:` for an
/// absolute path.
fn uri(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str().unwrap_or_default()),
            Component::ParentDir if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            Component::ParentDir => parts.push(".."),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let path = utf8_percent_encode(&parts.join("/"), PATH).to_string();
    if Path::new(name).is_absolute() {
        format!("file:///{path}")
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_references() {
        assert_eq!(uri("config/../rules/a b.toml"), "rules/a%20b.toml");
        assert_eq!(uri("./rules/10.toml"), "rules/10.toml");
        assert_eq!(uri("../rules/10.toml"), "../rules/10.toml");
        assert_eq!(
            uri("/etc/portcullis/rules/10.toml"),
            "file:///etc/portcullis/rules/10.toml"
        );
    }
}
