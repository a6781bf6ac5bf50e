//! Origins that write exactly the bytes a test wants, and keep exactly those they were sent.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tungstenite::{WebSocket, handshake::derive_accept_key, protocol::Role};

/// An origin on a thread of its own.
pub(crate) struct Origin {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// Runs `serve` for each connection, on a thread each.
    pub(crate) fn scripted(serve: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (serve, kept, counted) = (Arc::new(serve), Arc::clone(&received), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Relaxed);
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .expect("a timeout");
                let (serve, received) = (Arc::clone(&serve), Arc::clone(&kept));
                thread::spawn(move || serve(&mut Connection { stream, received }));
            }
        });
        Self {
            address,
            received,
            connections,
        }
    }

    /// Answers every request head with these bytes, on connections that it keeps.
    pub(crate) fn answering(bytes: &'static [u8]) -> Self {
        Self::scripted(move |connection| {
            while connection.read_head().is_some() {
                connection.write(bytes);
            }
        })
    }

    /// Answers every request head with itself as the body.
    pub(crate) fn echo() -> Self {
        Self::scripted(|connection| {
            while let Some(head) = connection.read_head() {
                let length = head.len();
                connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}").as_bytes());
            }
        })
    }

    /// Answers every request with its method and target as the body, and echoes what comes over WebSockets.
    pub(crate) fn naming_and_echoing() -> Self {
        Self::scripted(|connection| {
            let mut stream = connection.stream();
            let mut heads = BufReader::new(connection.stream());
            while let Some(head) = head(&mut heads) {
                match key(&head) {
                    Some(key) => return echo(stream, key),
                    None => {
                        let name = head.split(" HTTP/").next().unwrap_or_default();
                        let length = name.len();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        // A gateway that is gone is the test's business.
                        let _ = stream.write_all(answer.as_bytes());
                    }
                }
            }
        })
    }

    /// Its URL, for `servers`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it was ever given.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// Everything that all connections were sent so far.
    pub(crate) fn received(&self) -> String {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&received).into_owned()
    }
}

fn head(from: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// The key of a WebSocket's opening.
fn key(head: &str) -> Option<&str> {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut keys = fields.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    keys.next().map(|(_, key)| key)
}

fn echo(mut stream: TcpStream, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if stream.write_all(answer.as_bytes()).is_err() {
        return;
    }
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        if !message.is_text() || socket.send(message).is_err() {
            return;
        }
    }
}

/// One connection of the gateway's.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Connection {
    /// The next head, its empty line included; `None` at the end.
    pub(crate) fn read_head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1)?);
        }
        Some(String::from_utf8_lossy(&head).into_owned())
    }

    /// This many bytes; `None` when fewer come.
    pub(crate) fn read(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).ok()?;
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        received.extend(&bytes);
        Some(bytes)
    }

    /// Writes; a gateway that is gone is the test's business, not the origin's.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The socket, for other protocols.
    pub(crate) fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is free")
    }
}
