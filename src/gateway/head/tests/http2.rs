//! Heads in HTTP/2, frame by frame as no well-behaved client library would send them.

use std::convert::Infallible;

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};

use super::*;

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/x"),
];

/// What becomes of a request with these fields, `GET` with some replaced (by name) and others added.
fn fate(changes: &[(&str, &str)]) -> String {
    let pseudo = GET.iter().map(|(name, value)| {
        let change = changes.iter().find(|(changed, _)| changed == name);
        (*name, change.map_or(*value, |(_, value)| *value))
    });
    let added = changes
        .iter()
        .filter(|(name, _)| GET.iter().all(|(known, _)| known != name));
    let fields: Vec<_> = pseudo
        .filter(|(_, value)| *value != "-")
        .chain(added.copied())
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime
        .block_on(sent(&fields))
        .map_or("hyper".to_owned(), |parts| fate_of(&parts))
}

/// The head that hyper makes of these fields; `None` when it refuses them.
async fn sent(fields: &[(&str, &str)]) -> Option<Parts> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    client.write_all(&request(fields)).await.expect("room for the request");
    let (seen, mut heads) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        seen.send(request.into_parts().0).expect("an open channel");
        async { Ok::<_, Infallible>(http::Response::new(String::new())) }
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(server), service);
    tokio::select! {
        biased;
        head = heads.recv() => head,
        () = refused(&mut client) => None,
        _ = connection => None,
    }
}

/// A connection's first bytes, with one request in literal HPACK (RFC 7541 §6.2.2).
fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    let [high, low] = u16::try_from(block.len()).expect("short").to_be_bytes();
    bytes.extend([0, high, low, HEADERS, END_STREAM_AND_HEADERS, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

/// Waits until the stream is reset or the connection ends.
async fn refused(client: &mut DuplexStream) {
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    let mut header = [0; 9];
    while client.read_exact(&mut header).await.is_ok() && !matches!(header[3], RST_STREAM | GOAWAY) {
        let mut payload = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        client.read_exact(&mut payload).await.expect("a whole frame");
    }
}

#[test]
fn the_host_is_one_wherever_it_is_said() {
    assert_eq!(fate(&[]), "a.test /x");
    assert_eq!(fate(&[("host", "A.test")]), "a.test /x");
    assert_eq!(fate(&[(":authority", "-"), ("host", "a.test")]), "a.test /x");
    assert_eq!(
        fate(&[(":authority", "a.test:8443"), ("host", "a.test:8443")]),
        "a.test:8443 /x"
    );
    assert_eq!(fate(&[(":authority", "-")]), "400 no host");
    let differ = "400 the request target and the Host header differ";
    assert_eq!(fate(&[("host", "b.test")]), differ);
    assert_eq!(fate(&[("host", "a.test:8443")]), differ);
    assert_eq!(
        fate(&[("host", "a.test"), ("host", "a.test")]),
        "400 more than one Host header"
    );
    assert_eq!(fate(&[("host", "")]), "400 empty host");
    assert_eq!(fate(&[(":authority", "u@a.test")]), "400 user information in the host");
    assert_eq!(fate(&[(":authority", "a.test:x")]), "400 invalid port in the host");
}

#[test]
fn the_scheme_is_http_or_https() {
    assert_eq!(fate(&[(":scheme", "http")]), "a.test /x");
    for scheme in ["ftp", "HTTPS", "javascript"] {
        assert_eq!(
            fate(&[(":scheme", scheme)]),
            "400 the request target is neither http nor https",
            "{scheme}"
        );
    }
}

#[test]
fn the_path_is_judged_as_in_http1() {
    assert_eq!(fate(&[(":path", "/a/../x?y")]), "a.test /x?y");
    assert_eq!(fate(&[(":path", "/a#/../b")]), "a.test /a");
    assert_eq!(fate(&[(":path", "/a%2fb")]), "400 encoded slash in the path");
    assert_eq!(fate(&[(":path", "/a\\b")]), "400 backslash in the path");
    assert_eq!(fate(&[(":path", "/caf\u{e9}")]), "400 raw non-ASCII byte in the path");
    assert_eq!(
        fate(&[(":path", "*")]),
        "400 the request target does not start with a slash"
    );
    for path in ["", "x", "http://b.test/", "/a b", "/a\0"] {
        assert_eq!(fate(&[(":path", path)]), "hyper", "{path}");
    }
}

#[test]
fn methods_that_are_not_served_are_refused() {
    for method in ["TRACE", "get", "PRI"] {
        assert_eq!(fate(&[(":method", method)]), "501 method not supported", "{method}");
    }
    let connect = [(":method", "CONNECT"), (":scheme", "-"), (":path", "-")];
    assert_eq!(fate(&connect), "501 method not supported");
}

#[test]
fn connection_headers_do_not_get_past_hyper() {
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        (":protocol", "websocket"),
        ("X-Upper", "x"),
    ] {
        assert_eq!(fate(&[field]), "hyper", "{field:?}");
    }
    assert_eq!(fate(&[("te", "trailers")]), "a.test /x");
}

#[test]
fn a_length_is_one_number() {
    assert_eq!(fate(&[("content-length", "0")]), "a.test /x");
    for fields in [
        &[("content-length", "0"), ("content-length", "0")][..],
        &[("content-length", "0, 0")],
        &[("content-length", "+0")],
    ] {
        let fate = fate(fields);
        assert!(
            fate == "hyper" || fate == "400 invalid Content-Length",
            "{fields:?}: {fate}"
        );
    }
}
