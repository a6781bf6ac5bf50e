//! Continuous load: clients that ask and ask on connections of their own until they are told to stop, and fail on the first
//! wrong or missing answer.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tungstenite::{Message, WebSocket};

use super::{
    Tls,
    client::{connect, read_response, read_to_end},
};

/// Far more than a request needs, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients under way.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<Client>,
}

struct Client {
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            stop: Arc::default(),
            clients: Vec::new(),
        }
    }

    /// One connection of HTTP/1.1 over TLS.
    pub(crate) fn http1(self, address: SocketAddr) -> Self {
        self.client(move |progress| {
            let mut stream = Tls::default().connect(address, "a.test").expect("a handshake");
            while let Some(number) = progress.next() {
                let answer = stream.ask(&format!("GET /one/{number} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                assert!(
                    answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("GET /one/{number}")),
                    "{answer}"
                );
                assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
            }
        })
    }

    /// One connection of HTTP/1.1 for every request.
    pub(crate) fn fresh(self, address: SocketAddr) -> Self {
        self.client(move |progress| {
            while let Some(number) = progress.next() {
                let mut stream = connect(address);
                stream.write_all(&request(number, "close")).expect("it reads");
                answers(&read_to_end(&mut stream), number);
            }
        })
    }

    /// One connection of HTTP/1.1 over TLS for every request.
    pub(crate) fn fresh_tls(self, address: SocketAddr) -> Self {
        self.client(move |progress| {
            while let Some(number) = progress.next() {
                let mut stream = Tls::default().connect(address, "a.test").expect("a handshake").0;
                stream.write_all(&request(number, "close")).expect("it reads");
                answers(&read_to_end(&mut stream), number);
            }
        })
    }

    /// HTTP/1.1 on a connection that is kept until an answer says that it is the last.
    pub(crate) fn kept(self, address: SocketAddr) -> Self {
        self.client(move |progress| keep(progress, || connect(address)))
    }

    /// The same over TLS.
    pub(crate) fn kept_tls(self, address: SocketAddr) -> Self {
        let connect = move || Tls::default().connect(address, "a.test").expect("a handshake").0;
        self.client(move |progress| keep(progress, connect))
    }

    /// What asks on the admin address whether the gateway is ready, and must never hear no.
    pub(crate) fn readiness(self, admin: SocketAddr) -> Self {
        self.client(move |progress| {
            while progress.next().is_some() {
                let mut stream = connect(admin);
                let request = b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
                stream.write_all(request).expect("it reads");
                let answer = read_to_end(&mut stream);
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
            }
        })
    }

    /// HTTP/2 with this many streams at a time, on a connection that is kept until GOAWAY.
    pub(crate) fn kept_http2(self, address: SocketAddr, streams: usize) -> Self {
        self.client(move |progress| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                while !progress.is_enough() {
                    many_streams(address, streams, progress).await;
                }
            });
        })
    }

    /// One connection of HTTP/2 with this many streams at a time.
    pub(crate) fn http2(self, address: SocketAddr, streams: usize) -> Self {
        self.client(move |progress| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let connection = runtime.block_on(many_streams(address, streams, progress));
            assert_eq!(connection, Connection::Kept);
        })
    }

    /// One WebSocket over TCP, whose other end echoes.
    pub(crate) fn websocket(self, address: SocketAddr) -> Self {
        self.client(move |progress| {
            let mut socket = websocket(address, "/socket");
            while let Some(number) = progress.next() {
                assert_eq!(echoed(&mut socket, &number.to_string()), number.to_string());
            }
        })
    }

    fn client(mut self, run: impl FnOnce(&Arc<Progress>) + Send + 'static) -> Self {
        let progress = Arc::new(Progress {
            stop: Arc::clone(&self.stop),
            steps: Mutex::default(),
            changed: Condvar::new(),
        });
        let told = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let _ended = Ended(&told);
            run(&told);
        });
        self.clients.push(Client { progress, thread });
        self
    }

    /// Waits until every client was answered once more, at least.
    pub(crate) fn wait_for_answers(&self) {
        self.wait_for(1);
    }

    /// Waits until every client was answered so many times more, at least.
    pub(crate) fn wait_for(&self, more: u64) {
        for client in &self.clients {
            // What is under way now may have been answered before.
            client.progress.wait_for(more + 1);
        }
    }

    /// Ends the clients after the answers that they wait for; about how many there were.
    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        let mut asked = 0;
        for client in self.clients.drain(..) {
            client
                .thread
                .join()
                .expect("every request was answered, as it should be");
            let steps = client.progress.steps.lock().unwrap_or_else(PoisonError::into_inner);
            asked += steps.begun.saturating_sub(1);
        }
        asked
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// How far a client has come.
struct Progress {
    stop: Arc<AtomicBool>,
    steps: Mutex<Steps>,
    changed: Condvar,
}

