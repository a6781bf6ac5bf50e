//! `GET /path?query HTTP/1.1`, as most logs write it.

use std::borrow::Cow;

use super::origin_form;
use crate::{
    policy::facts::HttpVersion,
    replay::record::{Hidden, Request, SaidHost, SaidTarget},
};

/// Reads a request line.
///
/// # Errors
/// Why it is none.
pub(super) fn read(line: Cow<'_, str>) -> Result<Request<'_>, &'static str> {
    match line {
        Cow::Borrowed(line) => {
            let (method, target, version) = parts(line)?;
            request(Cow::Borrowed(method), Cow::Borrowed(target), version)
        }
        Cow::Owned(line) => {
            let (method, target, version) = parts(&line)?;
            request(Cow::Owned(method.to_owned()), Cow::Owned(target.to_owned()), version)
        }
    }
}

fn parts(line: &str) -> Result<(&str, &str, &str), &'static str> {
    if matches!(line, "" | "-") {
        return Err("the connection ended before a request came");
    }
    let (method, rest) = line.split_once(' ').ok_or("not an HTTP request line")?;
    let (target, version) = rest.rsplit_once(' ').ok_or("not an HTTP request line")?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_method || !version.starts_with("HTTP/") {
        return Err("not an HTTP request line");
    }
    Ok((method, target, version))
}

fn request<'l>(method: Cow<'l, str>, target: Cow<'l, str>, version: &str) -> Result<Request<'l>, &'static str> {
    let version = http_version(version)?;
    let (raw, authority) = origin_form(target);
    let mut request = Request::new(
        method,
        SaidTarget {
            raw,
            hidden: Hidden::Nothing,
        },
    );
    request.version = version;
    request.host = authority.map(|authority| SaidHost {
        authority,
        says_port: true,
    });
    Ok(request)
}

/// `None` for HTTP/3: what such a client would speak to us is not known.
pub(super) fn http_version(text: &str) -> Result<Option<HttpVersion>, &'static str> {
    match text {
        "HTTP/1.0" => Ok(Some(HttpVersion::Http10)),
        "HTTP/1.1" => Ok(Some(HttpVersion::Http11)),
        "HTTP/2.0" | "HTTP/2" => Ok(Some(HttpVersion::Http2)),
        "HTTP/3.0" | "HTTP/3" => Ok(None),
        _ => Err("HTTP version not supported"),
    }
}
