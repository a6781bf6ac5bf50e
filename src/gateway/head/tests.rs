mod http2;

use http::{HeaderName, Request};
use hyper::{body::Incoming, service::service_fn};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use super::*;
use crate::config::settings;

fn policy() -> HeaderPolicy {
    let settings = settings::Headers {
        remove: vec![HeaderName::from_static("x-original-url")],
        forwarded: false,
        country: Some(HeaderName::from_static("x-country")),
        request_id: true,
        response: Vec::new(),
    };
    HeaderPolicy::new(&settings, HeaderName::from_static("fastly-client-ip"))
}

/// The heads that hyper makes of these bytes.
fn parsed(raw: &str) -> Vec<Parts> {
    let raw = raw.as_bytes().to_vec();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(&raw).await.expect("room for the request");
        client.shutdown().await.expect("an open pipe");
        let (seen, mut heads) = mpsc::unbounded_channel();
        let service = service_fn(|request: Request<Incoming>| {
            seen.send(request.into_parts().0).expect("an open channel");
            async { Ok::<_, std::convert::Infallible>(http::Response::new(String::new())) }
        });
        let io = hyper_util::rt::TokioIo::new(server);
        // How the connection ends is not what is tested here.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
        let mut all = Vec::new();
        while let Ok(head) = heads.try_recv() {
            all.push(head);
        }
        all
    })
}

/// What becomes of a head: its host and path, what is wrong with it, or that hyper does not even pass it on.
fn fate(raw: &str) -> String {
    match parsed(raw).first() {
        None => "hyper".to_owned(),
        Some(parts) => fate_of(parts),
    }
}

fn fate_of(parts: &Parts) -> String {
    let checked = check(parts, &policy()).and_then(|head| Ok((head, target(parts, PathOptions::default())?)));
    match checked {
        Ok((head, target)) => {
            let upgrade = head.upgrade.map(|upgrade| format!(" upgrade={:?}", upgrade.protocol()));
            format!(
                "{} {}{}",
                head.host.authority(),
                target.forwarded(),
                upgrade.unwrap_or_default()
            )
        }
        Err(error) => format!("{} {}", error.status.as_u16(), error.detail),
    }
}

