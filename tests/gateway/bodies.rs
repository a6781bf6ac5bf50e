//! Bodies: streamed, framed and ended right, both ways.

use std::{sync::mpsc, thread, time::Duration};

use crate::stack::{Config, OK, Origin, Stack, receive};

#[test]
fn a_length_is_kept_and_chunks_stay_chunks() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    stack.ask("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\n\r\nhello");
    stack.ask("POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let received = origin.received();
    assert_eq!(received[0].all("content-length"), ["5"]);
    assert_eq!(received[1].all("transfer-encoding"), ["chunked"]);
    assert_eq!((&*received[0].body, &*received[1].body), (&b"hello"[..], &b"hello"[..]));
}

#[test]
fn responses_without_a_body_keep_their_connection() {
    let origin = Origin::serving(|client, received| {
        while let Some(request) = receive(client) {
            let method = request.line.split(' ').next().expect("a method").to_owned();
            received(request);
            client.send(match method.as_str() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                "PUT" => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n",
            });
        }
    });
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1234")));
    client.send("PUT / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 204);
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let not_modified = client.response();
    assert_eq!((not_modified.status, not_modified.header("etag")), (304, Some("\"a\"")));
    assert_eq!((origin.connections(), origin.received().len()), (1, 3));
}

#[test]
fn the_length_of_a_chunked_head_response_is_not_made_up() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.head().header("content-length"), None);
}

#[test]
fn announced_trailers_pass_both_ways() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Done\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Done: yes\r\n\r\n",
    );
    let stack = Stack::before(&origin);
    let response = stack.ask(
        "POST / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    assert_eq!(response.trailers, [("x-done".to_owned(), "yes".to_owned())]);
    let received = origin.received().remove(0);
    assert_eq!(received.trailers, [("x-sum".to_owned(), "1".to_owned())]);
    assert_eq!(received.all("te"), ["trailers"]);
}

#[test]
fn trailers_that_a_rule_or_the_head_names_do_not_pass() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        rules: "[[rule]]\nid = \"no\"\naction = \"block\"\nexpression = 'any(http.request.headers[\"X-Debug\"][*] eq \"1\")'\n",
        ..Config::to(origin.port)
    });
    let response = stack.ask(
        "POST / HTTP/1.1\r\nHost: example.com\r\nX-Role: user\r\nX-Said: 1\r\n\
         Trailer: X-Debug, X-Said, Cookie, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\nX_Debug: 1\r\nX-Debug: 1\r\nX-Said: 2\r\nCookie: a=b\r\nX-Sum: 1\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let received = origin.received().remove(0);
    assert_eq!(received.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[test]
fn the_client_is_told_to_continue_only_when_it_is_let_in() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        rules: "[[rule]]\nid = \"no\"\naction = \"block\"\nexpression = 'http.request.uri.path eq \"/no\"'\n",
        ..Config::to(origin.port)
    });
    let mut client = stack.connect();
    client.send("POST / HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("hello");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.received()[0].all("expect"), [] as [&str; 0]);
    let refused =
        stack.ask("POST /no HTTP/1.1\r\nHost: example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(refused.status, 403);
}

#[test]
fn a_request_with_trailers_does_not_end_the_connection() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: example.com\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        );
        let response = client.response();
        assert_eq!((response.status, response.header("connection")), (200, None));
    }
}

#[test]
fn a_body_over_the_limit_is_413_whether_its_length_is_said_or_not() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        more: "[limits]\nbody_bytes = 10",
        ..Config::to(origin.port)
    });
    let said = stack.ask("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(said.status, 413);
    assert_eq!(origin.connections(), 0, "it is not even forwarded");
    let unsaid = "POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
                  6\r\n123456\r\n6\r\n123456\r\n0\r\n\r\n";
    assert_eq!(stack.ask(unsaid).status, 413);
    assert_eq!(origin.received().len(), 0, "it never became whole");
    let fits = stack.ask("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\n1234567890");
    assert_eq!(fits.status, 200);
}

#[test]
fn an_answer_before_the_body_s_end_reaches_the_client() {
    let origin = Origin::serving(|client, _| {
        client.head_of_request();
        client.send("HTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull");
        client.rest();
    });
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000\r\n\r\nthe first bytes");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (507, "full"));
    assert_eq!(stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").status, 507);
    assert_eq!(origin.connections(), 2, "half a request is never followed by another");
}

#[test]
fn a_client_that_leaves_ends_the_request_to_the_origin() {
    let (left, origin_saw) = mpsc::channel();
    let left = std::sync::Mutex::new(left);
    let origin = Origin::serving(move |client, _| {
        client.head_of_request();
        client.rest();
        left.lock().expect("not poisoned").send(()).expect("the test waits");
    });
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    while origin.connections() == 0 {
        thread::yield_now();
    }
    drop(client);
    origin_saw
        .recv_timeout(Duration::from_secs(30))
        .expect("the origin's connection is closed");
    let records = stack.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["portcullis.ending"], "client_gone");
}

#[test]
fn a_response_cut_short_is_cut_short_for_the_client_too() {
    let origin = Origin::serving(|client, _| {
        client.head_of_request();
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    });
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let rest = client.rest();
    assert!(rest.contains("half"), "{rest}");
    assert!(!rest.ends_with("0\r\n\r\n"), "it must not look whole: {rest}");
    assert_eq!(stack.records()[0]["portcullis.ending"], "origin_gone");
}
