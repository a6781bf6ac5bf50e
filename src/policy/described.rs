//! A request that somebody describes instead of sending: a URL, a method, headers. It is judged as a live one is.

use std::fmt;

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request::Parts};

/// A request as the wire would have it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its head.
    pub parts: Parts,
    /// Whether it comes over TLS.
    pub tls: bool,
}

impl Asked {
    /// A request of these words, with a `Host` from the URL unless the headers have one. Without a version it is HTTP/2 over
    /// TLS, and else HTTP/1.1.
    ///
    /// # Errors
    /// What no client could send, and why.
    pub fn new(url: &str, method: &str, headers: HeaderMap, version: Option<Version>) -> Result<Self, String> {
        let (tls, authority, target) = split(url)?;
        let version = version.unwrap_or(if tls { Version::HTTP_2 } else { Version::HTTP_11 });
        let mut parts = head(&target, method, headers, version)?;
        add_host(&mut parts.headers, authority)?;
        Ok(Self { parts, tls })
    }

    /// `https://example.com/admin`
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host(), self.parts.uri)
    }

    /// The host that it names, as it would be sent.
    pub fn host(&self) -> &str {
        let host = self.parts.headers.get(header::HOST);
        host.and_then(|host| host.to_str().ok()).unwrap_or_default()
    }
}

/// `GET https://example.com/admin`
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.parts.method, self.url())
    }
}

/// A head of these parts, without a host unless it is among the headers.
///
/// # Errors
/// What no client could send, and why.
pub fn head(target: &str, method: &str, headers: HeaderMap, version: Version) -> Result<Parts, String> {
    let uri: Uri = target
        .parse()
        .map_err(|_| format!("no client can send `{target}`: encode it (%20, %5C, …) as it would be sent"))?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    let request = Request::builder().method(method).uri(uri).version(version);
    let (mut parts, ()) = request
        .body(())
        .map_err(|error| format!("no such request: {error}"))?
        .into_parts();
    parts.headers = headers;
    Ok(parts)
}

/// Says the host, unless a header does.
///
/// # Errors
/// It is none.
pub fn add_host(headers: &mut HeaderMap, authority: &str) -> Result<(), String> {
    if !headers.contains_key(header::HOST) {
        let host = HeaderValue::from_str(authority).map_err(|_| format!("`{authority}` is no host"))?;
        headers.insert(header::HOST, host);
    }
    Ok(())
}

/// TLS or not, the authority, and the target as it would be sent.
///
/// # Errors
/// It is no URL that is served.
pub fn split(url: &str) -> Result<(bool, &str, String), String> {
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
