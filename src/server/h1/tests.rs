//! The wire as a gate sees it: every request that is right, none that is not certain.
//!
//! The scanner is a second reading of the same rules, byte by byte; what is served must agree with it.

mod scanner;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use proptest::{collection::vec, option, prelude::*, sample::Index, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use self::scanner::HeadScanner;
use super::*;
use crate::{
    gateway::connection::{Close, ConnectionFacts, WireFault},
    policy::client::{Peer, SourceAddr},
    server::{
        activity::{Activity, HttpKind},
        rate::StreamExecutor,
        tests::{limits, listener, shared},
        worker::Worker,
    },
};

/// A request as it was handed on: its target, and what is wrong with it.
type Call = (String, Result<(), &'static str>);

/// Reads the body of a good request, and answers a faulty one at once.
struct Recording(Rc<RefCell<Vec<Call>>>);

impl Gate for Recording {
    type Body = Empty<Bytes>;

    async fn handle(
        &self,
        _: &Arc<ConnectionFacts>,
        request: Request<RequestBody>,
    ) -> Result<Response<Empty<Bytes>>, Close> {
        let verdict = match request.extensions().get() {
            Some(WireFault(fault)) => Err(*fault),
            None => Ok(()),
        };
        self.0.borrow_mut().push((request.uri().to_string(), verdict));
        if verdict.is_ok() {
            // One that breaks off ends the connection.
            let _ = request.into_body().collect().await;
        }
        Ok(Response::new(Empty::new()))
    }
}

/// What is made of these bytes, sent through a pipe that holds so many at a time, and what is answered.
fn served(raw: &[u8], pipe: usize) -> (Vec<Call>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let calls = Rc::new(RefCell::new(Vec::new()));
    let (client, server) = tokio::io::duplex(pipe);
    let answers = runtime.block_on(async {
        let serving = serve(server, service(Recording(Rc::clone(&calls))), &limits());
        let (_, answers) = tokio::join!(serving, converse(client, raw));
        answers
    });
    (calls.take(), answers)
}

fn service<G: Gate>(gate: G) -> Rc<ConnectionService<G>> {
    let address = ([192, 0, 2, 1], 4711).into();
    Rc::new(ConnectionService {
        worker: Worker::new(gate, Arc::new(shared(limits()))),
        facts: Arc::new(ConnectionFacts {
            peer: Peer(address),
            source: SourceAddr(address),
            listener: Arc::new(listener()),
            tls: None,
        }),
        activity: Activity::new(),
        pace: None,
        total: None,
        kind: HttpKind::Http1,
        streams: StreamExecutor::default(),
    })
}

/// Sends all, and closes its half once nothing happens any more: a client that closes before is gone.
async fn converse(client: DuplexStream, raw: &[u8]) -> String {
    let (mut answers, mut requests) = tokio::io::split(client);
    let send = async {
        // The server may close before it has read all.
        let _ = requests.write_all(raw).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let _ = requests.shutdown().await;
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(send, answers.read_to_end(&mut read));
    result.expect("a pipe that ends");
    String::from_utf8(read).expect("answers are text")
}

/// Requests that are right, one after the other, each with its own target `/0`, `/1`, ….
pub(super) fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(message(), 1..6).prop_map(|messages| {
        let number = |(number, (start, rest)): (usize, (String, Vec<u8>))| {
            let mut message = start.replace("{}", &number.to_string()).into_bytes();
            message.extend(rest);
            message
        };
        messages.into_iter().enumerate().map(number).collect()
    })
}

/// A head with `{}` for its number, and a body.
fn message() -> impl Strategy<Value = (String, Vec<u8>)> {
    let empty_lines = select(vec!["", "", "", "\r\n", "\r\n\r\n"]);
    let more = vec(
        select(vec![
            "Cookie: a=b; content-length: 5",
            "Connection: keep-alive",
            "TE: trailers",
            "C:",
            "Transfer-Encodings: x",
            "X: #\t\u{e9}",
            "Expect: 100-continue",
        ]),
        0..4,
    );
    (empty_lines, more, any::<Index>(), body()).prop_map(|(empty_lines, mut lines, at, (framing, body))| {
        if let Some(framing) = &framing {
            lines.insert(at.index(lines.len() + 1), framing);
        }
        let method = if framing.is_some() { "POST" } else { "GET" };
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        (
            format!("{empty_lines}{method} /{{}} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"),
            body,
        )
    })
}

fn body() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    prop_oneof![
        Just((None, Vec::new())),
        content(40).prop_map(|body| (Some(format!("Content-Length: {}", body.len())), body)),
        chunked().prop_map(|body| (Some("transfer-encoding:chunked".to_owned()), body)),
    ]
}

/// Bytes that look like what a parser looks for.
fn content(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "\r",
        "\n",
        "\r\n\r\n",
        "0",
        "GET /9 HTTP/1.1\r\n\r\n",
        "a",
        ";",
        "#",
    ]);
    vec(piece, 0..length).prop_map(|pieces| pieces.concat().into_bytes())
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let extension = select(vec!["", "", ";a", " ;a=\"b\"", ";\t", " "]);
    let chunk = (content(6), extension, any::<bool>()).prop_map(|(data, extension, upper)| {
        // An empty chunk would be the last.
        let data = if data.is_empty() { b"x".to_vec() } else { data };
        let size = if upper {
            format!("{:X}", data.len())
        } else {
            format!("0{:x}", data.len())
        };
        [format!("{size}{extension}\r\n").as_bytes(), &data, b"\r\n"].concat()
    });
    let trailers = select(vec!["", "", "a: b\r\n", "content-length: 5\r\nT: x\r\n"]);
    (vec(chunk, 0..4), trailers).prop_map(|(chunks, trailers)| {
        let end = format!("0\r\n{trailers}\r\n");
        [chunks.concat(), end.into_bytes()].concat()
    })
}

