//! Finds values that a field can never have: a comparison that never holds is a rule that does nothing, or a `not` that
//! lets everyone in.

use super::{
    diagnostics::Diagnostic,
    environment::Environment,
    fields::Sort,
    syntax::Span,
    wildcard::{Case, Wildcard},
};
use crate::policy::{countries, fault::nearest, normalize::HostName, user_agents::Category};

/// Why a string can never be what a field of this sort says, if so.
pub(super) fn value(sort: Sort, text: &[u8], span: &Span, environment: &Environment<'_>) -> Option<Diagnostic> {
    let text = String::from_utf8_lossy(text);
    let fault = |message: &str, help: String| Some(Diagnostic::new(span.clone(), message).help(help));
    match sort {
        Sort::Country => match countries::country(&text) {
            Ok(_) if text == "T1" && !environment.geo.tor => fault(
                "no list of Tor exits is configured",
                "set `tor = \"$list\"` in [geoip]".to_owned(),
            ),
            Ok(_) => None,
            Err(error) => fault(&error.message, error.help),
        },
        Sort::Continent => countries::continent(&text)
            .err()
            .and_then(|error| fault(&error.message, error.help)),
        Sort::Host if text.is_empty() || HostName::parse(&text).is_some_and(|name| name.as_str() == text) => None,
        Sort::Host => {
            let host = text
                .rsplit("://")
                .next()
                .unwrap_or("")
                .split(['/', ':'])
                .next()
                .unwrap_or("");
            let help = match HostName::parse(host) {
                Some(name) => format!("write \"{name}\""),
                None => "write a name such as \"example.com\"; patterns are for `wildcard`".to_owned(),
            };
            fault("a host is lower-case, without scheme, port, path or trailing dot", help)
        }
        Sort::Method if text.bytes().any(|b| b.is_ascii_lowercase()) => fault(
            "methods are upper-case",
            format!("write \"{}\"", text.to_ascii_uppercase()),
        ),
        Sort::Version if !VERSIONS.contains(&&*text) => fault(
            "there is no such version of HTTP",
            format!("versions are {}", VERSIONS.join(", ")),
        ),
        Sort::Path | Sort::Target if text.contains("://") && !text.starts_with('/') => fault(
            "a path begins with a slash",
            "compare `http.request.full_uri`, which is the whole URL".to_owned(),
        ),
        Sort::Path | Sort::Target if !text.starts_with('/') => {
            fault("a path begins with a slash", format!("write \"/{text}\""))
        }
        Sort::Path => path(&text, true, span),
        Sort::Lower | Sort::Upper => cased(sort, &text, span),
        Sort::Extension if text.starts_with('.') || text.bytes().any(|b| b.is_ascii_uppercase()) => fault(
            "extensions are lower-case, without the dot",
            format!("write \"{}\"", text.trim_start_matches('.').to_ascii_lowercase()),
        ),
        Sort::Site => {
            let sites = environment
                .sites
                .filter(|sites| !sites.iter().any(|site| *site == text))?;
            let fault = Diagnostic::new(span.clone(), format!("there is no site \"{text}\""));
            Some(match nearest(&text, sites.iter().map(String::as_str)) {
                Some(site) => fault.help(format!("did you mean \"{site}\"?")),
                None => fault.help(format!("sites are {}", sites.join(", "))),
            })
        }
        Sort::Category if !text.is_empty() && Category::parse(&text).is_none() => {
            let known = Category::ALL.map(Category::as_str).join(", ");
            fault(
                &format!("there is no category \"{text}\""),
                format!("categories are {known}"),
            )
        }
        Sort::Any | Sort::Asn | Sort::Method | Sort::Version | Sort::Target | Sort::Extension | Sort::Category => None,
    }
}

/// Which part of a string is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Start,
    End,
    Anywhere,
}

