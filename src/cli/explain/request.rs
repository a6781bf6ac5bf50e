//! The request that is asked about, as the wire would have it, with what nobody knows of it.

use std::{fmt, net::IpAddr};

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts};

use super::recorded::Recorded;
use crate::policy::{lang::fields::Fact, normalize::HostName};

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
        let uri: Uri = target
            .parse()
            .map_err(|_| format!("no client can send `{target}`: encode it (%20, %5C, …) as it would be sent"))?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
        let request = Request::builder().method(method).uri(uri).version(version);
        let (mut parts, ()) = request
            .body(())
            .map_err(|error| format!("no such request: {error}"))?
            .into_parts();
        for (name, value) in headers {
            parts.headers.append(name, value);
        }
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
        if !self.parts.headers.contains_key(header::HOST) {
            let host = HeaderValue::from_str(authority).map_err(|_| format!("`{authority}` is no host"))?;
            self.parts.headers.insert(header::HOST, host);
        }
        Ok(())
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

/// TLS or not, the authority, and the target as it would be sent.
pub(super) fn split(url: &str) -> Result<(bool, &str, String), String> {
    let (tls, rest) = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme == "wss" => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") || scheme == "ws" => (false, rest),
        Some((scheme, _)) if !scheme.contains(['/', '?', '.']) => {
            return Err(format!("`{scheme}://` is not served; write https:// or http://"));
        }
        Some(_) | None if url.starts_with('/') => (true, url),
        // As curl: a bare host is http.
        Some(_) | None => (false, url),
    };
    // A fragment is never sent.
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let authority = match authority {
        "" if url.starts_with('/') => "localhost",
        "" => return Err(format!("`{url}` has no host")),
        // A user and password are sent as a header, if at all.
        authority => authority.rsplit('@').next().unwrap_or(authority),
    };
    let target = match target {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    Ok((tls, authority, target))
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