/// Requests of which some are no longer right: pieces are put in, and bytes taken out.
pub(super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "",
        "\r",
        "\n",
        "\r\n",
        "\r\n\r\n",
        " ",
        "\t",
        ":",
        ";",
        "#",
        "0",
        "5",
        "\0",
        "Content-Length: 3\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\n chunked\r\n",
        "0\r\n\r\n",
        "GET /8 HTTP/1.1\r\n\r\n",
        "HTTP/1.0",
    ]);
    let change = (any::<Index>(), piece, 0..3usize, option::weighted(0.3, any::<Index>()));
    (messages(), vec(change, 1..4)).prop_map(|(messages, changes)| {
        let mut raw = messages.concat();
        for (at, piece, lost, line) in changes {
            let at = match line {
                // At the beginning of a line, where more pieces mean something.
                Some(line) => line_starts(&raw)[line.index(line_starts(&raw).len())],
                None => at.index(raw.len() + 1),
            };
            let end = raw.len().min(at + lost);
            raw.splice(at..end, piece.bytes());
        }
        raw
    })
}

fn line_starts(raw: &[u8]) -> Vec<usize> {
    let after = raw
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    std::iter::once(0).chain(after).collect()
}

proptest! {
    #[test]
    fn every_right_request_gets_its_own_verdict(messages in messages(), pipe in 1..200usize) {
        let (calls, answers) = served(&messages.concat(), pipe);
        let expected: Vec<Call> = (0..messages.len()).map(|number| (format!("/{number}"), Ok(()))).collect();
        prop_assert_eq!(calls, expected);
        prop_assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), messages.len());
    }

    /// Whatever is made of it, a request that is taken has the very head that the scanner found good.
    #[test]
    fn a_verdict_is_never_about_another_head(raw in mutated(), pipe in 1..200usize) {
        let (calls, _) = served(&raw, pipe);
        let ends = head_ends(&raw);
        for (number, (target, verdict)) in calls.iter().enumerate() {
            if verdict.is_err() {
                prop_assert_eq!(number, calls.len() - 1, "a request after a faulty one");
                continue;
            }
            let seen = &raw[..ends[number]];
            let line = format!(" {target} HTTP/1.");
            let start = last(seen, line.as_bytes());
            prop_assert!(start.is_some(), "{} is not in {}", target, seen.escape_ascii());
            let head = &seen[start.expect("checked")..];
            prop_assert_eq!(last(head, b"\r\n\r\n"), Some(head.len() - 4));
            prop_assert_eq!(head.windows(4).filter(|w| w == b"\r\n\r\n").count(), 1);
        }
    }
}