/// A head of HTTP/1.1 with one Host.
fn with(target: &str, headers: &str) -> String {
    fate(&format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n"))
}

#[test]
fn plain_requests_pass() {
    assert_eq!(with("/x?y", ""), "a.test /x?y");
    assert_eq!(fate("GET / HTTP/1.0\r\nHost: A.test.:8080\r\n\r\n"), "a.test:8080 /");
    assert_eq!(
        fate("PROPFIND / HTTP/1.1\r\nHost: [2001:DB8::1]\r\n\r\n"),
        "[2001:db8::1] /"
    );
}

#[test]
fn a_request_has_exactly_one_valid_host() {
    let host = |lines: &str| fate(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
    assert_eq!(host(""), "400 no host");
    assert_eq!(
        host("Host: a.test\r\nHost: a.test\r\n"),
        "400 more than one Host header"
    );
    assert_eq!(host("Host:\r\n"), "400 empty host");
    assert_eq!(host("Host: a.test, b.test\r\n"), "400 invalid host");
    assert_eq!(host("Host: a\u{e9}\r\n"), "400 invalid host");
    assert_eq!(host("Host: u@a.test\r\n"), "400 user information in the host");
    assert_eq!(fate("GET / HTTP/1.0\r\n\r\n"), "400 no host");
}

#[test]
fn absolute_form_and_host_agree() {
    assert_eq!(with("http://a.test/x", ""), "a.test /x");
    assert_eq!(with("HTTP://A.TEST:80/x", ""), "a.test /x");
    assert_eq!(with("https://a.test:443/x", ""), "a.test /x");
    assert_eq!(with("http://a.test", ""), "a.test /");
    assert_eq!(
        with("http://b.test/x", ""),
        "400 the request target and the Host header differ"
    );
    assert_eq!(
        with("http://a.test:8080/x", ""),
        "400 the request target and the Host header differ"
    );
    assert_eq!(with("http://u@a.test/x", ""), "400 user information in the host");
    assert_eq!(
        with("http://a.test:80@b.test/x", ""),
        "400 user information in the host"
    );
    assert_eq!(
        with("ftp://a.test/x", ""),
        "400 the request target is neither http nor https"
    );
    assert_eq!(
        with("http://a.test?x", ""),
        "400 the request target does not start with a slash"
    );
    assert_eq!(fate("GET http://a.test/ HTTP/1.1\r\n\r\n"), "400 no host");
}

#[test]
fn other_target_forms_are_refused() {
    assert_eq!(with("a.test:80", ""), "400 the request target has no path");
    assert_eq!(with("x", ""), "400 the request target has no path");
    assert_eq!(with("*", ""), "400 the request target does not start with a slash");
    assert_eq!(
        fate("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        "400 the request target does not start with a slash"
    );
    assert_eq!(with("?x", ""), "hyper");
}

#[test]
fn a_fault_on_the_wire_is_refused_before_anything_else() {
    let mut parts = parsed("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").remove(0);
    assert_eq!(fate_of(&parts), "a.test /");
    parts.extensions.insert(WireFault("two lengths"));
    parts.method = Method::TRACE;
    assert_eq!(fate_of(&parts), "400 two lengths");
}

/// So the server looks for it on the wire.
#[test]
fn a_fragment_is_cut_before_we_see_it() {
    assert_eq!(with("/a#/../b", ""), "a.test /a");
}

#[test]
fn paths_that_hyper_lets_through_are_refused() {
    assert_eq!(with("/a\\b", ""), "400 backslash in the path");
    assert_eq!(with("/a%zz", ""), "400 invalid percent-encoding in the path");
    assert_eq!(with("/a%2", ""), "400 invalid percent-encoding in the path");
    assert_eq!(with("/a%00", ""), "400 encoded control character in the path");
    assert_eq!(with("/caf\u{e9}", ""), "400 raw non-ASCII byte in the path");
}

#[test]
fn methods_that_are_not_served_are_refused() {
    for method in ["TRACE", "TRACK", "get", "Get", "PRI", "G!T"] {
        let raw = format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(fate(&raw), "501 method not supported", "{method}");
    }
    assert_eq!(
        fate("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        "501 method not supported"
    );
}

#[test]
fn transfer_encoding_is_one_chunked_or_nothing() {
    let post = |lines: &str| fate(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n"));
    assert_eq!(post("Transfer-Encoding: Chunked\r\n"), "a.test /");
    assert_eq!(post("Transfer-Encoding: \t chunked \r\n"), "a.test /");
    let refused = "400 Transfer-Encoding is not exactly `chunked`";
    for coding in [
        "cow, chunked",
        ",chunked",
        "chunked, chunked",
        "identity, chunked",
        "chunked,",
        "x chunked",
    ] {
        let fate = post(&format!("Transfer-Encoding: {coding}\r\n"));
        assert!(fate == refused || fate == "hyper", "{coding}: {fate}");
    }
    assert_eq!(
        post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        refused
    );
    assert_eq!(
        post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        refused
    );
}

#[test]
fn lengths_that_differ_do_not_get_past_hyper() {
    let post = |lines: &str| fate(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\nabc"));
    assert_eq!(post("Content-Length: 3\r\n"), "a.test /");
    for lines in [
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
    ] {
        assert_eq!(post(lines), "hyper", "{lines}");
    }
}

#[test]
fn after_a_length_beside_transfer_encoding_no_further_request_is_read() {
    let smuggled = "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let lines = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    let heads = parsed(&format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n{smuggled}"
    ));
    assert_eq!(heads.len(), 1);
}

#[test]
fn only_a_continue_can_be_expected() {
    assert_eq!(with("/", "Expect: 100-Continue\r\n"), "a.test /");
    assert_eq!(with("/", "Expect: 200-ok\r\n"), "417 expectation not supported");
    assert_eq!(
        with("/", "Expect: 100-continue\r\nExpect: 100-continue\r\n"),
        "417 expectation not supported"
    );
}

const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn a_web_socket_has_version_13_and_a_key() {
    assert_eq!(
        with("/", &format!("{WEBSOCKET}{VERSION}{KEY}")),
        "a.test / upgrade=\"websocket\""
    );
    let version = "426 WebSocket version not supported";
    assert_eq!(with("/", &format!("{WEBSOCKET}{KEY}")), version);
    assert_eq!(
        with("/", &format!("{WEBSOCKET}{KEY}Sec-WebSocket-Version: 12\r\n")),
        version
    );
    assert_eq!(with("/", &format!("{WEBSOCKET}{KEY}{VERSION}{VERSION}")), version);
    let key = "400 invalid Sec-WebSocket-Key";
    assert_eq!(with("/", &format!("{WEBSOCKET}{VERSION}")), key);
    assert_eq!(with("/", &format!("{WEBSOCKET}{VERSION}{KEY}{KEY}")), key);
    assert_eq!(
        with(
            "/",
            &format!("{WEBSOCKET}{VERSION}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n")
        ),
        key
    );
}

#[test]
fn an_upgrade_is_a_get_without_a_body_to_one_protocol() {
    let upgrade = |method: &str, lines: &str| {
        fate(&format!(
            "{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\n{lines}\r\n"
        ))
    };
    assert_eq!(
        upgrade("GET", "Upgrade: custom/2\r\nContent-Length: 0\r\n"),
        "a.test / upgrade=\"custom/2\""
    );
    let get = "400 an Upgrade is a GET without a body";
    assert_eq!(upgrade("POST", "Upgrade: custom\r\n"), get);
    assert_eq!(upgrade("GET", "Upgrade: custom\r\nContent-Length: 3\r\n"), get);
    assert_eq!(upgrade("GET", "Upgrade: custom\r\nTransfer-Encoding: chunked\r\n"), get);
    let one = "400 Upgrade does not name exactly one protocol";
    assert_eq!(upgrade("GET", "Upgrade: websocket, custom\r\n"), one);
    assert_eq!(upgrade("GET", "Upgrade: websocket\r\nUpgrade: custom\r\n"), one);
    assert_eq!(upgrade("GET", "Upgrade:\r\n"), one);
}

#[test]
fn an_upgrade_to_another_http_is_declined_in_silence() {
    for protocol in ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0"] {
        let lines =
            format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABk\r\n");
        assert_eq!(with("/", &lines), "a.test /", "{protocol}");
        let post = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}Content-Length: 0\r\n\r\n");
        assert_eq!(fate(&post), "a.test /", "{protocol}");
    }
}

#[test]
fn an_upgrade_that_connection_does_not_name_is_none() {
    assert_eq!(with("/", "Upgrade: websocket\r\n"), "a.test /");
    assert_eq!(
        fate("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        "a.test /"
    );
}

#[test]
fn header_names_that_an_origin_may_take_for_ours_are_refused() {
    let ours = [
        "X_Forwarded_For",
        "X-Forwarded_Foo",
        "X_Forwarded",
        "x_original_url",
        "X_Country",
        "Fastly_Client_IP",
        "X_Request_Id",
        "X.Forwarded.For",
        "Content_Length",
        "Transfer_Encoding",
        "CF_Connecting_IP",
        "X~Real~IP",
    ];
    for name in ours {
        let refused = "400 a header name imitates another one";
        assert_eq!(with("/", &format!("{name}: x\r\n")), refused, "{name}");
    }
    assert_eq!(with("/", "my_header: x\r\nX_Forward: x\r\n"), "a.test /");
}

#[test]
fn headers_that_rules_read_as_one_value_come_once() {
    let refused = "400 a header that has one value came twice";
    for name in ["User-Agent", "Referer", "Origin", "Authorization", "Sec-Fetch-Site"] {
        assert_eq!(with("/", &format!("{name}: x\r\n{name}: x\r\n")), refused, "{name}");
    }
    assert_eq!(
        with("/", "Accept: x\r\nAccept: y\r\nCookie: a\r\nCookie: b\r\n"),
        "a.test /"
    );
}
