//! Sites, certificates and clients for tests.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use http::HeaderValue;
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::{
    config::settings::{CertificateFiles, DEFAULT_REFUSAL, Disclose, NotFound, Site},
    policy::{
        fault::{Place, Source},
        normalize::{HostName, PathOptions},
        site::{DefaultVerdict, HostPattern, SiteFacts},
        table::Placed,
    },
};

fn place(text: &str) -> Place {
    let source = Source::new("portcullis.toml", text);
    Place::new(&source, 0..text.len())
}

/// A site of these hosts, as `hosts` spells them.
pub(crate) fn site(name: &str, hosts: &[&str], certificates: Vec<CertificateFiles>, self_signed: bool) -> Arc<Site> {
    let host = |name: &str| HostName::parse(name).expect("a host name");
    let hosts = hosts
        .iter()
        .map(|text| match text.strip_prefix("*.") {
            _ if *text == "*" => HostPattern::Any,
            Some(parent) => HostPattern::Below(host(parent)),
            None => HostPattern::Exact(host(text)),
        })
        .collect();
    Arc::new(Site {
        facts: SiteFacts {
            name: name.to_owned(),
            hosts,
            upstream: "app".to_owned(),
            application: 0,
            default: DefaultVerdict::Forward,
        },
        hosts_place: place(&format!("hosts of {name}")),
        certificates,
        self_signed,
        html_page: None,
        json_page: None,
        not_found: NotFound {
            body: String::new(),
            content_type: HeaderValue::from_static("text/plain"),
            headers: Vec::new(),
        },
        status: DEFAULT_REFUSAL,
        disclose: Disclose::Reason,
        error_docs: None,
        paths: PathOptions::default(),
    })
}

/// Files of a certificate for tests.
pub(crate) struct Made {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A certificate for these names, valid until the end of `year`.
pub(crate) fn make(names: &[&str], algorithm: &'static SignatureAlgorithm, year: i32) -> Made {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let cert = params.self_signed(&key).expect("a certificate");
    Made {
        cert: cert.pem(),
        key: key.serialize_pem(),
    }
}

/// Writes a certificate and its key as `stem.pem` and `stem.key`.
pub(crate) fn write(directory: &Path, stem: &str, made: &Made) -> CertificateFiles {
    let placed = |ending: &str, text: &str| {
        let path: PathBuf = directory.join(format!("{stem}.{ending}"));
        std::fs::write(&path, text).expect("a writable directory");
        Placed {
            place: place(&format!("{stem}.{ending}")),
            value: path,
        }
    };
    CertificateFiles {
        cert: placed("pem", &made.cert),
        key: placed("key", &made.key),
    }
}

/// A client's settings that trust any certificate.
pub(crate) fn client(alpn: &[&str]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Trusts any certificate, for tests alone.
#[derive(Debug)]
struct AnyCertificate;

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
