//! The server with a gate that only answers: what a client on the wire sees.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    config::settings::{Limits, Listener, TlsVersion},
    gateway::connection::{Close, ConnectionFacts, RequestBody, RequestBodyError, WireFault},
    handover::Passed,
    policy::{fault::Faults, network::IpSet},
    tls::{CertificateStore, SniResolver, testing::site},
};

/// Generous to clients that do nothing wrong; a test that waits for a limit makes that one small.
pub(super) fn limits() -> Limits {
    let minute = Duration::from_secs(60);
    Limits {
        header_bytes: 16 * 1024,
        header_count: 100,
        target_bytes: 8 * 1024,
        body_bytes: None,
        header_timeout: minute,
        handshake_timeout: minute,
        handshake_turns: 1,
        proxy_header_timeout: minute,
        keepalive_timeout: minute,
        total_timeout: None,
        min_rate: 0,
        min_rate_grace: Duration::ZERO,
        connections: 100,
        connections_per_client: 100,
        h2_streams: 100,
        tunnel_idle_timeout: minute,
        drain_timeout: minute,
        upstream_connections: 100,
    }
}

pub(super) fn listener() -> Listener {
    Listener {
        address: "127.0.0.1:0".parse().expect("an address"),
        protocol: Protocol::Plain,
        proxy_protocol: IpSet::default(),
        health: None,
    }
}

/// The one trusted proxy.
const TRUSTED: &str = "192.0.2.99";

/// Answers by path; `/held` waits until the test lets it go.
#[derive(Clone)]
struct TestGate {
    held: Arc<Semaphore>,
    /// Keeps `/blocked` from its end on a thread of its own, as a look-up of a name does.
    blocked: Arc<Mutex<()>>,
    reached: Arc<Mutex<Vec<String>>>,
}

impl Gate for TestGate {
    type Body = UnsyncBoxBody<Bytes, RequestBodyError>;

    async fn handle(
        &self,
        connection: &Arc<ConnectionFacts>,
        request: Request<RequestBody>,
    ) -> Result<Response<Self::Body>, Close> {
        let path = request.uri().path().to_owned();
        self.reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path.clone());
        if let Some(WireFault(detail)) = request.extensions().get() {
            return Ok(refused(detail));
        }
        let text = match path.as_str() {
            "/close" => return Err(Close),
            "/source" => format!("{} via {}", connection.source.0.ip(), connection.peer.0.ip()),
            "/length" => match request.into_body().collect().await {
                Ok(body) => format!("{} bytes", body.to_bytes().len()),
                Err(error) => error.to_string(),
            },
            "/held" => {
                let _permit = self.held.acquire().await;
                "held".to_owned()
            }
            "/blocked" => {
                let blocked = Arc::clone(&self.blocked);
                let wait = tokio::task::spawn_blocking(move || drop(blocked.lock()));
                wait.await.expect("no panic");
                "was blocked".to_owned()
            }
            "/endless" => return Ok(Response::new(Endless.boxed_unsync())),
            _ => "hello".to_owned(),
        };
        Ok(Response::new(
            Full::new(Bytes::from(text))
                .map_err(|never| match never {})
                .boxed_unsync(),
        ))
    }
}

fn refused(detail: &'static str) -> Response<<TestGate as Gate>::Body> {
    let body = Full::new(Bytes::from(detail)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// A body without end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, RequestBodyError>>> {
        static BLOCK: [u8; 65536] = [b'x'; 65536];
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&BLOCK)))))
    }
}

pub(super) fn shared(limits: Limits) -> Shared {
    Shared {
        caps: Arc::default(),
        counts: Arc::default(),
        limits: Box::new(move || limits.clone()),
        trusts: Box::new(|source| source.0.ip().to_string() == TRUSTED),
    }
}

