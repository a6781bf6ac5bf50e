//! A request on its way to the wire: its head and the first bytes of its body in one write.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::Frame;
use tokio::{
    io::AsyncWrite,
    time::{Instant, Sleep},
};

use super::head::{BodyLength, RequestHead};
use crate::{
    http1::ChunkWriter,
    upstream::{Upload, UploadError},
};

/// Sends one request. Polled until it is done; the answer may come before.
#[derive(Debug)]
pub(in crate::upstream) struct Sender {
    /// What goes out before `chunk`: the head, the framing of chunks.
    staged: Vec<u8>,
    /// How much of `staged` is out.
    written: usize,
    chunk: Bytes,
    body: Option<Sending>,
    /// When something of the request was last there to be sent.
    last: Instant,
    /// Whether anything of the request has reached the socket.
    has_begun: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is more to stage or to write.
    Sending,
    /// All is written, though TLS may hold some of it.
    Flushing,
    /// All is out.
    Done,
    /// The origin takes no more: it may have answered all the same.
    Refused,
}

/// A body that has not ended.
#[derive(Debug)]
struct Sending {
    upload: Upload,
    framing: BodyFraming,
    /// How long the client may be silent.
    patience: Duration,
    /// Runs while the client is waited for.
    silence: Option<Pin<Box<Sleep>>>,
    is_starved: bool,
}

#[derive(Debug)]
enum BodyFraming {
    /// So many bytes are left.
    Known(u64),
    Chunked(ChunkWriter),
}

/// Why a request was not sent whole.
#[derive(Debug)]
pub(in crate::upstream) enum SendError {
    /// The client's body broke off, or broke a limit.
    Upload(UploadError),
    /// The socket failed.
    Io(io::Error),
}

impl Sender {
    /// `staged` is a buffer to write the head into.
    pub(in crate::upstream) fn new(
        head: &RequestHead,
        upload: Option<Upload>,
        patience: Duration,
        now: Instant,
        mut staged: Vec<u8>,
    ) -> Self {
        staged.clear();
        head.write(&mut staged);
        let framing = match head.body {
            BodyLength::Unsaid => None,
            BodyLength::Known(bytes) => Some(BodyFraming::Known(bytes)),
            BodyLength::Chunked => Some(BodyFraming::Chunked(ChunkWriter::new(&head.headers))),
        };
        let body = upload.zip(framing).map(|(upload, framing)| Sending {
            upload,
            framing,
            patience,
            silence: None,
            is_starved: false,
        });
        Self {
            staged,
            written: 0,
            chunk: Bytes::new(),
            body,
            last: now,
            has_begun: false,
            state: State::Sending,
        }
    }

