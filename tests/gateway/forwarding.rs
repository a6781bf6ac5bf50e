//! What the origin gets, and what the client gets back.

use crate::stack::{Client, Config, OK, Origin, Stack};

#[test]
fn the_origin_gets_the_canonical_target_and_the_judged_host() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let response = stack.ask("GET /a/%2e/b/../c%41?q=%2e HTTP/1.1\r\nHost: EXAMPLE.com:81\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    let received = origin.received().remove(0);
    assert_eq!(received.line, "GET /a/cA?q=%2e HTTP/1.1");
    assert_eq!(received.all("host"), ["example.com:81"]);
}

#[test]
fn what_a_client_forges_of_itself_does_not_reach_the_origin() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let forged = "GET / HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\n\
                  X-Forwarded-Proto: https\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Original-URL: /admin\r\n\
                  X-Request-Id: mine\r\nConnection: X-Request-Id, keep-alive, X-Secret\r\nX-Secret: 1\r\nX-Kept: 1\r\n\r\n";
    let response = stack.ask(forged);
    let received = origin.received().remove(0);
    assert_eq!(received.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.all("x-forwarded-host"), ["example.com"]);
    assert_eq!(received.all("x-forwarded-proto"), ["http"]);
    assert_eq!(received.all("x-kept"), ["1"]);
    for removed in ["x-real-ip", "forwarded", "x-original-url", "x-secret", "connection"] {
        assert_eq!(received.all(removed), [] as [&str; 0], "{removed}");
    }
    let ids = received.all("x-request-id");
    assert_eq!(ids.len(), 1);
    assert_ne!(ids[0], "mine");
    assert_eq!(
        response.header("x-request-id"),
        Some(ids[0]),
        "both sides know the same id"
    );
}

#[test]
fn hop_by_hop_headers_of_the_origin_stop_here_and_its_own_stay() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nServer: real\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: X-Internal\r\n\
         Keep-Alive: timeout=5\r\nX-Internal: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    );
    let response = Stack::before(&origin).ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(response.header("server"), Some("real"));
    assert_eq!(response.header("date"), Some("Mon, 01 Jan 2024 00:00:00 GMT"));
    assert_eq!(response.header("x-internal"), None);
    assert_eq!(response.header("keep-alive"), None);
    let cookies = response.headers.iter().filter(|(name, _)| name == "set-cookie").count();
    assert_eq!(cookies, 2);
}

#[test]
fn configured_headers_are_added_where_they_are_missing() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 2\r\n\r\nok");
    let stack = Stack::start(&Config {
        more: "[headers]\nrequest_id = false\nresponse = { x-frame-options = \"DENY\", x-added = \"1\" }",
        ..Config::to(origin.port)
    });
    let response = stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(response.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(response.header("x-added"), Some("1"));
    assert_eq!(response.header("x-request-id"), None);
}

#[test]
fn an_unknown_host_and_malformed_requests_are_refused_before_the_origin() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        more: "[limits]\ntarget_bytes = 1024",
        ..Config::to(origin.port)
    });
    let status = |request: &str| stack.ask(request).status;
    assert_eq!(
        status("GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"),
        421
    );
    assert_eq!(
        status("GET /%00 HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
        400
    );
    assert_eq!(
        status("GET /a%2fb HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
        400
    );
    assert_eq!(
        status("TRACE / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"),
        501
    );
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n",
        "a".repeat(2000)
    );
    assert_eq!(status(&long), 414);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_blocked_request_does_not_reach_the_origin_and_its_record_names_the_rule() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        rules: "[[rule]]\nid = \"no-admin\"\naction = \"block\"\nexpression = 'http.request.uri.path eq \"/admin\"'\n",
        ..Config::to(origin.port)
    });
    let blocked = stack.ask("GET /%61dmin HTTP/1.1\r\nHost: example.com\r\nAccept: application/json\r\n\r\n");
    assert_eq!(blocked.status, 403);
    let body: serde_json::Value = serde_json::from_slice(&blocked.body).expect("JSON");
    assert_eq!(body["reason"], "rule");
    assert_eq!(body["request_id"].as_str(), blocked.header("x-request-id"));
    assert_eq!(stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").status, 200);
    assert_eq!(origin.received().len(), 1);
    let records = stack.records();
    assert_eq!(records.len(), 2, "one record a request: {records:#?}");
    assert_eq!(records[0]["rule.id"], "no-admin");
    assert_eq!(records[0]["http.response.status_code"], 403);
    assert_eq!(records[1]["event.action"], "allow");
    assert_eq!(records[1]["http.response.body.bytes"], 2);
}

#[test]
fn a_head_of_too_many_lines_is_refused_as_anything_else_and_recorded() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let lines = "x-a: b\r\n".repeat(110);
    let refused = stack.ask(&format!(
        "GET / HTTP/1.1\r\nHost: example.com\r\nAccept: application/json\r\n{lines}\r\n"
    ));
    assert_eq!(refused.status, 431);
    let body: serde_json::Value = serde_json::from_slice(&refused.body).expect("JSON");
    assert_eq!(body["reason"], "too_large");
    assert_eq!(origin.connections(), 0);
    let records = stack.records();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["event.reason"], "too_large");
}

#[test]
fn status_444_closes_without_a_byte() {
    let origin = Origin::answering(OK);
    let stack = Stack::start(&Config {
        rules: "[[rule]]\nid = \"gone\"\naction = \"block\"\nexpression = 'true'\nresponse = { status = 444 }\n",
        ..Config::to(origin.port)
    });
    let mut client = stack.connect();
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.rest(), "");
    assert_eq!(stack.records().len(), 1);
}

#[test]
fn known_hosts_are_redirected_to_https_and_others_are_not() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let ask = |request: &str| {
        let mut client = Client::new(std::net::TcpStream::connect(stack.redirect).expect("it listens"));
        client.send(request);
        client.response()
    };
    let redirected = ask("POST /a/../b?x=1 HTTP/1.1\r\nHost: Example.com:80\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(redirected.status, 308);
    assert_eq!(redirected.header("location"), Some("https://example.com:8443/b?x=1"));
    assert_eq!(ask("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").status, 421);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_reload_keeps_kept_connections_and_lets_go_of_servers_that_are_gone() {
    let first = Origin::answering(OK);
    let second = Origin::answering(OK);
    let stack = Stack::before(&first);
    let mut client = stack.connect();
    let mut ask = || {
        client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        client.response().status
    };
    assert_eq!(ask(), 200);
    stack.reload(&Config::to(first.port));
    assert_eq!(ask(), 200);
    assert_eq!((first.connections(), first.received().len()), (1, 2));
    stack.reload(&Config::to(second.port));
    assert_eq!(ask(), 200, "the client's connection lives on");
    assert_eq!((first.received().len(), second.received().len()), (2, 1));
}

#[test]
fn http_1_0_clients_are_served() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send("GET / HTTP/1.0\r\nHost: example.com\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(origin.received()[0].line, "GET / HTTP/1.1");
}
