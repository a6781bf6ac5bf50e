//! Which certificate is shown, and what is wrong with the files.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use rustls::{CipherSuite, SignatureScheme};

use super::{
    CertificateOrigin, CertificateStore, KeyType,
    testing::{Made, make, site, write},
};
use crate::{
    config::settings::{CertificateFiles, Site},
    policy::{
        fault::{Faults, Severity},
        normalize::HostName,
    },
};

const ALL_SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
];
const ANY_SUITE: &[CipherSuite] = &[CipherSuite::TLS13_AES_128_GCM_SHA256];

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().expect("an instant")
}

fn load(sites: &[Arc<Site>]) -> (CertificateStore, Vec<String>) {
    let mut faults = Faults::new();
    let store = CertificateStore::load(sites, None, now(), &mut faults);
    (store, faults.iter().map(ToString::to_string).collect())
}

fn host(name: &str) -> HostName {
    HostName::parse(name).expect("a host name")
}

/// The names of the certificate shown for a server name.
fn shown(store: &CertificateStore, sni: Option<&str>) -> Option<Vec<String>> {
    let sni = sni.map(host);
    let key = store.resolve(sni.as_ref(), ALL_SCHEMES, ANY_SUITE)?;
    Some(super::certificate::names_of(&key.cert[0]))
}

fn ecdsa(directory: &Path, stem: &str, names: &[&str]) -> CertificateFiles {
    write(directory, stem, &make(names, &PKCS_ECDSA_P256_SHA256, 2099))
}

#[test]
fn a_name_gets_its_own_certificate_before_a_wildcard_before_the_default() {
    let dir = tempfile::tempdir().expect("a directory");
    let exact = ecdsa(dir.path(), "exact", &["www.example.com"]);
    let wildcard = ecdsa(dir.path(), "wildcard", &["*.example.com"]);
    let other = ecdsa(dir.path(), "other", &["other.test"]);
    let (store, faults) = load(&[
        site(
            "main",
            &["*.example.com", "www.example.com"],
            vec![wildcard, exact],
            false,
        ),
        site("rest", &["*"], vec![other], false),
    ]);
    assert_eq!(faults, Vec::<String>::new());
    let names = |sni| shown(&store, sni).unwrap_or_default();
    assert_eq!(names(Some("www.example.com")), ["www.example.com"]);
    assert_eq!(names(Some("api.example.com")), ["*.example.com"]);
    assert_eq!(names(Some("unknown.test")), ["other.test"]);
    assert_eq!(names(None), ["other.test"]);
}

#[test]
fn without_a_default_site_an_unknown_name_ends_the_handshake() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, _) = load(&[site(
        "main",
        &["a.test"],
        vec![ecdsa(dir.path(), "a", &["a.test"])],
        false,
    )]);
    assert_eq!(shown(&store, Some("b.test")), None);
    assert_eq!(shown(&store, None), None);
}

#[test]
fn the_key_type_is_chosen_by_what_the_client_can_verify() {
    let dir = tempfile::tempdir().expect("a directory");
    let rsa = write(dir.path(), "rsa", &make(&["a.test"], &PKCS_RSA_SHA256, 2099));
    let both = vec![rsa, ecdsa(dir.path(), "ecdsa", &["a.test"])];
    let (store, faults) = load(&[site("main", &["a.test"], both, false)]);
    assert_eq!(faults, Vec::<String>::new());
    let algorithm = |schemes: &[SignatureScheme], suites: &[CipherSuite]| {
        let key = store.resolve(Some(&host("a.test")), schemes, suites);
        key.map(|key| key.key.algorithm())
    };
    use rustls::SignatureAlgorithm::{ECDSA, RSA};
    assert_eq!(algorithm(ALL_SCHEMES, ANY_SUITE), Some(ECDSA));
    assert_eq!(algorithm(&[SignatureScheme::RSA_PSS_SHA256], ANY_SUITE), Some(RSA));
    let tls12_rsa_only = [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    assert_eq!(algorithm(ALL_SCHEMES, &tls12_rsa_only), Some(RSA));
}

#[test]
fn ed25519_keys_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = write(dir.path(), "a", &make(&["a.test"], &PKCS_ED25519, 2099));
    let (store, faults) = load(&[site("main", &["a.test"], vec![files], false)]);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        store
            .iter()
            .map(|(_, certificate)| certificate.key_type)
            .collect::<Vec<_>>(),
        [KeyType::Ed25519]
    );
}

#[test]
fn a_self_signed_certificate_covers_the_hosts_of_its_site() {
    let (store, faults) = load(&[site("main", &["example.com", "*.example.com", "*"], Vec::new(), true)]);
    assert_eq!(faults, Vec::<String>::new());
    let (_, certificate) = store.iter().next().expect("one certificate");
    let mut names = certificate.names.clone();
    names.sort();
    assert_eq!(names, ["*.example.com", "127.0.0.1", "::1", "example.com", "localhost"]);
    assert_eq!(certificate.origin, CertificateOrigin::SelfSigned);
}

