//! HTTP/2 to origins, and gRPC through the gateway.

use std::{
    io::Write,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    http2::{Sender, connect, run},
    stack::{Client, Config, Stack},
};

/// An HTTP/2 origin in a thread of its own. Each request goes to a function.
struct StreamOrigin {
    port: u16,
    connections: Arc<AtomicUsize>,
}

/// A request and the means to answer it.
struct Asked {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

impl StreamOrigin {
    fn serving<F>(serve: impl Fn(Asked) -> F + Clone + 'static + Send) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        Self::with(|_| {}, None, serve)
    }

    fn with<F>(
        configure: impl Fn(&mut h2::server::Builder) + Send + Clone + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
        serve: impl Fn(Asked) -> F + Clone + 'static + Send,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("an option");
        let origin = Self {
            port: listener.local_addr().expect("an address").port(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&origin.connections);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let (configure, tls, serve) = (configure.clone(), tls.clone(), serve.clone());
                    tokio::task::spawn_local(async move {
                        match tls {
                            None => speak(stream, &configure, serve).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    speak(stream, &configure, serve).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        origin
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn config(&self) -> Config<'static> {
        config(self.port)
    }

    fn stack(&self) -> Stack {
        Stack::start(&self.config())
    }
}

fn config(port: u16) -> Config<'static> {
    Config {
        upstream: format!("servers = [\"http://127.0.0.1:{port}\"]\nprotocol = \"http2\""),
        ..Config::default()
    }
}

async fn speak<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    configure: &impl Fn(&mut h2::server::Builder),
    serve: impl Fn(Asked) -> F,
) where
    F: Future<Output = ()> + 'static,
{
    let mut builder = h2::server::Builder::new();
    configure(&mut builder);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(serve(Asked { request, respond }));
    }
}

impl Asked {
    /// Answers at once, whatever the request's body.
    fn answer(mut self, body: &'static str) {
        let mut stream = self.respond.send_response(Response::new(()), false).expect("asked");
        stream
            .send_data(Bytes::from_static(body.as_bytes()), true)
            .expect("asked");
    }

    /// Begins an answer as a gRPC server does.
    fn begin(&mut self) -> SendStream<Bytes> {
        let response = Response::builder().header("content-type", "application/grpc").body(());
        self.respond
            .send_response(response.expect("a head"), false)
            .expect("asked")
    }
}

async fn next(body: &mut RecvStream) -> Option<Bytes> {
    let data = body.data().await?.expect("it comes whole");
    body.flow_control().release_capacity(data.len()).expect("it was taken");
    Some(data)
}

async fn whole(body: &mut RecvStream) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(data) = next(body).await {
        all.extend_from_slice(&data);
    }
    all
}

fn status(outcome: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(outcome),
    )])
}

/// A gRPC call, its body still open.
fn call(sender: &mut Sender) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post("https://example.com/echo.Echo/Talk")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .header("grpc-timeout", "10S")
        .body(());
    sender
        .send_request(request.expect("a request"), false)
        .expect("it is sent")
}

fn get(sender: &mut Sender, path: &str) -> ResponseFuture {
    let request = Request::get(format!("https://example.com{path}")).body(());
    sender
        .send_request(request.expect("a request"), true)
        .expect("it is sent")
        .0
}

fn post(sender: &mut Sender, body: Vec<u8>) -> ResponseFuture {
    let request = Request::post("https://example.com/").body(());
    let (response, mut stream) = sender
        .send_request(request.expect("a request"), false)
        .expect("it is sent");
    stream.send_data(Bytes::from(body), true).expect("it is sent");
    response
}

#[test]
fn a_call_and_its_answer_pass_unchanged() {
    let origin = StreamOrigin::serving(|mut asked| async move {
        let request = &asked.request;
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "http://example.com/echo.Echo/Talk");
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("te"), Some("trailers"));
        assert_eq!(header("content-type"), Some("application/grpc+proto"));
        assert_eq!(header("grpc-timeout"), Some("10S"));
        assert_eq!(header("x-forwarded-proto"), Some("https"));
        assert_eq!(header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!((header("host"), header("connection")), (None, None));
        assert_eq!(whole(asked.request.body_mut()).await, b"\0\0\0\0\x02hi");
        let mut stream = asked.begin();
        stream.send_data("\0\0\0\0\x02ho".into(), false).expect("asked");
        stream.send_trailers(status("0")).expect("asked");
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        let (response, mut body) = call(&mut sender);
        body.send_data("\0\0\0\0\x02hi".into(), true).expect("it is sent");
        let mut response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(whole(response.body_mut()).await, b"\0\0\0\0\x02ho");
        let trailers = response.body_mut().trailers().await.expect("whole").expect("some");
        assert_eq!(trailers["grpc-status"], "0");
    });
    let record = stack.records().remove(0);
    assert_eq!(record["http.response.status_code"], 200);
}

