//! What follows an origin's 101: bytes both ways until one side has enough.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::{Instant, sleep_until},
};

use super::answer::OpenRecord;
use crate::{telemetry::access::Ending, upstream::Tunnel};

/// Held for each direction of a tunnel: what a client can make the gateway hold by not reading.
const BUFFER: usize = 16 * 1024;

/// Carries bytes until both sides have ended, one breaks off, or neither says anything for `idle`. Then its record is
/// written. Under way over reloads: it was permitted when it began.
pub(super) async fn run(client: OnUpgrade, mut tunnel: Tunnel, idle: Duration, mut record: OpenRecord) {
    let client = match client.await {
        Ok(client) => client,
        Err(error) => {
            tracing::debug!(%error, "the client left before its connection could change protocols");
            return;
        }
    };
    let last = Cell::new(Instant::now());
    let mut client = Watched::new(TokioIo::new(client), &last);
    let mut origin = Watched::new(&mut tunnel.io, &last);
    let ended = tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut client, &mut origin, BUFFER, BUFFER) => match copied {
            Ok(_) => Ending::Complete,
            Err(_) if client.broke => Ending::ClientGone,
            Err(_) => Ending::OriginGone,
        },
        () = silence(&last, idle) => Ending::TimedOut,
    };
    record.uploaded.add(client.read);
    record.downloaded = origin.read;
    record.end(ended);
}

/// Ends when nothing has moved for `idle`.
async fn silence(last: &Cell<Instant>, idle: Duration) {
    loop {
        let end = last.get() + idle;
        if end <= Instant::now() {
            return;
        }
        sleep_until(end).await;
    }
}

/// One side of a tunnel: counts what it says, and notes when.
struct Watched<'l, T> {
    io: T,
    last: &'l Cell<Instant>,
    read: u64,
    broke: bool,
}

impl<'l, T> Watched<'l, T> {
    fn new(io: T, last: &'l Cell<Instant>) -> Self {
        Self {
            io,
            last,
            read: 0,
            broke: false,
        }
    }

    fn note<R>(&mut self, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &polled {
            Poll::Ready(Ok(_)) => self.last.set(Instant::now()),
            Poll::Ready(Err(_)) => self.broke = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read += (buf.filled().len() - before) as u64;
        self.note(polled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Not noted: flushing nothing succeeds at any time.
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
