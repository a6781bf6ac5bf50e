//! What a request's host and path are, and everything that an origin may read them as.
//!
//! Owns the canonical form of both and the refusal of what has none. Refuses to repair: what is ambiguous is an error, or
//! is judged under every reading.

mod changes;
mod host;
mod path;
mod readings;

pub use host::{Host, HostName, ip_literal};
pub use path::PathOptions;
pub use readings::{MAX_DECODING_ROUNDS, MAX_READINGS};

/// A request's path and query, canonical and raw, with all readings of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    raw: String,
    raw_path_len: usize,
    /// `None` when what was sent is canonical already, as nearly always.
    rewritten: Option<String>,
    path_len: usize,
    other_readings: Vec<String>,
}

impl Target {
    /// Parses origin-form `path?query` as sent.
    ///
    /// # Errors
    /// What is malformed or ambiguous, in a few words.
    pub fn parse(raw: &str, options: PathOptions) -> Result<Self, Malformed> {
        let raw_path_len = memchr::memchr(b'?', raw.as_bytes()).unwrap_or(raw.len());
        let (raw_path, query) = raw.split_at(raw_path_len);
        check_query(query)?;
        if path::is_plain(raw_path) {
            return Ok(Self {
                raw_path_len,
                rewritten: None,
                path_len: raw_path_len,
                other_readings: Vec::new(),
                raw: raw.to_owned(),
            });
        }
        let canonical = path::canonical(raw_path, options)?;
        let other_readings = readings::others(&canonical, options)?;
        let path_len = canonical.len();
        let rewritten = (canonical != raw_path).then(|| format!("{canonical}{query}"));
        Ok(Self {
            raw_path_len,
            rewritten,
            path_len,
            other_readings,
            raw: raw.to_owned(),
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
        self.rewritten.as_ref().unwrap_or(&self.raw)
    }

    /// The canonical path.
    pub fn path(&self) -> &str {
        &self.forwarded()[..self.path_len]
    }

    /// The query without its `?`, never rewritten; empty when there is none.
    pub fn query(&self) -> &str {
        self.forwarded().get(self.path_len + 1..).unwrap_or("")
    }

    /// What else an origin may read the path as; the canonical path is not among them. Mostly empty.
    pub fn other_readings(&self) -> &[String] {
        &self.other_readings
    }
}

/// The query goes to the origin as sent, so it may hold nothing that ends a request line or that two parsers could cut
/// in different places. Its percent-encoding is the application's business.
fn check_query(query: &str) -> Result<(), Malformed> {
    for byte in query.bytes() {
        match byte {
            0..=b' ' | 0x7f => return Err(Malformed::new("control character or space in the query")),
            0x80.. => return Err(Malformed::new("raw non-ASCII byte in the query")),
            b'#' => return Err(Malformed::new("fragment in the request target")),
            _ => {}
        }
    }
    Ok(())
}

/// Why a request is refused before any rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Malformed {
    /// What is wrong, for the client and the log.
    pub detail: &'static str,
}

impl Malformed {
    /// The request is malformed in the way that `detail` says.
    pub const fn new(detail: &'static str) -> Self {
        Self { detail }
    }
}

#[cfg(test)]
mod tests;
