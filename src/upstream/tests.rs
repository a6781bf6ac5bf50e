//! Forwarding to origins that speak raw bytes: a mock that parses HTTP would hide what matters here.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod reuse;
mod servers;

use super::*;
use crate::{
    config::settings::{Balance, Server, Upstream, UpstreamProtocol},
    policy::normalize::{Host, PathOptions, Target},
    telemetry::metrics::Metrics,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An origin that reads a request's head, and as many bytes of its body as it says, and answers with the next script.
struct RawOrigin {
    port: u16,
    heads: Rc<RefCell<Vec<String>>>,
    connections: Rc<RefCell<usize>>,
}

/// What an origin does with a connection, one entry a request.
#[derive(Clone, Copy)]
enum Act {
    Answer(&'static str),
    AnswerThenClose(&'static str),
    CloseUnanswered,
    StaySilent,
}

impl RawOrigin {
    /// Each connection gets the next script; the last one serves all that follow.
    async fn start(scripts: &'static [&'static [Act]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            port: listener.local_addr().unwrap().port(),
            heads: Rc::default(),
            connections: Rc::default(),
        };
        let (heads, connections) = (Rc::clone(&origin.heads), Rc::clone(&origin.connections));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = *connections.borrow();
                *connections.borrow_mut() += 1;
                let script = scripts[number.min(scripts.len() - 1)];
                tokio::task::spawn_local(play(stream, script, Rc::clone(&heads)));
            }
        });
        origin
    }

    fn heads(&self) -> Vec<String> {
        self.heads.borrow().clone()
    }

    fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

