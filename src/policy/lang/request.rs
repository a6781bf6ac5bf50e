//! How what a field says is read from a request's head: arguments, cookies, header lines, extensions, the Referer.

use std::{borrow::Cow, cmp::Reverse};

use bumpalo::{Bump, collections::Vec};
use percent_encoding::percent_decode;

use super::{truth::Unknown, types::Datum};
use crate::policy::{facts::RequestFacts, normalize::HostName, site::HostPattern};

/// What an expression is asked about: a request, under one reading of its path.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The request.
    pub facts: &'a RequestFacts<'a>,
    /// The reading of the path being judged.
    pub path: &'a str,
    /// Where values that are made of others live.
    pub arena: &'a Bump,
    /// What of the request is not known.
    pub unknown: &'a Unknown<'a>,
}

impl<'a> Input<'a> {
    /// A request of which everything is known.
    pub fn new(facts: &'a RequestFacts<'a>, path: &'a str, arena: &'a Bump) -> Self {
        Self {
            facts,
            path,
            arena,
            unknown: Unknown::NOTHING,
        }
    }

    /// `/path?query`: the path as read, the query as sent.
    pub fn uri(&self) -> &'a str {
        let target = self.facts.target;
        if self.path == target.path() {
            return target.forwarded();
        }
        let query = target.forwarded().get(target.path().len()..).unwrap_or("");
        bumpalo::format!(in self.arena, "{}{}", self.path, query).into_bump_str()
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &'static str {
        if self.facts.tls { "https" } else { "http" }
    }

    /// The query as sent, without its `?`.
    pub fn raw_query(&self) -> &'a str {
        self.facts.target.raw().split_once('?').map_or("", |(_, query)| query)
    }

    /// What follows the last dot of the path's last segment.
    pub fn extension(&self) -> &'a str {
        extension_of(self.path)
    }

    /// The language tags that the client asks for, by descending weight (RFC 9110 §12.5.4).
    pub fn languages(&self) -> Datum<'a> {
        let lines = self.facts.headers.get_all(http::header::ACCEPT_LANGUAGE).iter();
        let ranges = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        let mut weighted = Vec::from_iter_in(ranges.filter_map(weighted).enumerate(), self.arena);
        weighted.sort_unstable_by_key(|(place, (_, weight))| (Reverse(*weight), *place));
        Datum::strings(weighted.iter().map(|(_, (tag, _))| *tag), self.arena)
    }

    /// A header's first line; empty when it is missing.
    pub fn first_header(&self, name: http::HeaderName) -> &'a [u8] {
        self.facts.headers.get(name).map_or(b"", |value| value.as_bytes())
    }

    /// A header's lines as one; empty when it is missing.
    pub fn joined_header(&self, name: http::HeaderName, separator: &str) -> &'a [u8] {
        let mut lines = self.facts.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
        let (Some(first), second) = (lines.next(), lines.next()) else {
            return b"";
        };
        let Some(second) = second else {
            return first;
        };
        let mut joined = Vec::from_iter_in(first.iter().copied(), self.arena);
        for line in std::iter::once(second).chain(lines) {
            joined.extend_from_slice(separator.as_bytes());
            joined.extend_from_slice(line);
        }
        joined.into_bump_slice()
    }

    /// The query's arguments, as sent.
    pub fn arguments(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        pairs(self.facts.target.query().as_bytes(), b'&')
    }

    /// The cookies of all Cookie lines.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let lines = self.facts.headers.get_all(http::header::COOKIE).iter();
        lines
            .flat_map(|line| pairs(line.as_bytes(), b';'))
            .map(|(name, value)| (name.trim_ascii(), value.trim_ascii()))
    }

    /// The host of the Referer; `None` when it is missing or no http(s) URL.
    pub fn referer_host(&self) -> Option<&'a str> {
        let host = referer_host(self.facts.headers.get(http::header::REFERER)?.as_bytes())?;
        Some(match host {
            Cow::Borrowed(host) => host,
            Cow::Owned(host) => self.arena.alloc_str(&host),
        })
    }

    /// Whether the Referer's host is the request's own, or one that the site names.
    pub fn referer_is_own(&self) -> bool {
        let Some(host) = self.referer_host() else {
            return false;
        };
        host == self.facts.host.name.as_str() || self.facts.site.hosts.iter().any(|pattern| names(pattern, host))
    }
}

/// What follows the last dot of a path's last segment. A dot at its beginning hides a file and begins no extension.
pub(super) fn extension_of(path: &str) -> &str {
    let segment = path.rsplit('/').next().unwrap_or("");
    let named = segment.strip_prefix('.').unwrap_or(segment);
    named.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// `de;q=0.8` as `de` and 800; nothing for what is not wanted and for `*`, which is no language.
fn weighted(range: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let tag = parts.next().filter(|tag| !tag.is_empty() && *tag != b"*")?;
    let weight = parts
        .find_map(|part| part.strip_prefix(b"q="))
        .map_or(1000, thousandths);
    (weight > 0).then_some((tag, weight))
}

/// A weight from `0` to `1` with at most three decimals; what is none counts as 0.
fn thousandths(weight: &[u8]) -> u16 {
    match weight {
        [b'1', ..] => 1000,
        [b'0', b'.', decimals @ ..] => {
            let digits = decimals.iter().map(|byte| u16::from(byte.saturating_sub(b'0').min(9)));
            digits.zip([100, 10, 1]).map(|(digit, unit)| digit * unit).sum()
        }
        _ => 0,
    }
}

/// `a=1&b=2` by pieces; a piece without `=` is a name with an empty value.
fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = Some(text);
    let pieces = std::iter::from_fn(move || {
        let text = rest?;
        let (piece, after) = match memchr::memchr(separator, text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        rest = after;
        Some(piece)
    });
    let filled = pieces.filter(|piece| !piece.trim_ascii().is_empty());
    filled.map(|piece| match memchr::memchr(b'=', piece) {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[][..]),
    })
}

