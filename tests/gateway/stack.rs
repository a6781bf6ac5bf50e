//! A gateway with its configuration in a folder of its own, an origin that answers by script, and clients.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use portcullis::{
    config,
    gateway::Gateway,
    handover::Passed,
    policy::rule::Timestamp,
    server::{Server, Shared, bind_all},
    snapshot::Current,
    telemetry::Telemetry,
    tls::{SniResolver, TlsSetup},
};

const NOW: Timestamp = Timestamp(1_767_225_600);

/// A running gateway. The first listener speaks plain HTTP, the second TLS, the third redirects to port 8443. Stops when
/// dropped.
pub(crate) struct Stack {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) redirect: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    current: Current,
    telemetry: Telemetry,
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
}

/// What a test configures: the body of `[upstream.app]`, the rules, and whatever else `portcullis.toml` holds.
#[derive(Default)]
pub(crate) struct Config<'c> {
    pub(crate) upstream: String,
    pub(crate) rules: &'c str,
    pub(crate) more: &'c str,
    pub(crate) files: &'c [(&'c str, &'c str)],
}

impl Config<'_> {
    pub(crate) fn to(port: u16) -> Self {
        Self {
            upstream: format!("servers = [\"http://127.0.0.1:{port}\"]"),
            ..Self::default()
        }
    }

    fn write(&self, folder: &tempfile::TempDir) {
        let text = format!(
            r#"
rules = ["rules.toml"]
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
tls = true
[[listen]]
address = "127.0.0.1:0"
redirect = {{ port = 8443 }}
[upstream.app]
{}
[[site]]
name = "main"
hosts = ["example.com", "localhost"]
upstream = "app"
self_signed = true
[log]
access = "access.log"
format = "json"
{}
"#,
            self.upstream, self.more
        );
        fs::write(folder.path().join("portcullis.toml"), text).expect("written");
        let rules = match self.rules {
            "" => "may_be_empty = true",
            rules => rules,
        };
        fs::write(folder.path().join("rules.toml"), rules).expect("written");
        for (name, text) in self.files {
            fs::write(folder.path().join(name), text).expect("written");
        }
    }
}

impl Stack {
    pub(crate) fn start(config: &Config<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        config.write(&folder);
        let path = folder.path().join("portcullis.toml");
        let (snapshot, _) = config::load(&path, NOW, None).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let telemetry = Telemetry::start(&snapshot.settings.log, 1).expect("a log");
        let bound = bind_all(&snapshot.settings.listeners, 1, &mut Passed::default()).expect("free ports");
        let addresses: Vec<_> = bound.iter().map(|listener| listener.settings.address).collect();
        let current = Current::new(snapshot);
        let certificates = current.clone();
        let resolver = SniResolver::new(move || Arc::clone(&certificates.load().certificates));
        let tls = TlsSetup::new(Arc::new(resolver)).expect("randomness");
        let limits = current.clone();
        let shared = Arc::new(Shared {
            caps: Arc::default(),
            counts: Arc::default(),
            limits: Box::new(move || limits.load().settings.limits.clone()),
            trusts: Box::new(|_| false),
        });
        let (gates, telling) = (current.clone(), telemetry.clone());
        let gate = move |worker| Gateway::new(gates.clone(), telling.worker(worker));
        let server = Server::start(bound, 1, &tls, shared, gate).expect("it starts");
        Self {
            plain: addresses[0],
            tls: addresses[1],
            redirect: addresses[2],
            folder,
            current,
            telemetry,
            server: Some(server),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime"),
        }
    }

    pub(crate) fn before(origin: &Origin) -> Self {
        Self::start(&Config::to(origin.port))
    }

