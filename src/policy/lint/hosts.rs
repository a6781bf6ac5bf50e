//! Hosts that are looked for in a way that other hosts pass as well.

use super::{
    anchors::{Anchored, is_anchored},
    examined::Examined,
    finding::{Check, Finding},
    leaves::{Leaf, Looks},
};
use crate::policy::{rule::Rule, site::HostPattern};

/// `contains` and regular expressions where a host was meant.
pub(super) fn hosts(examined: &Examined<'_>, rule: &Rule, leaf: &Leaf<'_>, findings: &mut Vec<Finding>) {
    let Some((field, _)) = leaf.field() else { return };
    let (what, instead) = match field {
        "http.host" => ("http.host", "http.host"),
        "http.referer" | "portcullis.referer.host" => (field, "portcullis.referer.host"),
        _ => return,
    };
    match leaf.looks() {
        Some(Looks::Contains(text)) if is_domain(text) => {
            let text = String::from_utf8_lossy(text);
            let domain = text
                .trim_start_matches("https://")
                .trim_start_matches("http://")
                .trim_start_matches('.');
            let domain = domain.split('/').next().unwrap_or_default();
            let finding = Finding::new(
                Check::HostContains,
                leaf.right.clone(),
                format!("`{what} contains \"{text}\"` is true of other hosts too"),
            )
            .of(rule)
            .label(format!("`{domain}.evil.example` contains it as well"))
            .help(format!(
                "write `{instead} eq \"{domain}\" or {instead} wildcard \"*.{domain}\"`"
            ));
            let any_host = examined
                .around
                .sites
                .iter()
                .any(|site| site.hosts.contains(&HostPattern::Any));
            findings.push(if what == "http.host" && !any_host {
                finding.hint()
            } else {
                finding
            });
        }
        Some(Looks::Matches(regex)) if what != "http.referer" => {
            let finding = |message: String, label: String| {
                Finding::new(Check::HostRegex, leaf.right.clone(), message)
                    .of(rule)
                    .label(label)
            };
            if let Some(dotted) = loose_dot(regex) {
                let other = dotted.replacen('.', "x", 1);
                findings.push(
                    finding(
                        "a dot in this regular expression is any character".to_owned(),
                        format!("`{other}` matches as well as `{dotted}`"),
                    )
                    .help(r"write `\.` for a dot, in a raw string: r`\.`".replace("r`\\.`", r#"`r"…\.…"`"#)),
                );
            } else if regex.contains(r"\.") && !is_anchored(regex, Anchored::BothEnds) {
                findings.push(
                    finding(
                        "this regular expression matches a part of the host".to_owned(),
                        "more may stand before or after it".to_owned(),
                    )
                    .help(r"begin it with `^` or `(^|\.)`, and end it with `$`"),
                );
            }
        }
        Some(_) | None => {}
    }
}

/// Whether a text looks like a domain: letters, digits and dots, and no file's name.
fn is_domain(text: &[u8]) -> bool {
    const FILES: [&str; 12] = [
        "php", "html", "htm", "asp", "aspx", "jsp", "js", "css", "png", "jpg", "xml", "txt",
    ];
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let text = text
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_start_matches("//");
    let host = text.split('/').next().unwrap_or_default().trim_start_matches('.');
    let Some((before, last)) = host.rsplit_once('.') else {
        return false;
    };
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !before.is_empty()
        && before.chars().all(label)
        && last.len() >= 2
        && last.chars().all(|c| c.is_ascii_alphabetic())
        && !FILES.contains(&last)
}

/// The stretch around a dot that stands between letters and is not escaped: `example.com`.
fn loose_dot(regex: &str) -> Option<String> {
    let mut escaped = false;
    let mut in_class = false;
    let bytes = regex.as_bytes();
    let is_name = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-');
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'.' if !in_class
                && at > 0
                && is_name(at - 1)
                && is_name(at + 1)
                && bytes.get(at.wrapping_sub(2)) != Some(&b'\\') =>
            {
                let quantified = bytes.get(at + 2).is_some_and(|b| b"*+?{".contains(b));
                let start = (0..at).rev().find(|at| !is_name(*at)).map_or(0, |before| before + 1);
                let end = (at + 1..bytes.len()).find(|at| !is_name(*at)).unwrap_or(bytes.len());
                if !quantified {
                    return regex.get(start..end).map(str::to_owned);
                }
            }
            _ => {}
        }
    }
    None
}