/// Whether a name as sent is the one asked for, as it stands or percent-decoded: applications decode before they look.
pub(super) fn is_named(sent: &[u8], asked: &str) -> bool {
    sent == asked.as_bytes() || (is_form_encoded(sent) && form_decoded(sent).eq(asked.bytes()))
}

/// Whether decoding would change anything.
pub(in crate::policy) fn is_form_encoded(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b'%' | b'+'))
}

/// `%xx` and `+` as HTML forms mean them; what is no valid escape stays.
pub(in crate::policy) fn form_decoded(text: &[u8]) -> impl Iterator<Item = u8> {
    // A `+` that was encoded is a plus: runs between them are decoded apart.
    let mut runs = text.split(|byte| *byte == b'+').map(percent_decode);
    let first = runs.next().into_iter().flatten();
    first.chain(runs.flat_map(|run| std::iter::once(b' ').chain(run)))
}

/// `*` names no host: a site for every host has no own ones but the request's.
fn names(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => name.as_str() == host,
        HostPattern::Below(parent) => {
            let below = host
                .strip_suffix(parent.as_str())
                .and_then(|rest| rest.strip_suffix('.'));
            below.is_some_and(|label| !label.is_empty())
        }
        HostPattern::Any => false,
    }
}

/// Reads the authority as browsers do, so that nothing which leads elsewhere looks like ours: a backslash is a slash,
/// user information ends at the last `@`, the host ends at the port.
fn referer_host(referer: &[u8]) -> Option<Cow<'_, str>> {
    let referer = std::str::from_utf8(referer).ok()?;
    let (scheme, rest) = referer.trim_matches(|c: char| c <= ' ').split_once(':')?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let rest = rest.strip_prefix(['/', '\\'])?.strip_prefix(['/', '\\'])?;
    let authority = rest.split(['/', '\\', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let port = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let name = match host[port..].find(':') {
        Some(colon) => {
            let digits = &host[port + colon + 1..];
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            &host[..port + colon]
        }
        None => host,
    };
    HostName::canonical(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Request;

    fn host(referer: &str) -> String {
        referer_host(referer.as_bytes()).map_or(String::new(), |host| host.to_string())
    }

    #[test]
    fn a_referer_is_of_the_host_that_a_browser_would_go_to() {
        assert_eq!(host("https://Example.COM/page?x#y"), "example.com");
        assert_eq!(host("http://example.com:8080"), "example.com");
        assert_eq!(host("https://evil.example/?x=example.com"), "evil.example");
        assert_eq!(host("https://evil.example#@example.com"), "evil.example");
        assert_eq!(host("https://example.com@evil.example/"), "evil.example");
        assert_eq!(host("https://a@example.com@evil.example/"), "evil.example");
        assert_eq!(host(r"https://evil.example\@example.com/"), "evil.example");
        assert_eq!(host(r"https:\\evil.example\.example.com/"), "evil.example");
        assert_eq!(host("https://user:pw@example.com:443/"), "example.com");
    }

    #[test]
    fn what_is_no_url_has_no_host() {
        for referer in [
            "",
            "example.com",
            "//example.com/",
            "ftp://example.com/",
            "https:example.com",
            "https:///x",
            "about:blank",
        ] {
            assert_eq!(host(referer), "", "{referer}");
        }
        assert_eq!(host("https://example.com:80@evil/x"), "evil");
        assert_eq!(host("https://example.com:pw/"), "");
        assert_eq!(host("https://exa mple.com/"), "");
    }

    #[test]
    fn own_hosts_are_the_requests_and_the_sites_but_not_any_host() {
        let own = |request: Request, referer: &str| {
            let request = request.header("referer", referer);
            let (facts, arena) = (request.facts(), Bump::new());
            Input {
                facts: &facts,
                path: "/",
                arena: &arena,
                unknown: Unknown::NOTHING,
            }
            .referer_is_own()
        };
        let any = || Request::get("https://a.example/");
        let named = || any().site("main", &["b.example", "*.c.example"]);
        assert!(own(any(), "https://a.example/x"));
        assert!(!own(any(), "https://evil.example/"));
        assert!(own(named(), "https://b.example/"));
        assert!(own(named(), "https://x.y.c.example/"));
        assert!(!own(named(), "https://c.example/"));
        assert!(!own(named(), "https://evilc.example/"));
        assert!(!own(named(), "https://.c.example/"));
    }

    #[test]
    fn the_extension_is_of_the_last_segment() {
        let request = Request::get("/");
        let (facts, arena) = (request.facts(), Bump::new());
        let input = |path| Input {
            facts: &facts,
            path,
            arena: &arena,
            unknown: Unknown::NOTHING,
        };
        let extension = |path| input(path).extension();
        assert_eq!(extension("/a.b/c.tar.gz"), "gz");
        assert_eq!(extension("/a.b/c"), "");
        assert_eq!(extension("/.png"), "");
        assert_eq!(extension("/.foo.mp3"), "mp3");
        assert_eq!(extension("/foo."), "");
    }
}
