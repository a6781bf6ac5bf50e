//! The scanner beside the HTTP implementation that it must keep step with.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use http::{Request, Response, header::CONNECTION};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, option, prelude::*, sample::Index, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// A request as it was handed on: its target, and its verdict.
type Call = (String, Result<(), &'static str>);

/// What hyper makes of these bytes, read through a pipe that holds so many at a time, and what is left of the verdicts.
fn served(raw: &[u8], pipe: usize) -> (Vec<Call>, Arc<Activity>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let activity = Activity::new();
    let calls = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request| answer(request, Arc::clone(&activity), Rc::clone(&calls)));
    let (client, server) = tokio::io::duplex(pipe);
    let io = TokioIo::new(WireStream::new(server, Arc::clone(&activity)));
    // A client that closes its half after the last byte gets all its answers: no test waits for a timeout.
    let connection = http1::Builder::new()
        .half_close(true)
        .pipeline_flush(true)
        .serve_connection(io, service);
    runtime.block_on(async {
        // How a connection ends that hyper refuses is not what is tested here.
        let (_, ()) = tokio::join!(connection, converse(client, raw));
    });
    (calls.take(), activity)
}

async fn converse(client: DuplexStream, raw: &[u8]) {
    let (mut answers, mut requests) = tokio::io::split(client);
    let send = async {
        // The server may close before it has read all.
        let _ = requests.write_all(raw).await;
        let _ = requests.shutdown().await;
    };
    let mut read = Vec::new();
    let (_, result) = tokio::join!(send, answers.read_to_end(&mut read));
    result.expect("a pipe that ends");
}

/// Answers as the server does: reads the body of a good request, and answers a faulty one at once and for good.
async fn answer(
    request: Request<Incoming>,
    activity: Arc<Activity>,
    calls: Rc<RefCell<Vec<Call>>>,
) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    let verdict = activity.verdicts.take().map_err(|WireFault(fault)| fault);
    calls.borrow_mut().push((request.uri().to_string(), verdict));
    let mut response = Response::new(Empty::new());
    match verdict {
        Ok(()) => {
            // One that breaks off ends the connection.
            let _ = request.into_body().collect().await;
        }
        Err(_) => {
            response
                .headers_mut()
                .insert(CONNECTION, http::HeaderValue::from_static("close"));
        }
    }
    Ok(response)
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
        let (calls, activity) = served(&messages.concat(), pipe);
        let expected: Vec<Call> = (0..messages.len()).map(|number| (format!("/{number}"), Ok(()))).collect();
        prop_assert_eq!(calls, expected);
        prop_assert_eq!(activity.verdicts.good.load(Ordering::Relaxed), 0);
        prop_assert_eq!(activity.verdicts.fault.get(), None);
    }

    /// Whatever hyper makes of it, a request that is taken has the very head that the scanner found good.
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
fn a_request_that_was_never_seen_is_refused_and_so_are_all_after_it() {
    let verdicts = Verdicts::default();
    assert_eq!(verdicts.take(), Err(WireFault(OUT_OF_STEP)));
    verdicts.add(Scan {
        heads: 0,
        fault: Some("late"),
    });
    assert_eq!(verdicts.take(), Err(WireFault(OUT_OF_STEP)));
}

#[test]
fn verdicts_come_in_the_order_of_their_heads() {
    let verdicts = Verdicts::default();
    verdicts.add(Scan { heads: 2, fault: None });
    verdicts.add(Scan {
        heads: 1,
        fault: Some("bad"),
    });
    let taken: Vec<_> = (0..5).map(|_| verdicts.take()).collect();
    let bad = Err(WireFault("bad"));
    assert_eq!(taken, [Ok(()), Ok(()), Ok(()), bad, bad]);
}

#[test]
fn a_tunnel_is_not_scanned() {
    let activity = Activity::new();
    activity.become_tunnel();
    let mut stream = WireStream::new(&b"\n\n\n"[..], Arc::clone(&activity));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut read = Vec::new();
    runtime.block_on(stream.read_to_end(&mut read)).expect("it can be read");
    assert_eq!(read, b"\n\n\n");
    assert_eq!(activity.verdicts.fault.get(), None);
}
