//! What the judge knows of a site: its name, its hosts and what happens when no rule decides.

use std::fmt;

use super::{
    fault::Faults,
    normalize::HostName,
    table::{FromToml, Value},
};

/// A host pattern as sites and rules write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `example.com`
    Exact(HostName),
    /// `*.example.com`: every name below it, at any depth, not the name itself.
    Below(HostName),
    /// `*`: any host.
    Any,
}

impl HostPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(written: &str) -> Result<Self, String> {
        if written == "*" {
            return Ok(Self::Any);
        }
        if let Some((scheme, rest)) = written.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return Err(format!("leave the scheme `{scheme}://` out: write \"{host}\""));
        }
        if let Some((host, _)) = written.split_once('/') {
            return Err(format!("a host has no path: write \"{host}\""));
        }
        let below = written.strip_prefix("*.");
        let name = below.unwrap_or(written);
        if name.contains('*') {
            return Err("`*` stands only at the beginning, before a dot: \"*.example.com\"".to_owned());
        }
        if let Some((host, port)) = name.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && !host.ends_with(':')
            && (!host.contains(':') || host.ends_with(']'))
        {
            return Err(format!("ports are not looked at: write \"{host}\""));
        }
        match (HostName::parse(name), below) {
            (Some(name), Some(_)) => Ok(Self::Below(name)),
            (Some(name), None) => Ok(Self::Exact(name)),
            (None, _) => {
                Err("names are letters, digits, `-` and dots; others in their ASCII form (\"xn--…\")".to_owned())
            }
        }
    }

    /// Whether every host of `inner` is one of this pattern's.
    pub fn covers(&self, inner: &Self) -> bool {
        match (self, inner) {
            (Self::Any, _) => true,
            (Self::Exact(outer), Self::Exact(inner)) => outer == inner,
            (Self::Below(outer), Self::Exact(inner)) => is_below(inner, outer),
            (Self::Below(outer), Self::Below(inner)) => outer == inner || is_below(inner, outer),
            (Self::Exact(_), Self::Below(_) | Self::Any) | (Self::Below(_), Self::Any) => false,
        }
    }

    /// Whether some host is one of both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

fn is_below(name: &HostName, parent: &HostName) -> bool {
    name.as_str()
        .strip_suffix(parent.as_str())
        .is_some_and(|rest| rest.ends_with('.'))
}

/// The pattern as it is written.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A host pattern is written the same way in sites and in rules.
impl FromToml for HostPattern {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let written = String::from_toml(value, faults)?;
        match Self::parse(&written) {
            Ok(pattern) => Some(pattern),
            Err(help) => {
                faults.push(
                    value
                        .invalid(
                            format!("`{written}` is not a host"),
                            "a host such as \"example.com\" or \"*.example.com\"",
                        )
                        .help(help),
                );
                None
            }
        }
    }
}

/// A site, as far as rules may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its configured name.
    pub name: String,
    /// Its host patterns.
    pub hosts: Vec<HostPattern>,
    /// The name of the upstream it forwards to.
    pub upstream: String,
    /// Which application that is: the same number for all upstreams that have a server in common.
    pub application: usize,
    /// What happens when no rule decides.
    pub default: DefaultVerdict,
}

/// What happens to a request that no rule allows or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultVerdict {
    /// It is forwarded.
    Forward,
    /// It is refused with the reason `default`.
    Block,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).expect("a host pattern")
    }

    #[test]
    fn patterns_cover_what_they_match() {
        for (outer, inner, expected) in [
            ("*", "*.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "*.a.example.com", true),
            ("*.a.example.com", "*.example.com", false),
            ("example.com", "*", false),
        ] {
            assert_eq!(pattern(outer).covers(&pattern(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn what_is_no_host_says_what_to_write() {
        for (text, expected) in [
            (
                "https://example.com/x",
                "leave the scheme `https://` out: write \"example.com\"",
            ),
            ("example.com:443", "ports are not looked at: write \"example.com\""),
            ("example.com/x", "a host has no path: write \"example.com\""),
            (
                "a*.example.com",
                "`*` stands only at the beginning, before a dot: \"*.example.com\"",
            ),
        ] {
            assert_eq!(HostPattern::parse(text), Err(expected.to_owned()));
        }
    }
}
