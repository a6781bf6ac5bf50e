//! HTTP/1.1 as clients speak it with us: one request after the other, each answered before the next is read.
//!
//! - [`head`] makes sure of a request's head, byte by byte, and parses it.
//! - [`Io`] is the connection's socket with what was read ahead; the loop below and the request's body share it.
//! - [`answer`] writes the answer: head and what is there of the body in one write.
//!
//! A connection without a request holds no buffer: it is read into one that all connections of the worker share.

mod answer;
mod body;
mod buffers;
mod head;
mod io;

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io::Error as IoError,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::buffers::Buffers;
use self::{
    answer::Answering,
    body::ClientBody,
    head::{Head, HeadLimits, Unreadable},
    io::Io,
};
use super::service::{ConnectionService, Gate};
use crate::{
    config::settings::Limits,
    gateway::connection::{RequestBody, Switching, Upgraded},
};

/// How a connection ended that did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The socket, or TLS on it.
    #[error("{0}")]
    Io(#[from] IoError),
    /// What came is no request.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// The client left before its request was answered.
    #[error("the client left")]
    Gone,
    /// A rule wants the client to get no answer.
    #[error("closed without an answer")]
    Close,
    /// An answer ended before its length, or failed; there is no other way to say so than to close.
    #[error("an answer broke off: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
}

/// A connection, being served.
pub(super) struct Http1<F> {
    serving: F,
    closing: Rc<Cell<bool>>,
}

impl<F: Future<Output = Result<(), Broken>>> Http1<F> {
    /// Finishes what is under way, then closes.
    pub(super) fn close(self: Pin<&mut Self>) {
        self.closing.set(true);
    }
}

impl<F: Future<Output = Result<(), Broken>> + Unpin> Future for Http1<F> {
    type Output = Result<(), Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.serving).poll(cx)
    }
}

/// Serves a connection's requests, one after the other.
pub(super) fn serve<G: Gate, S>(
    stream: S,
    service: Rc<ConnectionService<G>>,
    limits: &Limits,
) -> Http1<Pin<Box<impl Future<Output = Result<(), Broken>> + use<G, S>>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let closing = Rc::new(Cell::new(false));
    let connection = Serving {
        io: Rc::new(RefCell::new(Io::new(stream, Rc::clone(&service.worker.scratch)))),
        service,
        limits: HeadLimits::of(limits),
        closing: Rc::clone(&closing),
    };
    Http1 {
        serving: Box::pin(connection.serve()),
        closing,
    }
}

struct Serving<G: Gate, S> {
    io: Rc<RefCell<Io<S>>>,
    service: Rc<ConnectionService<G>>,
    limits: HeadLimits,
    closing: Rc<Cell<bool>>,
}

impl<G: Gate, S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Serving<G, S> {
    async fn serve(self) -> Result<(), Broken> {
        loop {
            let head = match poll_fn(|cx| self.poll_head(cx)).await {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(Broken::Unreadable(unreadable)) => {
                    self.refuse(unreadable).await?;
                    return Err(unreadable.into());
                }
                Err(broken) => return Err(broken),
            };
            match self.answer(head).await? {
                Next::Request => {}
                Next::Close => break,
                Next::Tunnel(switching) => return self.switch(switching),
            }
        }
        poll_fn(|cx| self.io.borrow_mut().poll_shutdown(cx)).await?;
        Ok(())
    }

