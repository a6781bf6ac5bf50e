//! Which site a host leads to.

use hashbrown::HashMap;
use http::StatusCode;

use super::head::HeadError;
use crate::policy::{
    decision::Reason,
    normalize::HostName,
    site::{HostPattern, SiteFacts},
};

/// Every host pattern of every site. A look-up does not allocate.
#[derive(Debug, Clone, Default)]
pub struct SiteTable {
    exact: HashMap<Box<str>, usize>,
    below: HashMap<Box<str>, usize>,
    any: Option<usize>,
}

/// A host pattern that two sites have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedHost {
    /// The pattern.
    pub host: HostPattern,
    /// The index of the site that has it first.
    pub first: usize,
    /// The index of the other one.
    pub second: usize,
}

impl SiteTable {
    /// The table of these sites, which are known by their index.
    ///
    /// # Errors
    /// The patterns that more than one site has: where they lead would depend on the order of writing.
    pub fn new<'s>(sites: impl IntoIterator<Item = &'s SiteFacts>) -> Result<Self, Vec<SharedHost>> {
        let mut table = Self::default();
        let mut shared = Vec::new();
        for (second, site) in sites.into_iter().enumerate() {
            for host in &site.hosts {
                if let Some(first) = table.insert(host, second).filter(|first| *first != second) {
                    let host = host.clone();
                    shared.push(SharedHost { host, first, second });
                }
            }
        }
        if shared.is_empty() { Ok(table) } else { Err(shared) }
    }

    fn insert(&mut self, host: &HostPattern, site: usize) -> Option<usize> {
        match host {
            HostPattern::Exact(name) => self.exact.insert(name.as_str().into(), site),
            HostPattern::Below(name) => self.below.insert(name.as_str().into(), site),
            HostPattern::Any => self.any.replace(site),
        }
    }

    /// The site of a host: exact, then the longest `*.` suffix, then `*`.
    pub fn find(&self, host: &HostName) -> Option<usize> {
        let name = host.as_str();
        let exact = self.exact.get(name).copied();
        exact.or_else(|| self.find_below(name)).or(self.any)
    }

    fn find_below(&self, name: &str) -> Option<usize> {
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(site) = self.below.get(parent) {
                return Some(*site);
            }
            rest = parent;
        }
        None
    }

    /// The site of a request. A TLS name that leads to another site than the host is refused: the client was shown that
    /// site's certificate (and may have been let in by that site's settings), not this one's.
    ///
    /// # Errors
    /// No site has the host, or the TLS name leads elsewhere: both 421 (RFC 9110 §15.5.20).
    pub fn choose(&self, host: &HostName, sni: Option<&HostName>) -> Result<usize, HeadError> {
        let site = self.find(host).ok_or(HeadError {
            reason: Reason::UnknownHost,
            status: StatusCode::MISDIRECTED_REQUEST,
            detail: "no site has this host",
        })?;
        match sni.and_then(|sni| self.find(sni)) {
            Some(other) if other != site => Err(HeadError {
                reason: Reason::Misdirected,
                status: StatusCode::MISDIRECTED_REQUEST,
                detail: "the TLS server name and the host lead to different sites",
            }),
            Some(_) | None => Ok(site),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::site::DefaultVerdict;

    fn site(name: &str, hosts: &[&str]) -> SiteFacts {
        SiteFacts {
            name: name.to_owned(),
            hosts: hosts
                .iter()
                .map(|host| HostPattern::parse(host).expect("a pattern"))
                .collect(),
            upstream: "app".to_owned(),
            application: 0,
            default: DefaultVerdict::Forward,
        }
    }

    fn name(host: &str) -> HostName {
        HostName::parse(host).expect("a host")
    }

    fn table() -> SiteTable {
        SiteTable::new(&[
            site("main", &["example.com", "*.example.com"]),
            site("shop", &["shop.example.com", "*.eu.shop.example.com"]),
            site("six", &["[2001:db8::1]"]),
        ])
        .expect("no host twice")
    }

    #[test]
    fn exact_hosts_win_over_suffixes_and_longer_suffixes_over_shorter_ones() {
        let found = |host| table().find(&name(host));
        assert_eq!(found("example.com"), Some(0));
        assert_eq!(found("a.b.example.com"), Some(0));
        assert_eq!(found("shop.example.com"), Some(1));
        assert_eq!(found("x.shop.example.com"), Some(0));
        assert_eq!(found("a.b.eu.shop.example.com"), Some(1));
        assert_eq!(found("[2001:db8::1]"), Some(2));
    }

    #[test]
    fn hosts_that_only_look_alike_lead_nowhere() {
        for host in [
            "notexample.com",
            "example.com.evil.test",
            "com",
            "192.0.2.1",
            "[2001:db8::2]",
        ] {
            assert_eq!(table().find(&name(host)), None, "{host}");
        }
    }

    #[test]
    fn a_star_takes_the_rest() {
        let table = SiteTable::new(&[site("main", &["example.com"]), site("rest", &["*"])]).expect("no host twice");
        assert_eq!(table.find(&name("example.com")), Some(0));
        assert_eq!(table.find(&name("192.0.2.1")), Some(1));
    }

    #[test]
    fn a_host_of_two_sites_is_named() {
        let shared = SiteTable::new(&[site("a", &["*.x.test", "x.test"]), site("b", &["X.test", "y.test"])]);
        let host = HostPattern::parse("x.test").expect("a pattern");
        assert_eq!(
            shared.err(),
            Some(vec![SharedHost {
                host,
                first: 0,
                second: 1
            }])
        );
    }

    #[test]
    fn unknown_hosts_and_foreign_tls_names_are_misdirected() {
        let chosen = |host, sni: Option<&str>| {
            let sni = sni.map(name);
            table().choose(&name(host), sni.as_ref()).map_err(|error| error.reason)
        };
        assert_eq!(chosen("example.com", None), Ok(0));
        assert_eq!(chosen("www.example.com", Some("example.com")), Ok(0));
        assert_eq!(
            chosen("shop.example.com", Some("example.com")),
            Err(Reason::Misdirected)
        );
        assert_eq!(chosen("example.com", Some("other.test")), Ok(0));
        assert_eq!(chosen("other.test", Some("example.com")), Err(Reason::UnknownHost));
    }
}
