//! The host of a request: one spelling for each host, and a refusal for everything that is not plainly one.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::Malformed;

/// The longest name that DNS can hold, without its trailing dot (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// The longest label of a name (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A host name, lower-cased, without a trailing dot or port; or an IP literal in its canonical spelling (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Parses a name without a port. `None`: not a host.
    ///
    /// Labels are letters, digits, `-` and `_`. A name whose last label is a number must be a dotted quad: resolvers and
    /// URL parsers read `127.1`, `2130706433` and `0x7f.1` as addresses, so such a name would have two meanings.
    pub fn parse(text: &str) -> Option<Self> {
        Self::canonical(text).map(|name| Self(name.into_owned()))
    }

    /// The name's one spelling, borrowed when it is written so.
    pub(in crate::policy) fn canonical(text: &str) -> Option<Cow<'_, str>> {
        if is_plain(text) {
            return Some(Cow::Borrowed(text));
        }
        Self::canonical_of_any(text)
    }

    /// The same for names of every kind.
    fn canonical_of_any(text: &str) -> Option<Cow<'_, str>> {
        if let Some(rest) = text.strip_prefix('[') {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            return Some(Cow::Owned(format!("[{address}]")));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return None;
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        if is_number(last) && name.parse::<Ipv4Addr>().is_err() {
            return None;
        }
        Some(if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is a name in its one spelling, as nearly all are: lower-case labels, the last of which begins with a letter
/// and so is no number.
fn is_plain(text: &str) -> bool {
    let mut label = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if (1..=MAX_LABEL).contains(&(at - label)) => label = at + 1,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            _ => return false,
        }
    }
    let last = text.get(label..).unwrap_or_default();
    text.len() <= MAX_NAME && last.len() <= MAX_LABEL && last.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(allowed)
}

/// What the URL standard calls a number at a host's end: decimal, octal, or hexadecimal after `0x`.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.unwrap_or(label)
        .bytes()
        .all(|b| b.is_ascii_digit() || (hex.is_some() && b.is_ascii_hexdigit()))
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The one valid host of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What rules and sites see.
    pub name: HostName,
    port: Option<u16>,
    /// Name and port, when there is a port.
    with_port: Option<String>,
}

impl Host {
    /// Parses a Host header or an authority: a name and perhaps a port. User information and an empty host are refused.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(as_sent: &str) -> Result<Self, Malformed> {
        const INVALID: Malformed = Malformed::new("invalid host");
        if as_sent.is_empty() {
            return Err(Malformed::new("empty host"));
        }
        if as_sent.contains('@') {
            return Err(Malformed::new("user information in the host"));
        }
        let name_len = match memchr::memchr2(b']', b':', as_sent.as_bytes()) {
            // The colons of an IPv6 address stand before its bracket.
            Some(_) if as_sent.starts_with('[') => as_sent.find(']').map_or(0, |bracket| bracket + 1),
            Some(end) => end,
            None => as_sent.len(),
        };
        let (name, port) = as_sent.split_at(name_len);
        let name = HostName::parse(name).ok_or(INVALID)?;
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits).ok_or(Malformed::new("invalid port in the host"))?),
            None if port.is_empty() => None,
            None => return Err(INVALID),
        };
        let with_port = port.map(|_| {
            let mut both = String::with_capacity(as_sent.len());
            both.push_str(name.as_str());
            both.push_str(&as_sent[name_len..]);
            both
        });
        Ok(Self { name, port, with_port })
    }

    /// The port that the client named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// What the origin gets: the judged name, with the port that the client sent. Not the client's spelling: an origin to
    /// which `example.com.` or `EXAMPLE.com` is another virtual host would serve what was not judged.
    pub fn authority(&self) -> &str {
        self.with_port.as_deref().unwrap_or(self.name.as_str())
    }
}

/// Digits only, no leading zero: one spelling for each port.
fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// An IP address in the spelling of a Host header or URL, if the name is one.
pub fn ip_literal(name: &HostName) -> Option<IpAddr> {
    let text = name.as_str();
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_name_is_canonical(name in "[a-z0-9-]{0,3}(\\.[a-zA-Z0-9_-]{0,3}){0,3}|[a-z]{60,66}(\\.[a-z]{60,66}){0,4}") {
            if is_plain(&name) {
                prop_assert_eq!(HostName::canonical_of_any(&name), Some(Cow::Borrowed(name.as_str())));
            }
        }
    }
}
