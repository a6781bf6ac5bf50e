//! A request stated part by part, for tests, benchmarks and anyone who has to make one up.
//!
//! [`RequestFacts`] borrows everything; [`Request`] owns it. Parts that do not parse panic: a test's own text is wrong then.

use std::net::IpAddr;

use super::{
    client::ClientIp,
    facts::{ClientFacts, Continent, Country, GeoFacts, HttpVersion, RequestFacts},
    normalize::{Host, HostName, PathOptions, Target},
    rule::Timestamp,
    site::{DefaultVerdict, HostPattern, SiteFacts},
};

/// An owned request. Starts as `GET https://example.com/` over HTTP/2 from 192.0.2.1, of which nothing is known, to the
/// site `main` of every host, at 2026-01-01T00:00:00Z.
///
/// ```
/// use portcullis::policy::testing::Request;
///
/// let request = Request::get("https://example.com/wp-login.php?x=1").ip("203.0.113.9").country("DE");
/// assert_eq!(request.facts().target.path(), "/wp-login.php");
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    now: Timestamp,
    site: SiteFacts,
    tls: bool,
    version: HttpVersion,
    method: String,
    host: Host,
    raw_target: String,
    target: Target,
    path_options: PathOptions,
    headers: http::HeaderMap,
    client: ClientFacts,
}

impl Request {
    /// A GET of `url`.
    ///
    /// # Panics
    /// As [`Request::url`].
    pub fn get(url: &str) -> Self {
        let path_options = PathOptions::default();
        Self {
            now: Timestamp(1_767_225_600),
            site: SiteFacts {
                name: "main".to_owned(),
                hosts: vec![HostPattern::Any],
                upstream: "app".to_owned(),
                application: 0,
                default: DefaultVerdict::Forward,
            },
            tls: true,
            version: HttpVersion::Http2,
            method: "GET".to_owned(),
            host: host("example.com"),
            raw_target: "/".to_owned(),
            target: target("/", path_options),
            path_options,
            headers: http::HeaderMap::new(),
            client: ClientFacts {
                ip: ClientIp::new(IpAddr::from([192, 0, 2, 1])),
                geo: GeoFacts::UNKNOWN,
            },
        }
        .url(url)
    }

    /// What the request asks for: `https://host/path?query`, or `/path?query` to keep the host.
    ///
    /// # Panics
    /// When the host or the target would be refused before any rule.
    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) => {
                self.tls = scheme == "https";
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                self.host = host(&rest[..end]);
                &rest[end..]
            }
            None => url,
        };
        self.raw_target = if rest.starts_with('/') {
            rest.to_owned()
        } else {
            format!("/{rest}")
        };
        self.target = target(&self.raw_target, self.path_options);
        self
    }

    /// How the site reads paths.
    ///
    /// # Panics
    /// When the target is refused under these options.
    #[must_use]
    pub fn path_options(mut self, options: PathOptions) -> Self {
        self.path_options = options;
        self.target = target(&self.raw_target, options);
        self
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Another version of HTTP.
    #[must_use]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// One more header; a name given twice is two header lines.
    ///
    /// # Panics
    /// When HTTP does not allow the name or the value.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name: http::HeaderName = name.parse().expect("a header name");
        let value = http::HeaderValue::from_bytes(value.as_ref()).expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// Who asks.
    ///
    /// # Panics
    /// When `ip` is no address.
    #[must_use]
    pub fn ip(mut self, ip: &str) -> Self {
        self.client.ip = ClientIp::new(ip.parse().expect("an IP address"));
        self
    }

    /// Where the client is.
    ///
    /// # Panics
    /// When `code` is not shaped like a country code.
    #[must_use]
    pub fn country(mut self, code: &str) -> Self {
        self.client.geo.country = Country::new(code).expect("a country code");
        self
    }

    /// On which continent the client is; the country does not imply it.
    ///
    /// # Panics
    /// When `code` is not shaped like a continent code.
    #[must_use]
    pub fn continent(mut self, code: &str) -> Self {
        self.client.geo.continent = Continent::new(code).expect("a continent code");
        self
    }

    /// The client's autonomous system.
    #[must_use]
    pub fn asn(mut self, asn: u32) -> Self {
        self.client.geo.asn = asn;
        self
    }

    /// The site, with its hosts as a configuration writes them (`example.com`, `*.example.com`, `*`).
    ///
    /// # Panics
    /// When a host is none.
    #[must_use]
    pub fn site(mut self, name: &str, hosts: &[&str]) -> Self {
        name.clone_into(&mut self.site.name);
        self.site.hosts = hosts.iter().map(|pattern| host_pattern(pattern)).collect();
        self
    }

    /// The site forwards only what a rule allows.
    #[must_use]
    pub fn block_by_default(mut self) -> Self {
        self.site.default = DefaultVerdict::Block;
        self
    }

    /// When the request comes, in seconds since 1970.
    #[must_use]
    pub fn now(mut self, seconds: i64) -> Self {
        self.now = Timestamp(seconds);
        self
    }

    /// The facts, as rules see them.
    pub fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            now: self.now,
            site: &self.site,
            tls: self.tls,
            version: self.version,
            method: &self.method,
            host: &self.host,
            target: &self.target,
            headers: &self.headers,
            client: self.client,
        }
    }
}

fn host(as_sent: &str) -> Host {
    Host::parse(as_sent).expect("a host")
}

fn host_pattern(pattern: &str) -> HostPattern {
    match pattern.strip_prefix("*.") {
        _ if pattern == "*" => HostPattern::Any,
        Some(below) => HostPattern::Below(HostName::parse(below).expect("a host name")),
        None => HostPattern::Exact(HostName::parse(pattern).expect("a host name")),
    }
}

fn target(raw: &str, options: PathOptions) -> Target {
    Target::parse(raw, options).expect("a target that is not refused")
}
