//! Requests' heads as they leave the HTTP parser, and what the gateway makes of them before it judges.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis::policy::{
    client::{ClientIpSettings, SourceAddr, client_ip},
    facts::{ClientFacts, Continent, Country, GeoFacts, HttpVersion, RequestFacts},
    network::{IpRange, IpSet},
    normalize::{Host, PathOptions, Target},
    site::SiteFacts,
};

use crate::{gate::NOW, random::Random};

/// A browser's twelve headers; agent, cookies and referer are varied.
const BROWSER: [(&str, &str); 12] = [
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("cache-control", "max-age=0"),
    ("cookie", ""),
    ("priority", "u=0, i"),
    ("referer", "https://www.example.com/products?category=lamps"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
];

/// A head.
#[derive(Debug, Clone)]
pub struct Head {
    method: &'static str,
    host: String,
    target: String,
    headers: HeaderMap,
    source: SourceAddr,
    geo: GeoFacts,
}

impl Head {
    /// A page that a browser asks for.
    pub fn page(agent: &str, source: IpAddr) -> Self {
        let line = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let head = Self {
            method: "GET",
            host: "www.example.com".to_owned(),
            target: "/products/lamps/desk-lamp-42?color=black&size=m&page=2".to_owned(),
            headers: BROWSER.into_iter().map(line).collect(),
            source: SourceAddr(SocketAddr::from((source, 50_000))),
            geo: GeoFacts {
                country: Country::new("DE").expect("a country"),
                continent: Continent::new("EU").expect("a continent"),
                asn: 64_511,
            },
        };
        head.header(header::USER_AGENT, agent).header(
            header::COOKIE,
            "session=3f9a1c77b20e4d6f8a5b; theme=dark; consent=necessary%2Cstatistics; cart=18; _t=1767225600",
        )
    }

    /// As many pages as there are sources, no two alike: a repeated request would be learnt by heart.
    pub fn pages(agents: &[String], sources: &[IpAddr]) -> Vec<Self> {
        let mut random = Random::seeded(12);
        let page = |source: &IpAddr| {
            let (lamp, page) = (random.below(10_000), random.below(50));
            let session = random.bits();
            Self::page(&agents[random.below(agents.len() as u64) as usize], *source)
                .target(&format!(
                    "/products/lamps/desk-lamp-{lamp}?color=black&size=m&page={page}"
                ))
                .header(
                    header::COOKIE,
                    &format!(
                        "session={session:020x}; theme=dark; consent=necessary%2Cstatistics; cart={page}; _t={lamp}"
                    ),
                )
        };
        sources.iter().map(page).collect()
    }

    /// Another target.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Another client.
    #[must_use]
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = SourceAddr(SocketAddr::from((source, 50_000)));
        self
    }

    /// Another host.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// A client in another country.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn country(mut self, code: &str) -> Self {
        self.geo.country = Country::new(code).expect("a country");
        self
    }

    /// A client of another autonomous system.
    #[must_use]
    pub fn asn(mut self, asn: u32) -> Self {
        self.geo.asn = asn;
        self
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Another value of a header.
    ///
    /// # Panics
    /// When HTTP does not allow it.
    #[must_use]
    pub fn header(mut self, name: impl Into<HeaderName>, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.insert(name.into(), value);
        self
    }

    /// What is read of the head before it is judged.
    ///
    /// # Panics
    /// When the gateway would refuse it before any rule.
    pub fn parsed(&self, settings: &ClientIpSettings) -> Parsed {
        let client = client_ip(self.source, &self.headers, settings).expect("a client");
        Parsed {
            host: Host::parse(&self.host).expect("a host"),
            target: Target::parse(&self.target, PathOptions::default()).expect("a target"),
            client: ClientFacts {
                ip: client.ip,
                geo: self.geo,
            },
        }
    }
}

/// The parts of a head that are parsed.
#[derive(Debug)]
pub struct Parsed {
    host: Host,
    target: Target,
    client: ClientFacts,
}

impl Parsed {
    /// The facts that are judged.
    pub fn facts<'a>(&'a self, head: &'a Head, site: &'a SiteFacts) -> RequestFacts<'a> {
        RequestFacts {
            now: NOW,
            site,
            tls: true,
            version: HttpVersion::Http2,
            method: head.method,
            host: &self.host,
            target: &self.target,
            headers: &head.headers,
            client: self.client,
        }
    }
}

/// No header is believed, as in a gateway that clients reach directly.
pub fn nobody_is_trusted() -> ClientIpSettings {
    ClientIpSettings::new(IpSet::default(), HeaderName::from_static("x-forwarded-for"))
}

/// One proxy is believed.
///
/// # Panics
/// Never: the address is one.
pub fn proxy_is_trusted(proxy: &str) -> ClientIpSettings {
    let proxy = IpRange::parse(proxy).expect("an address");
    ClientIpSettings::new(
        [proxy].into_iter().collect(),
        HeaderName::from_static("x-forwarded-for"),
    )
}
