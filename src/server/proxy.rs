//! The PROXY protocol: who is behind a load balancer that speaks TCP.
//!
//! Only on listeners that list their peers. A listed peer must send the header, any other must not: a header from anybody
//! would let anybody choose an address.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::policy::{
    client::{Peer, SourceAddr},
    network::IpSet,
};

/// The longest header that is read. The protocol asks for 232 bytes and load balancers add a few hundred of extensions;
/// without a bound a listed peer could fill 64 KiB per connection.
const MAX_HEADER: usize = 4096;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The byte behind [`V2`] when the peer speaks for itself.
const V2_LOCAL: u8 = 0x20;

const PARSE: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: true,
    allow_v2: true,
};

/// Why a connection ends before TLS or HTTP was spoken on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It ended or broke by itself.
    #[error("the connection ended within the PROXY header")]
    Io(#[from] std::io::Error),
    /// A listed peer sent something else.
    #[error("a peer listed in proxy_protocol sent no valid PROXY header")]
    Missing,
    /// It speaks for a client that has no IP address, so nobody could be judged.
    #[error("a PROXY header names no IP address")]
    NoAddress,
    /// Somebody else sent one.
    #[error("a peer that is not listed in proxy_protocol sent a PROXY header")]
    Unlisted,
}

/// Who the source is, and the bytes that were read past the header.
#[derive(Debug)]
pub(super) struct Preface {
    pub(super) source: SourceAddr,
    pub(super) rest: Bytes,
}

/// Whether the peer must send a header.
pub(super) fn is_listed(peer: Peer, listed: &IpSet) -> bool {
    listed.contains(peer.0.ip())
}

/// Reads the header that a listed peer must send.
pub(super) async fn read_header(stream: &mut TcpStream, peer: Peer) -> Result<Preface, ProxyError> {
    let mut buffer = BytesMut::with_capacity(256);
    loop {
        read_more(stream, &mut buffer).await?;
        match ProxyHeader::parse(&buffer, PARSE) {
            Ok((header, length)) => {
                let source = source(&header, &buffer, peer)?;
                buffer.advance(length);
                return Ok(Preface {
                    source,
                    rest: buffer.freeze(),
                });
            }
            Err(proxy_header::Error::BufferTooShort) if buffer.len() < MAX_HEADER && begins_header(&buffer) => {}
            Err(_) => return Err(ProxyError::Missing),
        }
    }
}

/// Makes sure that anybody else sends none, and hands on what was read for that.
pub(super) async fn refuse_header(stream: &mut TcpStream, peer: Peer) -> Result<Preface, ProxyError> {
    let mut buffer = BytesMut::with_capacity(256);
    loop {
        read_more(stream, &mut buffer).await?;
        if buffer.starts_with(V1) || buffer.starts_with(V2) {
            return Err(ProxyError::Unlisted);
        }
        if !begins_header(&buffer) {
            return Ok(Preface {
                source: SourceAddr(peer.0),
                rest: buffer.freeze(),
            });
        }
    }
}

/// Whether the bytes are a header's beginning, as far as they go.
fn begins_header(bytes: &[u8]) -> bool {
    [V1, V2].iter().any(|signature| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    })
}

async fn read_more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<(), ProxyError> {
    match stream.read_buf(buffer).await? {
        0 => Err(ProxyError::Io(std::io::ErrorKind::UnexpectedEof.into())),
        _ => Ok(()),
    }
}

/// The source that the header names. UNKNOWN and LOCAL name none and mean the peer itself; version 2's PROXY with the
/// address of a unix socket, or none, means somebody else, of whom nothing is known.
fn source(header: &ProxyHeader<'_>, bytes: &[u8], peer: Peer) -> Result<SourceAddr, ProxyError> {
    match header.proxied_address() {
        None if bytes.starts_with(V2) && bytes.get(V2.len()) != Some(&V2_LOCAL) => Err(ProxyError::NoAddress),
        None => Ok(SourceAddr(peer.0)),
        Some(address) => match address.protocol {
            Protocol::Stream => Ok(SourceAddr(canonical(address.source))),
            // We were connected to by TCP: a header that speaks of UDP is about something else.
            Protocol::Datagram => Err(ProxyError::Missing),
        },
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