/// Where the good heads end.
fn head_ends(raw: &[u8]) -> Vec<usize> {
    let mut scanner = HeadScanner::default();
    let ends = |at: &usize| scanner.scan(&raw[*at..=*at]).heads == 1;
    (0..raw.len()).filter(ends).map(|at| at + 1).collect()
}

fn last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|window| window == needle)
}

#[test]
fn after_a_smuggling_attempt_nothing_is_a_request() {
    let evil = "GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: x, chunked\r\n",
        "Transfer-Encoding: chunked\n",
        "X: y\nContent-Length: 5\r\n",
    ] {
        let raw = format!(
            "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\nPOST /b HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n0\r\n\r\n{evil}"
        );
        let (calls, _) = served(raw.as_bytes(), 4096);
        let [first, second] = &calls[..] else {
            panic!("{lines:?}: {calls:?}")
        };
        assert_eq!(first, &("/a".to_owned(), Ok(())));
        assert_eq!((second.0.as_str(), second.1.is_err()), ("/b", true), "{lines:?}");
    }
}

#[test]
fn what_begins_as_something_else_is_not_waited_for() {
    for raw in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"\0",
        b"SSH-2.0-x\r\n",
        b"GET  /",
    ] {
        let (calls, answers) = served(raw, 64);
        assert!(
            calls.is_empty() && answers.starts_with("HTTP/1.1 400 "),
            "{}",
            raw.escape_ascii()
        );
    }
}

#[test]
fn a_head_is_the_same_in_whatever_pieces_it_comes() {
    let raw = b"\r\nGET /0 HTTP/1.1\r\nHost: a.test\r\n\r\n\r\nGET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for pipe in 1..raw.len() {
        let (calls, _) = served(raw, pipe);
        assert_eq!(calls, [("/0".to_owned(), Ok(())), ("/1".to_owned(), Ok(()))], "{pipe}");
    }
}

#[test]
fn lengths_of_answers_are_said_once_and_kept() {
    let (_, answers) = served(b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\nGET / HTTP/1.0\r\n\r\n", 4096);
    assert!(
        answers.starts_with("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\ndate: "),
        "{answers}"
    );
    assert_eq!(answers.matches("HTTP/1.0").count(), 1);
}

/// A gate that answers before it reads, and leaves the body with somebody else, as an HTTP/2 upstream does.
struct Early(Rc<RefCell<Vec<String>>>, Rc<RefCell<Vec<RequestBody>>>);

impl Gate for Early {
    type Body = Empty<Bytes>;

    async fn handle(
        &self,
        _: &Arc<ConnectionFacts>,
        request: Request<RequestBody>,
    ) -> Result<Response<Empty<Bytes>>, Close> {
        self.0.borrow_mut().push(request.uri().to_string());
        self.1.borrow_mut().push(request.into_body());
        Ok(Response::new(Empty::new()))
    }
}

#[test]
fn a_body_that_somebody_still_holds_is_never_read_as_a_request() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let known = format!("Content-Length: {}\r\n\r\n{inner}", inner.len());
    for rest in [
        known,
        format!("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n{chunked}"),
    ] {
        let (calls, held) = (Rc::default(), Rc::default());
        let gate = Early(Rc::clone(&calls), Rc::clone(&held));
        let raw = format!("POST /outer HTTP/1.1\r\nHost: a.test\r\n{rest}");
        let (client, server) = tokio::io::duplex(4096);
        let answers = runtime.block_on(async {
            let serving = serve(server, service(gate), &limits());
            let (_, answers) = tokio::join!(serving, converse(client, raw.as_bytes()));
            answers
        });
        assert_eq!(*calls.borrow(), ["/outer"]);
        assert!(
            answers.contains("connection: close") && !answers.contains("100 Continue"),
            "{answers}"
        );
    }
}
