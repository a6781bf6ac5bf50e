//! What comes from an origin means the same in whatever pieces it comes, and what is sent is read as it was meant.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Body, Frame};
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::time::Instant;

use super::*;
use crate::{
    http1::{Malformed, Piece},
    upstream::{Upload, UploadError, framing::is_unambiguous},
};

/// A response as far as it could be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    end: End,
    /// Bytes behind the response.
    rest: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Missing,
    Reached,
    Malformed(String),
}

/// Reads an answer to GET that comes in these pieces, and then nothing more.
fn read<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Read {
    let (mut read, mut buffer, mut seen) = (Read::default(), BytesMut::new(), 0);
    let mut body: Option<BodyReader> = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if let Err(error) = advance(&mut read, &mut buffer, &mut seen, &mut body) {
            read.end = End::Malformed(error.to_string());
            return read;
        }
    }
    if let Some(body) = &mut body
        && read.end == End::Missing
        && body.closed().is_ok()
    {
        read.end = End::Reached;
    }
    read.rest = buffer.to_vec();
    read
}

fn advance(
    read: &mut Read,
    buffer: &mut BytesMut,
    seen: &mut usize,
    body: &mut Option<BodyReader>,
) -> Result<(), WireError> {
    if body.is_none() {
        let Some(mut head) = ResponseHead::take(buffer, seen)? else {
            return Ok(());
        };
        if !is_unambiguous(&mut head.headers) {
            return Err(Malformed("framing").into());
        }
        read.status = Some(head.status.as_u16());
        read.headers = shown(&head.headers);
        *body = Some(BodyReader::new(Length::of(&Method::GET, &head)?));
    }
    while let Some(body) = body {
        match body.next(buffer)? {
            Piece::Data(data) => read.body.extend_from_slice(&data),
            Piece::Trailers(trailers) => {
                read.trailers = shown(&trailers);
                read.end = End::Reached;
                break;
            }
            Piece::End => {
                read.end = End::Reached;
                break;
            }
            Piece::Starved => break,
        }
    }
    Ok(())
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

fn whole(response: &str) -> Read {
    read([response.as_bytes()].into_iter())
}

#[test]
fn heads_are_read() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for (response, status, headers) in [
        (
            "HTTP/1.1 200 OK\r\nA: b\r\nC:d \r\nContent-Length: 0\r\n\r\n",
            200,
            &[("a", "b"), ("c", "d"), ("content-length", "0")][..],
        ),
        ("HTTP/1.0 404\r\nempty:\r\n\r\n", 404, &[("empty", "")]),
        (
            "HTTP/1.1 299 \r\nset-cookie: a\r\nset-cookie: b\r\n\r\n",
            299,
            &[("set-cookie", "a"), ("set-cookie", "b")],
        ),
        ("HTTP/1.1 200 OK\nbare: lines\n\n", 200, &[("bare", "lines")]),
    ] {
        let read = whole(response);
        let expected: Vec<_> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!((read.status, read.headers), (Some(status), expected), "{response:?}");
    }
    assert_eq!(whole(&long).headers[0].1.len(), 100_000);
}

#[test]
fn what_is_no_head_is_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(129));
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(128 * 1024));
    for response in [
        "HTTP/1.1 99 Too Low\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nspace : before\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: folded\r\n line\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        &many,
        &endless,
    ] {
        let end = whole(response).end;
        assert!(matches!(end, End::Malformed(_)), "{:?}: {end:?}", response.get(..60));
    }
}

#[test]
fn a_body_ends_where_its_framing_says() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    for (head, body, rest, end) in [
        ("content-length: 3\r\n\r\nabcde", "abc", "de", End::Reached),
        ("content-length: 3\r\n\r\nab", "ab", "", End::Missing),
        ("\r\nall that comes", "all that comes", "", End::Reached),
        (
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nde",
            "abc",
            "de",
            End::Reached,
        ),
        (
            "transfer-encoding: chunked\r\n\r\nA ;x=\"y\"\r\n0123456789\r\n00\r\n\r\n",
            "0123456789",
            "",
            End::Reached,
        ),
        (
            "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "abc",
            "",
            End::Missing,
        ),
        ("transfer-encoding: chunked\r\n\r\n3\r\nab", "ab", "", End::Missing),
    ] {
        let read = whole(&format!("{OK}{head}"));
        let body_read = String::from_utf8(read.body).expect("text");
        let rest_left = String::from_utf8(read.rest).expect("text");
        assert_eq!(
            (body_read.as_str(), rest_left.as_str(), read.end),
            (body, rest, end),
            "{head:?}"
        );
    }
}