    /// Whether a byte of the request may have reached the origin.
    pub(in crate::upstream) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether nothing is left to be sent, or the origin takes no more.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Refused)
    }

    /// Whether the whole request was sent.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Since when the origin owes us something: reading on, or its answer. `None` while the client keeps it waiting.
    pub(in crate::upstream) fn waits_since(&self) -> Option<Instant> {
        let is_starved = self.body.as_ref().is_some_and(|body| body.is_starved);
        (!is_starved).then_some(self.last)
    }

    /// Whether more of the request has to come from its client first.
    pub(in crate::upstream) fn is_starved(&self) -> bool {
        !self.is_over() && self.waits_since().is_none()
    }

    /// The buffer, for another request.
    pub(in crate::upstream) fn into_buffer(self) -> Vec<u8> {
        self.staged
    }

    /// Sends what can be sent.
    ///
    /// # Errors
    /// See [`SendError`]. An origin that takes no more may still answer, or have answered; it is not asked again to read.
    pub(in crate::upstream) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(), SendError>> {
        let polled = self.poll_send(cx, stream);
        if let Poll::Ready(result) = &polled {
            self.state = match result {
                Ok(()) => State::Done,
                Err(_) => State::Refused,
            };
        }
        polled
    }

    fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(), SendError>> {
        loop {
            if self.is_over() {
                return Poll::Ready(Ok(()));
            }
            let staged = self.poll_stage(cx);
            if let Poll::Ready(Err(error)) = staged {
                return Poll::Ready(Err(SendError::Upload(error)));
            }
            while self.written < self.staged.len() || self.chunk.has_remaining() {
                ready!(self.poll_write(cx, stream)).map_err(SendError::Io)?;
            }
            if self.state == State::Flushing {
                ready!(Pin::new(stream).poll_flush(cx)).map_err(SendError::Io)?;
                return Poll::Ready(Ok(()));
            }
            if staged.is_pending() {
                ready!(Pin::new(stream).poll_flush(cx)).map_err(SendError::Io)?;
                return Poll::Pending;
            }
        }
    }

    /// Takes the next part of the body, once the one before is out. The first one comes together with the head.
    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.state != State::Sending || self.chunk.has_remaining() {
            return Poll::Ready(Ok(()));
        }
        if self.written > 0 && self.written == self.staged.len() {
            self.staged.clear();
            self.written = 0;
        }
        let Some(body) = &mut self.body else {
            self.state = State::Flushing;
            return Poll::Ready(Ok(()));
        };
        let frame = ready!(body.poll_frame(cx)).transpose()?;
        self.last = Instant::now();
        if body.stage(frame, &mut self.staged, &mut self.chunk)? {
            self.body = None;
            self.state = State::Flushing;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write<S: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>> {
        let staged = self.staged.get(self.written..).unwrap_or_default();
        let written = match (staged.is_empty(), self.chunk.is_empty()) {
            (false, true) => ready!(Pin::new(stream).poll_write(cx, staged))?,
            (true, false) => ready!(Pin::new(stream).poll_write(cx, &self.chunk))?,
            (_, _) => {
                let slices = [IoSlice::new(staged), IoSlice::new(&self.chunk)];
                ready!(Pin::new(stream).poll_write_vectored(cx, &slices))?
            }
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.has_begun = true;
        let of_staged = written.min(self.staged.len() - self.written);
        self.written += of_staged;
        self.chunk.advance(written - of_staged);
        Poll::Ready(Ok(()))
    }
}

impl Sending {
    /// The next frame of the client's; an error when it is silent for too long.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = self.upload.poll_frame(cx);
        self.is_starved = polled.is_pending();
        if polled.is_ready() {
            self.silence = None;
            return polled;
        }
        let patience = self.patience;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        silence.as_mut().poll(cx).map(|()| Some(Err(UploadError::TooSlow)))
    }

    /// Stages a frame, or the end. Says whether nothing follows. A body whose bytes are not as many as its head said would
    /// make the origin take something else for its end, and is broken.
    fn stage(
        &mut self,
        frame: Option<Frame<Bytes>>,
        staged: &mut Vec<u8>,
        chunk: &mut Bytes,
    ) -> Result<bool, UploadError> {
        let frame = match frame.map(Frame::into_data) {
            None => None,
            Some(Ok(data)) => {
                self.stage_data(&data, staged)?;
                *chunk = data;
                let is_last = matches!(self.framing, BodyFraming::Known(_)) && self.upload.is_end_stream();
                return match is_last {
                    true => self.check_end().map(|()| true),
                    false => Ok(false),
                };
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
        };
        self.check_end()?;
        if let BodyFraming::Chunked(chunks) = &self.framing {
            chunks.end(&frame.unwrap_or_default(), staged);
        }
        Ok(true)
    }

    fn stage_data(&mut self, data: &Bytes, staged: &mut Vec<u8>) -> Result<(), UploadError> {
        match &mut self.framing {
            BodyFraming::Known(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(UploadError::Broken)?;
            }
            BodyFraming::Chunked(chunks) => chunks.begin(data.len(), staged),
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), UploadError> {
        match self.framing {
            BodyFraming::Known(1..) => Err(UploadError::Broken),
            BodyFraming::Known(0) | BodyFraming::Chunked(_) => Ok(()),
        }
    }
}
