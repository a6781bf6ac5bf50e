//! One certificate with its key: read from PEM files, checked, and what is known of it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rustls::{
    CipherSuite, InconsistentKeys, SignatureAlgorithm, SignatureScheme,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{
    config::settings::CertificateFiles,
    policy::{
        fault::{Fault, Faults},
        normalize::HostName,
        table::Placed,
    },
};

/// Certificates that end within this time are warned about.
const EXPIRY_WARNING: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A certificate chain with its private key, ready to be shown to clients.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Where it comes from.
    pub origin: CertificateOrigin,
    /// The names that it proves, lower-cased; wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// The kind of its key.
    pub key_type: KeyType,
    pub(super) certified: Arc<CertifiedKey>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateOrigin {
    /// Read from this file.
    File(PathBuf),
    /// Made at start.
    SelfSigned,
}

/// The kind of a certificate's key, in the order in which they are preferred: the cheaper to sign with first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyType {
    /// ECDSA
    Ecdsa,
    /// Ed25519
    Ed25519,
    /// RSA
    Rsa,
}

impl KeyType {
    /// The name that people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        }
    }

    /// Whether a TLS 1.2 cipher suite authenticates with such a key; TLS 1.3 suites go with every key.
    fn suits(self, suite: CipherSuite) -> bool {
        let Some(name) = suite.as_str() else { return false };
        match self {
            _ if name.starts_with("TLS13_") => true,
            Self::Ecdsa | Self::Ed25519 => name.starts_with("TLS_ECDHE_ECDSA_"),
            Self::Rsa => name.starts_with("TLS_ECDHE_RSA_"),
        }
    }
}

impl Certificate {
    /// Reads and checks a chain and its key. What keeps the certificate from being used is an error; what will keep clients
    /// from trusting it is a warning.
    pub(super) fn read(files: &CertificateFiles, now: Timestamp, faults: &mut Faults) -> Option<Self> {
        let chain = read_chain(&files.cert, faults);
        let key = read_key(&files.key, faults);
        let (chain, key) = (chain?, key?);
        let facts = LeafFacts::parse(&chain, files, faults)?;
        let key_type = key_type(key.algorithm());
        let certified = CertifiedKey::new(chain, key);
        check_keys_match(&certified, files, faults)?;
        let Some(key_type) = key_type else {
            faults.push(
                Fault::error(files.key.place.clone(), "this kind of private key cannot be used")
                    .expected("expected an ECDSA, RSA or Ed25519 key"),
            );
            return None;
        };
        facts.check_dates(files, now, faults);
        Some(Self {
            origin: CertificateOrigin::File(files.cert.value.clone()),
            names: facts.names,
            not_after: facts.not_after,
            key_type,
            certified: Arc::new(certified),
        })
    }

    /// Whether it proves this name: by the name itself, or by a wildcard one label above it.
    pub fn covers(&self, name: &HostName) -> bool {
        self.covers_exactly(name) || self.covers_by_wildcard(name)
    }

    pub(super) fn covers_exactly(&self, name: &HostName) -> bool {
        let name = name.as_str().trim_matches(['[', ']']);
        self.names.iter().any(|covered| covered == name)
    }

    fn covers_by_wildcard(&self, name: &HostName) -> bool {
        let Some((_, parent)) = name.as_str().split_once('.') else {
            return false;
        };
        self.names
            .iter()
            .any(|covered| covered.strip_prefix("*.") == Some(parent))
    }

    /// Whether a client that offers these can complete a handshake with it.
    pub(super) fn suits(&self, schemes: &[SignatureScheme], suites: &[CipherSuite]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some() && suites.iter().any(|suite| self.key_type.suits(*suite))
    }
}

fn read_chain(file: &Placed<PathBuf>, faults: &mut Faults) -> Option<Vec<CertificateDer<'static>>> {
    let text = read(file, "certificate", faults)?;
    match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            faults.push(
                Fault::error(file.place.clone(), format!("no certificate in {}", shown(file)))
                    .expected("expected PEM with `-----BEGIN CERTIFICATE-----`"),
            );
            None
        }
        Err(error) => {
            faults.push(bad_pem(file, &error));
            None
        }
    }
}

fn read_key(file: &Placed<PathBuf>, faults: &mut Faults) -> Option<Arc<dyn rustls::sign::SigningKey>> {
    let text = read(file, "key", faults)?;
    let key = match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => key,
        Err(pem::Error::NoItemsFound) => {
            faults.push(no_key(file, &text));
            return None;
        }
        Err(error) => {
            faults.push(bad_pem(file, &error));
            return None;
        }
    };
    match rustls::crypto::aws_lc_rs::sign::any_supported_type(&key) {
        Ok(key) => Some(key),
        Err(error) => {
            faults.push(
                Fault::error(
                    file.place.clone(),
                    format!("the key in {} cannot be used: {error}", shown(file)),
                )
                .expected("expected an ECDSA (P-256, P-384, P-521), RSA (2048 bits or more) or Ed25519 key"),
            );
            None
        }
    }
}