    /// Puts another configuration in force.
    pub(crate) fn reload(&self, config: &Config<'_>) {
        config.write(&self.folder);
        let path = self.folder.path().join("portcullis.toml");
        let previous = self.current.load();
        let (snapshot, _) = config::load(&path, NOW, Some(&previous)).unwrap_or_else(|faults| panic!("{faults:#?}"));
        self.current.swap(snapshot);
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.plain).expect("it listens"))
    }

    /// One exchange on a connection of its own.
    pub(crate) fn ask(&self, request: &str) -> Response {
        let mut client = self.connect();
        client.send(request);
        client.response()
    }

    /// Ends the server, so that everything is recorded, and gives the access log's records.
    pub(crate) fn records(mut self) -> Vec<serde_json::Value> {
        self.stop();
        assert!(self.telemetry.flush(Duration::from_secs(10)), "the log is written");
        let log = fs::read_to_string(self.folder.path().join("access.log")).expect("a log");
        log.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An HTTP/1.1 client that sends what it is told.
pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("it reads");
    }

    /// A response to anything but HEAD.
    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.head();
        let no_body = matches!(response.status, 100..=199 | 204 | 304);
        if no_body {
            return response;
        }
        if response.header("transfer-encoding") == Some("chunked") {
            self.read_chunks(&mut response);
        } else if let Some(length) = response
            .header("content-length")
            .map(|length| length.parse().expect("a length"))
        {
            response.body = vec![0; length];
            self.stream.read_exact(&mut response.body).expect("a body");
        } else {
            self.stream.read_to_end(&mut response.body).expect("a body");
        }
        response
    }

    pub(crate) fn head(&mut self) -> Response {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Response {
            status: status.unwrap_or_else(|| panic!("no status line: {line:?}")),
            headers: self.fields(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    fn read_chunks(&mut self, response: &mut Response) {
        loop {
            let size = usize::from_str_radix(&self.line(), 16).expect("a chunk size");
            if size == 0 {
                response.trailers = self.fields();
                return;
            }
            let start = response.body.len();
            response.body.resize(start + size, 0);
            self.stream.read_exact(&mut response.body[start..]).expect("a chunk");
            assert_eq!(self.line(), "");
        }
    }

    fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line();
            match line.split_once(':') {
                Some((name, value)) => fields.push((name.to_lowercase(), value.trim().to_owned())),
                None => return fields,
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// Reads a request's head and leaves its body.
    pub(crate) fn head_of_request(&mut self) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && self.stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
    }

    /// Everything until the gateway closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// An origin in its own threads: hands each connection to a function, and keeps what was received.
pub(crate) struct Origin {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
}

/// A request as an origin saw it, byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Received {
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.headers.iter().filter(|(known, _)| known == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Origin {
    /// Answers every request, read whole, with these bytes.
    pub(crate) fn answering(response: &'static str) -> Self {
        Self::serving(move |client, received| {
            while let Some(request) = receive(client) {
                received(request);
                client.send(response);
            }
        })
    }

    /// Lets `serve` have each connection. What it gives to its second argument is kept.
    pub(crate) fn serving(serve: impl Fn(&mut Client, &mut dyn FnMut(Received)) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let origin = Self {
            port: listener.local_addr().expect("an address").port(),
            received: Arc::default(),
            connections: Arc::default(),
        };
        let (received, connections) = (Arc::clone(&origin.received), Arc::clone(&origin.connections));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                *connections.lock().expect("not poisoned") += 1;
                let (serve, received) = (Arc::clone(&serve), Arc::clone(&received));
                thread::spawn(move || {
                    let mut keep = |request| received.lock().expect("not poisoned").push(request);
                    serve(&mut Client::new(stream), &mut keep);
                });
            }
        });
        origin
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("not poisoned").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().expect("not poisoned")
    }
}

/// One request, read strictly; `None` when the connection ends before one begins.
pub(crate) fn receive(client: &mut Client) -> Option<Received> {
    let mut line = String::new();
    if client.stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let line = line.strip_suffix("\r\n").expect("a whole line").to_owned();
    let mut message = Response {
        status: 0,
        headers: client.fields(),
        body: Vec::new(),
        trailers: Vec::new(),
    };
    if message.header("transfer-encoding").is_some() {
        client.read_chunks(&mut message);
    } else if let Some(length) = message.header("content-length") {
        message.body = vec![0; length.parse().expect("a length")];
        client.stream.read_exact(&mut message.body).ok()?;
    }
    Some(Received {
        line,
        headers: message.headers,
        body: message.body,
        trailers: message.trailers,
    })
}
