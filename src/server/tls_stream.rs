//! A client's TLS connection after its handshake, as HTTP sees it: chooses the sizes of records.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_rustls::server::TlsStream;

use super::stream::ClientStream;

/// The first record of much that is written to a cold connection. A client can use nothing of a record before it has all of
/// it, and a full one, of 16 KiB, is more than the ten segments that TCP sends at first (RFC 6928): its last byte would come
/// a round trip later than the first. Four KiB hold a page's head with what it tells to load. Everything else goes into
/// records as large as they may be, several to a write, since each costs.
const FIRST_RECORD: usize = 4 * 1024;

/// A connection that has not been written to for this long is cold: TCP then begins anew with few segments (RFC 5681 §4.1).
const COLD_AFTER: Duration = Duration::from_secs(1);

/// A client's TLS connection.
#[derive(Debug)]
pub(super) struct ClientTls {
    /// On the heap: a task is as large as the largest thing that it ever holds, and larger where that is moved.
    stream: Box<TlsStream<ClientStream>>,
    /// When something was written that was more than a first record. `None`: nothing was.
    warm: Option<Instant>,
}

impl ClientTls {
    pub(super) fn new(stream: TlsStream<ClientStream>) -> Self {
        Self {
            stream: Box::new(stream),
            warm: None,
        }
    }

    pub(super) fn session(&self) -> &rustls::ServerConnection {
        self.stream.get_ref().1
    }

    /// Whether this much begins with a record of its own.
    fn begins(&mut self, length: usize) -> bool {
        if length <= FIRST_RECORD {
            return false;
        }
        let now = Instant::now();
        let warm = self.warm.replace(now);
        warm.is_none_or(|warm| now.duration_since(warm) >= COLD_AFTER)
    }
}

impl AsyncRead for ClientTls {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientTls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = if self.begins(bytes.len()) {
            FIRST_RECORD
        } else {
            bytes.len()
        };
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..length])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.begins(slices.iter().map(|slice| slice.len()).sum()) {
            let mut record = [0; FIRST_RECORD];
            let length = gather(slices, &mut record);
            return Pin::new(&mut self.stream).poll_write(cx, &record[..length]);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The beginning of the slices in one piece, as much as fits.
fn gather(slices: &[IoSlice<'_>], into: &mut [u8]) -> usize {
    let mut filled = 0;
    for slice in slices {
        let length = slice.len().min(into.len() - filled);
        into[filled..filled + length].copy_from_slice(&slice[..length]);
        filled += length;
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_gathered_up_to_what_fits() {
        let slices = [b"he".as_slice(), b"", b"llo", b" world"].map(IoSlice::new);
        let mut into = [0; 7];
        assert_eq!((gather(&slices, &mut into), &into), (7, b"hello w"));
        let mut into = [b'.'; 12];
        assert_eq!((gather(&slices, &mut into), &into), (11, b"hello world."));
    }
}
