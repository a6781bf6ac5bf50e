//! Ways to write a test that say something else than was meant: each is a way around a block, or into an allow.

use super::{
    anchors::{Anchored, is_anchored},
    claims::{broad, claimed, countries},
    examined::Examined,
    finding::{Check, Finding},
    hosts::hosts,
    leaves::{Leaf, Looks, leaves},
    matching::expression,
};
use crate::policy::{
    lang::ast::{Elementwise, Predicate},
    rule::{Action, Kind, Rule},
    table::Placed,
};

pub(super) fn find(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    for read in examined.entries().filter(|read| read.rule.enabled) {
        let Some(expression) = expression(examined, read.rule) else {
            if read.rule.kind == Kind::UserAgent && read.rule.action == Action::Block {
                let contains: Option<Vec<Placed<String>>> = examined.written.read(read.rule, "contains");
                for text in contains.into_iter().flatten() {
                    findings.extend(broad(read.rule, text.value.as_bytes(), &text.place));
                }
            }
            continue;
        };
        let leaves = leaves(&expression);
        for leaf in &leaves {
            hosts(examined, read.rule, leaf, findings);
            paths(read.rule, leaf, findings);
            if read.rule.action == Action::Block && leaf.wanted {
                blocks(read.rule, leaf, &leaves, findings);
                if let (Some(("http.user_agent", _)), Some(Looks::Contains(text))) = (leaf.field(), leaf.looks()) {
                    findings.extend(broad(read.rule, text, &leaf.right));
                }
            }
        }
        claimed(read.rule, &leaves, findings);
        countries(read, &leaves, findings);
    }
}

/// Prefixes and regular expressions on paths.
fn paths(rule: &Rule, leaf: &Leaf<'_>, findings: &mut Vec<Finding>) {
    if leaf.field().map(|(field, _)| field) != Some("http.request.uri.path") {
        return;
    }
    let opens = matches!(rule.action, Action::Allow | Action::Skip(_));
    match leaf.looks() {
        Some(Looks::Matches(regex)) if !is_anchored(regex, Anchored::Anywhere) => {
            // What begins like a path from the root was perhaps meant so; `\.php` was not.
            let like_a_path = regex
                .strip_prefix('/')
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
            if !opens && !like_a_path {
                return;
            }
            let finding = Finding::new(
                Check::PathRegex,
                leaf.right.clone(),
                "this regular expression matches anywhere in the path",
            )
            .of(rule)
            .label(match like_a_path {
                true => "`/any/folder` may stand before it, and anything after it",
                false => "anything may stand before and after it",
            })
            .help("begin it with `^`, and end it with `$` or `(/|$)`");
            findings.push(if opens { finding } else { finding.hint() });
        }
        Some(Looks::Starts(text)) => findings.extend(prefix(rule, leaf, text)),
        Some(Looks::Wildcard(wildcard)) => {
            let pieces: Vec<&[u8]> = wildcard.pieces().collect();
            if let [text, b""] = pieces.as_slice() {
                findings.extend(prefix(rule, leaf, text));
            }
        }
        Some(_) | None => {}
    }
}

fn prefix(rule: &Rule, leaf: &Leaf<'_>, text: &[u8]) -> Option<Finding> {
    let text = std::str::from_utf8(text).ok()?;
    let name = text.rsplit('/').next().filter(|_| text.starts_with('/'))?;
    let is_name = name.len() > 1 && name.chars().all(|c| c.is_ascii_alphabetic());
    let finding = is_name.then(|| {
        Finding::new(
            Check::PrefixWithoutSlash,
            leaf.right.clone(),
            format!("`{text}` is the beginning of `{text}-x` and `{text}x` too"),
        )
        .of(rule)
        .label("ends in the middle of a name")
    })?;
    Some(finding.help(format!(
        "if only that folder is meant: `(http.request.uri.path eq \"{text}\" or starts_with(http.request.uri.path, \"{text}/\"))`"
    )))
}

