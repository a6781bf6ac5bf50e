//! Origins that write exactly the bytes a test wants, and keep exactly those they were sent.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// An origin on a thread of its own.
pub(crate) struct Origin {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Origin {
    /// Runs `serve` for each connection, on a thread each.
    pub(crate) fn scripted(serve: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let (serve, kept) = (Arc::new(serve), Arc::clone(&received));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream
                    .set_read_timeout(Some(Duration::from_secs(60)))
                    .expect("a timeout");
                let (serve, received) = (Arc::clone(&serve), Arc::clone(&kept));
                thread::spawn(move || serve(&mut Connection { stream, received }));
            }
        });
        Self { address, received }
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

    /// Its URL, for `servers`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that all connections were sent so far.
    pub(crate) fn received(&self) -> String {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&received).into_owned()
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
}
