//! All certificates of one load of the configuration, by site and name.

use std::{collections::HashMap, sync::Arc};

use jiff::Timestamp;
use rustls::{CipherSuite, SignatureScheme, sign::CertifiedKey};

use super::{
    certificate::{Certificate, CertificateOrigin},
    self_signed::SelfSigned,
};
use crate::{
    config::settings::Site,
    policy::{
        fault::{Fault, Faults},
        normalize::HostName,
        site::HostPattern,
    },
};

/// The certificates of all sites. Immutable; a reload builds another.
#[derive(Debug, Default)]
pub struct CertificateStore {
    exact: HashMap<HostName, Arc<[Arc<Certificate>]>>,
    below: HashMap<String, Arc<[Arc<Certificate>]>>,
    default: Arc<[Arc<Certificate>]>,
    self_signed: Vec<SelfSigned>,
    all: Vec<(String, Arc<Certificate>)>,
}

impl CertificateStore {
    /// Reads the certificates of the sites, and makes those that are to be self-signed; one that `previous` holds for the
    /// same hosts is kept, so that who trusts it need not be asked again.
    pub fn load(sites: &[Arc<Site>], previous: Option<&Self>, now: Timestamp, faults: &mut Faults) -> Self {
        let mut store = Self::default();
        for site in sites {
            let mut certificates: Vec<Arc<Certificate>> = site
                .certificates
                .iter()
                .filter_map(|files| Certificate::read(files, now, faults))
                .map(Arc::new)
                .collect();
            if site.self_signed {
                certificates.extend(store.self_signed_for(site, previous, now, faults));
            } else {
                warn_of_uncovered_hosts(site, &certificates, faults);
            }
            store.add(site, certificates);
        }
        store
    }

    /// Every certificate with the name of its site, in written order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Certificate)> {
        self.all
            .iter()
            .map(|(site, certificate)| (site.as_str(), &**certificate))
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The certificate for a handshake: of the site that the server name leads to, else of the default site; among that
    /// site's, one that proves the name and that the client can verify. `None` ends the handshake.
    pub fn resolve(
        &self,
        sni: Option<&HostName>,
        schemes: &[SignatureScheme],
        suites: &[CipherSuite],
    ) -> Option<Arc<CertifiedKey>> {
        let certificates = sni.and_then(|name| self.of_site(name)).unwrap_or(&self.default);
        certificates
            .iter()
            .filter(|certificate| certificate.suits(schemes, suites))
            .min_by_key(|certificate| (sni.map(|name| fit(certificate, name)), certificate.key_type))
            .map(|certificate| Arc::clone(&certificate.certified))
    }

    fn of_site(&self, name: &HostName) -> Option<&Arc<[Arc<Certificate>]>> {
        if let Some(certificates) = self.exact.get(name) {
            return Some(certificates);
        }
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(certificates) = self.below.get(parent) {
                return Some(certificates);
            }
            rest = parent;
        }
        None
    }

    fn self_signed_for(
        &mut self,
        site: &Site,
        previous: Option<&Self>,
        now: Timestamp,
        faults: &mut Faults,
    ) -> Option<Arc<Certificate>> {
        let hosts = &site.facts.hosts;
        let kept = previous.and_then(|store| store.self_signed.iter().find(|own| own.serves(hosts, now)));
        let own = match kept.cloned().map_or_else(|| SelfSigned::make(hosts, now), Ok) {
            Ok(own) => own,
            Err(error) => {
                faults.push(Fault::error(site.hosts_place.clone(), error.to_string()));
                return None;
            }
        };
        let certificate = Arc::clone(&own.certificate);
        self.self_signed.push(own);
        Some(certificate)
    }

    fn add(&mut self, site: &Site, certificates: Vec<Arc<Certificate>>) {
        let name = &site.facts.name;
        self.all.extend(
            certificates
                .iter()
                .map(|certificate| (name.clone(), Arc::clone(certificate))),
        );
        // A site without certificates of its own is served with the default site's.
        if certificates.is_empty() {
            return;
        }
        let certificates: Arc<[_]> = certificates.into();
        for host in &site.facts.hosts {
            let certificates = Arc::clone(&certificates);
            match host {
                HostPattern::Exact(name) => drop(self.exact.insert(name.clone(), certificates)),
                HostPattern::Below(name) => drop(self.below.insert(name.as_str().to_owned(), certificates)),
                HostPattern::Any => self.default = certificates,
            }
        }
    }
}

/// How well a certificate fits a name, the best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Wildcard,
    /// The client will complain; that tells the operator more than a handshake that ends without a word.
    Other,
}

fn fit(certificate: &Certificate, name: &HostName) -> Fit {
    if certificate.covers_exactly(name) {
        Fit::Exact
    } else if certificate.covers(name) {
        Fit::Wildcard
    } else {
        Fit::Other
    }
}

/// Clients refuse a certificate that does not prove the host, so the gate stays shut: a warning is enough, and setups behind
/// a proxy that does not verify go on working.
fn warn_of_uncovered_hosts(site: &Site, certificates: &[Arc<Certificate>], faults: &mut Faults) {
    if certificates.is_empty() {
        return;
    }
    for host in &site.facts.hosts {
        let (covered, shown) = match host {
            HostPattern::Exact(name) => (
                certificates.iter().any(|certificate| certificate.covers(name)),
                name.to_string(),
            ),
            HostPattern::Below(name) => {
                let wildcard = format!("*.{name}");
                (
                    certificates
                        .iter()
                        .any(|certificate| certificate.names.contains(&wildcard)),
                    wildcard,
                )
            }
            HostPattern::Any => continue,
        };
        if !covered {
            let site_name = &site.facts.name;
            faults.push(
                Fault::warning(
                    site.hosts_place.clone(),
                    format!("no certificate of the site `{site_name}` covers `{shown}`"),
                )
                .expected(format!("they cover {}", list_names(certificates)))
                .help("clients will refuse the connection; a wildcard covers one label only"),
            );
        }
    }
}

fn list_names(certificates: &[Arc<Certificate>]) -> String {
    let names: Vec<String> = certificates
        .iter()
        .filter(|certificate| certificate.origin != CertificateOrigin::SelfSigned)
        .flat_map(|certificate| &certificate.names)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.is_empty() {
        "no names at all".to_owned()
    } else {
        names.join(", ")
    }
}
