//! Origins that are down, slow, several, or behind TLS.

use std::{
    io::Write,
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use crate::stack::{Config, OK, Origin, Stack, receive};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.com\r\nAccept: application/json\r\n\r\n";

fn reason(response: &crate::stack::Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    body["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_dead_origin_is_502_with_its_reason() {
    let port = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address")
        .port();
    let stack = Stack::start(&Config::to(port));
    let response = stack.ask(GET);
    assert_eq!((response.status, reason(&response).as_str()), (502, "upstream_down"));
    let records = stack.records();
    assert_eq!(records[0]["event.reason"], "upstream_down");
    assert_eq!(records[0]["http.response.status_code"], 502);
}

#[test]
fn an_origin_that_breaks_off_is_502() {
    let origin = Origin::serving(|client, _| drop(receive(client)));
    let response = Stack::before(&origin).ask(GET);
    assert_eq!((response.status, reason(&response).as_str()), (502, "upstream_down"));
}

#[test]
fn an_origin_that_speaks_no_http_is_502() {
    let origin = Origin::answering("SSH-2.0-OpenSSH_9.2\r\n");
    assert_eq!(Stack::before(&origin).ask(GET).status, 502);
}

#[test]
fn an_origin_whose_framing_has_two_meanings_is_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
    ] {
        let response = Stack::before(&Origin::answering(answer)).ask(GET);
        assert_eq!(
            (response.status, reason(&response).as_str()),
            (502, "upstream_down"),
            "{answer}"
        );
    }
}

#[test]
fn a_length_that_the_origin_repeats_is_said_once() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok");
    let response = Stack::before(&origin).ask(GET);
    assert_eq!(response.header("content-length"), Some("2"));
}

#[test]
fn a_slow_origin_is_504_with_its_reason() {
    let origin = Origin::serving(|client, _| {
        receive(client);
        client.rest();
    });
    let stack = Stack::start(&Config {
        upstream: format!(
            "servers = [\"http://127.0.0.1:{}\"]\nresponse_timeout = \"100ms\"",
            origin.port
        ),
        ..Config::default()
    });
    let response = stack.ask(GET);
    assert_eq!((response.status, reason(&response).as_str()), (504, "upstream_timeout"));
}

#[test]
fn a_request_that_takes_too_long_as_a_whole_is_504() {
    let origin = Origin::serving(|client, _| {
        receive(client);
        client.rest();
    });
    let stack = Stack::start(&Config {
        more: "[limits]\ntotal_timeout = \"100ms\"",
        ..Config::to(origin.port)
    });
    assert_eq!(stack.ask(GET).status, 504);
}

#[test]
fn a_client_that_does_not_read_is_cut_when_its_time_is_up() {
    let (cut, was_cut) = mpsc::channel();
    let cut = Mutex::new(cut);
    let origin = Origin::serving(move |client, _| {
        receive(client);
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
        while client.stream.get_mut().write_all(&[b'x'; 65536]).is_ok() {}
        cut.lock().expect("not poisoned").send(()).expect("the test waits");
    });
    let stack = Stack::start(&Config {
        more: "[limits]\ntotal_timeout = \"300ms\"\nmin_rate = 0",
        ..Config::to(origin.port)
    });
    let mut client = stack.connect();
    client.send(GET);
    was_cut
        .recv_timeout(Duration::from_secs(60))
        .expect("the gateway lets go");
    let records = stack.records();
    assert_eq!(records[0]["portcullis.ending"], "timed_out", "{records:#?}");
}

#[test]
fn a_malformed_request_is_told_what_is_wrong_with_it() {
    let origin = Origin::answering(OK);
    let response =
        Stack::before(&origin).ask("GET /a%2Fb HTTP/1.1\r\nHost: example.com\r\nAccept: application/json\r\n\r\n");
    let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(
        body["detail"],
        "The request breaks the rules of HTTP, or could be read in more than one way: encoded slash in the path."
    );
}

#[test]
fn an_origin_s_own_errors_are_left_alone() {
    let origin = Origin::answering("HTTP/1.1 503 Busy\r\nContent-Type: text/x-own\r\nContent-Length: 4\r\n\r\nmine");
    let response = Stack::before(&origin).ask(GET);
    assert_eq!((response.status, response.text().as_str()), (503, "mine"));
    assert_eq!(response.header("content-type"), Some("text/x-own"));
}

#[test]
fn a_kept_connection_that_the_origin_closed_costs_a_get_nothing() {
    let origin = Origin::serving(|client, received| {
        // One request a connection, without saying so.
        if let Some(request) = receive(client) {
            received(request);
            client.send(OK);
        }
        receive(client);
    });
    let stack = Stack::before(&origin);
    for _ in 0..5 {
        assert_eq!(stack.ask(GET).status, 200);
    }
    assert_eq!(origin.received().len(), 5);
}

#[test]
fn servers_take_turns() {
    let (first, second) = (Origin::answering(OK), Origin::answering(OK));
    let stack = Stack::start(&Config {
        upstream: format!(
            "servers = [\"http://127.0.0.1:{}\", \"http://127.0.0.1:{}\"]",
            first.port, second.port
        ),
        ..Config::default()
    });
    for _ in 0..6 {
        assert_eq!(stack.ask(GET).status, 200);
    }
    assert_eq!((first.received().len(), second.received().len()), (3, 3));
}

#[test]
fn an_https_origin_is_verified() {
    let (port, ca) = https_origin("origin.internal");
    let ask = |name: &str, ca: &str| {
        let stack = Stack::start(&Config {
            upstream: format!("servers = [\"https://127.0.0.1:{port}\"]\ntls_name = \"{name}\"\nca = \"ca.pem\""),
            files: &[("ca.pem", ca)],
            ..Config::default()
        });
        stack.ask(GET).status
    };
    assert_eq!(ask("origin.internal", &ca), 200);
    assert_eq!(ask("other.internal", &ca), 502, "another name's certificate");
    let (_, other_ca) = https_origin("origin.internal");
    assert_eq!(
        ask("origin.internal", &other_ca),
        502,
        "another authority's certificate"
    );
}

/// An https origin with a certificate for `name`: its port, and the certificate.
fn https_origin(name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a key that fits");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut session = rustls::ServerConnection::new(Arc::clone(&config)).expect("a session");
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && tls.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            if head.ends_with(b"\r\n\r\n") {
                tls.write_all(OK.as_bytes()).expect("it reads");
            }
        }
    });
    (port, made.cert.pem())
}
