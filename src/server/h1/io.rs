//! A connection's socket and what was read from it ahead of its use.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
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
    /// What of a 100 is still to be written, for as long as no answer has begun.
    interim: Interim,
    /// Who waits for the end of a body that another task reads.
    waiter: Option<Waker>,
}

/// An interim answer on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interim {
    None,
    /// So much of it is still to be written.
    Left(&'static [u8]),
    /// All of it is written, though TLS may hold some.
    Flushing,
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S, scratch: Rc<Scratch>) -> Self {
        Self {
            stream,
            scratch,
            read: BytesMut::new(),
            seen: 0,
            within_body: false,
            body_ahead: BODY_LEAST,
            interim: Interim::None,
            waiter: None,
        }
    }

    /// A body is to be taken. With `is_awaited`, its client waits to be told so.
    pub(super) fn begin_body(&mut self, is_awaited: bool) {
        self.within_body = true;
        if is_awaited && self.read.is_empty() {
            self.interim = Interim::Left(CONTINUE);
        }
    }

    /// All of the body was taken.
    pub(super) fn end_body(&mut self) {
        self.within_body = false;
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Wakes the task when the body was taken, by whichever task.
    pub(super) fn wake_after_body(&mut self, cx: &Context<'_>) {
        if self.within_body && self.waiter.as_ref().is_none_or(|waiter| !waiter.will_wake(cx.waker())) {
            self.waiter = Some(cx.waker().clone());
        }
    }

    /// Writes the 100 that the client waits for, if it is still to be written.
    pub(super) fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Interim::Left(left) = self.interim {
            let written = ready!(self.poll_write(cx, left, b""))?;
            self.interim = match left.get(written..) {
                Some(left) if !left.is_empty() => Interim::Left(left),
                _ => Interim::Flushing,
            };
        }
        if self.interim == Interim::Flushing {
            ready!(self.poll_flush(cx))?;
            self.interim = Interim::None;
        }
        Poll::Ready(Ok(()))
    }

    /// An answer begins: nothing else is written from here. What has to stand before it is the rest of a 100 of which a part
    /// is out.
    pub(super) fn begin_answer(&mut self) -> &'static [u8] {
        match std::mem::replace(&mut self.interim, Interim::None) {
            Interim::Left(left) if left.len() < CONTINUE.len() => left,
            Interim::Left(_) | Interim::Flushing | Interim::None => b"",
        }
    }

    /// The connection waits for a request: lets go of what it holds of the last one.
    pub(super) fn rest(&mut self) {
        if self.read.is_empty() {
            self.read = BytesMut::new();
            self.body_ahead = BODY_LEAST;
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
