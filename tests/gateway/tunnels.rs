//! Upgrades: a tunnel after the origin's 101, and only then.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::stack::{Client, Config, OK, Origin, Stack};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A WebSocket origin that sends back what it is sent.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.expect("a connection")).expect("a handshake");
                while let Ok(message) = socket.read() {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).expect("it reads");
                    }
                }
            });
        }
    });
    port
}

#[test]
fn a_web_socket_passes_through_and_survives_a_reload_that_blocks_it() {
    let stack = Stack::start(&Config::to(echo()));
    let stream = std::net::TcpStream::connect(stack.plain).expect("it listens");
    let (mut socket, response) = tungstenite::client("ws://example.com/chat", stream).expect("a handshake");
    assert_eq!(response.status(), 101);
    socket.send("hello".into()).expect("it reads");
    assert_eq!(
        socket.read().expect("an echo").into_text().expect("text").as_str(),
        "hello"
    );
    stack.reload(&Config {
        rules: "[[rule]]\nid = \"all\"\naction = \"block\"\nexpression = 'true'\n",
        ..Config::to(1)
    });
    let long = "x".repeat(1 << 20);
    socket.send(long.as_str().into()).expect("it reads");
    assert_eq!(
        socket.read().expect("an echo").into_text().expect("text").as_str(),
        long
    );
    socket.close(None).expect("it closes");
    while socket.read().is_ok() {}
    drop(socket);
    let records = stack.records();
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_eq!(records[0]["http.response.status_code"], 101);
    assert!(
        records[0]["http.response.body.bytes"].as_u64() > Some(1 << 20),
        "{records:#?}"
    );
}

#[test]
fn a_refused_upgrade_is_an_ordinary_response() {
    let origin = Origin::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    client.send(UPGRADE);
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (426, "no"));
    assert_eq!(origin.received()[0].all("upgrade"), ["websocket"]);
    client.send("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.response().status, 426, "the connection still speaks HTTP");
}

#[test]
fn an_unasked_or_other_101_is_502() {
    let origin = Origin::answering("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    let stack = Stack::before(&origin);
    assert_eq!(stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n").status, 502);
    assert_eq!(stack.ask(UPGRADE).status, 502);
}

#[test]
fn an_upgrade_to_http_2_is_answered_in_http_1_1() {
    let origin = Origin::answering(OK);
    let stack = Stack::before(&origin);
    let response = stack.ask(
        "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(response.status, 200);
    let received = origin.received().remove(0);
    assert_eq!(received.all("upgrade"), [] as [&str; 0]);
    assert_eq!(received.all("http2-settings"), [] as [&str; 0]);
}

#[test]
fn a_silent_tunnel_ends() {
    let origin = Origin::serving(|client, _| {
        crate::stack::receive(client);
        client.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        client.rest();
    });
    let stack = Stack::start(&Config {
        more: "[limits]\ntunnel_idle_timeout = \"1s\"",
        ..Config::to(origin.port)
    });
    let mut client: Client = stack.connect();
    client.send(UPGRADE);
    assert_eq!(client.head().status, 101);
    client.stream.get_mut().write_all(b"x").expect("it reads");
    assert_eq!(client.stream.read(&mut [0; 8]).expect("an end"), 0);
    assert_eq!(stack.records()[0]["portcullis.ending"], "timed_out");
}
