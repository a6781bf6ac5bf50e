use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::json;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Steady;

impl Operator for Steady {
    fn reload(&self, confirm: Option<Duration>) -> serde_json::Value {
        json!({ "result": "kept", "generation": 4, "confirm": confirm.map(|time| time.as_secs()) })
    }

    fn confirm(&self) -> serde_json::Value {
        json!({ "result": "confirmed" })
    }

    fn status(&self) -> serde_json::Value {
        json!({ "version": "1.2.3" })
    }

    fn event(&self, id: &str) -> serde_json::Value {
        json!({ "event": { "http.request.id": id } })
    }

    fn upgrade(&self) -> serde_json::Value {
        json!({ "result": "kept" })
    }

    fn hand_over(&self, mut stream: UnixStream, opening: &crate::handover::Opening, _: u32) {
        writeln!(stream, "{}", opening.protocol).expect("it reads");
    }
}

struct Fixture {
    directory: tempfile::TempDir,
    readiness: Arc<Readiness>,
    server: AdminServer,
}

impl Fixture {
    fn start() -> Self {
        Self::with(Steady)
    }

    fn with(operator: impl Operator) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let readiness = Arc::new(Readiness::default());
        let settings = Admin {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            socket: Some(directory.path().join("admin.sock")),
        };
        let state = AdminState {
            metrics: Arc::new(Metrics::new(1)),
            readiness: Arc::clone(&readiness),
            operator: Arc::new(operator),
            answering: Answering::AtOnce,
        };
        let server = AdminListeners::open(&settings, &mut Passed::default())
            .and_then(|listeners| listeners.serve(state))
            .expect("it starts");
        Self {
            directory,
            readiness,
            server,
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    fn get(&self, head: &str) -> String {
        let address = self.server.address().expect("it listens");
        let mut stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn status_and_body(&self, head: &str) -> (String, String) {
        let answer = self.get(head);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        (status.to_owned(), body.to_owned())
    }
}

fn say(socket: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(socket).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(line.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn health_is_the_process_and_readiness_is_the_traffic() {
    let admin = Fixture::start();
    let ready = |expected: &str| admin.status_and_body("GET /readyz HTTP/1.1") == split(expected);
    assert_eq!(admin.status_and_body("GET /healthz HTTP/1.1"), split("200 alive\n"));
    assert!(ready("503 starting\n"));
    admin.readiness.set(Ready::Serving);
    assert!(ready("200 ready\n"));
    admin.readiness.set(Ready::Draining);
    assert!(ready("503 draining\n"));
    assert_eq!(admin.status_and_body("GET /healthz HTTP/1.1"), split("200 alive\n"));
}

fn split(text: &str) -> (String, String) {
    let (status, body) = text.split_once(' ').expect("a status and a body");
    (status.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let answer = Fixture::start().get("GET /metrics HTTP/1.1");
    assert!(
        answer.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("\nportcullis_config_last_reload_successful 1\n"),
        "{answer}"
    );
}

#[test]
fn nothing_else_is_here() {
    let admin = Fixture::start();
    assert_eq!(admin.status_and_body("GET / HTTP/1.1").0, "404");
    assert_eq!(admin.status_and_body("GET /metrics/ HTTP/1.1").0, "404");
    assert_eq!(admin.status_and_body("POST /healthz HTTP/1.1").0, "405");
}

#[test]
fn the_socket_answers_each_verb_with_one_line() {
    let admin = Fixture::start();
    let reload = say(&admin.socket(), "{\"verb\":\"reload\"}\n");
    assert_eq!(reload, "{\"confirm\":null,\"generation\":4,\"result\":\"kept\"}\n");
    let unconfirmed = say(&admin.socket(), "{\"verb\":\"reload\",\"confirm\":300}\n");
    assert!(unconfirmed.contains("\"confirm\":300"), "{unconfirmed}");
    let never = say(&admin.socket(), "{\"verb\":\"reload\",\"confirm\":0}\n");
    assert!(never.contains("1 to 86400 seconds"), "{never}");
    let confirmed = say(&admin.socket(), "{\"verb\":\"confirm\"}\n");
    assert_eq!(confirmed, "{\"result\":\"confirmed\"}\n");
    let status = say(&admin.socket(), "{\"verb\":\"status\"}\n");
    assert_eq!(status, "{\"version\":\"1.2.3\"}\n");
}

#[test]
fn who_waits_for_reloads_keeps_nobody_from_the_status() {
    /// Reloads end when the test drops its end.
    struct Slow(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);
    impl Operator for Slow {
        fn confirm(&self) -> serde_json::Value {
            json!({})
        }

        fn reload(&self, _: Option<Duration>) -> serde_json::Value {
            let ended = self.0.lock().map(|ended| ended.recv().is_err());
            json!({ "ended": ended.unwrap_or(false) })
        }
        fn status(&self) -> serde_json::Value {
            json!({ "version": "1.2.3" })
        }
        fn event(&self, id: &str) -> serde_json::Value {
            json!({ "event": { "http.request.id": id } })
        }

        fn upgrade(&self) -> serde_json::Value {
            json!({})
        }
        fn hand_over(&self, _: UnixStream, _: &crate::handover::Opening, _: u32) {}
    }
    let (end, ended) = std::sync::mpsc::channel();
    let admin = Fixture::with(Slow(std::sync::Mutex::new(ended)));
    let mut reloads: Vec<_> = (0..12)
        .map(|_| {
            let mut stream = UnixStream::connect(admin.socket()).expect("it accepts");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream.write_all(b"{\"verb\":\"reload\"}\n").expect("it reads");
            stream
        })
        .collect();
    assert_eq!(
        say(&admin.socket(), "{\"verb\":\"status\"}\n"),
        "{\"version\":\"1.2.3\"}\n"
    );
    drop(end);
    for stream in &mut reloads {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer, "{\"ended\":true}\n");
    }
}

#[test]
fn what_is_no_request_gets_an_error() {
    let admin = Fixture::start();
    for line in [
        "\n",
        "reload\n",
        "{\"verb\":\"explode\"}\n",
        "{\"verb\":\"reload\",\"now\":true}\n",
    ] {
        let answer = say(&admin.socket(), line);
        assert!(answer.starts_with("{\"error\":\"expected one line such as"), "{answer}");
    }
    let long = say(&admin.socket(), &"x".repeat(4096));
    assert_eq!(long, "{\"error\":\"a request has at most 4096 bytes\"}\n");
}

#[test]
fn dropping_the_server_closes_both_listeners() {
    let admin = Fixture::start();
    let (address, socket) = (admin.server.address().expect("it listens"), admin.socket());
    drop(admin.server);
    assert!(!socket.exists());
    assert!(TcpStream::connect(address).is_err());
}