/// A running server; stops when dropped.
struct Running {
    address: SocketAddr,
    server: Option<Server>,
    gate: TestGate,
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(listener: Listener, limits: Limits) -> Self {
        let bound = bind_all(&[listener], 1, &mut Passed::default()).expect("a free port");
        Self::on(bound, limits)
    }

    fn on(bound: Vec<BoundListener>, limits: Limits) -> Self {
        let gate = TestGate {
            held: Arc::new(Semaphore::new(0)),
            blocked: Arc::default(),
            reached: Arc::default(),
        };
        let shared = Arc::new(shared(limits));
        let sites = [site("default", &["*"], Vec::new(), true)];
        let store = CertificateStore::load(&sites, None, jiff::Timestamp::now(), &mut Faults::new());
        let store = Arc::new(store);
        let tls = TlsSetup::new(Arc::new(SniResolver::new(move || Arc::clone(&store)))).expect("randomness");
        let address = bound[0].settings.address;
        let made = gate.clone();
        let server = Server::start(bound, 1, &tls, Arc::clone(&shared), move |_| made.clone()).expect("it starts");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            address,
            server: Some(server),
            gate,
            shared,
            runtime,
        }
    }

    fn plain(limits: Limits) -> Self {
        Self::start(listener(), limits)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        stream
    }

    /// Sends these bytes and reads until the server closes.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("it reads");
        read_to_end(&mut stream)
    }

    fn wait_until_reached(&self, path: &str) {
        while !self
            .gate
            .reached
            .lock()
            .expect("not poisoned")
            .iter()
            .any(|reached| reached == path)
        {
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

/// Everything until the end; a reset counts as an end.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server closes"),
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// One response whose end is told by its Content-Length.
fn read_response(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        read.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&read).to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|length| length.parse().ok()).expect("a length")];
    stream.read_exact(&mut body).expect("a body");
    read.extend(body);
    String::from_utf8_lossy(&read).into_owned()
}

const CLOSING: &str = "Host: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_request_is_answered() {
    let server = Running::plain(limits());
    let answer = server.exchange(format!("GET / HTTP/1.1\r\n{CLOSING}").as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhello"),
        "{answer}"
    );
}

#[test]
fn closing_without_an_answer_sends_not_a_byte_over_http1() {
    let server = Running::plain(limits());
    assert_eq!(server.exchange(b"GET /close HTTP/1.1\r\nHost: a\r\n\r\n"), "");
}

#[test]
fn a_head_that_does_not_end_in_time_closes_the_connection() {
    let server = Running::plain(Limits {
        header_timeout: Duration::from_millis(50),
        ..limits()
    });
    assert_eq!(server.exchange(b"GET / HTTP/1.1\r\nHos"), "");
}

#[test]
fn a_connection_without_a_byte_is_closed() {
    let server = Running::plain(Limits {
        header_timeout: Duration::from_millis(50),
        ..limits()
    });
    assert_eq!(server.exchange(b""), "");
}

