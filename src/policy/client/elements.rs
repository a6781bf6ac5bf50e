//! The elements of the headers in which proxies name their clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderValue;

use crate::policy::{network::IpSet, normalize::Malformed};

/// A list's elements, the last first.
pub(super) fn from_right(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().rsplit(|byte| *byte == b',')
}

/// An address as proxies write it: bare, in brackets, or with a port, which is dropped. `None`: no address.
pub(super) fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    if let Some(rest) = text.strip_prefix('[') {
        let (v6, port) = rest.split_once(']')?;
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return v6.parse().ok().filter(|_| port_is_fine).map(|v6: Ipv6Addr| v6.into());
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (v4, port) = text.split_once(':')?;
    v4.parse().ok().filter(|_| is_port(port)).map(|v4: Ipv4Addr| v4.into())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// One element of RFC 7239's `Forwarded`: what one proxy says of who asked it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Forwarded<'h> {
    node: Option<&'h str>,
    /// How that one asked.
    pub(super) proto: Option<&'h str>,
}

impl Forwarded<'_> {
    /// Who asked; `None` when it is hidden (`unknown`, `_name`) or not said.
    pub(super) fn client(&self) -> Option<IpAddr> {
        address(self.node?.as_bytes())
    }

    /// Whether who asked is one of these.
    pub(super) fn is_by_one_of(&self, trusted: &IpSet) -> bool {
        self.client().is_some_and(|address| trusted.contains(address))
    }
}

/// All elements of all lines. Unlike a plain list it cannot be read from the right alone: a quote opened by a forger on
/// the left would swallow what a proxy appended, so an element that does not parse anywhere is an error.
pub(super) fn forwarded<'h>(lines: impl Iterator<Item = &'h HeaderValue>) -> Result<Vec<Forwarded<'h>>, Malformed> {
    const INVALID: Malformed = Malformed::new("invalid Forwarded header");
    let mut elements = Vec::new();
    for line in lines {
        let text = line.to_str().map_err(|_| INVALID)?;
        for element in split_unquoted(text, ',').ok_or(INVALID)? {
            elements.push(forwarded_element(element).ok_or(INVALID)?);
        }
    }
    Ok(elements)
}

fn forwarded_element(text: &str) -> Option<Forwarded<'_>> {
    let mut element = Forwarded::default();
    for pair in split_unquoted(text, ';')? {
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value)?;
        let slot = if name.eq_ignore_ascii_case("for") {
            &mut element.node
        } else if name.eq_ignore_ascii_case("proto") {
            &mut element.proto
        } else {
            continue;
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    Some(element)
}

/// A token, or a quoted string's inside. No address needs an escape, so a string with one is not taken apart.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.is_empty() && !inner.contains('"')).then_some(inner)
}

/// The trimmed parts between separators that stand outside quotes. `None`: a quote is left open, or a part is empty.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut quoted, mut escaped, mut start) = (false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(text[start..at].trim_matches([' ', '\t']));
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim_matches([' ', '\t']));
    (!quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}