/// Why a string can never be part of what a field of this sort says, if so.
pub(super) fn part(sort: Sort, part: Part, text: &[u8], span: &Span) -> Option<Diagnostic> {
    let upper = text.iter().any(u8::is_ascii_uppercase);
    let text = String::from_utf8_lossy(text);
    let fault = |message: &str, help: String| Some(Diagnostic::new(span.clone(), message).help(help));
    match sort {
        Sort::Host if text.contains('*') => fault(
            "a host holds no `*`",
            format!("patterns are for `wildcard`: write `wildcard \"{text}\"`"),
        ),
        Sort::Host | Sort::Extension if upper => fault(
            "this field is always lower-case",
            format!("write \"{}\"", text.to_ascii_lowercase()),
        ),
        Sort::Path | Sort::Target if part == Part::Start && !text.starts_with('/') => {
            fault("a path begins with a slash", format!("write \"/{text}\""))
        }
        Sort::Path => path(&text, part == Part::End, span),
        Sort::Lower | Sort::Upper => cased(sort, &text, span),
        Sort::Any
        | Sort::Country
        | Sort::Continent
        | Sort::Asn
        | Sort::Host
        | Sort::Method
        | Sort::Version
        | Sort::Target
        | Sort::Extension
        | Sort::Site
        | Sort::Category => None,
    }
}

/// Why no text that matches the pattern can ever be what a field of this sort says, if so.
pub(super) fn pattern(sort: Sort, wildcard: &Wildcard, span: &Span) -> Option<Diagnostic> {
    let pattern = wildcard.pattern();
    let text = String::from_utf8_lossy(&pattern);
    if matches!(sort, Sort::Path | Sort::Target) && !text.starts_with(['/', '*']) {
        return Some(
            Diagnostic::new(span.clone(), "a path begins with a slash").help("begin the pattern with `/`, or with `*`"),
        );
    }
    if sort == Sort::Path {
        return path(&text, !text.ends_with('*'), span);
    }
    match wildcard.case() {
        Case::Sensitive => cased(sort, &text, span),
        Case::Insensitive => None,
    }
}

/// Why no path holds this text, if so; `ends` says that the path ends with it. Every reading is decoded or canonical, and
/// never holds a dot segment. A `//` stays on sites that do not merge slashes, so it is possible.
fn path(text: &str, ends: bool, span: &Span) -> Option<Diagnostic> {
    let fault = |message: String, help: String| Some(Diagnostic::new(span.clone(), message).help(help));
    if text.contains('?') {
        return fault(
            "a path holds no query".to_owned(),
            "compare `http.request.uri.query`, or `http.request.uri`, which is both; an encoded question mark is `%3F`"
                .to_owned(),
        );
    }
    let dots = |segment: &str| segment == "." || segment == "..";
    let mut segments = text.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        if dots(segment) && (ends || segments.peek().is_some()) {
            return fault(
                format!("a path never holds `/{segment}`"),
                "dot segments are removed before rules are asked: write the path that they lead to".to_owned(),
            );
        }
    }
    let (written, plain) = encoded_unreserved(text)?;
    fault(
        format!("`{written}` is decoded before rules are asked"),
        format!("write \"{plain}\""),
    )
}

/// The first `%xx` that stands for a letter, a digit or one of `-._~`, with that character.
fn encoded_unreserved(text: &str) -> Option<(&str, char)> {
    let encoded = text.match_indices('%').filter_map(|(at, _)| text.get(at..at + 3));
    encoded
        .filter_map(|encoded| {
            let byte = u8::from_str_radix(&encoded[1..], 16).ok()?;
            Some((encoded, char::from(byte)))
        })
        .find(|(_, c)| c.is_ascii_alphanumeric() || "-._~".contains(*c))
}

/// Why a text that was made lower-case (or upper-case) never holds this one, if so.
fn cased(sort: Sort, text: &str, span: &Span) -> Option<Diagnostic> {
    let (case, fitting) = if sort == Sort::Lower {
        ("lower", text.to_ascii_lowercase())
    } else if sort == Sort::Upper {
        ("upper", text.to_ascii_uppercase())
    } else {
        return None;
    };
    (fitting != text).then(|| {
        Diagnostic::new(span.clone(), format!("the left side is always {case}-case"))
            .help(format!("write \"{}\"", fitting.escape_debug()))
    })
}

const VERSIONS: [&str; 4] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"];