#[test]
fn an_idle_connection_is_closed_after_its_keep_alive() {
    let server = Running::plain(Limits {
        keepalive_timeout: Duration::from_millis(50),
        ..limits()
    });
    let mut stream = server.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    let answer = read_to_end(&mut stream);
    assert!(answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_head_that_began_behind_another_request_has_no_more_time() {
    let server = Running::plain(Limits {
        header_timeout: Duration::from_millis(50),
        ..limits()
    });
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHos");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_request_under_way_is_not_idle() {
    let server = Running::plain(Limits {
        header_timeout: Duration::from_millis(20),
        keepalive_timeout: Duration::from_millis(20),
        ..limits()
    });
    let mut stream = server.connect();
    stream
        .write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/held");
    // Two further connections live out their timeouts meanwhile.
    assert_eq!(server.exchange(b""), "");
    assert_eq!(server.exchange(b""), "");
    server.gate.held.add_permits(1);
    assert!(read_response(&mut stream).ends_with("held"));
}

#[test]
fn a_head_somewhat_too_large_is_for_the_gate_to_refuse() {
    let server = Running::plain(limits());
    let long = "x".repeat(20_000);
    let many = "a: b\r\n".repeat(110);
    let answer = server.exchange(format!("GET / HTTP/1.1\r\nX-Long: {long}\r\n{many}{CLOSING}").as_bytes());
    assert!(answer.ends_with("hello"), "{answer}");
}

#[test]
fn a_head_that_is_far_too_large_is_answered_431_and_counted() {
    let server = Running::plain(limits());
    let long = "x".repeat(40_000);
    let answer = server.exchange(format!("GET / HTTP/1.1\r\nX-Long: {long}\r\n{CLOSING}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    while server
        .shared
        .counts
        .malformed_heads
        .load(std::sync::atomic::Ordering::Relaxed)
        == 0
    {
        std::thread::yield_now();
    }
}

#[test]
fn a_client_may_have_only_so_many_connections() {
    let server = Running::plain(Limits {
        connections_per_client: 2,
        ..limits()
    });
    let mut kept: Vec<TcpStream> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut kept {
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("it reads");
        assert!(read_response(stream).ends_with("hello"));
    }
    assert_eq!(server.exchange(b""), "");
    assert_eq!(
        server
            .shared
            .counts
            .over_client
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[test]
fn there_may_be_only_so_many_connections_and_a_closed_one_makes_room() {
    let server = Running::plain(Limits {
        connections: 1,
        ..limits()
    });
    let mut kept = server.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    read_response(&mut kept);
    assert_eq!(server.exchange(b""), "");
    drop(kept);
    while server.shared.caps.open() > 0 {
        std::thread::yield_now();
    }
    assert!(
        server
            .exchange(format!("GET / HTTP/1.1\r\n{CLOSING}").as_bytes())
            .ends_with("hello")
    );
}

#[test]
fn an_answer_before_the_body_reaches_a_client_that_is_still_sending() {
    let server = Running::plain(limits());
    let mut stream = server.connect();
    let body = vec![b'x'; 900_000];
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n")
        .expect("it reads");
    stream.write_all(&body).expect("it reads on after its answer");
    stream.shutdown(Shutdown::Write).expect("still connected");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("no reset");
    assert!(
        answer.ends_with("hello") && answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn a_request_body_slower_than_the_least_rate_is_cut() {
    let server = Running::plain(Limits {
        min_rate: 1_000_000,
        min_rate_grace: Duration::from_millis(50),
        ..limits()
    });
    let answer = server.exchange(b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123");
    assert!(answer.ends_with("slower than limits.min_rate"), "{answer}");
}

#[test]
fn a_request_body_in_time_is_read_whole() {
    let server = Running::plain(Limits {
        min_rate: 240,
        min_rate_grace: Duration::from_secs(5),
        ..limits()
    });
    let answer = server.exchange(
        b"POST /length HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert!(answer.ends_with("3 bytes"), "{answer}");
}

#[test]
fn a_client_that_does_not_read_its_response_is_cut() {
    let server = Running::plain(Limits {
        // A pace that what the kernel takes at once does not buy much of.
        min_rate: 1 << 40,
        min_rate_grace: Duration::from_millis(50),
        ..limits()
    });
    let mut stream = server.connect();
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/endless");
    while server.shared.caps.open() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn draining_finishes_what_is_under_way_and_closes_what_is_idle() {
    let mut server = Running::plain(limits());
    let mut idle = server.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    read_response(&mut idle);
    let mut busy = server.connect();
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/held");

    let mut draining = server.server.take().expect("running");
    let drained = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(draining.drain(Duration::from_secs(60)));
    });
    assert_eq!(read_to_end(&mut idle), "");
    server.gate.held.add_permits(1);
    let answer = read_to_end(&mut busy);
    assert!(
        answer.to_lowercase().contains("connection: close") && answer.ends_with("held"),
        "{answer}"
    );
    drained.join().expect("drained");
    TcpStream::connect(server.address).expect_err("nobody listens any more");
}

#[test]
fn while_draining_a_kept_connection_is_told_by_its_next_answer() {
    let mut server = Running::plain(limits());
    let mut kept = server.connect();
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    assert!(!read_response(&mut kept).to_lowercase().contains("connection: close"));
    let mut fresh = server.connect();
    // A request that has begun may be ended whenever its time allows.
    for stream in [&mut kept, &mut fresh] {
        stream.write_all(b"GET / HT").expect("it reads");
    }
    let mut busy = server.connect();
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/held");
    let mut draining = server.server.take().expect("running");
    let drained = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(draining.drain(Duration::from_secs(60)));
    });
    // The workers drain as soon as nobody listens any more.
    while TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    for stream in [&mut kept, &mut fresh] {
        stream.write_all(b"TP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
        let answer = read_to_end(stream);
        assert!(
            answer.to_lowercase().contains("connection: close") && answer.ends_with("hello"),
            "{answer}"
        );
    }
    server.gate.held.add_permits(1);
    assert!(read_to_end(&mut busy).ends_with("held"));
    drained.join().expect("drained");
}

#[test]
fn a_socket_that_another_process_has_is_left_open() {
    let bound = bind_all(&[listener()], 1, &mut Passed::default()).expect("a free port");
    let other = bound[0].sockets[0].try_clone().expect("a descriptor");
    bound[0].kept.set();
    let mut server = Running::on(bound, limits());
    let mut leaving = server.server.take().expect("running");
    leaving.leave();
    server.runtime.block_on(leaving.drain(Duration::from_secs(60)));
    let _client = TcpStream::connect(server.address).expect("it listens");
    other.set_nonblocking(false).expect("a socket");
    other.accept().expect("the connection was left to it");
}

#[test]
fn draining_ends_at_its_deadline() {
    let mut server = Running::plain(limits());
    let mut busy = server.connect();
    busy.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/held");
    let mut draining = server.server.take().expect("running");
    server.runtime.block_on(draining.drain(Duration::from_millis(20)));
    assert_eq!(read_to_end(&mut busy), "");
}

#[test]
fn stopping_does_not_wait_for_a_blocked_look_up() {
    let mut server = Running::plain(limits());
    let blocked = Arc::clone(&server.gate.blocked);
    let block = blocked.lock().expect("not poisoned");
    let mut client = server.connect();
    client
        .write_all(b"GET /blocked HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect("it reads");
    server.wait_until_reached("/blocked");
    let mut stopping = server.server.take().expect("running");
    let stopped = server
        .runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), stopping.stop()).await });
    drop(block);
    stopped.expect("it stops");
}

#[test]
fn the_health_path_is_answered_by_the_listener() {
    let server = Running::start(
        Listener {
            health: Some("/healthz".to_owned()),
            ..listener()
        },
        limits(),
    );
    let answer = server.exchange(format!("GET /healthz HTTP/1.1\r\n{CLOSING}").as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"),
        "{answer}"
    );
    assert_eq!(*server.gate.reached.lock().expect("not poisoned"), Vec::<String>::new());
}

#[test]
fn a_faulty_head_is_refused_and_the_last_on_its_connection() {
    let server = Running::plain(limits());
    let answers = server.exchange(
        b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let (good, bad) = answers.split_once("hello").expect("an answer to the first");
    assert!(good.starts_with("HTTP/1.1 200 "), "{answers}");
    assert!(
        bad.starts_with("HTTP/1.1 400 ") && bad.contains("connection: close\r\n"),
        "{answers}"
    );
    assert!(bad.ends_with("Content-Length beside Transfer-Encoding"), "{answers}");
    assert_eq!(*server.gate.reached.lock().expect("not poisoned"), ["/a", "/b"]);
}

#[test]
fn the_health_path_is_no_way_around_a_faulty_head() {
    let listener = Listener {
        health: Some("/healthz".to_owned()),
        ..listener()
    };
    let server = Running::start(listener, limits());
    let answer = server.exchange(b"GET /healthz HTTP/1.1\nHost: a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

mod proxy_protocol {
    use super::*;
    use crate::policy::network::Network;

    fn set(network: &str) -> IpSet {
        let network = Network::parse(network).expect("a network");
        [network.into()].into_iter().collect()
    }

    fn server(listed: &str) -> Running {
        Running::start(
            Listener {
                proxy_protocol: set(listed),
                ..listener()
            },
            Limits {
                proxy_header_timeout: Duration::from_millis(300),
                ..limits()
            },
        )
    }

    /// The body of the answer to `/source`, sent right behind `header`; empty when the connection was closed.
    fn source(server: &Running, header: &[u8]) -> String {
        let mut bytes = header.to_vec();
        bytes.extend(format!("GET /source HTTP/1.1\r\n{CLOSING}").as_bytes());
        let answer = server.exchange(&bytes);
        answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([command, family]);
        header.extend((addresses.len() as u16).to_be_bytes());
        header.extend(addresses);
        header
    }

    const V4_ADDRESSES: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 0, 80];

    #[test]
    fn a_listed_peer_names_the_source_in_version_1() {
        let server = server("127.0.0.0/8");
        assert_eq!(
            source(&server, b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n"),
            "203.0.113.7 via 127.0.0.1"
        );
        assert_eq!(
            source(&server, b"PROXY TCP6 2001:db8::1 2001:db8::2 1 80\r\n"),
            "2001:db8::1 via 127.0.0.1"
        );
    }

    #[test]
    fn a_listed_peer_names_the_source_in_version_2() {
        let server = server("127.0.0.0/8");
        assert_eq!(
            source(&server, &v2(0x21, 0x11, &V4_ADDRESSES)),
            "203.0.113.7 via 127.0.0.1"
        );
        let with_extension: Vec<u8> = V4_ADDRESSES.into_iter().chain([0x04, 0, 2, 0, 0]).collect();
        assert_eq!(
            source(&server, &v2(0x21, 0x11, &with_extension)),
            "203.0.113.7 via 127.0.0.1"
        );
    }

    #[test]
    fn unknown_and_local_mean_the_peer() {
        let server = server("127.0.0.0/8");
        assert_eq!(source(&server, b"PROXY UNKNOWN\r\n"), "127.0.0.1 via 127.0.0.1");
        assert_eq!(source(&server, &v2(0x20, 0x00, b"")), "127.0.0.1 via 127.0.0.1");
        assert_eq!(
            source(&server, &v2(0x20, 0x11, &V4_ADDRESSES)),
            "127.0.0.1 via 127.0.0.1"
        );
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let server = server("127.0.0.0/8");
        assert_eq!(
            source(&server, b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 80\r\n"),
            "203.0.113.7 via 127.0.0.1"
        );
    }

    #[test]
    fn a_listed_peer_without_a_valid_header_is_closed() {
        let server = server("127.0.0.0/8");
        assert_eq!(source(&server, b""), "");
        assert_eq!(source(&server, b"PROXY TCP4 203.0.113.7\r\n"), "");
        assert_eq!(source(&server, b"PROXY TCP4 example.com 192.0.2.1 1 80\r\n"), "");
        assert_eq!(source(&server, &v2(0x22, 0x11, &V4_ADDRESSES)), "");
        assert_eq!(source(&server, &v2(0x21, 0x00, b"")), "", "no address");
        assert_eq!(source(&server, &v2(0x21, 0x31, &[b'a'; 216])), "", "a unix socket");
        assert_eq!(source(&server, &v2(0x21, 0x12, &V4_ADDRESSES)), "");
        assert_eq!(source(&server, &v2(0x21, 0x11, &[0; 5000])), "");
        assert_eq!(server.exchange(b"PROXY TCP4 203.0."), "", "it has a timeout");
        assert_eq!(*server.gate.reached.lock().expect("not poisoned"), Vec::<String>::new());
    }

    #[test]
    fn anybody_else_with_a_header_is_closed_and_without_one_is_served() {
        let server = server("192.0.2.0/24");
        assert_eq!(source(&server, b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n"), "");
        assert_eq!(source(&server, &v2(0x21, 0x11, &V4_ADDRESSES)), "");
        assert_eq!(source(&server, b""), "127.0.0.1 via 127.0.0.1");
    }

    #[test]
    fn a_listener_without_the_setting_takes_a_header_for_a_malformed_request() {
        let server = Running::plain(limits());
        let answer = server.exchange(b"PROXY TCP4 203.0.113.7 192.0.2.1 12345 80\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[test]
    fn the_cap_per_client_counts_the_source() {
        let server = Running::start(
            Listener {
                proxy_protocol: set("127.0.0.0/8"),
                ..listener()
            },
            Limits {
                connections_per_client: 1,
                ..limits()
            },
        );
        let mut first = server.connect();
        first
            .write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("it reads");
        read_response(&mut first);
        assert_eq!(source(&server, b"PROXY TCP4 203.0.113.7 192.0.2.1 2 80\r\n"), "");
        assert_eq!(
            source(&server, b"PROXY TCP4 203.0.113.8 192.0.2.1 2 80\r\n"),
            "203.0.113.8 via 127.0.0.1"
        );
    }

    #[test]
    fn a_trusted_proxy_may_have_any_number_of_connections() {
        let server = Running::start(
            Listener {
                proxy_protocol: set("127.0.0.0/8"),
                ..listener()
            },
            Limits {
                connections_per_client: 1,
                ..limits()
            },
        );
        let _kept: Vec<TcpStream> = (0..3)
            .map(|_| {
                let mut stream = server.connect();
                let header = format!("PROXY TCP4 {TRUSTED} 192.0.2.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
                stream.write_all(header.as_bytes()).expect("it reads");
                assert!(read_response(&mut stream).ends_with("hello"));
                stream
            })
            .collect();
    }
}

mod http2 {
    use rustls::pki_types::ServerName;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::tls::testing::client;

    fn server(limits: Limits) -> Running {
        Running::start(
            Listener {
                protocol: Protocol::Tls { min: TlsVersion::Tls12 },
                ..listener()
            },
            limits,
        )
    }

    type Sender = h2::client::SendRequest<Bytes>;

    async fn connect(server: &Running) -> Sender {
        let (sender, connection) = handshake(server).await;
        tokio::spawn(connection);
        sender
    }

    type Tls = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

    async fn handshake(server: &Running) -> (Sender, h2::client::Connection<Tls>) {
        let config = client(&["h2"]);
        let tcp = tokio::net::TcpStream::connect(server.address)
            .await
            .expect("it listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .expect("a handshake");
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        h2::client::handshake(tls).await.expect("settings")
    }

    fn get(path: &str) -> Request<()> {
        Request::get(format!("https://localhost{path}"))
            .body(())
            .expect("a request")
    }

    async fn text(response: h2::client::ResponseFuture) -> (StatusCode, String) {
        let response = response.await.expect("a response");
        let status = response.status();
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.expect("data");
            body.flow_control().release_capacity(chunk.len()).expect("it was taken");
            text.extend(chunk);
        }
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    #[test]
    fn requests_are_answered() {
        let server = server(limits());
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, _) = sender.send_request(get("/"), true).expect("sent");
            assert_eq!(text(response).await, (StatusCode::OK, "hello".to_owned()));
        });
    }

    #[test]
    fn closing_without_an_answer_resets_the_stream_alone() {
        let server = server(limits());
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, _) = sender.send_request(get("/close"), true).expect("sent");
            let error = response.await.expect_err("no answer");
            assert!(error.is_reset(), "{error:?}");
            let (response, _) = sender.send_request(get("/"), true).expect("sent");
            assert_eq!(text(response).await.1, "hello");
        });
    }

    #[test]
    fn a_request_body_slower_than_the_least_rate_is_cut() {
        let server = server(Limits {
            min_rate: 1_000_000,
            min_rate_grace: Duration::from_millis(50),
            ..limits()
        });
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, mut body) = sender.send_request(get("/length"), false).expect("sent");
            body.send_data(Bytes::from_static(b"123"), false).expect("sent");
            assert!(text(response).await.1.ends_with("slower than limits.min_rate"));
        });
    }

    #[test]
    fn a_stream_that_is_not_read_is_reset_and_the_others_go_on() {
        let server = server(Limits {
            min_rate: 1 << 40,
            min_rate_grace: Duration::from_millis(50),
            ..limits()
        });
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, _) = sender.send_request(get("/endless"), true).expect("sent");
            let mut body = response.await.expect("a head").into_body();
            // Taking data without giving its window back is what a client does that stops reading one stream.
            let error = loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the body has no end"),
                }
            };
            assert!(error.is_reset(), "{error:?}");
            // What was read fills the connection's window: give it back for the next answer.
            let used = body.flow_control().used_capacity();
            let _ = body.flow_control().release_capacity(used);
            let (response, _) = sender.send_request(get("/"), true).expect("sent");
            assert_eq!(text(response).await.1, "hello");
        });
    }

    #[test]
    fn an_idle_connection_is_told_to_go_away() {
        let server = server(Limits {
            keepalive_timeout: Duration::from_millis(50),
            ..limits()
        });
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, _) = sender.send_request(get("/"), true).expect("sent");
            assert_eq!(text(response).await.1, "hello");
            while server.shared.caps.open() > 0 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn pings_do_not_keep_an_idle_connection() {
        let server = server(Limits {
            keepalive_timeout: Duration::from_millis(50),
            ..limits()
        });
        server.runtime.block_on(async {
            let (mut sender, mut connection) = handshake(&server).await;
            let mut pings = connection.ping_pong().expect("the first to ask");
            tokio::spawn(connection);
            let (response, _) = sender.send_request(get("/"), true).expect("sent");
            assert_eq!(text(response).await.1, "hello");
            let pinging = async { while pings.ping(h2::Ping::opaque()).await.is_ok() {} };
            let pinged = tokio::time::timeout(Duration::from_secs(30), pinging).await;
            pinged.expect("the connection ends");
        });
    }

    #[test]
    fn a_connection_without_a_request_has_the_time_of_a_head() {
        let server = server(Limits {
            header_timeout: Duration::from_millis(50),
            ..limits()
        });
        server.runtime.block_on(async {
            let (_sender, connection) = handshake(&server).await;
            let ended = tokio::time::timeout(Duration::from_secs(30), connection).await;
            // With GOAWAY, or without when it was not even begun.
            let _ = ended.expect("the connection ends");
        });
    }

    #[test]
    fn draining_finishes_the_streams_under_way() {
        let mut server = server(limits());
        let mut draining = server.server.take().expect("running");
        let held = Arc::clone(&server.gate.held);
        server.runtime.block_on(async {
            let mut sender = connect(&server).await;
            let (response, _) = sender.send_request(get("/held"), true).expect("sent");
            let answered = tokio::spawn(text(response));
            while server.gate.reached.lock().expect("not poisoned").is_empty() {
                tokio::task::yield_now().await;
            }
            let drain = draining.drain(Duration::from_secs(60));
            let release = async { held.add_permits(1) };
            tokio::join!(drain, release);
            assert_eq!(answered.await.expect("no panic").1, "held");
        });
    }
}
