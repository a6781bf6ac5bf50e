//! TLS as the listeners speak it.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::store::CertificateStore;
use crate::{config::settings::TlsVersion, policy::normalize::HostName};

/// TLS 1.3 tickets for a client that says nothing of how many it wants. A careful client uses each once (RFC 8446 §C.4): two
/// let it open two connections at once when it comes back.
const TICKETS: usize = 2;

/// The most for a client that asks (RFC 9149). Each is work and bytes that a client can make us spend.
const MOST_TICKETS: usize = 4;

/// Chooses a certificate at each handshake from whatever store is current then.
pub struct SniResolver<F> {
    current: F,
}

impl<F: Fn() -> Arc<CertificateStore> + Send + Sync> SniResolver<F> {
    /// `current` gives the store of the moment.
    pub fn new(current: F) -> Self {
        Self { current }
    }
}

impl<F> fmt::Debug for SniResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SniResolver")
    }
}

impl<F: Fn() -> Arc<CertificateStore> + Send + Sync> ResolvesServerCert for SniResolver<F> {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().and_then(HostName::parse);
        (self.current)().resolve(sni.as_ref(), hello.signature_schemes(), hello.cipher_suites())
    }
}

/// What all TLS listeners share: the choice of certificates, and the key of session tickets, which outlives reloads so that
/// they cost no client a full handshake.
#[derive(Debug, Clone)]
pub struct TlsSetup {
    resolver: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl TlsSetup {
    /// With a fresh ticket key; it changes by itself every few hours.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(resolver: Arc<dyn ResolvesServerCert>) -> Result<Self, rustls::Error> {
        Ok(Self {
            resolver,
            ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
        })
    }

    /// The settings of a listener. HTTP/2 is preferred; a hybrid post-quantum key exchange is offered first; there is no
    /// 0-RTT, whose requests can be replayed.
    ///
    /// # Errors
    /// When the library has no cipher suite for the versions, which does not happen with the versions there are.
    pub fn server_config(&self, min: TlsVersion) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(min))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.resolver));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.ticketer);
        // Tickets carry the state; a store of our own would be one lock for all cores, and memory that clients fill.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.send_tls13_tickets = TICKETS;
        config.max_tls13_tickets = MOST_TICKETS;
        Ok(Arc::new(config))
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::Tls12 => &ALL,
        TlsVersion::Tls13 => &ALL[..1],
    }
}
