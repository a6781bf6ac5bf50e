//! Takes secrets out of what is logged of a URL.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Stands where a value was.
const REDACTED: &[u8] = b"REDACTED";

/// The query parameters whose values are never logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Redaction {
    /// In lower case.
    names: Vec<String>,
    /// A bit for each length that one of them has, modulo 64.
    lengths: u64,
}

impl Redaction {
    pub(crate) fn new(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| name.to_ascii_lowercase()).collect(),
            lengths: names.iter().fold(0, |bits, name| bits | 1 << (name.len() % 64)),
        }
    }

    /// The query without the values of listed parameters.
    pub(crate) fn query<'q>(&self, query: &'q [u8]) -> Cow<'q, [u8]> {
        let mut redacted: Option<Vec<u8>> = None;
        let mut done = 0;
        for (start, pair) in pairs(query) {
            let Some(equals) = memchr::memchr(b'=', pair) else {
                continue;
            };
            let name = pair.get(..equals).unwrap_or_default();
            let value = start + equals + 1;
            // To an origin that does not split at `;`, the value goes on until the next `&`.
            let length = before(query.get(value..).unwrap_or_default(), b"&").len();
            if start >= done && length > 0 && self.is_listed(name) {
                let shown = redacted.get_or_insert_default();
                shown.extend_from_slice(query.get(done..value).unwrap_or_default());
                shown.extend_from_slice(REDACTED);
                done = value + length;
            }
        }
        match redacted {
            None => Cow::Borrowed(query),
            Some(mut shown) => {
                shown.extend_from_slice(query.get(done..).unwrap_or_default());
                Cow::Owned(shown)
            }
        }
    }

    /// A path without the values of listed parameters: those after `;`, and those of what an origin that decodes once more
    /// takes for a query.
    pub(crate) fn path<'p>(&self, path: &'p [u8]) -> Cow<'p, [u8]> {
        // Most paths have none of these.
        if !path.iter().any(|byte| matches!(byte, b';' | b'?' | b'&' | b'%')) {
            return Cow::Borrowed(path);
        }
        let mut shown = Vec::new();
        let (mut done, mut at) = (0, 0);
        let mut name: Option<(u8, usize)> = None;
        while let Some((mark, after)) = mark(path, at) {
            match (mark, name) {
                (b';' | b'?' | b'&', _) => name = Some((mark, after)),
                (b'/', _) => name = None,
                (b'=', Some((separator, begin))) => {
                    name = None;
                    let end = value_end(path, after, separator);
                    if end > after && self.is_listed(path.get(begin..at).unwrap_or_default()) {
                        shown.extend_from_slice(path.get(done..after).unwrap_or_default());
                        shown.extend_from_slice(REDACTED);
                        done = end;
                        at = end;
                        continue;
                    }
                }
                (_, _) => {}
            }
            at = after;
        }
        if done == 0 {
            return Cow::Borrowed(path);
        }
        shown.extend_from_slice(path.get(done..).unwrap_or_default());
        Cow::Owned(shown)
    }

    /// A request target as sent: path and query redacted, no user and password, no fragment.
    pub(crate) fn target<'t>(&self, target: &'t [u8]) -> Cow<'t, [u8]> {
        let target = match without_user(before(target, b"#")) {
            Cow::Borrowed(target) => target,
            Cow::Owned(target) => return Cow::Owned(self.target(&target).into_owned()),
        };
        let sent = before(target, b"?");
        let path = self.path(sent);
        let Some(query) = target.get(sent.len() + 1..) else {
            return path;
        };
        match (path, self.query(query)) {
            (Cow::Borrowed(_), Cow::Borrowed(_)) => Cow::Borrowed(target),
            (path, query) => Cow::Owned([&*path, b"?", &*query].concat()),
        }
    }

    /// Whether a text that may be a URL holds what is not to be shown: a listed parameter's value, also in a fragment, or a
    /// user's password.
    pub(super) fn conceals(&self, text: &[u8]) -> bool {
        let url = before(text, b"#");
        let path = before(url, b"?");
        let parameters = [url.get(path.len() + 1..), text.get(url.len() + 1..)];
        matches!(without_user(url), Cow::Owned(_))
            || matches!(self.path(path), Cow::Owned(_))
            || parameters
                .into_iter()
                .flatten()
                .any(|part| matches!(self.query(part), Cow::Owned(_)))
    }

    /// Origins decode names before they look for them, and many read `a[b]` as a member.
    fn is_listed(&self, name: &[u8]) -> bool {
        // Nearly all names mean what they say, and have a length that no listed one has.
        let is_literal = !name.iter().any(|b| matches!(b, 0..=b' ' | b'%' | b'+' | b'[' | b']'));
        if is_literal {
            return self.lengths >> (name.len() % 64) & 1 != 0
                && self
                    .names
                    .iter()
                    .any(|listed| listed.as_bytes().eq_ignore_ascii_case(name));
        }
        let spaced: Cow<'_, [u8]> = match name.contains(&b'+') {
            false => Cow::Borrowed(name),
            true => Cow::Owned(name.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect()),
        };
        let decoded: Cow<'_, [u8]> = percent_decode(&spaced).into();
        decoded
            .split(|byte| matches!(byte, b'[' | b']'))
            .chain([&*decoded])
            .map(<[u8]>::trim_ascii)
            .any(|part| self.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(part)))
    }
}

