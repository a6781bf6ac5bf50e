//! The socket as TLS and HTTP see it: replays what the PROXY reader read ahead, cuts clients that do not read, lingers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{activity::Activity, worker::ConnectionPermit};
use crate::gateway::pace::Pace;

/// How long a closed connection is read from, so that a client that is still sending its body reads our answer before it
/// sees a reset.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// How much is read then; a client that goes on sending after an answer and this much is cut.
const LINGER_BYTES: usize = 1024 * 1024;

/// A client's socket.
#[derive(Debug)]
pub(super) struct ClientStream {
    tcp: TcpStream,
    early: Bytes,
    activity: std::sync::Arc<Activity>,
    pace: Option<Pace>,
    total: Option<Duration>,
    blocked: Option<Blocked>,
    linger: Option<Linger>,
    _permit: ConnectionPermit,
}

/// A write that waits for the client to read.
#[derive(Debug)]
struct Blocked {
    since: Instant,
    cut: Pin<Box<Sleep>>,
}

/// Reading on after our end is closed.
#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl ClientStream {
    pub(super) fn new(
        tcp: TcpStream,
        early: Bytes,
        activity: std::sync::Arc<Activity>,
        pace: Option<Pace>,
        total: Option<Duration>,
        permit: ConnectionPermit,
    ) -> Self {
        Self {
            tcp,
            early,
            activity,
            pace,
            total,
            blocked: None,
            linger: None,
            _permit: permit,
        }
    }

    /// Whether there is something to read, or an end; what is read stays where it is, so nothing is held while waiting.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.early.has_remaining() {
            return Poll::Ready(());
        }
        // An error is for who reads.
        self.tcp.poll_read_ready(cx).map(drop)
    }

    /// Accounts for a write: what moved buys time, waiting costs it, and nothing left cuts the connection.
    fn account(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.activity.sent();
                let blocked = self.blocked.take();
                if let Some(pace) = &mut self.pace {
                    if let Some(blocked) = blocked {
                        pace.waited(blocked.since.elapsed());
                    }
                    pace.moved(*bytes);
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                ready!(self.poll_cut(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client reads more slowly than limits.min_rate or limits.total_timeout allow",
                )))
            }
        }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // A tunnel's silence is its own business; it has its own limit.
        if self.activity.is_tunnel() {
            return Poll::Pending;
        }
        let since = self.blocked.as_ref().map_or_else(Instant::now, |blocked| blocked.since);
        let Some(at) = self.cut_at(since) else {
            return Poll::Pending;
        };
        let blocked = self.blocked.get_or_insert_with(|| Blocked {
            since,
            cut: Box::pin(tokio::time::sleep_until(at)),
        });
        // Another request came meanwhile, over HTTP/2.
        if blocked.cut.deadline() != at {
            blocked.cut.as_mut().reset(at);
        }
        blocked.cut.as_mut().poll(cx)
    }

    /// Until when a write that has been blocked since then may stay so. On HTTP/2 the last request has the most time left: once it has
    /// none, no other has.
    fn cut_at(&self, since: Instant) -> Option<Instant> {
        let too_slow = self.pace.map(|pace| since + pace.patience());
        let too_long = self.total.and_then(|total| Some(self.activity.requested()? + total));
        [too_slow, too_long].into_iter().flatten().min()
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            until: Box::pin(tokio::time::sleep(LINGER_TIME)),
            left: LINGER_BYTES,
        });
        let mut scratch = [0; 8192];
        while linger.left > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                read => linger.left = linger.left.saturating_sub(read),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(length));
            self.activity.received();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.received();
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(cx, bytes);
        self.account(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, slices);
        self.account(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.tcp).poll_shutdown(cx))?;
            // Closing with bytes unread, or before more come, makes the kernel reset the connection: the client may lose what it
            // has not read yet. Over HTTP/2 it says how far it has read, and answers pings, as long as it has not seen the end.
            let is_unread = self.activity.unread.load(std::sync::atomic::Ordering::Relaxed);
            if !is_unread && !self.activity.is_http2() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(cx)
    }
}
