//! `builtin:demo`: an origin inside the gateway that shows the request it received.
//!
//! What an origin behind Portcullis gets to see, without setting one up: the forwarded head as a page or as JSON, and
//! how long the body was (it is counted, never kept). A few pictures are there to try hotlink protection on. Everything
//! it shows was written by the client, so everything is escaped.

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header, request::Parts};
use serde::Serialize;

use crate::represent::{
    accept::{self, MediaType},
    escape,
};

const CAT: &[u8] = include_bytes!("demo/cat.png");
const LOGO: &[u8] = include_bytes!("demo/logo.svg");
const STYLE: &str = include_str!("demo/page.css");

/// The page loads its own picture and style, and nothing else whatever a header says.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
);

/// The answer to a request whose body had `body_bytes` bytes. HEAD gets the headers of GET and no body.
pub fn respond(request: &Parts, body_bytes: u64) -> Response<Bytes> {
    let (content_type, body) = match file(request.uri.path()) {
        Some((content_type, bytes)) => (content_type, Bytes::from_static(bytes)),
        None => shown(&Received::new(request, body_bytes), &request.headers),
    };
    let length = body.len();
    let mut response = Response::new(match request.method {
        Method::HEAD => Bytes::new(),
        _ => body,
    });
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}

/// The pictures, in whatever folder they are asked for: `/images/cat.png`, `/hotlink-ok/cat.png`.
fn file(path: &str) -> Option<(&'static str, &'static [u8])> {
    match path.rsplit('/').next()? {
        "cat.png" => Some(("image/png", CAT)),
        "logo.svg" => Some(("image/svg+xml", LOGO)),
        _ => None,
    }
}

/// What the page and the document show.
#[derive(Debug, Serialize)]
struct Received {
    message: &'static str,
    method: String,
    target: String,
    /// Bytes that are no UTF-8 are shown as U+FFFD.
    headers: Vec<Field>,
    body_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Field {
    name: String,
    value: String,
}

impl Received {
    fn new(request: &Parts, body_bytes: u64) -> Self {
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        Self {
            message: "This request passed the gate. The demo origin shows what it received.",
            method: request.method.to_string(),
            target: target.to_owned(),
            headers: request.headers.iter().map(Field::new).collect(),
            body_bytes,
        }
    }
}

impl Field {
    fn new((name, value): (&http::HeaderName, &HeaderValue)) -> Self {
        Self {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        }
    }
}

fn shown(received: &Received, headers: &HeaderMap) -> (&'static str, Bytes) {
    let offers = match accept::navigates(headers) {
        true => [MediaType::Html, MediaType::Json],
        false => [MediaType::Json, MediaType::Html],
    };
    let media_type = accept::choose(headers, offers).unwrap_or(MediaType::Json);
    let body = match media_type {
        MediaType::Html => page(received).into_bytes(),
        MediaType::ProblemJson | MediaType::Json | MediaType::Plain => document(received),
    };
    (media_type.content_type(), body.into())
}

/// Indented, since people read it in a terminal.
fn document(received: &Received) -> Vec<u8> {
    let mut document = serde_json::to_vec_pretty(received).expect("strings and numbers are always JSON");
    document.push(b'\n');
    document
}

fn page(received: &Received) -> String {
    let mut out = String::with_capacity(STYLE.len() + 4096);
    write_page(received, &mut out).expect("a String takes everything");
    out
}

fn write_page(received: &Received, out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Portcullis demo origin</title>\n<link rel=\"icon\" href=\"/logo.svg\">\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<header>\n<div>\n<p class=\"passed\">Allowed</p>\n\
         <h1>You are through the gate</h1>\n<p>This is the demo origin. It shows the request that reached it.</p>\n\
         </div>\n<img src=\"/images/cat.png\" width=\"160\" height=\"120\" alt=\"A black cat with yellow eyes\">\n\
         </header>\n<h2>Request</h2>\n<pre>"
    )?;
    escape::html(&received.method, out)?;
    out.push(' ');
    escape::html(&received.target, out)?;
    write!(out, "</pre>\n<h2>Headers, as the origin gets them</h2>\n<table>\n")?;
    for Field { name, value } in &received.headers {
        out.push_str("<tr><th scope=\"row\">");
        escape::html(name, out)?;
        out.push_str("</th><td>");
        escape::html(value, out)?;
        out.push_str("</td></tr>\n");
    }
    write!(
        out,
        "</table>\n<h2>Body</h2>\n<p>{} bytes</p>\n</main>\n</body>\n</html>\n",
        received.body_bytes
    )
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_request_is_shown_as_json_unless_a_page_is_asked_for() {
        let plain = respond(&request("POST", "/a?b=c", &[("x-a", b"1"), ("x-a", b"2")]), 12);
        let shown: serde_json::Value = serde_json::from_slice(plain.body()).expect("JSON");
        assert_eq!(
            shown,
            serde_json::json!({
                "message": "This request passed the gate. The demo origin shows what it received.",
                "method": "POST",
                "target": "/a?b=c",
                "headers": [{"name": "x-a", "value": "1"}, {"name": "x-a", "value": "2"}],
                "body_bytes": 12,
            })
        );
        let page = respond(&request("GET", "/", &[("accept", b"text/html")]), 0);
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let get = respond(&request("GET", "/images/cat.png", &[]), 0);
        let head = respond(&request("HEAD", "/images/cat.png", &[]), 0);
        assert_eq!(get.headers(), head.headers());
        assert_eq!(head.headers()["content-length"], get.body().len().to_string().as_str());
        assert!(head.body().is_empty() && get.body().starts_with(b"\x89PNG"));
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_sends_becomes_markup(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let shown = |value: &[u8]| {
                let request = request("GET", "/", &[("accept", b"text/html"), ("x-hostile", value)]);
                String::from_utf8(respond(&request, 0).body().to_vec()).expect("UTF-8")
            };
            let count = |page: &str| page.matches(['<', '>', '"', '\'']).count();
            prop_assert_eq!(count(&shown(value.as_bytes())), count(&shown(b"")));
        }

        #[test]
        fn any_header_value_is_valid_json(value in prop::collection::vec(any::<u8>(), 0..60)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let shown = respond(&request("GET", "/", &[("x-hostile", value.as_bytes())]), 0);
            let shown: serde_json::Value = serde_json::from_slice(shown.body()).expect("JSON");
            prop_assert_eq!(
                shown["headers"][0]["value"].as_str().expect("a string"),
                String::from_utf8_lossy(value.as_bytes())
            );
        }
    }
}
