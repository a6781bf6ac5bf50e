//! A configuration as past requests meet it: the facts that it makes of a log line, and its policy where the rest of them
//! is unknown.

use std::{borrow::Cow, net::SocketAddr, rc::Rc};

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, Method};

use super::{
    record::{Client, Hidden, Record, Request, SaidHost},
    unknown::{Headers, Ignorance, malformed},
};
use crate::{
    gateway::{
        head::{self, HeadError},
        headers::Trust,
    },
    policy::{
        client::{self, ClientIp, SourceAddr},
        decision::Reason,
        facts::{ClientFacts, GeoFacts, HttpVersion, RequestFacts},
        lang::fields::Fact,
        normalize::{Host, Target},
        rule::Timestamp,
        site::HostPattern,
    },
    snapshot::Snapshot,
};

/// What is said of requests beyond what their logs say.
#[derive(Debug, Clone, Default)]
pub struct Stated {
    /// The host of every request whose log names none.
    pub host: Option<Host>,
    /// Whether the clients of logs that do not say it spoke TLS.
    pub tls: Option<bool>,
    /// The time of every request, instead of its own.
    pub now: Option<Timestamp>,
}

/// Hosts that are remembered with the site that they lead to. Logs name a few; who fills them with random ones gains nothing.
const MAX_HOSTS: usize = 4096;

/// A host, and the site that it leads to.
type FoundSite = (Rc<Host>, usize);

/// A configuration that judges past requests.
pub struct Side<'s> {
    /// What was loaded.
    pub snapshot: &'s Snapshot,
    hosts: HashMap<Box<str>, Result<FoundSite, HeadError>>,
    /// The host of requests whose log names none, if it can be no other.
    only_host: Option<Rc<Host>>,
}

/// A request to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Case<'r> {
    /// What its log line says.
    pub record: &'r Record<'r>,
    /// What it asks for.
    pub request: &'r Request<'r>,
    /// Its headers.
    pub headers: &'r Headers,
    /// What is said of all requests.
    pub stated: &'r Stated,
}

/// The facts of one request under one configuration and site.
#[derive(Debug)]
pub struct Facts<'r> {
    /// Which of the sites.
    pub site: usize,
    host: Cow<'r, Host>,
    headers: Cow<'r, HeaderMap>,
    target: Target,
    version: HttpVersion,
    tls: bool,
    method: &'r str,
    now: Timestamp,
    client: ClientFacts,
}

impl<'s> Side<'s> {
    /// A configuration that was loaded.
    pub fn new(snapshot: &'s Snapshot, stated: &Stated) -> Self {
        Self {
            snapshot,
            hosts: HashMap::new(),
            only_host: stated.host.clone().or_else(|| only_host(snapshot)).map(Rc::new),
        }
    }

    /// Whether any site would be asked for a request whose log names no host.
    pub fn assumed_host(&self) -> Option<&Host> {
        self.only_host.as_deref()
    }

    /// The host of a record and the sites that it may lead to: one, or any when the host is not known.
    ///
    /// # Errors
    /// No site has it, or it is none.
    pub fn sites(
        &mut self,
        said: Option<&SaidHost<'_>>,
    ) -> Result<(Option<Rc<Host>>, std::ops::Range<usize>), HeadError> {
        if let Some(said) = said {
            let (host, site) = self.known(&said.authority)?;
            return Ok((Some(host), site..site + 1));
        }
        if let Some(host) = self.only_host.clone() {
            let site = self.snapshot.site_table.choose(&host.name, None)?;
            return Ok((Some(host), site..site + 1));
        }
        Ok((None, 0..self.snapshot.sites.len()))
    }

    fn known(&mut self, authority: &str) -> Result<FoundSite, HeadError> {
        if let Some(known) = self.hosts.get(authority) {
            return known.clone();
        }
        let found = Host::parse(authority).map_err(HeadError::from).and_then(|host| {
            let site = self.snapshot.site_table.choose(&host.name, None)?;
            Ok((Rc::new(host), site))
        });
        if self.hosts.len() >= MAX_HOSTS {
            self.hosts.clear();
        }
        self.hosts.insert(authority.into(), found.clone());
        found
    }

