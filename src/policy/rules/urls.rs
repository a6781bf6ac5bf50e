//! URL patterns of `lockdown` and `hotlink`: `host/path`, where a leading `/` means every host and `*` any run of
//! characters, `/` included.

use crate::policy::{
    fault::Faults,
    site::HostPattern,
    table::{FromToml, Value},
};

use super::{
    hosts,
    text::{Condition, quoted},
};

/// A URL pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy) struct UrlPattern {
    /// The hosts; any when the pattern begins with `/`.
    pub(in crate::policy) host: HostPattern,
    /// The path with its wildcards, beginning with `/` or `*`; lower case, since letter case is not looked at.
    pub(in crate::policy) path: String,
}

/// Why a text is no URL pattern: what is wrong, and what to write.
struct NoPattern {
    message: String,
    help: String,
}

impl NoPattern {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

impl FromToml for UrlPattern {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let written = String::from_toml(value, faults)?;
        match parse(&written) {
            Ok(pattern) => Some(pattern),
            Err(NoPattern { message, help }) => {
                let expected = "host/path such as \"example.com/admin/*\", or \"/admin/*\" for every host";
                faults.push(value.invalid(message, expected).help(help));
                None
            }
        }
    }
}

fn parse(written: &str) -> Result<UrlPattern, NoPattern> {
    if let Some((scheme, rest)) = written.split_once("://") {
        return Err(NoPattern::new(
            format!("`{written}` has a scheme"),
            format!("leave `{scheme}://` out: write \"{rest}\""),
        ));
    }
    let Some(slash) = written.find('/') else {
        return Err(NoPattern::new(
            format!("`{written}` has no path"),
            match written {
                "" | "*" => "write \"/*\" for every URL".to_owned(),
                _ => format!("write \"{written}/*\" for a whole host, or \"/{written}\" for a path on every host"),
            },
        ));
    };
    let (host, path) = written.split_at(slash);
    let path = parse_path(host, path)?;
    match host {
        "" => Ok(UrlPattern {
            host: HostPattern::Any,
            path,
        }),
        // The run before the slash may reach into the path: `*/x` is every URL that ends in `/x`.
        "*" => Ok(UrlPattern {
            host: HostPattern::Any,
            path: format!("*{path}"),
        }),
        host => {
            let no_host = |help| NoPattern::new(format!("`{host}` is not a host"), help);
            let host = HostPattern::parse(host).map_err(no_host)?;
            Ok(UrlPattern { host, path })
        }
    }
}

/// Refuses what no canonical path contains: such a pattern would never match, and the path would stand open.
fn parse_path(host: &str, path: &str) -> Result<String, NoPattern> {
    for (mark, name) in [('?', "query"), ('#', "fragment")] {
        if let Some((before, _)) = path.split_once(mark) {
            return Err(NoPattern::new(
                format!("`{path}` has a {name}, which is not looked at"),
                format!("write \"{host}{before}\"; for the query there is [[rule]] with `http.request.uri.query`"),
            ));
        }
    }
    if path.contains('\\') || path.chars().any(char::is_control) {
        return Err(NoPattern::new(
            "a backslash or control character in a path",
            "requests with one are refused before any rule: leave it out",
        ));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(NoPattern::new(
            format!("`{path}` has a dot segment"),
            "paths are compared without `.` and `..`: write the path that they lead to",
        ));
    }
    if path.contains("//") {
        let merged = once(path, '/');
        return Err(NoPattern::new(
            format!("`{path}` has an empty segment"),
            format!("slashes are merged before rules look: write \"{host}{merged}\""),
        ));
    }
    if path.contains("**") {
        let single = once(path, '*');
        return Err(NoPattern::new(
            format!("`{path}` has two stars in a row"),
            format!("`**` means no more than `*`: write \"{host}{single}\""),
        ));
    }
    let plain = decoded_unreserved(path);
    if plain != path {
        return Err(NoPattern::new(
            format!("`{path}` is percent-encoded"),
            format!("paths are compared decoded: write \"{host}{plain}\""),
        ));
    }
    Ok(path.to_ascii_lowercase())
}

/// The path with every run of the character made one.
fn once(path: &str, run: char) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != run || !out.ends_with(run) {
            out.push(c);
        }
    }
    out
}

/// The path with the escapes of unreserved characters decoded (RFC 3986 §6.2.2.2), as in a canonical path.
fn decoded_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let byte = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~') => {
                out.push(c);
                rest = escape.get(3..).unwrap_or_default();
            }
            Some(_) | None => {
                out.push('%');
                rest = escape.get(1..).unwrap_or_default();
            }
        }
    }
    out + rest
}

/// The condition that the URL is one of these. `None`: there are none.
pub(in crate::policy) fn condition(patterns: &[UrlPattern]) -> Option<Condition> {
    let mut by_host: Vec<(&HostPattern, Vec<Condition>)> = Vec::new();
    for pattern in patterns {
        let path = Condition::single(format!("http.request.uri.path wildcard {}", quoted(&pattern.path)));
        match by_host.iter_mut().find(|(host, _)| **host == pattern.host) {
            Some((_, paths)) => paths.push(path),
            None => by_host.push((&pattern.host, vec![path])),
        }
    }
    Condition::any_of(by_host.into_iter().filter_map(|(host, paths)| {
        let host = hosts::condition(std::slice::from_ref(host));
        Some(Condition::any_of(paths)?.and(host))
    }))
}

/// Whether the wildcard pattern matches the whole of the text.
pub(super) fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(pattern) => format!("{} {}", pattern.host, pattern.path),
            Err(error) => format!("{}; {}", error.message, error.help),
        }
    }

    #[test]
    fn a_pattern_is_host_and_path() {
        assert_eq!(shown("/Admin/*"), "* /admin/*");
        assert_eq!(shown("example.com/"), "example.com /");
        assert_eq!(shown("*.example.com/wiki*"), "*.example.com /wiki*");
        assert_eq!(shown("*/x"), "* */x");
    }

    #[test]
    fn what_never_matches_is_a_fault_that_says_what_to_write() {
        for (text, expected) in [
            ("https://example.com/x", "leave `https://` out: write \"example.com/x\""),
            (
                "admin",
                "write \"admin/*\" for a whole host, or \"/admin\" for a path on every host",
            ),
            ("example.com:8443/x", "ports are not looked at: write \"example.com\""),
            (
                "/x?y=1",
                "write \"/x\"; for the query there is [[rule]] with `http.request.uri.query`",
            ),
            ("/%61dmin", "paths are compared decoded: write \"/admin\""),
            (
                "/a/../b",
                "paths are compared without `.` and `..`: write the path that they lead to",
            ),
            ("a.example//x///y", "before rules look: write \"a.example/x/y\""),
            ("/admin/**", "`**` means no more than `*`: write \"/admin/*\""),
        ] {
            let shown = shown(text);
            assert!(shown.ends_with(expected), "{text}: {shown}");
        }
        assert_eq!(shown("/a%20b"), "* /a%20b");
    }

    #[test]
    fn a_star_is_any_run() {
        for (pattern, text, expected) in [
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("/a*", "/a/b/c", true),
            ("*/x", "/a/x", true),
            ("/a*b*c", "/aXbYc", true),
            ("/a*b*c", "/aXc", false),
            ("/a", "/ab", false),
        ] {
            assert_eq!(wildcard_matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
