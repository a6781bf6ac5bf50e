//! An answer on its way: head and what is there of its body in one write, then the rest as it comes.

use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method, Response, StatusCode, Version, header, response::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Broken, io::Io};
use crate::{
    http1::{ChunkWriter, push_line},
    server::worker::Dates,
};

/// Pieces of a body up to this size are copied behind the head, so that both go out as one; larger ones go as they are.
const COPIED: usize = 8 * 1024;

/// So much is gathered before it is written.
const GATHERED: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Answering<B> {
    /// What goes out before `chunk`: the head, short pieces of the body, the framing of chunks.
    out: Vec<u8>,
    /// How much of `out` is out.
    written: usize,
    chunk: Bytes,
    body: B,
    state: State,
    framing: Framing,
    keeps_alive: bool,
}

#[derive(Debug)]
enum State {
    /// More of the body is to come.
    Streaming,
    /// Nothing more is to come.
    Ended,
    /// The body failed.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are left.
    Known(u64),
    Chunked {
        chunks: ChunkWriter,
        /// Whether the client reads trailers.
        trailers: bool,
    },
    UntilClose,
}

impl<B> Answering<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    /// An answer to a request of this method and version. `keeps_alive` says whether the connection could go on; `out` is a
    /// buffer with what has to stand before it, mostly nothing.
    pub(super) fn new(
        response: Response<B>,
        method: &Method,
        version: Version,
        keeps_alive: bool,
        accepts_trailers: bool,
        dates: &Dates,
        mut out: Vec<u8>,
    ) -> Self {
        let (parts, body) = response.into_parts();
        let has_body = *method != Method::HEAD && may_have_body(parts.status);
        let said = said_length(&parts.headers);
        let (framing, keeps_alive) = match (has_body, said.or(body.size_hint().exact()), version) {
            (false, _, _) => (Framing::Known(0), keeps_alive),
            (true, Some(length), _) => (Framing::Known(length), keeps_alive),
            (true, None, Version::HTTP_11) => {
                let chunks = ChunkWriter::new(&parts.headers);
                (
                    Framing::Chunked {
                        chunks,
                        trailers: accepts_trailers,
                    },
                    keeps_alive,
                )
            }
            (true, None, _) => (Framing::UntilClose, false),
        };
        let keeps_alive = keeps_alive && !says_close(&parts.headers);
        write_head(
            &mut out,
            &parts,
            &framing,
            has_body,
            *method == Method::HEAD,
            version,
            keeps_alive,
            dates,
        );
        Self {
            out,
            written: 0,
            chunk: Bytes::new(),
            state: match has_body && !body.is_end_stream() {
                true => State::Streaming,
                false => State::Ended,
            },
            body,
            framing,
            keeps_alive,
        }
    }

    /// The buffer, for another answer.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.out
    }

    /// Whether another request may follow.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// Whether all that was there is written, and more has to come.
    pub(super) fn is_waiting_for_body(&self) -> bool {
        self.is_written() && matches!(self.state, State::Streaming)
    }

    /// Writes what can be written; ready when all is.
    pub(super) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        io: &Rc<RefCell<Io<S>>>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let gathered = self.poll_gather(cx);
            let mut io = io.borrow_mut();
            while !self.is_written() {
                let staged = self.out.get(self.written..).unwrap_or_default();
                let written = ready!(io.poll_write(cx, staged, &self.chunk))?;
                let of_out = written.min(self.out.len() - self.written);
                self.written += of_out;
                self.chunk.advance(written - of_out);
            }
            self.out.clear();
            self.written = 0;
            match &mut self.state {
                State::Streaming if gathered.is_ready() => {}
                State::Streaming => {
                    ready!(io.poll_flush(cx))?;
                    return Poll::Pending;
                }
                State::Ended => {
                    ready!(io.poll_flush(cx))?;
                    return Poll::Ready(match self.framing {
                        Framing::Known(1..) => Err(Broken::Answer("it is shorter than its length".into())),
                        Framing::Known(0) | Framing::Chunked { .. } | Framing::UntilClose => Ok(()),
                    });
                }
                State::Failed(error) => {
                    ready!(io.poll_flush(cx))?;
                    return Poll::Ready(Err(Broken::Answer(std::mem::replace(error, "it failed".into()))));
                }
            }
        }
    }

    fn is_written(&self) -> bool {
        self.written == self.out.len() && self.chunk.is_empty()
    }

    /// Takes what is there of the body; pending when more is to come that is not.
    fn poll_gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while matches!(self.state, State::Streaming) && self.chunk.is_empty() && self.out.len() < GATHERED {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.stage(data),
                Some(Ok(Err(frame))) => self.end(&frame.into_trailers().unwrap_or_default()),
                None => self.end(&HeaderMap::new()),
                Some(Err(error)) => self.state = State::Failed(error.into()),
            }
        }
        Poll::Ready(())
    }

    fn stage(&mut self, data: Bytes) {
        match &mut self.framing {
            Framing::Known(left) => match left.checked_sub(data.len() as u64) {
                Some(less) => *left = less,
                None => return self.state = State::Failed("it is longer than its length".into()),
            },
            Framing::Chunked { chunks, .. } => chunks.begin(data.len(), &mut self.out),
            Framing::UntilClose => {}
        }
        match data.len() <= COPIED {
            true => self.out.extend_from_slice(&data),
            false => self.chunk = data,
        }
        if matches!(self.framing, Framing::Known(_)) && self.body.is_end_stream() {
            self.state = State::Ended;
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        self.state = State::Ended;
        if let Framing::Chunked {
            chunks,
            trailers: reads,
        } = &self.framing
        {
            match reads {
                true => chunks.end(trailers, &mut self.out),
                false => chunks.end(&HeaderMap::new(), &mut self.out),
            }
        }
    }
}

/// RFC 9110 §6.4.1, the status alone.
fn may_have_body(status: StatusCode) -> bool {
    !status.is_informational() && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn says_close(headers: &HeaderMap) -> bool {
    let connection = headers.get(header::CONNECTION);
    connection.is_some_and(|connection| connection.as_bytes().eq_ignore_ascii_case(b"close"))
}

#[expect(
    clippy::too_many_arguments,
    reason = "what a head says has many sources, and one user"
)]
fn write_head(
    out: &mut Vec<u8>,
    parts: &Parts,
    framing: &Framing,
    has_body: bool,
    is_head: bool,
    version: Version,
    keeps_alive: bool,
    dates: &Dates,
) {
    let is_switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    out.extend_from_slice(if version == Version::HTTP_10 {
        b"HTTP/1.0 "
    } else {
        b"HTTP/1.1 "
    });
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        let is_passed = match *name {
            header::TRANSFER_ENCODING => false,
            header::CONNECTION => is_switching,
            // What an answer without a body says of the one that there would have been (RFC 9110 §8.6).
            header::CONTENT_LENGTH => is_head || parts.status == StatusCode::NOT_MODIFIED,
            _ => true,
        };
        if is_passed {
            push_line(out, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        Framing::Known(length) if has_body => {
            push_line(out, "content-length", itoa::Buffer::new().format(*length).as_bytes());
        }
        Framing::Chunked { .. } => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Known(_) | Framing::UntilClose => {}
    }
    match (keeps_alive, version) {
        (true, Version::HTTP_10) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, _) if !is_switching => out.extend_from_slice(b"connection: close\r\n"),
        (_, _) => {}
    }
    if !parts.headers.contains_key(header::DATE) {
        push_line(out, "date", &dates.now());
    }
    out.extend_from_slice(b"\r\n");
}

/// No body at all.
#[derive(Debug)]
pub(super) struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