    /// What the request says under this configuration and one of its sites. What is unknown is noted in `ignorance`, and
    /// something stands in its place.
    ///
    /// # Errors
    /// It would be refused before any rule.
    pub fn facts<'r>(
        &self,
        case: &Case<'r>,
        host: Option<&'r Host>,
        site: usize,
        ignorance: &mut Ignorance,
    ) -> Result<Facts<'r>, HeadError> {
        let Case {
            record,
            request,
            headers,
            stated,
        } = *case;
        ignorance.clone_from(&headers.known);
        let unknown = &mut ignorance.facts;
        check_method(&request.method)?;
        let Some(compiled) = self.snapshot.sites.get(site) else {
            return Err(UNKNOWN_HOST);
        };
        let target = match request.target.hidden {
            Hidden::Nothing => Target::parse(&request.target.raw, compiled.settings.paths)?,
            Hidden::Query => {
                unknown.extend([Fact::Query, Fact::RawTarget]);
                let path = request.target.raw.split('?').next().unwrap_or("/");
                Target::parse(path, compiled.settings.paths)?
            }
            Hidden::All => {
                unknown.extend([Fact::Path, Fact::Query, Fact::RawTarget]);
                Target::parse("/", compiled.settings.paths)?
            }
        };
        let host = match host {
            Some(host) => {
                if !request.host.as_ref().is_some_and(|said| said.says_port) {
                    unknown.push(Fact::Port);
                }
                Cow::Borrowed(host)
            }
            None => {
                unknown.push(Fact::Host);
                Cow::Owned(Host::parse("unknown.invalid")?)
            }
        };
        let version = request.version.unwrap_or_else(|| {
            unknown.push(Fact::Version);
            HttpVersion::Http11
        });
        let now = stated.now.or(record.time).unwrap_or_else(|| {
            unknown.push(Fact::Now);
            Timestamp(0)
        });
        let client = self.client(record.client, headers, unknown)?;
        let tls = self.tls(record.client, request.tls.or(stated.tls), headers, unknown)?;
        Ok(Facts {
            headers: self.headers_for_rules(case),
            site,
            host,
            target,
            version,
            tls,
            method: &request.method,
            now,
            client,
        })
    }

    /// The headers as rules see them: hop-by-hop ones are none.
    fn headers_for_rules<'r>(&self, case: &Case<'r>) -> Cow<'r, HeaderMap> {
        if case.request.headers.is_empty() {
            return Cow::Borrowed(&case.headers.map);
        }
        let mut headers = case.headers.map.clone();
        let trust = match case.record.client {
            Client::Connected(address) if self.snapshot.client_ip.trusts(SourceAddr(SocketAddr::new(address, 0))) => {
                Trust::Trusted
            }
            Client::Connected(_) | Client::Is(_) | Client::Unknown => Trust::Untrusted,
        };
        self.snapshot.headers.prepare_for_rules(&mut headers, trust);
        Cow::Owned(headers)
    }

    /// Who asks: the one who connected, unless that is a trusted proxy, which names another.
    fn client(&self, said: Client, headers: &Headers, unknown: &mut Vec<Fact>) -> Result<ClientFacts, HeadError> {
        let settings = &self.snapshot.client_ip;
        let ip = match said {
            Client::Is(address) => Some(ClientIp::new(address)),
            Client::Unknown => None,
            Client::Connected(address) => {
                let source = SourceAddr(SocketAddr::new(address, 0));
                if !settings.trusts(source) {
                    Some(ClientIp::new(address))
                } else if headers.knows(settings.header()) {
                    Some(client::client_ip(source, &headers.map, settings)?.ip)
                } else {
                    None
                }
            }
        };
        let Some(ip) = ip else {
            unknown.extend([Fact::Client, Fact::Country, Fact::Continent, Fact::Asn]);
            return Ok(ClientFacts {
                ip: ClientIp::new([0, 0, 0, 0].into()),
                geo: GeoFacts::UNKNOWN,
            });
        };
        let geo = self.snapshot.geo.facts(ip.addr());
        Ok(ClientFacts { ip, geo })
    }

    /// Whether the client speaks TLS. Of a trusted proxy's client the proxy says it, in a header.
    fn tls(
        &self,
        said: Client,
        tls: Option<bool>,
        headers: &Headers,
        unknown: &mut Vec<Fact>,
    ) -> Result<bool, HeadError> {
        const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
        let source = match said {
            Client::Connected(address) => Some(SourceAddr(SocketAddr::new(address, 0))),
            // What it says is what rules saw, or is about the client.
            Client::Is(_) | Client::Unknown => None,
        };
        let settings = &self.snapshot.client_ip;
        let trusted = source.filter(|source| settings.trusts(*source));
        let known = match (trusted, tls) {
            (None, tls) => tls,
            (Some(source), Some(tls)) if headers.knows(&PROTO) && headers.knows(settings.header()) => {
                Some(client::client_tls(tls, source, &headers.map, settings)?)
            }
            (Some(_), _) => None,
        };
        Ok(known.unwrap_or_else(|| {
            unknown.push(Fact::Tls);
            false
        }))
    }

    /// The facts as the policy takes them.
    pub fn request_facts<'f>(&'f self, facts: &'f Facts<'_>) -> Option<RequestFacts<'f>> {
        let site = self.snapshot.sites.get(facts.site)?;
        Some(RequestFacts {
            now: facts.now,
            site: &site.settings.facts,
            tls: facts.tls,
            version: facts.version,
            method: facts.method,
            host: &facts.host,
            target: &facts.target,
            headers: &facts.headers,
            client: facts.client,
        })
    }
}

impl Facts<'_> {
    /// The canonical path.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// Who asks, if it is known.
    pub fn client(&self, ignorance: &Ignorance) -> Option<ClientFacts> {
        (!ignorance.facts.contains(&Fact::Client)).then_some(self.client)
    }
}

const UNKNOWN_HOST: HeadError = HeadError {
    reason: Reason::UnknownHost,
    status: http::StatusCode::MISDIRECTED_REQUEST,
    detail: "no site has this host",
};

/// The host of every request that is served at all, when there is only one.
fn only_host(snapshot: &Snapshot) -> Option<Host> {
    let [site] = snapshot.sites.as_slice() else {
        return None;
    };
    match site.settings.facts.hosts.as_slice() {
        [HostPattern::Exact(name)] => Host::parse(name.as_str()).ok(),
        _ => None,
    }
}

fn check_method(method: &str) -> Result<(), HeadError> {
    if matches!(method, "GET" | "HEAD" | "POST") {
        return Ok(());
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| malformed("invalid method"))?;
    head::check_method(&method)
}