#[test]
fn a_self_signed_certificate_outlives_reloads_until_the_hosts_change() {
    let mut faults = Faults::new();
    let sites = [site("main", &["*"], Vec::new(), true)];
    let first = CertificateStore::load(&sites, None, now(), &mut faults);
    let again = CertificateStore::load(&sites, Some(&first), now(), &mut faults);
    let changed = [site("main", &["example.com"], Vec::new(), true)];
    let changed = CertificateStore::load(&changed, Some(&again), now(), &mut faults);
    let der = |store: &CertificateStore| {
        let (_, certificate) = store.iter().next().expect("one certificate");
        certificate.certified.cert.clone()
    };
    assert_eq!(der(&first), der(&again));
    assert_ne!(der(&first), der(&changed));
}

/// The faults of a site `a.test` with this certificate and key.
fn faults_of(made: &Made) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let files = write(dir.path(), "a", made);
    let (_, faults) = load(&[site("main", &["a.test"], vec![files], false)]);
    let path = format!("{}/", dir.path().display());
    faults.into_iter().map(|fault| fault.replace(&path, "")).collect()
}

fn good() -> Made {
    make(&["a.test"], &PKCS_ECDSA_P256_SHA256, 2099)
}

#[test]
fn a_key_of_another_certificate_is_a_fault_at_the_key() {
    let faults = faults_of(&Made {
        cert: good().cert,
        key: good().key,
    });
    assert_eq!(
        faults,
        [
            "portcullis.toml:1:1: error: the key a.key does not belong to a.pem: expected the key of the first certificate \
          in that file"
        ]
    );
}

#[test]
fn a_chain_in_the_wrong_order_is_told_from_a_wrong_key() {
    let own = good();
    let faults = faults_of(&Made {
        cert: good().cert + &own.cert,
        key: own.key,
    });
    assert!(
        faults[0].ends_with("put the site's own certificate first"),
        "{faults:?}"
    );
}

#[test]
fn an_encrypted_key_is_named_as_such() {
    let faults = faults_of(&Made {
        key: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
        ..good()
    });
    assert!(
        faults[0].contains("no private key in a.key: the key is encrypted"),
        "{faults:?}"
    );
}

#[test]
fn a_file_without_a_certificate_is_a_fault() {
    let faults = faults_of(&Made {
        cert: "hello".to_owned(),
        ..good()
    });
    assert_eq!(
        faults,
        ["portcullis.toml:1:1: error: no certificate in a.pem: expected PEM with `-----BEGIN CERTIFICATE-----`"]
    );
}

#[test]
fn a_certificate_that_is_garbage_inside_is_a_fault() {
    let faults = faults_of(&Made {
        cert: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
        ..good()
    });
    assert!(faults[0].contains("a.pem is not a valid certificate"), "{faults:?}");
}

#[test]
fn missing_files_are_all_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = write(dir.path(), "a", &good());
    std::fs::remove_file(&files.cert.value).expect("it is there");
    std::fs::remove_file(&files.key.value).expect("it is there");
    let (_, faults) = load(&[site("main", &["a.test"], vec![files], false)]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("cannot read the certificate") && faults[1].contains("cannot read the key"),
        "{faults:?}"
    );
}

#[test]
fn dates_and_names_that_clients_will_refuse_are_warnings() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = write(dir.path(), "a", &make(&["b.test"], &PKCS_ECDSA_P256_SHA256, 2020));
    let mut faults = Faults::new();
    let sites = [site("main", &["a.test", "*.b.test"], vec![files], false)];
    CertificateStore::load(&sites, None, now(), &mut faults);
    assert!(
        faults.iter().all(|fault| fault.severity == Severity::Warning),
        "{faults:?}"
    );
    let texts: Vec<String> = faults.iter().map(|fault| fault.message.clone()).collect();
    assert!(texts[0].ends_with("expired on 2020-12-31"), "{texts:?}");
    assert_eq!(
        texts[1..],
        [
            "no certificate of the site `main` covers `a.test`",
            "no certificate of the site `main` covers `*.b.test`"
        ]
    );
}

#[test]
fn a_certificate_about_to_expire_is_a_warning() {
    let mut faults = Faults::new();
    let dir = tempfile::tempdir().expect("a directory");
    let files = write(dir.path(), "a", &make(&["a.test"], &PKCS_ECDSA_P256_SHA256, 2026));
    let soon: Timestamp = "2026-12-24T00:00:00Z".parse().expect("an instant");
    CertificateStore::load(
        &[site("main", &["a.test"], vec![files], false)],
        None,
        soon,
        &mut faults,
    );
    let texts: Vec<String> = faults.iter().map(|fault| fault.message.clone()).collect();
    assert!(
        texts.len() == 1 && texts[0].ends_with("expires on 2026-12-31"),
        "{texts:?}"
    );
}
