//! The request that is asked about, as the wire would have it, with what nobody knows of it.

use std::{fmt, net::IpAddr};

use http::{HeaderName, HeaderValue, Version, header, request::Parts};

use super::recorded::Recorded;
pub(super) use crate::policy::described::split;
use crate::policy::{described, lang::fields::Fact, normalize::HostName};

/// A request as the wire would have it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) tls: bool,
    pub(super) stated: Stated,
    /// What is worth knowing of how it was read.
    pub(super) remarks: Vec<String>,
    /// Who connects, when the statement says so.
    pub(super) peer: Option<IpAddr>,
    /// The server name of the TLS handshake.
    pub(super) server_name: Option<HostName>,
    /// Facts that nobody knows, headers aside.
    pub(super) unknown: Vec<Fact>,
    /// Headers that were sent, or may have been, with values that nobody knows.
    pub(super) withheld: Vec<String>,
    /// Whether any header that is not known may have been sent.
    pub(super) any_header: bool,
    /// What the gateway said of it when it came.
    pub(super) recorded: Option<Recorded>,
}

/// What stated the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stated {
    Options,
    Curl,
    Har,
    Memory,
    Log,
}

impl Stated {
    /// For programs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Curl => "curl",
            Self::Har => "har",
            Self::Memory => "memory",
            Self::Log => "log",
        }
    }
}

impl Asked {
    pub(super) fn from_options(url: &str, method: Option<&str>, headers: &[String]) -> Result<Self, String> {
        Self::new(url, method.unwrap_or("GET"), headers, None)
    }

    pub(super) fn new(url: &str, method: &str, headers: &[String], version: Option<Version>) -> Result<Self, String> {
        let (tls, authority, target) = split(url)?;
        let version = version.unwrap_or(if tls { Version::HTTP_2 } else { Version::HTTP_11 });
        let lines: Result<Vec<_>, String> = headers.iter().map(|line| header_line(line)).collect();
        let mut asked = Self::of(&target, method, lines?, version)?;
        asked.tls = tls;
        asked.host(authority)?;
        Ok(asked)
    }

    /// A request of these parts, without a host unless it is among the headers.
    pub(super) fn of(
        target: &str,
        method: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        version: Version,
    ) -> Result<Self, String> {
        let parts = described::head(target, method, headers.into_iter().collect(), version)?;
        Ok(Self {
            parts,
            tls: true,
            stated: Stated::Options,
            remarks: Vec::new(),
            peer: None,
            server_name: None,
            unknown: Vec::new(),
            withheld: Vec::new(),
            any_header: false,
            recorded: None,
        })
    }

    /// Says the host, unless a header does.
    pub(super) fn host(&mut self, authority: &str) -> Result<(), String> {
        described::add_host(&mut self.parts.headers, authority)
    }

    /// The method and the URL, of which `show` makes what is shown of a target.
    pub(super) fn shown(&self, show: impl Fn(&str) -> String) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = self.parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let (method, uri) = (&self.parts.method, self.parts.uri.to_string());
        format!("{method} {scheme}://{}{}", host.unwrap_or("?"), show(&uri))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(str::to_owned))
    }
}

pub(super) fn header_line(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    // curl: `Name;` is a header without a value.
    let (name, value) = line
        .split_once(':')
        .or_else(|| line.strip_suffix(';').map(|name| (name, "")))
        .ok_or_else(|| format!("`{line}` is no header; write 'Name: value'"))?;
    header(name, value)
}

/// A header line of a name and a value.
pub(super) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let value = value.trim();
    let no_value = |_| format!("`{value}` is no header value");
    let name = HeaderName::try_from(name.trim()).map_err(|_| format!("`{name}` is no header name"))?;
    Ok((name, HeaderValue::from_bytes(value.as_bytes()).map_err(no_value)?))
}
