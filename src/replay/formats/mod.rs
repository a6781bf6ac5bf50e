//! The logs that can be read, and how they are told apart: by their first lines, unless somebody names them.

mod alb;
mod caddy;
mod common;
mod haproxy;
mod json;
pub mod ours;
mod prefix;
mod request_line;
mod time;
mod traefik;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use clap::ValueEnum;

use super::record::Record;

/// A log that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Format {
    /// Portcullis' access records as JSON
    Json,
    /// Portcullis' access records as text
    Text,
    /// nginx and Apache: common, combined, vhost_combined, and what has more behind it
    Combined,
    /// Caddy's access log as JSON
    Caddy,
    /// Traefik's access log as JSON
    Traefik,
    /// HAProxy's `option httplog`
    Haproxy,
    /// AWS Application Load Balancer
    Alb,
}

/// Why a line is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

impl Format {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 7] = [
        Self::Json,
        Self::Text,
        Self::Combined,
        Self::Caddy,
        Self::Traefik,
        Self::Haproxy,
        Self::Alb,
    ];

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "Portcullis JSON",
            Self::Text => "Portcullis text",
            Self::Combined => "combined (nginx, Apache)",
            Self::Caddy => "Caddy JSON",
            Self::Traefik => "Traefik JSON",
            Self::Haproxy => "HAProxy httplog",
            Self::Alb => "AWS ALB",
        }
    }

    /// The format that reads most of these lines; `None`: none reads any.
    pub fn detect<'l>(lines: impl Iterator<Item = &'l str> + Clone) -> Option<Self> {
        let read = |format: Self| lines.clone().filter(|line| format.read(line).is_ok()).count();
        let counted = Self::ALL.map(|format| (read(format), format));
        // Of equal ones the first.
        let best = counted.into_iter().rev().max_by_key(|(read, _)| *read)?;
        (best.0 > 0).then_some(best.1)
    }

    /// Reads a line, also one that a collector put its own words before.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn read(self, line: &str) -> Result<Record<'_>, Unreadable> {
        match self {
            Self::Json | Self::Caddy | Self::Traefik => match memchr::memchr(b'{', line.as_bytes()) {
                Some(object) => self.read_bare(&line[object..]),
                None => Err(Unreadable("no JSON object")),
            },
            Self::Text | Self::Combined | Self::Haproxy | Self::Alb => self.read_bare(line).or_else(|unreadable| {
                let without = prefix::without(line).ok_or(unreadable)?;
                self.read_bare(without)
            }),
        }
    }

    fn read_bare(self, line: &str) -> Result<Record<'_>, Unreadable> {
        match self {
            Self::Json => ours::json(line),
            Self::Text => ours::text(line),
            Self::Combined => common::read(line),
            Self::Caddy => caddy::read(line),
            Self::Traefik => traefik::read(line),
            Self::Haproxy => haproxy::read(line),
            Self::Alb => alb::read(line),
        }
    }
}

/// Where the quote is that ends a quoted value: not one after a backslash.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

/// Path and query of a target, and the authority of one in absolute form.
fn origin_form(target: Cow<'_, str>) -> (Cow<'_, str>, Option<Cow<'_, str>>) {
    let Some(start) = authority_at(&target) else {
        return (target, None);
    };
    let after = target.get(start..).unwrap_or_default();
    let length = after.find(['/', '?']).unwrap_or(after.len());
    let split = start + length;
    let slashed = |path: &str| match path {
        "" => "/".to_owned(),
        query => format!("/{query}"),
    };
    match target {
        Cow::Borrowed(text) => {
            let path = &text[split..];
            let path = match path.starts_with('/') {
                true => Cow::Borrowed(path),
                false => Cow::Owned(slashed(path)),
            };
            (path, Some(Cow::Borrowed(&text[start..split])))
        }
        Cow::Owned(text) => {
            let path = &text[split..];
            let path = if path.starts_with('/') {
                path.to_owned()
            } else {
                slashed(path)
            };
            (Cow::Owned(path), Some(Cow::Owned(text[start..split].to_owned())))
        }
    }
}

/// Where the authority of a target in absolute form begins.
fn authority_at(target: &str) -> Option<usize> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = target.as_bytes().get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    })?;
    Some(scheme.len())
}