/// The byte at a place in a path and where the next one begins; what separates parameters is the same encoded.
fn mark(path: &[u8], at: usize) -> Option<(u8, usize)> {
    let rest = path.get(at..)?;
    let (&first, _) = rest.split_first()?;
    let encoded = match rest {
        [b'%', b'3', b'b' | b'B', ..] => Some(b';'),
        [b'%', b'3', b'd' | b'D', ..] => Some(b'='),
        [b'%', b'3', b'f' | b'F', ..] => Some(b'?'),
        [b'%', b'2', b'6', ..] => Some(b'&'),
        _ => None,
    };
    Some(encoded.map_or((first, at + 1), |mark| (mark, at + 3)))
}

/// A value after `;` ends with its segment, one of a query with the pair: where both may be meant, the longer one.
fn value_end(path: &[u8], begin: usize, separator: u8) -> usize {
    let ends: &[u8] = if separator == b';' { b"/?" } else { b"&" };
    let mut at = begin;
    while let Some((mark, after)) = mark(path, at) {
        if ends.contains(&mark) {
            return at;
        }
        at = after;
    }
    at
}

/// Name-value pairs with where they begin. `;` separates too for some origins.
fn pairs(query: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    query.split(|byte| matches!(byte, b'&' | b';')).map(move |pair| {
        let at = start;
        start += pair.len() + 1;
        (at, pair)
    })
}

/// A Referer without query, fragment, user and password: where people came from, not what they typed there.
pub(crate) fn referer(referer: &[u8]) -> Cow<'_, [u8]> {
    without_user(before(referer, b"?#"))
}

fn before<'t>(text: &'t [u8], ends: &[u8]) -> &'t [u8] {
    let end = match *ends {
        [one] => memchr::memchr(one, text),
        [one, two] => memchr::memchr2(one, two, text),
        _ => text.iter().position(|byte| ends.contains(byte)),
    };
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

