//! Both sides, over a real socket.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use serde::Deserialize;
use tokio::sync::mpsc;

use super::*;

/// A gateway that runs, as far as handing over goes.
struct Old {
    directory: tempfile::TempDir,
    succession: Arc<Succession>,
    departures: mpsc::Receiver<Departure>,
    kept: Vec<KeptElsewhere>,
    addresses: Vec<SocketAddr>,
}

impl Old {
    /// With two listeners, of two sockets and of one.
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut addresses = Vec::new();
        let offered: Vec<_> = [2, 1]
            .into_iter()
            .map(|count| {
                let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
                let address = socket.local_addr().expect("bound");
                addresses.push(address);
                Offered {
                    purpose: Purpose::Listener,
                    address: Some(address),
                    file: None,
                    sockets: (0..count)
                        .map(|_| socket.try_clone().expect("a descriptor").into())
                        .collect(),
                    kept: KeptElsewhere::default(),
                }
            })
            .collect();
        let kept = offered.iter().map(|offered| offered.kept.clone()).collect();
        let program = Program::this(Vec::new()).expect("this test");
        let (succession, departures) = Succession::new(offered, program);
        let old = Self {
            succession: Arc::new(succession),
            departures,
            kept,
            addresses,
            directory,
        };
        old.listen();
        old
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    fn listen(&self) {
        let listener = UnixListener::bind(self.socket()).expect("bound");
        let succession = Arc::clone(&self.succession);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let succession = Arc::clone(&succession);
                thread::spawn(move || {
                    let mut line = String::new();
                    BufReader::new(&stream).read_line(&mut line).expect("a line");
                    #[derive(Deserialize)]
                    struct Asked {
                        #[serde(flatten)]
                        opening: Opening,
                    }
                    let asked: Asked = serde_json::from_str(&line).expect("an opening");
                    succession.hand_over(&stream, &asked.opening, 7);
                });
            }
        });
    }

    /// Departs when asked to, as a gateway does.
    fn departing(mut self) -> JoinHandle<Self> {
        thread::spawn(move || {
            let departure = self.departures.blocking_recv().expect("a successor");
            self.succession.release(&departure);
            assert_eq!(departure.successor.pid, 7);
            departure.departed();
            self
        })
    }
}

fn ask(socket: &Path) -> Result<(Predecessor, Passed), String> {
    Predecessor::ask(socket).map_err(|error| error.to_string())
}

#[test]
fn sockets_that_were_taken_are_kept_elsewhere_and_the_others_are_not() {
    let old = Old::start();
    let (predecessor, mut passed) = ask(&old.socket()).expect("it hands over");
    assert_eq!(predecessor.version(), env!("CARGO_PKG_VERSION"));
    let taken = passed.take_listener(old.addresses[0]);
    let places: Vec<_> = taken
        .iter()
        .map(|passed| passed.socket.local_addr().expect("bound"))
        .collect();
    assert_eq!(places, [old.addresses[0]; 2]);
    assert_eq!(passed.left(), [old.addresses[1].to_string()]);
    assert!(
        !old.kept[0].is_kept(),
        "until the successor is ready nothing has changed"
    );
    let old = old.departing();
    predecessor.release(&passed).expect("it lets go");
    let old = old.join().expect("departed");
    assert!(old.kept[0].is_kept() && !old.kept[1].is_kept());
    let told = ask(&old.socket()).expect_err("it has nothing any more");
    assert!(told.contains("is ending"), "{told}");
}

#[test]
fn who_fails_leaves_everything_to_the_next() {
    let old = Old::start();
    let (predecessor, _) = ask(&old.socket()).expect("it hands over");
    let told = ask(&old.socket()).expect_err("one at a time");
    assert!(told.contains("taking over already"), "{told}");
    predecessor.failed("no such file");
    // The one that failed is done with when the other's turn comes.
    let (predecessor, passed) = loop {
        if let Ok(asked) = ask(&old.socket()) {
            break asked;
        }
    };
    let old = old.departing();
    predecessor.release(&passed).expect("it lets go");
    old.join().expect("departed");
}

#[test]
fn nobody_takes_over_from_a_gateway_whose_end_has_begun() {
    let mut old = Old::start();
    let (predecessor, passed) = ask(&old.socket()).expect("it hands over");
    old.succession.close();
    old.departures.close();
    let told = predecessor.release(&passed).expect_err("it ends");
    assert!(told.contains("is ending"), "{told}");
}

#[test]
fn a_version_with_another_protocol_is_refused_with_what_to_do() {
    let old = Old::start();
    let mut stream = UnixStream::connect(old.socket()).expect("it listens");
    let opening = r#"{"verb":"takeover","protocol":2,"version":"9.0.0","more":[1]}"#;
    writeln!(stream, "{opening}").expect("it reads");
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).expect("an answer");
    assert!(
        answer.contains("by protocol 1, and version 9.0.0 asks for protocol 2") && answer.contains("stop the one"),
        "{answer}"
    );
    ask(&old.socket()).expect("it goes on");
}

#[test]
fn where_no_gateway_runs_nothing_is_taken_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let nobody = |path: &Path| matches!(Predecessor::ask(path), Err(AskError::Nobody));
    assert!(nobody(&path), "no file");
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(nobody(&path), "a stale one");
}
