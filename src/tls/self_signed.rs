//! Certificates made at start: for a first look, and for origins behind a proxy that does not verify.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, date_time_ymd};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::certificate::{Certificate, CertificateOrigin, KeyType, names_of};
use crate::policy::site::HostPattern;

/// Just under the 825 days beyond which Apple's clients refuse even a certificate that the user trusts.
const VALIDITY: SignedDuration = SignedDuration::from_hours(820 * 24);

/// Made anew at a reload when less than this is left.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(60 * 24);

/// A certificate of our own with what it was made for, so that a reload can keep it.
#[derive(Debug, Clone)]
pub(super) struct SelfSigned {
    names: Vec<String>,
    pub(super) certificate: Arc<Certificate>,
}

/// Why none could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelfSignedError {
    /// A host that cannot stand in a certificate, or no randomness for a key.
    #[error("cannot make a self-signed certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The key just made cannot be used.
    #[error("cannot use the self-signed certificate: {0}")]
    Use(#[from] rustls::Error),
}

impl SelfSigned {
    /// Makes one for the hosts.
    pub(super) fn make(hosts: &[HostPattern], now: Timestamp) -> Result<Self, SelfSignedError> {
        let names = names_for(hosts);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.clone())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Portcullis self-signed");
        let not_after = now + VALIDITY;
        let date = |instant: Timestamp| {
            let date = instant.to_zoned(TimeZone::UTC).date();
            date_time_ymd(
                date.year().into(),
                date.month().unsigned_abs(),
                date.day().unsigned_abs(),
            )
        };
        // A day early, for clients whose clock is slow.
        params.not_before = date(now - SignedDuration::from_hours(24));
        params.not_after = date(not_after);
        let der = params.self_signed(&key)?.der().clone();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private)?;
        let certificate = Certificate {
            origin: CertificateOrigin::SelfSigned,
            names: names_of(&der),
            not_after,
            key_type: KeyType::Ecdsa,
            certified: Arc::new(CertifiedKey::new(vec![der], signing)),
        };
        Ok(Self {
            names,
            certificate: Arc::new(certificate),
        })
    }

    /// Whether it still serves for these hosts: clients that were told to trust it should not be asked again.
    pub(super) fn serves(&self, hosts: &[HostPattern], now: Timestamp) -> bool {
        self.names == names_for(hosts) && now.duration_until(self.certificate.not_after) > RENEW_BEFORE
    }
}

/// The names for the hosts; for any host those of this machine, which is where a first look happens.
fn names_for(hosts: &[HostPattern]) -> Vec<String> {
    let mut names: Vec<String> = hosts.iter().flat_map(names_for_pattern).collect();
    names.sort();
    names.dedup();
    names
}

fn names_for_pattern(host: &HostPattern) -> Vec<String> {
    match host {
        HostPattern::Exact(name) => vec![name.as_str().trim_matches(['[', ']']).to_owned()],
        HostPattern::Below(name) => vec![format!("*.{name}")],
        HostPattern::Any => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
    }
}
