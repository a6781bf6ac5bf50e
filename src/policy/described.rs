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
        let uri: Uri = target
            .parse()
            .map_err(|_| format!("no client can send `{target}`: encode it (%20, %5C, …) as it would be sent"))?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
        let mut request = Request::builder().method(method).uri(uri);
        request = request.version(version.unwrap_or(if tls { Version::HTTP_2 } else { Version::HTTP_11 }));
        let (mut parts, ()) = request
            .body(())
            .map_err(|error| format!("no such request: {error}"))?
            .into_parts();
        parts.headers = headers;
        if !parts.headers.contains_key(header::HOST) {
            let host = HeaderValue::from_str(authority).map_err(|_| format!("`{authority}` is no host"))?;
            parts.headers.insert(header::HOST, host);
        }
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

/// TLS or not, the authority, and the target as it would be sent.
fn split(url: &str) -> Result<(bool, &str, String), String> {
    let (tls, rest) = match url.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
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
        authority => authority,
    };
    let target = match target {
        "" => "/".to_owned(),
        query if query.starts_with('?') => format!("/{query}"),
        path => path.to_owned(),
    };
    Ok((tls, authority, target))
}