#[test]
fn trailers_are_read_and_bounded() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
    let read = whole(&format!("{chunked}X-Sum: 9\r\ny: z\r\n\r\n"));
    assert_eq!(
        read.trailers,
        [("x-sum".to_owned(), "9".to_owned()), ("y".to_owned(), "z".to_owned())]
    );
    for trailers in [
        format!("x: {}", "y".repeat(20_000)),
        "a: b\r\n".repeat(65) + "\r\n",
        "no colon\r\n\r\n".to_owned(),
    ] {
        assert!(matches!(whole(&format!("{chunked}{trailers}")).end, End::Malformed(_)));
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    let long = format!("1;{}\r\na\r\n", "x".repeat(5000));
    for chunk in [
        "g\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "\r\na\r\n",
        " 1\r\na\r\n",
        "1\na\r\n",
        "1 x\r\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "11111111111111111\r\n",
        "1\r;\r\na\r\n",
        &long,
    ] {
        let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        let end = whole(&response).end;
        assert!(matches!(end, End::Malformed(_)), "{chunk:?}: {end:?}");
    }
}

#[test]
fn an_answer_without_a_body_has_none_whatever_it_says() {
    let head = |status, version| ResponseHead {
        status,
        version,
        headers: HeaderMap::from_iter([(http::header::CONTENT_LENGTH, HeaderValue::from_static("5"))]),
    };
    for (method, status, length) in [
        (Method::GET, StatusCode::OK, Length::Known(5)),
        (Method::HEAD, StatusCode::OK, Length::Known(0)),
        (Method::GET, StatusCode::NO_CONTENT, Length::Known(0)),
        (Method::GET, StatusCode::NOT_MODIFIED, Length::Known(0)),
    ] {
        assert_eq!(
            Length::of(&method, &head(status, Version::HTTP_11)).expect("certain"),
            length
        );
    }
    let mut chunked = head(StatusCode::OK, Version::HTTP_10);
    chunked
        .headers
        .insert("transfer-encoding", HeaderValue::from_static("chunked"));
    assert!(Length::of(&Method::GET, &chunked).is_err());
}

#[test]
fn a_connection_is_used_again_only_when_both_sides_will() {
    let head = |version, connection| ResponseHead {
        status: StatusCode::OK,
        version,
        headers: HeaderMap::from_iter([(http::header::CONNECTION, HeaderValue::from_static(connection))]),
    };
    for (version, connection, length, reusable) in [
        (Version::HTTP_11, "keep-alive", Length::Known(1), true),
        (Version::HTTP_11, "x, Close", Length::Known(1), false),
        (Version::HTTP_11, "closed", Length::Chunked, true),
        (Version::HTTP_11, "keep-alive", Length::UntilClose, false),
        (Version::HTTP_10, "keep-alive", Length::Known(1), false),
    ] {
        assert_eq!(
            is_reusable(&head(version, connection), length),
            reusable,
            "{connection}"
        );
    }
}

#[test]
fn a_target_that_could_be_read_otherwise_is_not_sent() {
    for target in ["/", "/a?b=c", "*", "/%20~!$&'()*+,;=:@"] {
        assert!(is_target(target), "{target}");
    }
    for target in [
        "",
        "a",
        "/a b",
        "/a#b",
        "/a\r\nx: y",
        "/\u{e4}",
        "//a\tb",
        "http://a/",
        "/\u{7f}",
    ] {
        assert!(!is_target(target), "{target:?}");
    }
}

/// A body of these frames; between them, the client is waited for once.
struct Frames(std::collections::VecDeque<Frame<Bytes>>, bool);

