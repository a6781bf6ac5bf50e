//! A request's body as it comes off the socket, read by whoever wants it.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::io::Io;
use crate::{
    gateway::connection::BodyFault,
    http1::{Chunks, Piece},
};

/// How a request says how long its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    Known(u64),
    Chunked,
}

impl BodyLength {
    pub(super) fn is_none(self) -> bool {
        self == Self::Known(0)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct ClientBody<S> {
    io: Rc<RefCell<Io<S>>>,
    state: State,
}

#[derive(Debug)]
enum State {
    Known(u64),
    Chunked(Chunks),
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientBody<S> {
    pub(super) fn new(io: Rc<RefCell<Io<S>>>, length: BodyLength, expects_continue: bool) -> Self {
        io.borrow_mut().begin_body(expects_continue);
        Self {
            io,
            state: match length {
                BodyLength::Known(bytes) => State::Known(bytes),
                BodyLength::Chunked => State::Chunked(Chunks::default()),
            },
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyFault>> {
        let mut io = self.io.borrow_mut();
        ready!(io.poll_continue(cx))?;
        loop {
            let piece = match &mut self.state {
                State::Ended => Piece::End,
                State::Known(_) if io.read.is_empty() => Piece::Starved,
                State::Known(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(io.read.len());
                    *left -= taken as u64;
                    Piece::Data(io.read.split_to(taken).freeze())
                }
                State::Chunked(chunks) => chunks.next(&mut io.read)?,
            };
            if matches!(self.state, State::Known(0)) || matches!(piece, Piece::End | Piece::Trailers(_)) {
                self.state = State::Ended;
                io.end_body();
            }
            if !matches!(piece, Piece::Starved) {
                return Poll::Ready(Ok(piece));
            }
            if ready!(io.poll_read_body(cx))? == 0 {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Body for ClientBody<S> {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let piece = ready!(self.poll_piece(cx));
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::Starved) => None,
            Err(fault) => Some(Err(fault)),
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Known(left) => SizeHint::with_exact(left),
            State::Ended => SizeHint::with_exact(0),
            State::Chunked(_) => SizeHint::default(),
        }
    }
}
