//! What follows an origin's 101: bytes both ways until one side has enough.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{answer::OpenRecord, connection::Switched};
use crate::{telemetry::access::Ending, upstream::Tunnel};

/// Held for each direction of a tunnel: what a client can make the gateway hold by not reading.
const BUFFER: usize = 16 * 1024;

/// How long nothing may move once one side has ended: else clients that leave, before an origin that does not close, would
/// hold its connections for as long as a tunnel may be silent.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// Carries bytes until both sides have ended, one breaks off, or nothing moves for `idle`, or for [`HALF_CLOSED`] when one
/// side has ended. Then its record is written. Under way over reloads: it was permitted when it began.
pub(super) async fn run(client: Switched, mut tunnel: Tunnel, idle: Duration, mut record: OpenRecord) {
    // A client that never reads the 101 never lets its connection change protocols.
    let client = match timeout(idle, client).await {
        Ok(Some(client)) => client,
        Ok(None) => {
            tracing::debug!("the client left before its connection could change protocols");
            return;
        }
        Err(_elapsed) => return record.end(Ending::TimedOut),
    };
    let movement = Movement::new();
    let mut client = Watched::new(client, &movement);
    let mut origin = Watched::new(&mut tunnel.io, &movement);
    let ended = tokio::select! {
        ended = carry(&mut client, &mut origin) => ended,
        () = movement.silence(idle, HALF_CLOSED) => Ending::TimedOut,
    };
    record.uploaded.add(client.read);
    record.downloaded = origin.read;
    record.end(ended);
}

async fn carry<C, O>(client: &mut Watched<'_, C>, origin: &mut Watched<'_, O>) -> Ending
where
    C: AsyncRead + AsyncWrite + Unpin,
    O: AsyncRead + AsyncWrite + Unpin,
{
    match copy_bidirectional_with_sizes(client, origin, BUFFER, BUFFER).await {
        Ok(_) => Ending::Complete,
        Err(_) if client.broke => Ending::ClientGone,
        Err(_) => Ending::OriginGone,
    }
}

/// What both sides of a tunnel tell of themselves.
struct Movement {
    last: Cell<Instant>,
    /// Told when a side has ended.
    half_closed: Notify,
}

impl Movement {
    fn new() -> Self {
        Self {
            last: Cell::new(Instant::now()),
            half_closed: Notify::new(),
        }
    }

    /// Ends when nothing has moved for `idle`; once a side has ended, for `half_closed`, if that is shorter.
    async fn silence(&self, idle: Duration, half_closed: Duration) {
        tokio::select! {
            () = self.stillness(idle) => {}
            () = async {
                self.half_closed.notified().await;
                self.stillness(half_closed.min(idle)).await;
            } => {}
        }
    }

    async fn stillness(&self, longest: Duration) {
        loop {
            let end = self.last.get() + longest;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// One side of a tunnel: counts what it says, and notes when.
struct Watched<'m, T> {
    io: T,
    movement: &'m Movement,
    read: u64,
    broke: bool,
}

impl<'m, T> Watched<'m, T> {
    fn new(io: T, movement: &'m Movement) -> Self {
        Self {
            io,
            movement,
            read: 0,
            broke: false,
        }
    }

    fn note<R>(&mut self, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match &polled {
            Poll::Ready(Ok(_)) => self.movement.last.set(Instant::now()),
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
        let read = (buf.filled().len() - before) as u64;
        self.read += read;
        if read == 0 && buf.remaining() > 0 && matches!(polled, Poll::Ready(Ok(()))) {
            self.movement.half_closed.notify_one();
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test(flavor = "local")]
    async fn a_tunnel_does_not_outlive_its_client_for_long_when_the_origin_does_not_close() {
        let (client, inner) = duplex(64);
        let (_origin, outer) = duplex(64);
        let movement = Movement::new();
        let (mut inner, mut outer) = (Watched::new(inner, &movement), Watched::new(outer, &movement));
        drop(client);
        tokio::select! {
            ended = carry(&mut inner, &mut outer) => panic!("{ended:?}"),
            () = movement.silence(HOUR, SHORT) => {}
        }
    }

    #[tokio::test(flavor = "local")]
    async fn what_a_side_still_says_after_the_other_has_ended_arrives() {
        let (mut client, inner) = duplex(64);
        let (mut origin, outer) = duplex(64);
        let movement = Movement::new();
        let (mut inner, mut outer) = (Watched::new(inner, &movement), Watched::new(outer, &movement));
        let talk = async {
            client.shutdown().await.expect("open");
            assert_eq!(origin.read(&mut [0]).await.expect("an end"), 0);
            origin.write_all(b"late").await.expect("open");
            drop(origin);
            let mut heard = String::new();
            client.read_to_string(&mut heard).await.expect("text");
            heard
        };
        let carried = carry(&mut inner, &mut outer);
        let (heard, ended) = tokio::join!(talk, async {
            tokio::select! {
                ended = carried => ended,
                () = movement.silence(HOUR, HOUR) => Ending::TimedOut,
            }
        });
        assert_eq!((heard.as_str(), ended), ("late", Ending::Complete));
    }
}