impl Body for Frames {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.1 = !self.1;
        if self.1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// What is written, a few bytes at a time.
#[derive(Clone)]
struct Wire(Rc<RefCell<Vec<u8>>>, usize);

impl tokio::io::AsyncWrite for Wire {
    fn poll_write(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let taken = bytes.len().min(self.1);
        self.0.borrow_mut().extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends a POST with these frames; what was written, or why not.
async fn sent(body: BodyLength, frames: Vec<Frame<Bytes>>, at_once: usize) -> Result<Vec<u8>, UploadError> {
    let head = RequestHead {
        method: Method::POST,
        target: "/".into(),
        host: HeaderValue::from_static("a.test"),
        headers: HeaderMap::from_iter([(http::header::TRAILER, HeaderValue::from_static("x-sum"))]),
        ours: Vec::new(),
        accepts_trailers: false,
        body,
        upgrade: None,
    };
    let upload = Upload::new(Frames(frames.into(), false));
    let mut wire = Wire(Rc::default(), at_once);
    let mut sender = Sender::new(
        &head,
        Some(upload),
        Duration::from_secs(60),
        Instant::now(),
        b"junk".to_vec(),
    );
    let result = poll_fn(|cx| sender.poll(cx, &mut wire)).await;
    let written = wire.0.take();
    match result {
        Ok(()) => {
            assert!(sender.is_done());
            Ok(written)
        }
        Err(SendError::Upload(error)) => {
            assert!(sender.is_over() && !sender.is_done());
            Err(error)
        }
        Err(SendError::Io(error)) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "local")]
async fn a_body_of_another_length_than_its_head_says_is_never_sent_as_if_it_were_right() {
    let data = |bytes: &'static str| Frame::data(Bytes::from_static(bytes.as_bytes()));
    assert!(
        sent(BodyLength::Known(5), vec![data("abc"), data("de")], 7)
            .await
            .expect("whole")
            .ends_with(b"\r\n\r\nabcde")
    );
    for frames in [vec![data("abc"), data("def")], vec![data("abc")], vec![]] {
        assert_eq!(sent(BodyLength::Known(5), frames, 7).await, Err(UploadError::Broken));
    }
}

#[tokio::test(flavor = "local")]
async fn an_empty_piece_of_a_body_does_not_end_it() {
    let data = |bytes: &'static str| Frame::data(Bytes::from_static(bytes.as_bytes()));
    let written = sent(BodyLength::Chunked, vec![data("a"), data(""), data("b")], 100)
        .await
        .expect("whole");
    let written = String::from_utf8(written).expect("text");
    assert!(
        written.ends_with("\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        "{written:?}"
    );
}

proptest! {
    /// What we send in chunks, whatever its pieces and however little the socket takes at once, reads back as what it was.
    #[test]
    fn chunks_that_are_sent_read_back_as_they_were(
        pieces in vec(vec(any::<u8>(), 0..50), 0..6),
        sum in proptest::option::of("[a-z]{1,8}"),
        at_once in 1..60usize,
    ) {
        let mut frames: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::from(piece.clone()))).collect();
        if let Some(sum) = &sum {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_str(sum).expect("letters"));
            trailers.insert("x-unannounced", HeaderValue::from_static("no"));
            frames.push(Frame::trailers(trailers));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let written = runtime.block_on(sent(BodyLength::Chunked, frames, at_once)).expect("whole");
        let start = written.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let answer = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &written[start..]].concat();
        let read = read([&answer[..]].into_iter());
        prop_assert_eq!(&read.end, &End::Reached);
        prop_assert_eq!(read.body, pieces.concat());
        prop_assert_eq!(read.trailers, sum.map(|sum| ("x-sum".to_owned(), sum)).into_iter().collect::<Vec<_>>());
        prop_assert!(read.rest.is_empty());
    }

    /// However the network cuts it, a response, right or wrong, is read as it is in one piece.
    #[test]
    fn a_response_means_the_same_in_whatever_pieces_it_comes(response in responses(), cut in 1..40usize) {
        let one = read([&response[..]].into_iter());
        let many = read(response.chunks(cut));
        prop_assert_eq!(&one.end, &many.end);
        // What is wrong later hides what was right before it.
        if !matches!(one.end, End::Malformed(_)) {
            prop_assert_eq!(one, many);
        }
    }
}

/// Pieces of responses, in an order that is sometimes right.
fn responses() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "content-length: 5\r\n",
        "content-length: 5, 5\r\n",
        "content-length: 6\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "a: b\r\n",
        "\r\n",
        "\n",
        "\r",
        "hello",
        "5\r\nhello\r\n",
        "5;x=y\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\nx: y\r\n\r\n",
        " ",
        "\0",
    ]);
    (any::<bool>(), any::<bool>(), vec(piece, 0..12)).prop_map(|(begins, chunked, pieces)| {
        let start = if begins { "HTTP/1.1 200 OK\r\n" } else { "" };
        let framing = if chunked {
            "transfer-encoding: chunked\r\n\r\n"
        } else {
            ""
        };
        [start, framing, &pieces.concat()].concat().into_bytes()
    })
}

#[test]
fn what_could_not_be_sent_at_all_is_told_from_what_was_begun() {
    let head = RequestHead {
        method: Method::GET,
        target: "/".into(),
        host: HeaderValue::from_static("a.test"),
        headers: HeaderMap::from_iter([(HeaderName::from_static("a"), HeaderValue::from_static("b"))]),
        ours: vec![(HeaderName::from_static("x-ours"), HeaderValue::from_static("c"))],
        accepts_trailers: true,
        body: BodyLength::Unsaid,
        upgrade: Some(HeaderValue::from_static("websocket")),
    };
    let mut sender = Sender::new(&head, None, Duration::from_secs(60), Instant::now(), Vec::new());
    let mut cx = Context::from_waker(Waker::noop());
    let mut closed = Wire(Rc::default(), 0);
    assert!(matches!(
        sender.poll(&mut cx, &mut closed),
        Poll::Ready(Err(SendError::Io(_)))
    ));
    assert!(!sender.has_begun() && sender.is_over());
    let mut sender = Sender::new(&head, None, Duration::from_secs(60), Instant::now(), Vec::new());
    let mut open = Wire(Rc::default(), 1000);
    assert!(matches!(sender.poll(&mut cx, &mut open), Poll::Ready(Ok(()))));
    assert_eq!(
        String::from_utf8(open.0.take()).expect("text"),
        "GET / HTTP/1.1\r\nhost: a.test\r\na: b\r\nx-ours: c\r\nupgrade: websocket\r\nte: trailers\r\nconnection: upgrade, te\r\n\r\n"
    );
}