/// Ways around a block.
fn blocks(rule: &Rule, leaf: &Leaf<'_>, leaves: &[Leaf<'_>], findings: &mut Vec<Finding>) {
    let Some((field, key)) = leaf.field() else { return };
    let about_same = |other: &&Leaf<'_>| other.field().is_some_and(|(name, other)| name == field && other == key);
    if key.is_some()
        && is_inequality(leaf)
        && leaves.iter().filter(about_same).count() == 1
        && !asks_for_key(leaves, key)
    {
        let name = key.unwrap_or_default();
        findings.push(
            Finding::new(
                Check::AbsentNe,
                leaf.place.clone(),
                format!("`{}` lets requests without `{name}` pass", rule.id),
            )
            .of(rule)
            .label("does not hold when the value is absent")
            .help("write `not … eq …` instead of `… ne …`: it holds without the value too"),
        );
    }
    let reads_path = leaves
        .iter()
        .any(|leaf| leaf.field().is_some_and(|(field, _)| field == "http.request.uri.path"));
    match field {
        "http.request.uri" | "raw.http.request.uri" | "http.request.full_uri" | "raw.http.request.full_uri"
            if leaf.looks().is_some_and(ends_there) =>
        {
            findings.push(
                Finding::new(
                    Check::QueryEvades,
                    leaf.right.clone(),
                    format!("any query evades `{}`: `?x` at the end of the URL", rule.id),
                )
                .of(rule)
                .label("the URL must end here, but a query may follow")
                .help("compare `http.request.uri.path`; the query is `http.request.uri.query`"),
            );
        }
        "raw.http.request.uri.path" | "raw.http.request.uri.path.extension" | "raw.http.request.uri"
            if !reads_path && leaf.looks().is_some_and(is_plain) =>
        {
            findings.push(
                Finding::new(
                    Check::RawPath,
                    leaf.place.clone(),
                    format!("an encoded letter evades `{}`: `%61` is `a`", rule.id),
                )
                .of(rule)
                .label("compares the path as sent")
                .help(format!("compare `{}`", field.trim_start_matches("raw."))),
            );
        }
        _ => {}
    }
}

fn asks_for_key(leaves: &[Leaf<'_>], key: Option<&str>) -> bool {
    let name = format!("\"{}\"", key.unwrap_or_default());
    leaves.iter().any(|leaf| {
        let text = leaf.predicate.to_string();
        text.starts_with("has_key(") && text.contains(&name)
    })
}

/// `ne`, and `not` inside `any` or `all`: none of them holds of what is absent. `ne ""` asks whether it is there.
fn is_inequality(leaf: &Leaf<'_>) -> bool {
    match (leaf.predicate, leaf.looks()) {
        (Predicate::Quantified(_, Elementwise::Not(_)), _) => true,
        (_, Some(Looks::Not(text))) => !text.is_empty(),
        (_, _) => false,
    }
}

/// Whether a text must end where the test ends, so that a query makes it another.
fn ends_there(looks: Looks<'_>) -> bool {
    let no_query = |text: &[u8]| !text.contains(&b'?') && !text.is_empty();
    match looks {
        Looks::Equals(text) | Looks::Ends(text) => no_query(text),
        Looks::OneOf(texts) => texts.iter().any(|text| no_query(text)),
        Looks::Wildcard(wildcard) => {
            let pieces: Vec<&[u8]> = wildcard.pieces().collect();
            pieces.last().is_some_and(|last| !last.is_empty()) && pieces.iter().all(|piece| !piece.contains(&b'?'))
        }
        Looks::Matches(regex) => {
            is_anchored(regex, Anchored::AtEnd)
                && !regex.contains(r"\?")
                && !regex.contains(".*")
                && !regex.contains("[?")
        }
        Looks::Not(_) | Looks::Contains(_) | Looks::Starts(_) => false,
    }
}

/// Whether it looks for letters that could be sent encoded, and for nothing that only the path as sent has.
fn is_plain(looks: Looks<'_>) -> bool {
    let plain = |text: &[u8]| {
        let letters = text.iter().any(u8::is_ascii_alphanumeric);
        let as_sent = [&b"//"[..], b"/./", b"..", b"%"]
            .iter()
            .any(|mark| memchr::memmem::find(text, mark).is_some());
        letters && !as_sent && text.iter().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(b))
    };
    match looks {
        Looks::Equals(text) | Looks::Contains(text) | Looks::Starts(text) | Looks::Ends(text) => plain(text),
        Looks::OneOf(texts) => texts.iter().all(|text| plain(text)),
        Looks::Wildcard(wildcard) => {
            let mut pieces = wildcard.pieces().filter(|piece| !piece.is_empty()).peekable();
            pieces.peek().is_some() && pieces.all(|piece| plain(piece) || piece == b"/") && wildcard.pieces().any(plain)
        }
        Looks::Matches(_) | Looks::Not(_) => false,
    }
}