async fn play(mut stream: TcpStream, script: &[Act], heads: Rc<RefCell<Vec<String>>>) {
    for act in script {
        let Some(head) = read_head(&mut stream).await else {
            return;
        };
        heads.borrow_mut().push(head);
        match act {
            Act::Answer(response) => stream.write_all(response.as_bytes()).await.unwrap(),
            Act::AnswerThenClose(response) => {
                stream.write_all(response.as_bytes()).await.unwrap();
                return;
            }
            Act::CloseUnanswered => return,
            Act::StaySilent => std::future::pending().await,
        }
    }
    // Reads on, so that the other side decides when the connection ends.
    while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

pub(super) fn settings(ports: &[u16]) -> Upstream {
    Upstream {
        name: "app".to_owned(),
        servers: ports
            .iter()
            .map(|&port| Server::Http {
                host: "127.0.0.1".to_owned(),
                port,
            })
            .collect(),
        protocol: UpstreamProtocol::Http1,
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        keepalive: Duration::from_secs(30),
        max_idle: 8,
        ca: None,
        tls_name: None,
        balance: Balance::RoundRobin,
        retries: 1,
        retry_budget: 20,
        ejection: None,
        slow_start: None,
        health_check: None,
    }
}

fn origin(settings: Upstream) -> Arc<Origin> {
    Arc::new(Origin::load(Arc::new(settings)).unwrap())
}

/// A server, compiled.
pub(super) fn endpoint(host: &str, port: u16) -> Arc<Endpoint> {
    let server = Server::Http {
        host: host.to_owned(),
        port,
    };
    let settings = Upstream {
        servers: vec![server],
        ..settings(&[])
    };
    Arc::clone(&origin(settings).servers()[0])
}

fn get() -> Outgoing {
    Outgoing {
        method: Method::GET,
        headers: HeaderMap::new(),
        ours: Vec::new(),
        accepts_trailers: false,
        body: None,
        upgrade: None,
        conversation: None,
    }
}

fn post(body: Upload) -> Outgoing {
    Outgoing {
        method: Method::POST,
        body: Some(body),
        ..get()
    }
}

fn whole(bytes: &'static str) -> Upload {
    Upload::new(Full::new(Bytes::from_static(bytes.as_bytes())).map_err(|never| match never {}))
}

fn frames(frames: Vec<Frame<Bytes>>) -> Upload {
    struct Frames(std::vec::IntoIter<Frame<Bytes>>);
    impl Body for Frames {
        type Data = Bytes;
        type Error = UploadError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, UploadError>>> {
            std::task::Poll::Ready(self.0.next().map(Ok))
        }
    }
    Upload::new(Frames(frames.into_iter()))
}

/// A body that never comes.
fn endless() -> Upload {
    struct Endless;
    impl Body for Endless {
        type Data = Bytes;
        type Error = UploadError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, UploadError>>> {
            std::task::Poll::Pending
        }
    }
    Upload::new(Endless)
}

async fn send(upstreams: &Upstreams, origin: &Arc<Origin>, request: Outgoing) -> Result<Forwarded, ForwardError> {
    send_to(upstreams, origin, "/", request).await
}

async fn send_to(
    upstreams: &Upstreams,
    origin: &Arc<Origin>,
    target: &str,
    request: Outgoing,
) -> Result<Forwarded, ForwardError> {
    let quota = Quota {
        connections: 4,
        meter: None,
    };
    upstreams
        .forward(destination(target)?, origin, request, quota, Instant::now())
        .await
}

fn destination(target: &str) -> Result<Destination, ForwardError> {
    let target = Target::parse(target, PathOptions::default()).unwrap();
    let host = Host::parse("Example.com:8443").unwrap();
    Destination::of(Permit::unjudged(&target, &host))
}

async fn text(forwarded: Forwarded) -> String {
    match forwarded.answer {
        Answer::Response(response) => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
        Answer::Switched { head, .. } => panic!("switched: {head:?}"),
    }
}

async fn turns() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "local")]
async fn target_and_host_are_the_permit_s_whatever_the_headers_say() {
    let server = RawOrigin::start(&[&[Act::Answer(OK)]]).await;
    let mut request = get();
    for (name, value) in [
        ("host", "evil.example"),
        ("transfer-encoding", "gzip"),
        ("content-length", "7"),
    ] {
        request.headers.append(name, HeaderValue::from_static(value));
    }
    request.headers.append("x-kept", HeaderValue::from_static("1"));
    let answer = send_to(
        &Upstreams::default(),
        &origin(settings(&[server.port])),
        "/a%20b?q=%2F",
        request,
    )
    .await;
    assert_eq!(text(answer.unwrap()).await, "ok");
    assert_eq!(
        server.heads(),
        ["GET /a%20b?q=%2F HTTP/1.1\r\nhost: example.com:8443\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n"]
    );
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_kept_and_used_again() {
    let server = RawOrigin::start(&[&[Act::Answer(OK), Act::Answer(OK), Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    for _ in 0..3 {
        assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
        turns().await;
    }
    assert_eq!((server.connections(), server.heads().len()), (1, 3));
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_not_used_again_after_bytes_that_nobody_asked_for() {
    const TOO_MUCH: &str =
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let server = RawOrigin::start(&[&[Act::Answer(TOO_MUCH)], &[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    turns().await;
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_not_used_again_when_its_response_was_dropped_unread() {
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
    let server = RawOrigin::start(&[&[Act::Answer(LONG)], &[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    drop(send(&upstreams, &origin, get()).await.unwrap());
    turns().await;
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_not_used_again_when_the_answer_came_before_the_body_s_end() {
    let server = RawOrigin::start(&[&[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    assert_eq!(
        text(send(&upstreams, &origin, post(endless())).await.unwrap()).await,
        "ok"
    );
    turns().await;
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_get_on_a_kept_connection_that_the_origin_closed_is_asked_once_more() {
    let server = RawOrigin::start(&[&[Act::Answer(OK), Act::CloseUnanswered], &[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    turns().await;
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    assert_eq!((server.connections(), server.heads().len()), (2, 3));
}

#[tokio::test(flavor = "local")]
async fn a_post_on_a_kept_connection_is_never_asked_twice() {
    let server = RawOrigin::start(&[&[Act::Answer(OK), Act::CloseUnanswered], &[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
    turns().await;
    let failed = send(&upstreams, &origin, post(whole("pay"))).await;
    assert!(matches!(failed, Err(ForwardError::Broken { .. })), "{failed:?}");
    assert_eq!(server.heads().len(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_get_on_a_fresh_connection_is_never_asked_twice() {
    let server = RawOrigin::start(&[&[Act::CloseUnanswered]]).await;
    let failed = send(&Upstreams::default(), &origin(settings(&[server.port])), get()).await;
    assert!(matches!(failed, Err(ForwardError::Broken { .. })), "{failed:?}");
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_body_of_known_length_is_sent_with_it() {
    let server = RawOrigin::start(&[&[Act::Answer(OK)]]).await;
    let answer = send(
        &Upstreams::default(),
        &origin(settings(&[server.port])),
        post(whole("hello")),
    )
    .await;
    assert_eq!(text(answer.unwrap()).await, "ok");
    assert_eq!(
        server.heads(),
        ["POST / HTTP/1.1\r\nhost: example.com:8443\r\ncontent-length: 5\r\n\r\n"]
    );
}

#[tokio::test(flavor = "local")]
async fn a_post_without_a_body_says_so() {
    let server = RawOrigin::start(&[&[Act::Answer(OK)]]).await;
    let request = Outgoing {
        method: Method::POST,
        ..get()
    };
    text(
        send(&Upstreams::default(), &origin(settings(&[server.port])), request)
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        server.heads(),
        ["POST / HTTP/1.1\r\nhost: example.com:8443\r\ncontent-length: 0\r\n\r\n"]
    );
}

#[tokio::test(flavor = "local")]
async fn a_body_of_unknown_length_is_chunked_even_for_get_and_keeps_its_announced_trailers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = tokio::task::spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"x-sum: 9\r\n\r\n") {
            seen.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(OK.as_bytes()).await.unwrap();
        String::from_utf8(seen).unwrap()
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("9"));
    let body = frames(vec![
        Frame::data(Bytes::from_static(b"hello")),
        Frame::trailers(trailers),
    ]);
    let mut request = Outgoing {
        body: Some(body),
        ..get()
    };
    request.headers.insert("trailer", HeaderValue::from_static("x-sum"));
    text(
        send(&Upstreams::default(), &origin(settings(&[port])), request)
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        seen.await.unwrap(),
        "GET / HTTP/1.1\r\nhost: example.com:8443\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n"
    );
}

#[tokio::test(flavor = "local")]
async fn servers_take_turns() {
    let first = RawOrigin::start(&[&[Act::Answer(OK), Act::Answer(OK), Act::Answer(OK)]]).await;
    let second = RawOrigin::start(&[&[Act::Answer(OK), Act::Answer(OK), Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[first.port, second.port])));
    for _ in 0..6 {
        text(send(&upstreams, &origin, get()).await.unwrap()).await;
        turns().await;
    }
    assert_eq!((first.heads().len(), second.heads().len()), (3, 3));
}

/// A port that was free a moment ago, so that nobody listens there.
async fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test(flavor = "local")]
async fn a_server_that_cannot_be_reached_is_passed_over() {
    let server = RawOrigin::start(&[&[Act::Answer(OK), Act::Answer(OK)]]).await;
    let (upstreams, origin) = (
        Upstreams::default(),
        origin(settings(&[dead_port().await, server.port])),
    );
    for _ in 0..2 {
        assert_eq!(text(send(&upstreams, &origin, get()).await.unwrap()).await, "ok");
        turns().await;
    }
}

#[tokio::test(flavor = "local")]
async fn no_server_that_can_be_reached_is_an_error() {
    let failed = send(&Upstreams::default(), &origin(settings(&[dead_port().await])), get()).await;
    assert!(matches!(failed, Err(ForwardError::Connect { .. })), "{failed:?}");
}

#[tokio::test(flavor = "local")]
async fn a_name_that_does_not_resolve_is_an_error() {
    let mut settings = settings(&[]);
    settings.servers = vec![Server::Http {
        host: "no-such-origin.invalid".to_owned(),
        port: 80,
    }];
    let failed = send(&Upstreams::default(), &origin(settings), get()).await;
    assert!(matches!(failed, Err(ForwardError::Connect { .. })), "{failed:?}");
}

#[tokio::test(flavor = "local")]
async fn an_origin_that_does_not_answer_in_time_is_given_up() {
    let server = RawOrigin::start(&[&[Act::StaySilent]]).await;
    let settings = Upstream {
        response_timeout: Duration::from_millis(20),
        ..settings(&[server.port])
    };
    let failed = send(&Upstreams::default(), &origin(settings), get()).await;
    assert!(matches!(failed, Err(ForwardError::Timeout { .. })), "{failed:?}");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_stops_sending_is_not_the_origin_s_fault() {
    let server = RawOrigin::start(&[&[Act::StaySilent]]).await;
    let settings = Upstream {
        response_timeout: Duration::from_millis(10),
        idle_timeout: Duration::from_millis(50),
        ..settings(&[server.port])
    };
    let failed = send(&Upstreams::default(), &origin(settings), post(endless())).await;
    assert!(
        matches!(failed, Err(ForwardError::Upload(UploadError::TooSlow))),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "local")]
async fn a_response_that_falls_silent_is_cut() {
    let server = RawOrigin::start(&[&[
        Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
        Act::StaySilent,
    ]])
    .await;
    let settings = Upstream {
        idle_timeout: Duration::from_millis(20),
        ..settings(&[server.port])
    };
    let forwarded = send(&Upstreams::default(), &origin(settings), get()).await.unwrap();
    let Answer::Response(response) = forwarded.answer else {
        panic!("switched")
    };
    let cut = response.into_body().collect().await;
    assert!(matches!(cut, Err(OriginBodyError::Silent)), "{cut:?}");
}

#[tokio::test(flavor = "local")]
async fn a_response_cut_short_is_an_error_not_an_end() {
    let server = RawOrigin::start(&[&[Act::AnswerThenClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")]]).await;
    let forwarded = send(&Upstreams::default(), &origin(settings(&[server.port])), get())
        .await
        .unwrap();
    let Answer::Response(response) = forwarded.answer else {
        panic!("switched")
    };
    let cut = response.into_body().collect().await;
    assert!(matches!(cut, Err(OriginBodyError::Broken(_))), "{cut:?}");
}

#[tokio::test(flavor = "local")]
async fn a_switch_of_protocols_is_refused_unless_asked_for() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    for asked in [None, Some("other")] {
        let server = RawOrigin::start(&[&[Act::Answer(SWITCH)]]).await;
        let request = Outgoing {
            upgrade: asked.map(HeaderValue::from_static),
            ..get()
        };
        let failed = send(&Upstreams::default(), &origin(settings(&[server.port])), request).await;
        assert!(
            matches!(failed, Err(ForwardError::UnaskedSwitch { .. })),
            "{asked:?}: {failed:?}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn tunnels_take_no_turn_from_requests_and_stay_counted_as_connections() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
    let server = RawOrigin::start(&[&[Act::Answer(SWITCH)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    let meters = Metrics::new(1).meters([], [], ["app"]);
    let meter = meters.upstream("app").unwrap();
    let quota = Quota {
        connections: 1,
        meter: Some((meter, WorkerIndex::new(0))),
    };
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let request = Outgoing {
            upgrade: Some(HeaderValue::from_static("websocket")),
            ..get()
        };
        let destination = destination("/").unwrap();
        tunnels.push(
            upstreams
                .forward(destination, &origin, request, quota, Instant::now())
                .await
                .unwrap(),
        );
    }
    assert_eq!(meter.connections(), 3);
    drop(tunnels);
    assert_eq!(meter.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_switch_that_was_asked_for_gives_the_bytes_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = tokio::task::spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await.unwrap();
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let byte = stream.read_u8().await.unwrap();
        stream.write_all(&[byte]).await.unwrap();
        head
    });
    let request = Outgoing {
        upgrade: Some(HeaderValue::from_static("websocket")),
        ..get()
    };
    let forwarded = send(&Upstreams::default(), &origin(settings(&[port])), request)
        .await
        .unwrap();
    let Answer::Switched { mut tunnel, .. } = forwarded.answer else {
        panic!("not switched")
    };
    tunnel.io.write_all(b"!").await.unwrap();
    let mut bytes = [0; 6];
    tunnel.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"first!");
    assert_eq!(
        asked.await.unwrap(),
        "GET / HTTP/1.1\r\nhost: example.com:8443\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    );
}

#[tokio::test(flavor = "local")]
async fn requests_beyond_the_connections_allowed_wait_their_turn_and_no_longer_than_the_connect_timeout() {
    let server = RawOrigin::start(&[&[Act::StaySilent]]).await;
    let settings = Upstream {
        connect_timeout: Duration::from_millis(200),
        ..settings(&[server.port])
    };
    let (upstreams, origin) = (Upstreams::default(), origin(settings));
    let mut under_way: Vec<_> = (0..4).map(|_| Box::pin(send(&upstreams, &origin, get()))).collect();
    poll_fn(|cx| {
        let ended = under_way.iter_mut().any(|request| request.as_mut().poll(cx).is_ready());
        assert!(!ended);
        std::task::Poll::Ready(())
    })
    .await;
    let failed = pin!(send(&upstreams, &origin, get())).await;
    assert!(matches!(failed, Err(ForwardError::Overloaded { .. })), "{failed:?}");
}

#[tokio::test(flavor = "local")]
async fn pools_are_forgotten_when_nobody_wants_their_server_any_more() {
    let server = RawOrigin::start(&[&[Act::Answer(OK)]]).await;
    let (upstreams, origin) = (Upstreams::default(), origin(settings(&[server.port])));
    text(send(&upstreams, &origin, get()).await.unwrap()).await;
    upstreams.retain([&origin].into_iter());
    assert_eq!(upstreams.connections.borrow().len(), 1);
    upstreams.retain(std::iter::empty());
    assert_eq!(upstreams.connections.borrow().len(), 0);
}

#[tokio::test(flavor = "local")]
async fn the_demo_shows_what_it_received() {
    let settings = Upstream {
        servers: vec![Server::Demo],
        ..settings(&[])
    };
    let answer = send_to(
        &Upstreams::default(),
        &origin(settings),
        "/here?x=1",
        post(whole("hello")),
    )
    .await;
    let shown = text(answer.unwrap()).await;
    for expected in ["/here?x=1", "example.com:8443", "\"body_bytes\": 5"] {
        assert!(shown.contains(expected), "{expected} is missing: {shown}");
    }
}
