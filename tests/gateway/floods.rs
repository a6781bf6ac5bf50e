//! Attacks in HTTP/2 frames: each ends or is bounded, and others are served meanwhile.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use crate::{
    http2::trusting,
    stack::{Config, Origin, Stack},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method GET`, `:scheme https`, `:path /` by their numbers in HPACK's static table, and `:authority example.com`.
const GET: &[u8] = b"\x82\x87\x84\x01\x0bexample.com";
/// The same with POST.
const POST: &[u8] = b"\x83\x87\x84\x01\x0bexample.com";

/// Far more than any bound: an attack that is not ended goes on for so long, and fails the test.
const MANY: usize = 200_000;

/// A client that sends what frames it likes.
struct Attacker {
    tls: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
}

/// A frame as it came.
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

impl Attacker {
    fn connect(stack: &Stack) -> Self {
        let tcp = TcpStream::connect(stack.tls).expect("it listens");
        tcp.set_nodelay(true).expect("an option");
        // Only a gateway that hangs is waited for so long.
        tcp.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        tcp.set_write_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let name = rustls::pki_types::ServerName::try_from("example.com").expect("a name");
        let session = rustls::ClientConnection::new(Arc::new(trusting()), name).expect("a session");
        let mut attacker = Self {
            tls: rustls::StreamOwned::new(session, tcp),
        };
        let begun = attacker.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") && attacker.send(&[frame(SETTINGS, 0, 0, b"")]);
        assert!(begun, "it takes the preface");
        attacker
    }

    /// Whether the gateway still takes bytes.
    fn write(&mut self, bytes: &[u8]) -> bool {
        match self.tls.write_all(bytes).and_then(|()| self.tls.flush()) {
            Ok(()) => true,
            Err(error) => {
                assert!(!is_timeout(&error), "it neither reads nor closes");
                false
            }
        }
    }

    fn send(&mut self, frames: &[Vec<u8>]) -> bool {
        self.write(&frames.concat())
    }

    /// Whether the gateway closes before it has been sent more than sockets can hold of these frames.
    fn is_ended_by(&mut self, frames: &[u8]) -> bool {
        const BYTES: usize = 64 << 20;
        (0..BYTES / frames.len()).any(|_| !self.write(frames))
    }

    /// The next frame; `None` when the gateway has closed.
    fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            payload,
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.tls.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) => {
                assert!(!is_timeout(&error), "it neither answers nor closes");
                None
            }
        }
    }

    /// Reads until the gateway closes; the reason in its GOAWAY, if it gave one.
    fn end(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.frame() {
            if frame.kind == GOAWAY {
                reason = frame
                    .payload
                    .get(4..8)
                    .map(|code| u32::from_be_bytes(code.try_into().expect("four")));
            }
        }
        reason
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A stack before an origin that answers, with so much more configuration.
fn stack(more: &'static str) -> Stack {
    let origin = Origin::answering(crate::stack::OK);
    Stack::start(&Config {
        more,
        ..Config::to(origin.port)
    })
}

fn others_are_served(stack: &Stack) {
    let response = stack.ask("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!((response.status, response.text().as_str()), (200, "ok"));
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[test]
fn rapid_reset_in_bursts_ends_the_connection() {
    let stack = stack("");
    let mut attacker = Attacker::connect(&stack);
    let mut taken = 0;
    let mut streams = (1..).step_by(2);
    while taken < MANY {
        let pairs: Vec<Vec<u8>> = streams
            .by_ref()
            .take(500)
            .flat_map(|stream| {
                [
                    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET),
                    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
                ]
            })
            .collect();
        if !attacker.send(&pairs) {
            break;
        }
        taken += 500;
    }
    assert!(taken < MANY, "it was never ended");
    others_are_served(&stack);
}

#[test]
fn requests_given_up_one_at_a_time_end_the_connection_too() {
    // An origin that answers nobody: each request has reached it when it is given up.
    let (reached, reaching) = std::sync::mpsc::channel();
    let reached = std::sync::Mutex::new(reached);
    let origin = Origin::serving(move |client, _| {
        if crate::stack::receive(client).is_some() {
            let _ = reached.lock().expect("not poisoned").send(());
            client.rest();
        }
    });
    let stack = Stack::before(&origin);
    let mut attacker = Attacker::connect(&stack);
    let mut given_up = 0;
    for stream in (1..).step_by(2).take(1000) {
        if !attacker.send(&[frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)])
            || reaching.recv_timeout(Duration::from_secs(10)).is_err()
            || !attacker.send(&[frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())])
        {
            break;
        }
        given_up += 1;
    }
    // A hundred, and those that were on their way when the hundredth was counted.
    assert!((100..=110).contains(&given_up), "{given_up}");
}

#[test]
fn a_client_that_sees_as_many_requests_to_their_end_may_give_up_more() {
    let stack = stack("");
    let mut attacker = Attacker::connect(&stack);
    let mut stream = 1;
    for _ in 0..300 {
        let get = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        let reset = frame(RST_STREAM, 0, stream + 4, &8_u32.to_be_bytes());
        let alive = attacker.send(&[get(stream), get(stream + 2), get(stream + 4), reset]);
        assert!(alive, "ended at stream {stream}");
        let mut ended = 0;
        while ended < 2 {
            let frame = attacker.frame().expect("still open");
            ended += usize::from(matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0);
        }
        stream += 6;
    }
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    for fragment in [&b""[..], b"\x00\x01a\x01b"] {
        let stack = stack("");
        let mut attacker = Attacker::connect(&stack);
        attacker.send(&[frame(HEADERS, END_STREAM, 1, GET)]);
        let continuations = frame(CONTINUATION, 0, 1, fragment).repeat(100);
        assert!(attacker.is_ended_by(&continuations), "it was never ended");
        others_are_served(&stack);
    }
}

#[test]
fn empty_frames_end_the_connection() {
    let stack = stack("");
    let mut attacker = Attacker::connect(&stack);
    attacker.send(&[frame(HEADERS, END_HEADERS, 1, POST)]);
    let empty = frame(DATA, 0, 1, b"").repeat(100);
    assert!(attacker.is_ended_by(&empty), "it was never ended");
    others_are_served(&stack);
}

#[test]
fn empty_header_frames_end_the_connection() {
    // Without pseudo-headers they are malformed: each stream is reset, up to a point.
    let stack = stack("");
    let mut attacker = Attacker::connect(&stack);
    let mut taken = 0;
    for stream in (1..).step_by(2).take(MANY) {
        if !attacker.send(&[frame(HEADERS, END_STREAM | END_HEADERS, stream, b"")]) {
            break;
        }
        taken += 1;
    }
    assert!(taken < MANY, "it was never ended");
    others_are_served(&stack);
}

/// Sends a flood whose answers nobody reads, until the gateway is no longer there to take it.
fn flood_unread(flood: &[u8]) {
    let stack = stack(
        "[limits]\nmin_rate = 240\nmin_rate_grace = \"500ms\"\nkeepalive_timeout = \"5s\"\nheader_timeout = \"5s\"",
    );
    let mut attacker = Attacker::connect(&stack);
    others_are_served(&stack);
    // The answers fill what the kernel holds for us; then the gateway reads no more, and then it closes.
    let mut taken = 0_usize;
    while attacker.write(flood) {
        taken += flood.len();
        assert!(taken < 1 << 30, "it was never ended");
    }
    others_are_served(&stack);
}

#[test]
fn pings_whose_answers_are_not_read_end_the_connection() {
    flood_unread(&frame(PING, 0, 0, b"12345678").repeat(1000));
}

#[test]
fn settings_whose_answers_are_not_read_end_the_connection() {
    flood_unread(&frame(SETTINGS, 0, 0, b"").repeat(1000));
}

#[test]
fn a_small_head_that_unpacks_to_a_huge_one_is_refused_and_not_held() {
    let stack = stack("[limits]\nheader_bytes = 2048\nheader_count = 20");
    let mut attacker = Attacker::connect(&stack);
    // One line of 1,000 bytes that goes into the table, and then by its number, one byte each, a few thousand times.
    let mut head = GET.to_vec();
    head.extend(b"\x40\x01a\x7f\xe9\x06");
    head.extend([b'b'; 1000]);
    head.extend([0xbe; 4000]);
    attacker.send(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)]);
    let mut outcome = None;
    while let Some(frame) = attacker.frame() {
        match frame.kind {
            // 431 is not in the static table: its digits stand there, or the connection ends.
            HEADERS => {
                assert!(frame.flags & END_STREAM != 0 || !frame.payload.is_empty());
                outcome = Some("refused");
                break;
            }
            RST_STREAM | GOAWAY => {
                outcome = Some("reset");
                break;
            }
            _ => {}
        }
    }
    assert!(outcome.is_some(), "it was neither refused nor reset");
    others_are_served(&stack);
}

#[test]
fn a_window_that_never_opens_ends_the_stream_and_not_the_connection() {
    let stack = stack("[limits]\nmin_rate = 240\nmin_rate_grace = \"200ms\"");
    let mut attacker = Attacker::connect(&stack);
    // SETTINGS_INITIAL_WINDOW_SIZE = 0: the answer has nowhere to go.
    attacker.send(&[
        frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00"),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, GET),
    ]);
    let reset = std::iter::from_fn(|| attacker.frame()).find(|frame| frame.kind == RST_STREAM);
    assert!(reset.is_some(), "it waits for ever");
    assert!(attacker.send(&[frame(PING, 0, 0, b"12345678")]));
    let pong = std::iter::from_fn(|| attacker.frame()).find(|frame| frame.kind == PING);
    assert!(pong.is_some(), "the connection is gone");
    others_are_served(&stack);
}

#[test]
fn the_end_of_a_flood_says_why() {
    let stack = stack("");
    let mut attacker = Attacker::connect(&stack);
    let mut frames = vec![frame(HEADERS, END_HEADERS, 1, POST)];
    frames.extend((0..500).map(|_| frame(DATA, 0, 1, b"")));
    attacker.send(&frames);
    assert_eq!(attacker.end(), Some(ENHANCE_YOUR_CALM));
}