#[test]
fn an_outcome_without_a_body_ends_the_stream_with_its_head() {
    let origin = StreamOrigin::serving(|mut asked| async move {
        let mut response = Response::new(());
        *response.headers_mut() = status("5");
        asked.respond.send_response(response, true).expect("asked");
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        let (response, mut body) = call(&mut sender);
        body.send_data(Bytes::new(), true).expect("it is sent");
        let response = response.await.expect("an answer");
        assert_eq!(response.headers()["grpc-status"], "5");
        assert!(response.body().is_end_stream());
    });
}

#[test]
fn both_sides_of_a_call_speak_in_turn_and_end_by_themselves() {
    let origin = StreamOrigin::serving(|mut asked| async move {
        let mut stream = asked.begin();
        while let Some(message) = next(asked.request.body_mut()).await {
            stream.send_data(message, false).expect("asked");
        }
        stream.send_data("bye".into(), false).expect("asked");
        stream.send_trailers(status("0")).expect("asked");
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        let (response, mut body) = call(&mut sender);
        let mut response = response.await.expect("the head comes before any message");
        for message in ["one", "two", "three"] {
            body.send_data(message.into(), false).expect("it is sent");
            assert_eq!(
                next(response.body_mut()).await,
                Some(Bytes::from_static(message.as_bytes()))
            );
        }
        body.send_data(Bytes::new(), true).expect("it is sent");
        assert_eq!(next(response.body_mut()).await, Some(Bytes::from_static(b"bye")));
        assert!(response.body_mut().trailers().await.expect("whole").is_some());
    });
}

#[test]
fn a_client_that_resets_resets_the_origin_s_stream() {
    let (told, heard) = std::sync::mpsc::channel();
    let origin = StreamOrigin::serving(move |mut asked| {
        let told = told.clone();
        async move {
            let _stream = asked.begin();
            let end = asked.request.body_mut().data().await;
            told.send(end.map(|data| data.map_err(|error| error.reason())))
                .expect("heard");
        }
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        let (response, mut body) = call(&mut sender);
        response.await.expect("an answer");
        body.send_reset(Reason::CANCEL);
        // Another request on the connection moves its frames.
        drop(get(&mut sender, "/"));
        let end = tokio::task::spawn_blocking(move || heard.recv())
            .await
            .expect("it runs");
        assert_eq!(end, Ok(Some(Err(Some(Reason::CANCEL)))));
    });
}

#[test]
fn an_origin_that_resets_resets_the_client_s_stream() {
    for (theirs, seen) in [
        (Reason::CANCEL, Reason::CANCEL),
        // Says something of our connection to the origin, not of the client's to us.
        (Reason::HTTP_1_1_REQUIRED, Reason::INTERNAL_ERROR),
        (Reason::REFUSED_STREAM, Reason::INTERNAL_ERROR),
    ] {
        let origin = StreamOrigin::serving(move |mut asked| async move {
            let mut stream = asked.begin();
            let _ = next(asked.request.body_mut()).await;
            stream.send_reset(theirs);
        });
        let stack = origin.stack();
        run(async {
            let mut sender = connect(&stack).await;
            let (response, mut body) = call(&mut sender);
            let mut response = response.await.expect("an answer");
            body.send_data("hi".into(), false).expect("it is sent");
            let end = response.body_mut().data().await.expect("an end").expect_err("a reset");
            assert_eq!(end.reason(), Some(seen));
        });
    }
}

