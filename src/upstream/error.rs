//! Why a request got no answer from its origin.

use std::{io, sync::Arc};

pub use super::h1::WireError;
use super::{body::UploadError, origin::Endpoint};

/// Why a request got no answer from its origin. The gateway turns each into a response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The permitted target or host is nothing that HTTP/1.1 can carry unchanged.
    #[error("the judged target or host cannot be sent unchanged")]
    Unsendable,
    /// The upstream has no servers.
    #[error("the upstream has no servers")]
    NoServer,
    /// No connection could be made.
    #[error("no connection to {server}")]
    Connect {
        /// The server tried last.
        server: Arc<Endpoint>,
        /// What went wrong.
        source: ConnectError,
    },
    /// All connections to the server stayed in use.
    #[error("all connections to {server} are in use")]
    Overloaded {
        /// The server tried first.
        server: Arc<Endpoint>,
    },
    /// The connection broke before the response's head was complete.
    #[error("{server} broke off before answering")]
    Broken {
        /// The server asked.
        server: Arc<Endpoint>,
        /// What went wrong.
        source: WireError,
    },
    /// The server switched protocols without being asked, or to another one.
    #[error("{server} switched to a protocol that nobody asked for")]
    UnaskedSwitch {
        /// The server asked.
        server: Arc<Endpoint>,
    },
    /// The response's length can be read in more than one way, or its body is coded for this connection in a way that
    /// the gateway does not take off.
    #[error("{server} framed its answer in a way that is not understood")]
    Framing {
        /// The server asked.
        server: Arc<Endpoint>,
    },
    /// No response's head came in time.
    #[error("{server} did not answer in time")]
    Timeout {
        /// The server asked.
        server: Arc<Endpoint>,
    },
    /// The client's request body ended early.
    #[error("the request's body ended early")]
    Upload(#[source] UploadError),
}

/// Why a connection to a server could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name does not resolve.
    #[error("the name does not resolve")]
    Resolve(#[source] Arc<io::Error>),
    /// The name resolves to nothing.
    #[error("the name has no address")]
    NoAddress,
    /// The last address tried refused.
    #[error("connecting failed: {0}")]
    Connect(#[source] io::Error),
    /// The TLS handshake failed, or the server's certificate is not the right one.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// No connection came to be within `connect_timeout`.
    #[error("connecting took too long")]
    Timeout,
}
