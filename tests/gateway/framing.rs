//! Bytes that try to be two requests to one side and one to the other. The origin reads strictly and must see exactly the
//! requests that were judged.

use crate::stack::{OK, Origin, Stack};

/// Sends these bytes and then a last request, and returns the request lines that the origin saw before that one.
fn seen(bytes: &str) -> Vec<String> {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send(format!("{bytes}{LAST}"));
    client.rest();
    drop(stack);
    let lines = origin.received().into_iter().map(|request| request.line);
    lines.filter(|line| !line.contains("/last")).collect()
}

const LAST: &str = "GET /last HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: example.com\r\n\r\n";

#[test]
fn a_length_beside_chunks_smuggles_nothing() {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    let request = format!(
        "POST /one HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
        body.len()
    );
    assert!(!seen(&request).iter().any(|line| line.contains("smuggled")));
}

#[test]
fn odd_transfer_encodings_are_refused() {
    for coding in [
        "cow, chunked",
        "chunked, chunked",
        ",chunked",
        "identity, chunked",
        "xchunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "\x0bchunked",
    ] {
        let request = format!(
            "POST /one HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n{SMUGGLED}"
        );
        assert_eq!(seen(&request), [] as [String; 0], "{coding:?}");
    }
}

#[test]
fn two_lengths_are_refused() {
    let request = format!(
        "POST /one HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    );
    assert_eq!(seen(&request), [] as [String; 0]);
}

#[test]
fn the_body_of_a_get_is_no_second_request() {
    let request = format!(
        "GET /one HTTP/1.1\r\nHost: example.com\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    );
    assert_eq!(seen(&request), ["GET /one HTTP/1.1"]);
}

#[test]
fn a_chunk_extension_is_not_passed_on() {
    let request =
        "POST /one HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\r\n\r\nok\r\n0\r\n\r\n";
    let lines = seen(request);
    assert!(lines.len() <= 1, "{lines:?}");
}

#[test]
fn what_follows_a_refused_body_is_not_a_request() {
    let request = format!("POST /%00 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000\r\n\r\n{SMUGGLED}");
    assert_eq!(seen(&request), [] as [String; 0]);
}

#[test]
fn pipelined_requests_are_judged_one_by_one() {
    let request = format!("GET /one HTTP/1.1\r\nHost: example.com\r\n\r\n{SMUGGLED}");
    assert_eq!(seen(&request), ["GET /one HTTP/1.1", "GET /smuggled HTTP/1.1"]);
}

#[test]
fn trailers_cannot_say_what_headers_may_not() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let response = stack.ask(
        "POST / HTTP/1.1\r\nHost: example.com\r\nTrailer: X-Sum, X-Forwarded-For, X-Real-IP\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    assert_eq!(origin.received()[0].trailers, [("x-sum".to_owned(), "1".to_owned())]);
}
