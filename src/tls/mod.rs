//! Certificates and TLS: which certificate a client is shown, and how the handshake is set up.
//!
//! Owns reading certificate files (with every fault in them placed where the configuration names the file), making
//! self-signed certificates, choosing by server name and key type, and the settings of TLS itself. Refuses to know of
//! sockets, requests and reloads: a reload builds a new [`CertificateStore`], and the resolver asks for the current one at
//! every handshake, so certificates change without a connection being touched.

mod certificate;
mod handshake;
mod self_signed;
mod store;

pub use certificate::{Certificate, CertificateOrigin, KeyType};
pub use handshake::{SniResolver, TlsSetup};
pub use store::CertificateStore;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
