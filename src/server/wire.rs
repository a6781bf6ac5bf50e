//! An HTTP/1 connection's bytes, looked at on their way to hyper.
//!
//! hyper gives us heads as it understood them. What it drops or forgives (a `Content-Length` beside `Transfer-Encoding`, a
//! length said twice, a fragment, a line that ends in a bare LF) can be told only by the bytes. So a [`HeadScanner`] reads
//! along, and each request is answered by its verdict: a fault is 400, and the last answer on its connection. The scanner
//! sees every byte before hyper does, so at a request's arrival its verdict is there; were it not, the two would disagree
//! about where messages begin, and the request is refused as well.

mod scanner;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::scanner::{HeadScanner, Scan};
use super::activity::Activity;
use crate::gateway::connection::WireFault;

const OUT_OF_STEP: &str = "the request's beginning is not certain";

/// Verdicts on heads that hyper has yet to hand on. Since nothing is read after a fault, a count and the fault tell them in
/// their order, however many heads a client pipelines.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    good: AtomicUsize,
    fault: OnceLock<&'static str>,
}

impl Verdicts {
    fn add(&self, scan: Scan) {
        self.good.fetch_add(scan.heads, Ordering::Relaxed);
        if let Some(fault) = scan.fault {
            self.fault.get_or_init(|| fault);
        }
    }

    /// The verdict on the next head in order.
    ///
    /// # Errors
    /// The head is faulty, or one before it was, or was never seen.
    pub(super) fn take(&self) -> Result<(), WireFault> {
        let less = |good: usize| good.checked_sub(1);
        match self.good.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(WireFault(self.fault.get_or_init(|| OUT_OF_STEP))),
        }
    }
}

/// A connection of which every byte is scanned before hyper gets it, until it becomes a tunnel.
#[derive(Debug)]
pub(super) struct WireStream<S> {
    stream: S,
    scanner: HeadScanner,
    activity: Arc<Activity>,
}

impl<S> WireStream<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            scanner: HeadScanner::default(),
            activity,
        }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WireStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.activity.waits(read.is_pending());
        ready!(read)?;
        if !this.activity.is_tunnel() {
            let scan = this.scanner.scan(&buffer.filled()[before..]);
            this.activity.verdicts.add(scan);
            this.activity.scanned(this.scanner.is_within_head());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WireStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.unflushed(true);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.unflushed(true);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.unflushed(!matches!(flushed, Poll::Ready(Ok(()))));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