    /// The next head; `None` when no other request comes, or is to be served.
    fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Broken>> {
        let mut io = self.io.borrow_mut();
        // What comes within a body is no head, whoever left it there.
        if io.within_body {
            return Poll::Ready(Ok(None));
        }
        loop {
            let Io { read, seen, .. } = &mut *io;
            if let Some(head) = Head::take(read, seen, &self.limits)? {
                self.service.activity.scanned(false);
                return Poll::Ready(Ok(Some(head)));
            }
            self.service.activity.scanned(!io.read.is_empty());
            io.rest();
            let read = match io.poll_read(cx) {
                Poll::Ready(read) => read?,
                // What had come already is answered.
                Poll::Pending if self.closing.get() && io.read.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Pending => return Poll::Pending,
            };
            if read == 0 {
                return Poll::Ready(match io.read.is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Gone),
                });
            }
        }
    }

    /// Has a request answered.
    async fn answer(&self, head: Head) -> Result<Next, Broken> {
        let Head {
            mut request,
            length,
            keeps_alive,
            expects_continue,
            accepts_trailers,
            fault,
        } = head;
        let method = request.method().clone();
        let version = request.version();
        let is_faulty = fault.is_some();
        if let Some(fault) = fault {
            request.extensions_mut().insert(fault);
            // No request must be looked for in what follows.
            self.service.activity.unread.store(true, Ordering::Relaxed);
        }
        let may_switch = request.headers().contains_key(http::header::UPGRADE);
        let body = match length.is_none() || is_faulty {
            true => RequestBody::whole(bytes::Bytes::new()),
            false => {
                let body = ClientBody::new(Rc::clone(&self.io), length, expects_continue);
                let unread = std::sync::Arc::clone(&self.service.activity.unread);
                RequestBody::streamed(body, self.service.pace, unread)
            }
        };
        let (switching, body) = match may_switch {
            true => {
                let (switching, switched) = Switching::pair();
                (Some(switching), body.or_switched(switched))
            }
            false => (None, body),
        };
        let mut call = self.service.call(request.map(|()| body));
        let answered = poll_fn(|cx| match Pin::new(&mut call).poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            Poll::Pending => self.poll_gone(cx).map(|()| None),
        });
        let response = match answered.await {
            Some(Ok(response)) => response,
            Some(Err(_close)) => return Err(Broken::Close),
            None => return Err(Broken::Gone),
        };
        drop(call);
        let switching = switching.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS);
        let (before, is_within_body) = {
            let mut io = self.io.borrow_mut();
            (io.begin_answer(), io.within_body)
        };
        let keeps_alive = keeps_alive && !is_faulty && !is_within_body && !self.closing.get();
        let worker = &self.service.worker;
        let mut out = worker.buffers.take();
        out.extend_from_slice(before);
        let mut answering = Answering::new(
            response,
            &method,
            version,
            keeps_alive,
            accepts_trailers,
            &worker.dates,
            out,
        );
        poll_fn(|cx| match answering.poll(cx, &self.io) {
            Poll::Ready(answered) => Poll::Ready(answered),
            Poll::Pending => match answering.is_waiting_for_body() && self.poll_gone(cx).is_ready() {
                true => Poll::Ready(Err(Broken::Gone)),
                false => Poll::Pending,
            },
        })
        .await?;
        let keeps_alive = answering.keeps_alive();
        // Whatever is left began behind this request, whose end is the beginning of its time.
        self.service.activity.scanned(!self.io.borrow().read.is_empty());
        worker.buffers.give(answering.into_buffer());
        // Only now is it known whether the body was read to its end. Whoever held it may hold it still, in a task of its own.
        let unread = &self.service.activity.unread;
        let is_unread = unread.load(Ordering::Relaxed) || self.io.borrow().within_body;
        if is_unread {
            unread.store(true, Ordering::Relaxed);
        }
        Ok(match (switching, keeps_alive && !is_unread) {
            (Some(switching), _) => Next::Tunnel(switching),
            (None, true) => Next::Request,
            (None, false) => Next::Close,
        })
    }

    /// Ready when the client has left. What it sends meanwhile is kept, up to a bound. A client that closes its half is gone,
    /// as with nginx.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut io = self.io.borrow_mut();
        io.wake_after_body(cx);
        while io.may_read_ahead() {
            match io.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    /// Answers what is no request, barely.
    async fn refuse(&self, unreadable: Unreadable) -> Result<(), Broken> {
        self.service.activity.unread.store(true, Ordering::Relaxed);
        let mut response = Response::new(answer::NoBody);
        *response.status_mut() = unreadable.status();
        let mut answering = Answering::new(
            response,
            &http::Method::GET,
            http::Version::HTTP_11,
            false,
            false,
            &self.service.worker.dates,
            Vec::new(),
        );
        poll_fn(|cx| answering.poll(cx, &self.io)).await?;
        poll_fn(|cx| self.io.borrow_mut().poll_shutdown(cx)).await?;
        Ok(())
    }

    /// Hands the bytes over to the tunnel.
    fn switch(self, switching: Switching) -> Result<(), Broken> {
        let Ok(io) = Rc::try_unwrap(self.io) else {
            return Err(Broken::Gone);
        };
        let (stream, early) = io.into_inner().into_parts();
        switching.switch(Upgraded::new(Box::new(stream), early));
        Ok(())
    }
}

/// What comes after an answer.
enum Next {
    Request,
    Close,
    Tunnel(Switching),
}

#[cfg(test)]
mod tests;
