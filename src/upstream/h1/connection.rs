//! One connection: what was read from it and not yet taken.

use std::{
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::{BodyReader, Clock, SendError, Sender, WireError, head::ResponseHead};
use crate::{
    http1::{Early, Piece, Scratch},
    upstream::connect::Stream,
};

/// How much of a body is read at once: little where answers are short, more where they go on.
const READ_LEAST: usize = 16 * 1024;
const READ_MOST: usize = 64 * 1024;

/// A connection to an origin.
#[derive(Debug)]
pub(in crate::upstream) struct Connection {
    stream: Stream,
    scratch: Rc<Scratch>,
    read: BytesMut,
    /// How much the next read of a body may bring: what this origin's answers were like tells.
    ahead: usize,
    /// How much of what was read was searched for a head's end in vain.
    seen: usize,
    /// For writing heads into.
    pub(in crate::upstream) spare: Vec<u8>,
    pub(in crate::upstream) clock: Clock,
}

impl Connection {
    pub(in crate::upstream) fn new(stream: Stream, scratch: Rc<Scratch>) -> Self {
        Self {
            stream,
            scratch,
            read: BytesMut::new(),
            ahead: READ_LEAST,
            seen: 0,
            spare: Vec::new(),
            clock: Clock::default(),
        }
    }

    /// Nobody uses it: lets go of what it holds of the last response.
    pub(in crate::upstream) fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
            // Some of it is remembered; the next answer may be one that never ends and says little.
            self.ahead = (self.ahead / 2).max(READ_LEAST);
        }
    }

    /// Whether nothing was read beyond the last response's end.
    pub(in crate::upstream) fn is_clean(&self) -> bool {
        self.read.is_empty()
    }

    /// Whether nothing has come that nobody asked for, neither bytes nor an end: what came before a request was sent
    /// cannot be its answer. Asks the kernel: the runtime may not have heard of it yet.
    pub(in crate::upstream) fn is_quiet(&mut self) -> bool {
        if !self.is_clean() || !self.stream.socket_is_quiet() {
            return false;
        }
        match &mut self.stream {
            Stream::Plain(_) => true,
            // Under TLS the last read may have taken more from the socket than it gave.
            Stream::Tls(tls) => {
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(tls)
                    .poll_read(&mut cx, &mut ReadBuf::new(&mut [0]))
                    .is_pending()
            }
        }
    }

    /// Sends as much of the request as can be sent.
    pub(in crate::upstream) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        sender: &mut Sender,
    ) -> Poll<Result<(), SendError>> {
        sender.poll(cx, &mut self.stream)
    }

    /// The next head that comes.
    ///
    /// # Errors
    /// The connection ended, or what came is no head.
    pub(in crate::upstream) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, WireError>> {
        loop {
            if self.read.len() > self.seen
                && let Some(head) = ResponseHead::take(&mut self.read, &mut self.seen)?
            {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.scratch.poll_read(&mut self.stream, cx, &mut self.read))? == 0 {
                return Poll::Ready(Err(match self.read.is_empty() {
                    true => WireError::Closed,
                    false => WireError::CutShort,
                }));
            }
        }
    }

    /// The next piece of a body; never [`Piece::Starved`].
    ///
    /// # Errors
    /// The connection ended before the body did, or what came is no body.
    pub(in crate::upstream) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut BodyReader,
    ) -> Poll<Result<Piece, WireError>> {
        loop {
            match body.next(&mut self.read)? {
                Piece::Starved => {}
                piece => return Poll::Ready(Ok(piece)),
            }
            if ready!(self.poll_read(cx))? == 0 {
                body.closed()?;
                return Poll::Ready(Ok(Piece::End));
            }
        }
    }

    /// All that is left of a body, if it is already here and its end is certain.
    pub(in crate::upstream) fn take_rest(&mut self, body: &mut BodyReader) -> Option<Bytes> {
        let left = usize::try_from(body.left()?).ok()?;
        (left <= self.read.len()).then(|| {
            *body = BodyReader::Ended;
            self.read.split_to(left).freeze()
        })
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.ahead);
        let read = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        if read >= self.ahead {
            self.ahead = (2 * self.ahead).min(READ_MOST);
        } else if read < self.ahead / 4 {
            self.ahead = (self.ahead / 2).max(READ_LEAST);
        }
        Poll::Ready(Ok(read))
    }

    /// The connection as bytes both ways, beginning with what was read and not taken: after it switched protocols.
    pub(in crate::upstream) fn into_tunnel(self) -> Switched {
        Early::new(self.stream, self.read.freeze())
    }
}

/// A connection that speaks another protocol now.
pub type Switched = Early<Stream>;