#[derive(Default)]
struct Steps {
    begun: u64,
    ended: bool,
}

impl Progress {
    fn is_enough(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// The number of the next request; `None`: enough.
    fn next(&self) -> Option<u64> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.begun += 1;
        self.changed.notify_all();
        (!self.stop.load(Relaxed)).then_some(steps.begun)
    }

    fn wait_for(&self, more: u64) {
        let steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = steps.begun + more;
        let behind = |steps: &mut Steps| steps.begun < wanted && !steps.ended;
        let waited = self.changed.wait_timeout_while(steps, PATIENCE, behind);
        let (steps, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(steps.begun >= wanted, "a client failed, or waits for an answer");
    }
}

/// Tells, also when the client panics.
struct Ended<'p>(&'p Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.ended = true;
        self.0.changed.notify_all();
    }
}

fn request(number: u64, connection: &str) -> Vec<u8> {
    format!("GET /one/{number} HTTP/1.1\r\nHost: a.test\r\nConnection: {connection}\r\n\r\n").into_bytes()
}

fn answers(answer: &str, number: u64) {
    let wanted = format!("GET /one/{number}");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&wanted),
        "{wanted}: {answer:?}"
    );
}

/// How long a client uses a connection again after its last answer: less than a draining gateway waits for one more request.
/// Here only a machine that is far too busy makes a client so slow.
const REUSED_FOR: Duration = Duration::from_secs(1);

fn keep<S: Read + Write>(progress: &Progress, connect: impl Fn() -> S) {
    let mut stream = connect();
    let mut used = Instant::now();
    while let Some(number) = progress.next() {
        if used.elapsed() > REUSED_FOR {
            stream = connect();
        }
        stream.write_all(&request(number, "keep-alive")).expect("it reads");
        let answer = read_response(&mut stream);
        answers(&answer, number);
        used = Instant::now();
        if answer.to_lowercase().contains("connection: close") {
            stream = connect();
        }
    }
}

/// What became of a connection of HTTP/2.
#[derive(Debug, PartialEq, Eq)]
enum Connection {
    Kept,
    WentAway,
}

/// Until it is enough, or GOAWAY.
async fn many_streams(address: SocketAddr, streams: usize, progress: &Arc<Progress>) -> Connection {
    let tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(Tls::default().alpn(&["h2"]).config()));
    let name = ServerName::try_from("a.test").expect("a name");
    let tls = connector.connect(name, tcp).await.expect("a handshake");
    let (sender, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let (sender, progress) = (sender.clone(), Arc::clone(progress));
        asking.spawn(async move {
            let mut sender = sender;
            while let Some(number) = progress.next() {
                match stream(sender, number).await.expect("a whole answer") {
                    Some(again) => sender = again,
                    None => return true,
                }
            }
            false
        });
    }
    let mut went_away = false;
    while let Some(asked) = asking.join_next().await {
        went_away |= asked.expect("every stream was answered");
    }
    if went_away {
        Connection::WentAway
    } else {
        Connection::Kept
    }
}

type Sender = h2::client::SendRequest<bytes::Bytes>;

/// `None`: the server said before that it takes no more streams.
async fn stream(sender: Sender, number: u64) -> Result<Option<Sender>, h2::Error> {
    let request = http::Request::get(format!("https://a.test/two/{number}"))
        .body(())
        .expect("a request");
    let begun = match sender.ready().await {
        Ok(mut sender) => sender
            .send_request(request, true)
            .map(|(response, _)| (sender, response)),
        Err(error) => Err(error),
    };
    let (sender, response) = match begun {
        Ok(begun) => begun,
        Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => return Ok(None),
        Err(error) => return Err(error),
    };
    let response = response.await?;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        text.extend(chunk);
    }
    assert_eq!(String::from_utf8_lossy(&text), format!("GET /two/{number}"));
    Ok(Some(sender))
}

/// A WebSocket through the gateway.
pub(crate) fn websocket(address: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    let stream = connect(address);
    let (socket, _) = tungstenite::client(format!("ws://a.test{path}"), stream).expect("an upgrade");
    socket
}

/// What comes back for a message.
pub(crate) fn echoed(socket: &mut WebSocket<TcpStream>, text: &str) -> String {
    socket.send(Message::text(text)).expect("it is open");
    let message = socket.read().expect("it is open");
    message.into_text().expect("text").to_string()
}