fn read(file: &Placed<PathBuf>, what: &str, faults: &mut Faults) -> Option<Vec<u8>> {
    match std::fs::read(&file.value) {
        Ok(text) => Some(text),
        Err(error) => {
            let fault = Fault::error(file.place.clone(), format!("cannot read the {what} {}", shown(file)))
                .expected(error.to_string())
                .help("relative paths start at the directory of portcullis.toml");
            faults.push(fault);
            None
        }
    }
}

fn no_key(file: &Placed<PathBuf>, text: &[u8]) -> Fault {
    let fault = Fault::error(file.place.clone(), format!("no private key in {}", shown(file)));
    if text.windows(9).any(|window| window == b"ENCRYPTED") {
        fault
            .expected("the key is encrypted, and there is nobody to ask for its passphrase")
            .help("decrypt it: openssl pkey -in encrypted.key -out plain.key")
    } else {
        fault.expected("expected PEM with `-----BEGIN PRIVATE KEY-----` (or EC, or RSA)")
    }
}

fn bad_pem(file: &Placed<PathBuf>, error: &pem::Error) -> Fault {
    Fault::error(file.place.clone(), format!("{} is not valid PEM", shown(file))).expected(error.to_string())
}

fn shown(file: &Placed<PathBuf>) -> std::path::Display<'_> {
    Path::display(&file.value)
}

fn key_type(algorithm: SignatureAlgorithm) -> Option<KeyType> {
    match algorithm {
        SignatureAlgorithm::ECDSA => Some(KeyType::Ecdsa),
        SignatureAlgorithm::ED25519 => Some(KeyType::Ed25519),
        SignatureAlgorithm::RSA => Some(KeyType::Rsa),
        // Not our enum, and open-ended: whatever else the library learns to sign with.
        _ => None,
    }
}

fn check_keys_match(certified: &CertifiedKey, files: &CertificateFiles, faults: &mut Faults) -> Option<()> {
    match certified.keys_match() {
        // A key that cannot tell its public half cannot be compared; the handshake will tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(()),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let fault = Fault::error(
                files.key.place.clone(),
                format!(
                    "the key {} does not belong to {}",
                    shown(&files.key),
                    shown(&files.cert)
                ),
            )
            .expected("expected the key of the first certificate in that file");
            faults.push(if is_later_in_chain(certified) {
                fault.help("it belongs to a later certificate of the file: put the site's own certificate first")
            } else {
                fault
            });
            None
        }
        Err(error) => {
            faults.push(
                Fault::error(
                    files.cert.place.clone(),
                    format!("{} is not a usable certificate", shown(&files.cert)),
                )
                .expected(error.to_string()),
            );
            None
        }
    }
}

fn is_later_in_chain(certified: &CertifiedKey) -> bool {
    certified.cert.iter().skip(1).any(|later| {
        let alone = CertifiedKey::new(vec![later.clone()], Arc::clone(&certified.key));
        alone.keys_match().is_ok()
    })
}

/// What the leaf certificate says.
struct LeafFacts {
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl LeafFacts {
    fn parse(chain: &[CertificateDer<'_>], files: &CertificateFiles, faults: &mut Faults) -> Option<Self> {
        let facts = chain.first().and_then(|leaf| Self::from_der(leaf));
        if facts.is_none() {
            faults.push(
                Fault::error(
                    files.cert.place.clone(),
                    format!("{} is not a valid certificate", shown(&files.cert)),
                )
                .expected("expected an X.509 certificate"),
            );
        }
        facts
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            names: names(&certificate),
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
        })
    }

    fn check_dates(&self, files: &CertificateFiles, now: Timestamp, faults: &mut Faults) {
        let problem = if self.not_after <= now {
            format!("expired on {}", day(self.not_after))
        } else if now.duration_until(self.not_after) <= EXPIRY_WARNING {
            format!("expires on {}", day(self.not_after))
        } else if self.not_before > now {
            format!("is not valid before {}", day(self.not_before))
        } else {
            return;
        };
        faults.push(
            Fault::warning(
                files.cert.place.clone(),
                format!("the certificate {} {problem}", shown(&files.cert)),
            )
            .help("renew it, put it in place and reload: no connection is dropped"),
        );
    }
}

/// The names and dates of a leaf certificate that we made ourselves.
pub(super) fn names_of(der: &[u8]) -> Vec<String> {
    LeafFacts::from_der(der).map_or_else(Vec::new, |facts| facts.names)
}

/// The subject alternative names. The common name is not looked at: no client does any more (RFC 9525, section 6.3).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets)
                .ok()
                .map(|v4| std::net::Ipv4Addr::from(v4).to_string()),
            16 => <[u8; 16]>::try_from(*octets)
                .ok()
                .map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
            _ => None,
        },
        // Mail addresses, URIs and the like name no host.
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn day(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d").to_string()
}