/// Asks so often at once, and gives what came.
async fn at_once(sender: &Sender, count: usize) -> Vec<u16> {
    let asking: Vec<_> = (0..count)
        .map(|_| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let mut response = get(&mut sender, "/").await.expect("an answer");
                whole(response.body_mut()).await;
                response.status().as_u16()
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for asked in asking {
        statuses.push(asked.await.expect("it runs"));
    }
    statuses
}

#[test]
fn requests_share_one_connection() {
    let origin = StreamOrigin::serving(|asked| async move { asked.answer("ok") });
    let stack = origin.stack();
    run(async {
        let sender = connect(&stack).await;
        assert_eq!(at_once(&sender, 80).await, vec![200; 80]);
    });
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_server_is_sent_no_more_streams_than_it_takes() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let origin = StreamOrigin::with(
        |builder| {
            builder.max_concurrent_streams(4);
        },
        None,
        move |asked| {
            let (under_way, most) = (Arc::clone(&under_way), Arc::clone(&most));
            async move {
                // Together over all connections: ten requests are under way before any is answered.
                most.fetch_max(under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                while most.load(Ordering::Relaxed) < 10 {
                    tokio::task::yield_now().await;
                }
                asked.answer("ok");
            }
        },
    );
    let stack = origin.stack();
    run(async {
        let sender = connect(&stack).await;
        assert_eq!(at_once(&sender, 10).await, vec![200; 10]);
    });
    assert_eq!(seen.load(Ordering::Relaxed), 10);
    assert_eq!(origin.connections(), 3);
}

#[test]
fn what_a_server_refused_is_sent_again_with_its_body() {
    let times = Arc::new(AtomicUsize::new(0));
    let origin = StreamOrigin::serving(move |mut asked| {
        let times = Arc::clone(&times);
        async move {
            if times.fetch_add(1, Ordering::Relaxed) < 2 {
                asked.respond.send_reset(Reason::REFUSED_STREAM);
                return;
            }
            assert_eq!(whole(asked.request.body_mut()).await, b"hello");
            asked.answer("ok");
        }
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        let mut response = post(&mut sender, b"hello".to_vec()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(whole(response.body_mut()).await, b"ok");
    });
}

#[test]
fn a_server_that_refuses_everything_is_asked_three_times() {
    let times = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&times);
    let origin = StreamOrigin::serving(move |mut asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { asked.respond.send_reset(Reason::REFUSED_STREAM) }
    });
    let stack = origin.stack();
    run(async {
        let mut sender = connect(&stack).await;
        assert_eq!(get(&mut sender, "/").await.expect("an answer").status(), 502);
    });
    assert_eq!(times.load(Ordering::Relaxed), 3);
}

/// Frames as an origin's script writes them.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Reads a frame: kind, flags, stream, payload.
fn read_frame(client: &mut Client) -> Option<(u8, u8, u32, Vec<u8>)> {
    use std::io::Read;
    let mut head = [0; 9];
    client.stream.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    client.stream.read_exact(&mut payload).ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], stream, payload))
}

/// Reads the preface, greets, and answers pings until a request comes on some stream; gives the stream.
fn greet(client: &mut Client) -> Option<u32> {
    use std::io::Read;
    client.stream.read_exact(&mut [0; 24]).ok()?;
    client.send(frame(4, 0, 0, b""));
    loop {
        match read_frame(client)? {
            (6, 0, _, payload) => client.send(frame(6, 1, 0, &payload)),
            (1, _, stream, _) => return Some(stream),
            _ => {}
        }
    }
}

