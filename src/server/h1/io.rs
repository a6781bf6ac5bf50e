//! A connection's socket and what was read from it ahead of its use.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use crate::http1::Scratch;

/// How much of what a client sends ahead is kept, at most, while its request is being answered: pipelined requests.
const AHEAD: usize = 64 * 1024;

/// How much of a body is read at once: little first, more where it goes on.
const BODY_LEAST: usize = 8 * 1024;
const BODY_MOST: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    scratch: Rc<Scratch>,
    /// Read and not taken.
    pub(super) read: BytesMut,
    /// How much of it was searched for a head's end in vain.
    pub(super) seen: usize,
    /// Whether a request's body is still to be taken, so that what comes is not the next head.
    pub(super) within_body: bool,
    /// How much of a body the next read may bring.
    body_ahead: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S, scratch: Rc<Scratch>) -> Self {
        Self {
            stream,
            scratch,
            read: BytesMut::new(),
            seen: 0,
            within_body: false,
            body_ahead: BODY_LEAST,
        }
    }

    /// Reads more of a head. 0: the client has ended.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.scratch.poll_read(&mut self.stream, cx, &mut self.read)
    }

    /// Reads more of a body.
    pub(super) fn poll_read_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.body_ahead);
        let read = ready!(pin!(self.stream.read_buf(&mut self.read)).poll(cx))?;
        if read >= self.body_ahead {
            self.body_ahead = (2 * self.body_ahead).min(BODY_MOST);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether more may be read while a request is being answered.
    pub(super) fn may_read_ahead(&self) -> bool {
        !self.within_body && self.read.len() < AHEAD
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], then: &[u8]) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let written = match (first.is_empty(), then.is_empty()) {
            (false, true) => ready!(stream.poll_write(cx, first))?,
            (true, false) => ready!(stream.poll_write(cx, then))?,
            (_, _) => ready!(stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(then)]))?,
        };
        Poll::Ready(match written {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        })
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// The socket, and what was read from it and not taken.
    pub(super) fn into_parts(self) -> (S, Bytes) {
        (self.stream, self.read.freeze())
    }
}
