//! From addresses to a connection: TCP, then TLS for https servers.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    error::ConnectError,
    origin::{Endpoint, EndpointTls},
};

/// The bytes of a connection to a server.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether both ends know that HTTP/2 is spoken: agreed in the TLS handshake, or by prior knowledge without one.
    pub(super) fn agrees_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Whether nothing lies unread in the socket, neither bytes nor an end. Asks the kernel: the runtime may not have
    /// heard of it yet.
    pub(super) fn socket_is_quiet(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let peeked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Tries the addresses in order until one works, all within the deadline. An address that stays silent costs only its
/// share of the time, so that the ones after it get theirs.
pub(super) async fn connect(
    endpoint: &Endpoint,
    addresses: impl ExactSizeIterator<Item = SocketAddr>,
    deadline: Instant,
) -> Result<Stream, ConnectError> {
    let mut failure = ConnectError::NoAddress;
    let mut left = addresses.len() as u32;
    for address in addresses {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left;
        left -= 1;
        failure = match timeout_at(now + share, connect_one(endpoint, address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_elapsed) => ConnectError::Timeout,
        };
    }
    Err(failure)
}

async fn connect_one(endpoint: &Endpoint, address: SocketAddr) -> Result<Stream, ConnectError> {
    let tcp = TcpStream::connect(address).await.map_err(ConnectError::Connect)?;
    // Heads and bodies are written whole; waiting to fill segments would only delay them.
    tcp.set_nodelay(true).map_err(ConnectError::Connect)?;
    match endpoint.tls() {
        None => Ok(Stream::Plain(tcp)),
        Some(tls) => handshake(tls, tcp).await,
    }
}

async fn handshake(tls: &EndpointTls, socket: TcpStream) -> Result<Stream, ConnectError> {
    TlsConnector::from(Arc::clone(&tls.client))
        .connect(tls.name.clone(), socket)
        .await
        .map(|stream| Stream::Tls(Box::new(stream)))
        .map_err(ConnectError::Tls)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