#[test]
fn what_a_goaway_left_out_is_sent_again_on_another_connection() {
    let connections = AtomicUsize::new(0);
    let origin = crate::stack::Origin::serving(move |client, _| {
        let number = connections.fetch_add(1, Ordering::Relaxed);
        let Some(stream) = greet(client) else { return };
        if number == 0 {
            // The last stream that was looked at is 0.
            client.send(frame(7, 0, 0, &[0; 8]));
        } else {
            client.send(frame(1, 5, stream, b"\x88"));
        }
        while read_frame(client).is_some() {}
    });
    let stack = Stack::start(&config(origin.port));
    run(async {
        let mut sender = connect(&stack).await;
        let response = post(&mut sender, b"hello".to_vec()).await.expect("an answer");
        assert_eq!(response.status(), 200);
    });
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_request_whose_connection_was_lost_is_repeated_only_if_that_is_safe() {
    let origin = crate::stack::Origin::serving(|client, _| {
        greet(client);
    });
    let stack = Stack::start(&config(origin.port));
    run(async {
        let mut sender = connect(&stack).await;
        assert_eq!(post(&mut sender, b"x".to_vec()).await.expect("an answer").status(), 502);
    });
    assert_eq!(origin.connections(), 1);
    run(async {
        let mut sender = connect(&stack).await;
        assert_eq!(get(&mut sender, "/").await.expect("an answer").status(), 502);
    });
    assert_eq!(origin.connections(), 3);
}

#[test]
fn clients_that_do_not_read_keep_nobody_else_s_answer() {
    const LARGE: usize = 1 << 20;
    let origin = StreamOrigin::with(
        |builder| {
            builder.max_send_buffer_size(LARGE);
        },
        None,
        |mut asked| async move {
            if asked.request.uri().path() == "/small" {
                return asked.answer("ok");
            }
            let mut stream = asked.respond.send_response(Response::new(()), false).expect("asked");
            let _ = stream.send_data(Bytes::from(vec![0; LARGE]), true);
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        },
    );
    let mut config = origin.config();
    config.more = "[limits]\nmin_rate = \"off\"\n";
    let stack = Stack::start(&config);
    run(async {
        // The window of each of these streams fills, and is never opened.
        let mut readers = connect(&stack).await;
        let mut held = Vec::new();
        for _ in 0..60 {
            held.push(get(&mut readers, "/large").await.expect("an answer"));
        }
        let mut sender = connect(&stack).await;
        // By the last of these the origin has sent the others all that it may.
        for _ in 0..50 {
            let answer = async {
                let mut response = get(&mut sender, "/small").await.expect("an answer");
                whole(response.body_mut()).await
            };
            // Only a connection that is stuck is waited for so long.
            let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
            assert_eq!(answer.expect("it is not held up"), b"ok");
        }
    });
    assert_eq!(origin.connections(), 1);
}

#[test]
fn large_bodies_pass_both_ways() {
    const LARGE: usize = 8 << 20;
    let origin = StreamOrigin::serving(|mut asked| async move {
        let mut stream = asked.respond.send_response(Response::new(()), false).expect("asked");
        while let Some(data) = next(asked.request.body_mut()).await {
            stream.send_data(data, false).expect("asked");
        }
        stream.send_data(Bytes::new(), true).expect("asked");
    });
    let stack = origin.stack();
    let mut client = stack.connect();
    let mut writer = client.stream.get_ref().try_clone().expect("a second handle");
    let sent = thread::spawn(move || {
        let head = format!("POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {LARGE}\r\n\r\n");
        writer.write_all(head.as_bytes()).expect("it reads");
        writer.write_all(&vec![b'x'; LARGE]).expect("it reads");
    });
    let response = client.response();
    sent.join().expect("it is sent");
    assert_eq!((response.status, response.body.len()), (200, LARGE));
}

#[test]
fn trailers_pass_to_and_from_http1_clients() {
    let origin = StreamOrigin::serving(|mut asked| async move {
        assert_eq!(whole(asked.request.body_mut()).await, b"hello");
        let trailers = asked.request.body_mut().trailers().await.expect("whole").expect("some");
        assert_eq!(trailers["x-sum"], "1");
        assert_eq!(trailers.get("x-forwarded-for"), None);
        let mut stream = asked.begin();
        stream.send_data("ok".into(), false).expect("asked");
        stream.send_trailers(status("0")).expect("asked");
    });
    let stack = origin.stack();
    let response = stack.ask(concat!(
        "POST / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\nConnection: te\r\n",
        "Trailer: x-sum, x-forwarded-for\r\nTransfer-Encoding: chunked\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    ));
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

#[test]
fn a_server_that_speaks_http1_is_a_bad_gateway() {
    let origin = crate::stack::Origin::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let stack = Stack::start(&config(origin.port));
    let response = stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(response.status, 502);
}

#[test]
fn https_servers_must_agree_to_http2() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let ca = certified.cert.pem();
    for (offered, expected) in [(&b"h2"[..], 200), (b"http/1.1", 502), (b"", 502)] {
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let mut tls =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(vec![certified.cert.der().clone()], key)
                .expect("a pair");
        if !offered.is_empty() {
            tls.alpn_protocols = vec![offered.to_vec()];
        }
        let origin = StreamOrigin::with(
            |_| {},
            Some(Arc::new(tls).into()),
            |asked| async move {
                assert_eq!(asked.request.uri().scheme_str(), Some("https"));
                asked.answer("ok");
            },
        );
        let stack = Stack::start(&Config {
            upstream: format!(
                "servers = [\"https://localhost:{}\"]\nprotocol = \"http2\"\nca = \"ca.pem\"",
                origin.port
            ),
            files: &[("ca.pem", &ca)],
            ..Config::default()
        });
        let response = stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert_eq!(response.status, expected, "{}", String::from_utf8_lossy(offered));
    }
}

#[test]
fn a_websocket_is_refused_with_the_reason() {
    let origin = StreamOrigin::serving(|asked| async move { asked.answer("ok") });
    let stack = origin.stack();
    let response = stack.ask(concat!(
        "GET /chat HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAccept: text/plain\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ));
    assert_eq!(response.status, 501);
    assert!(response.text().contains("no WebSockets"), "{}", response.text());
}

/// An origin that begins its answer, and then lets a while pass in silence.
fn quiet_origin() -> StreamOrigin {
    StreamOrigin::serving(|mut asked| async move {
        let mut stream = asked.begin();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let _ = stream.send_data("at last".into(), false);
        let _ = stream.send_trailers(status("0"));
    })
}

/// Half of the origin's silence.
const IMPATIENT: &str = "\nidle_timeout = \"2s\"";
const STRICT: &str = "[limits]\nmin_rate = \"1MiB\"\nmin_rate_grace = \"100ms\"\n";

#[test]
fn a_call_may_be_quiet_on_both_sides() {
    let origin = quiet_origin();
    let mut config = origin.config();
    config.upstream += IMPATIENT;
    config.more = STRICT;
    let stack = Stack::start(&config);
    run(async {
        let mut sender = connect(&stack).await;
        let (response, _body) = call(&mut sender);
        let mut response = response.await.expect("an answer");
        assert_eq!(next(response.body_mut()).await, Some(Bytes::from_static(b"at last")));
    });
}

#[test]
fn a_call_may_not_be_quiet_for_ever() {
    let origin = StreamOrigin::serving(|mut asked| async move {
        let _stream = asked.begin();
        while next(asked.request.body_mut()).await.is_some() {}
    });
    let mut config = origin.config();
    config.more = "[limits]\ntunnel_idle_timeout = \"200ms\"\n";
    let stack = Stack::start(&config);
    run(async {
        let mut sender = connect(&stack).await;
        let (response, _body) = call(&mut sender);
        let mut response = response.await.expect("an answer");
        let end = response.body_mut().data().await.expect("an end").expect_err("a reset");
        assert_eq!(end.reason(), Some(Reason::INTERNAL_ERROR));
    });
}

#[test]
fn an_answer_that_is_no_call_s_may_not_be_quiet() {
    let origin = quiet_origin();
    let mut config = origin.config();
    config.upstream += IMPATIENT;
    let stack = Stack::start(&config);
    run(async {
        let mut sender = connect(&stack).await;
        let mut response = get(&mut sender, "/").await.expect("an answer");
        let end = response.body_mut().data().await.expect("an end");
        end.expect_err("a reset");
    });
}

#[test]
fn a_refused_call_gets_an_outcome_it_can_read() {
    let origin = StreamOrigin::serving(|asked| async move { asked.answer("ok") });
    let mut config = origin.config();
    config.rules =
        "[[rule]]\nid = \"no-echo\"\nexpression = 'http.request.uri.path contains \"Echo\"'\naction = \"block\"\n";
    let stack = Stack::start(&config);
    run(async {
        let mut sender = connect(&stack).await;
        let (response, _body) = call(&mut sender);
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "7");
        assert_eq!(
            response.headers()["grpc-message"],
            "A rule of this site refused the request."
        );
        assert!(response.body().is_end_stream());
    });
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_call_whose_origin_is_down_is_told_so() {
    let unused = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = unused.local_addr().expect("an address").port();
    drop(unused);
    let stack = Stack::start(&config(port));
    run(async {
        let mut sender = connect(&stack).await;
        let (response, _body) = call(&mut sender);
        let response = response.await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &HeaderValue::from_static("14"))
        );
    });
}
