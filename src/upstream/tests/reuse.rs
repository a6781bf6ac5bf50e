//! Which connections are used again: only those on which the next bytes can be nothing but the next answer.

use std::{io::Write as _, sync::mpsc, thread};

use super::*;

/// Asks `method` and then GET of an origin whose first connection answers with `first`: how many connections it took.
async fn connections_after(method: Method, first: &'static [Act]) -> usize {
    let scripts: &'static [&'static [Act]] = Box::leak(Box::new([first, &[Act::Answer(OK)]]));
    let server = RawOrigin::start(scripts).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    text(send(&upstreams, &origin, Outgoing { method, ..get() }).await.unwrap()).await;
    turns().await;
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    server.connections()
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_answered_in_http_1_0_is_not_used_again() {
    const OLD: &str = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok";
    assert_eq!(
        connections_after(Method::GET, &[Act::Answer(OLD), Act::Answer(OK)]).await,
        2
    );
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_not_used_again_after_an_answer_without_a_body_that_describes_one() {
    const FIRST: [&[Act]; 4] = [
        &[
            Act::Answer("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
            Act::Answer(OK),
        ],
        &[
            Act::Answer("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"),
            Act::Answer(OK),
        ],
        &[
            Act::Answer("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
            Act::Answer(OK),
        ],
        &[
            Act::Answer("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n"),
            Act::Answer(OK),
        ],
    ];
    for first in FIRST {
        assert_eq!(connections_after(Method::GET, first).await, 2);
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_used_again_after_ordinary_answers_without_a_body() {
    const BARE: &[Act] = &[Act::Answer("HTTP/1.1 204 No Content\r\n\r\n"), Act::Answer(OK)];
    const HEAD: &[Act] = &[
        Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        Act::Answer(OK),
    ];
    assert_eq!(connections_after(Method::GET, BARE).await, 1);
    assert_eq!(connections_after(Method::HEAD, HEAD).await, 1);
}

#[tokio::test(flavor = "local")]
async fn bytes_that_came_between_two_requests_are_never_the_second_s_answer() {
    const FORGED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    assert_eq!(answered_after_late(Some(FORGED)).await, "ok");
}

#[tokio::test(flavor = "local")]
async fn a_post_does_not_meet_a_connection_that_ended_between_two_requests() {
    assert_eq!(answered_after_late(None).await, "ok");
}

/// What a POST is answered when the origin, after its first answer, sent `late` on that connection, or closed it. This
/// thread stands still meanwhile, so that the runtime cannot have noticed.
async fn answered_after_late(late: Option<&'static [u8]>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, told) = mpsc::channel::<()>();
    let (done, came) = mpsc::channel::<()>();
    let server = thread::spawn(move || {
        let mut first = answer_one(&listener);
        told.recv().unwrap();
        match late {
            Some(late) => first.write_all(late).unwrap(),
            None => first.shutdown(std::net::Shutdown::Both).unwrap(),
        }
        done.send(()).unwrap();
        answer_one(&listener);
    });
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[port])));
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    turns().await;
    go.send(()).unwrap();
    came.recv().unwrap();
    let answer = text(send(&upstreams, &origin, post(whole("pay"))).await.unwrap()).await;
    if answer == "ok" {
        server.join().unwrap();
    }
    answer
}

fn answer_one(listener: &std::net::TcpListener) -> std::net::TcpStream {
    use std::io::Read as _;
    let (mut stream, _) = listener.accept().unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(OK.as_bytes()).unwrap();
    stream
}
