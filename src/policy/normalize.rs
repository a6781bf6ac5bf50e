//! What a request's host and path are, and everything that an origin may read them as.
//!
//! Refuses what is ambiguous (DESIGN: "ambiguous is refused, or judged under every reading") instead of repairing it.

use std::{fmt, net::IpAddr};

/// A host name, lower-cased, without a trailing dot or port; or an IP literal (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Parses a name without a port. `None`: not a host (empty, bad character, label over 63 or name over 253 bytes).
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let valid = !name.is_empty()
            && name.len() <= 253
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        valid.then_some(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
    /// What the origin gets: as the client sent it, port included.
    pub as_sent: String,
}

/// A request's path and query, canonical and raw, with all readings of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    raw: String,
    raw_path_len: usize,
    forwarded: String,
    path_len: usize,
    other_readings: Vec<String>,
}

impl Target {
    /// Parses origin-form `path?query` as sent.
    ///
    /// # Errors
    /// What is malformed or ambiguous, in a few words.
    pub fn parse(raw: &str, options: PathOptions) -> Result<Self, Malformed> {
        let _ = options;
        let path_len = raw.find('?').unwrap_or(raw.len());
        Ok(Self {
            raw: raw.to_owned(),
            raw_path_len: path_len,
            forwarded: raw.to_owned(),
            path_len,
            other_readings: Vec::new(),
        })
    }

    /// Path and query as the client sent them.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The path as the client sent it.
    pub fn raw_path(&self) -> &str {
        &self.raw[..self.raw_path_len]
    }

    /// What is forwarded: the canonical path with the query as sent.
    pub fn forwarded(&self) -> &str {
        &self.forwarded
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        &self.forwarded[..self.path_len]
    }

    /// The query without its `?`, never rewritten; empty when there is none.
    pub fn query(&self) -> &str {
        self.forwarded.get(self.path_len + 1..).unwrap_or("")
    }

    /// What else an origin may read the path as; the canonical path is not among them. Mostly empty.
    pub fn other_readings(&self) -> &[String] {
        &self.other_readings
    }
}

/// A site's choices for applications that need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathOptions {
    /// `encoded_slashes = "keep"`: `%2F` stays instead of being refused.
    pub keep_encoded_slashes: bool,
    /// `merge_slashes = false`: `//` stays.
    pub merge_slashes: bool,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            keep_encoded_slashes: false,
            merge_slashes: true,
        }
    }
}

/// Why a request is refused before any rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, for the client and the log.
    pub detail: &'static str,
}

/// An IP address in the spelling of a Host header or URL, if the name is one.
pub fn ip_literal(name: &HostName) -> Option<IpAddr> {
    let text = name.as_str();
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text)
        .parse()
        .ok()
}