fn without_user(url: &[u8]) -> Cow<'_, [u8]> {
    // Without one there is nothing to take out, whatever else it is.
    if memchr::memchr(b'@', url).is_none() {
        return Cow::Borrowed(url);
    }
    let Some(scheme) = url.windows(3).position(|three| three == b"://") else {
        return Cow::Borrowed(url);
    };
    let (scheme, rest) = url.split_at(scheme + 3);
    if before(scheme, b"/?").len() + 2 < scheme.len() {
        return Cow::Borrowed(url);
    }
    let authority = before(rest, b"/?#\\");
    match authority.iter().rposition(|byte| *byte == b'@') {
        None => Cow::Borrowed(url),
        Some(at) => Cow::Owned([scheme, rest.get(at + 1..).unwrap_or_default()].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction() -> Redaction {
        Redaction::new(&["token".to_owned(), "Password".to_owned()])
    }

    fn query(text: &str) -> String {
        String::from_utf8_lossy(&redaction().query(text.as_bytes())).into_owned()
    }

    #[test]
    fn values_of_listed_parameters_are_never_shown_however_the_name_is_spelled() {
        for (sent, shown) in [
            ("a=1&token=s3cret&b=2", "a=1&token=REDACTED&b=2"),
            ("token=s3cret", "token=REDACTED"),
            ("TOKEN=s3cret;x", "TOKEN=REDACTED"),
            ("a=1;token=s3;cr=et&b", "a=1;token=REDACTED&b"),
            ("%74oken=s3cret", "%74oken=REDACTED"),
            ("user[password]=s3cret", "user[password]=REDACTED"),
            ("token%5B%5D=s3cret", "token%5B%5D=REDACTED"),
            ("+token=s3cret", "+token=REDACTED"),
            ("token=a=b&password=c", "token=REDACTED&password=REDACTED"),
        ] {
            assert_eq!(query(sent), shown);
        }
    }

    #[test]
    fn other_parameters_are_untouched() {
        for sent in ["", "a=1&b", "tokens=1&mytoken=2", "token", "token=", "&&=;"] {
            assert_eq!(query(sent), sent);
        }
    }

    #[test]
    fn parameters_in_paths_are_redacted_too() {
        for (sent, shown) in [
            ("/a;token=s3cret/b", "/a;token=REDACTED/b"),
            ("/a;x=1;TOKEN=s3;cret", "/a;x=1;TOKEN=REDACTED"),
            ("/a%3Ftoken=s3/cret&b=1", "/a%3Ftoken=REDACTED&b=1"),
            ("/a%3fx%3D1%26token%3ds3cret%26b", "/a%3fx%3D1%26token%3dREDACTED%26b"),
            ("/a?b=1&token=s3cret", "/a?b=1&token=REDACTED"),
            ("/a%3B%74oken=s3cret", "/a%3B%74oken=REDACTED"),
            ("/a;token=x/b;token=y/c", "/a;token=REDACTED/b;token=REDACTED/c"),
        ] {
            let found = redaction().path(sent.as_bytes()).into_owned();
            assert_eq!(String::from_utf8_lossy(&found), shown);
        }
    }

    #[test]
    fn other_paths_are_untouched() {
        for sent in [
            "/",
            "/token=x",
            "/a;v=1",
            "/a;token",
            "/a;token=",
            "/a;x/token=1",
            "/100%",
            "/a%3",
            "/%C3%BC?",
        ] {
            assert!(matches!(redaction().path(sent.as_bytes()), Cow::Borrowed(shown) if shown == sent.as_bytes()));
        }
    }

    #[test]
    fn targets_lose_secrets_users_and_fragments() {
        for (sent, shown) in [
            ("/a?token=x&b=1", "/a?token=REDACTED&b=1"),
            ("/a?b=1", "/a?b=1"),
            ("/a;token=x?b=1", "/a;token=REDACTED?b=1"),
            ("/a;token=x?token=y", "/a;token=REDACTED?token=REDACTED"),
            ("/a", "/a"),
            ("/a#token=x", "/a"),
            ("http://u:p@host/a?token=x", "http://host/a?token=REDACTED"),
            ("/a/http://u:p@host/", "/a/http://u:p@host/"),
        ] {
            let found = redaction().target(sent.as_bytes()).into_owned();
            assert_eq!(String::from_utf8_lossy(&found), shown);
        }
    }

    #[test]
    fn referers_are_shown_without_query_fragment_and_user() {
        for (sent, shown) in [
            ("https://u:p@other.example/a?token=x#y", "https://other.example/a"),
            ("https://other.example/a#y?z", "https://other.example/a"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(String::from_utf8_lossy(&referer(sent.as_bytes())), shown);
        }
    }
}
