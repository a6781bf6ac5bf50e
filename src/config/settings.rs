//! `portcullis.toml` as it means: every value parsed, every default filled in.
//!
//! What the rest of the program reads. How it is written, and every fault in it, is the business of the reader beside it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;

use crate::policy::{
    fault::Place,
    network::IpSet,
    normalize::{Host, PathOptions},
    rule::RefusalStatus,
    site::SiteFacts,
    table::Placed,
};

/// Everything of `portcullis.toml` but the rules.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `workers`: single-threaded runtimes, one a core unless set. Needs a restart.
    pub workers: usize,
    /// `[[listen]]`. Needs a restart.
    pub listeners: Vec<Listener>,
    /// `[admin]`
    pub admin: Admin,
    /// `[client_ip]`
    pub client_ip: ClientIpSource,
    /// `[geoip]`
    pub geoip: GeoSettings,
    /// `[upstream.NAME]`
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// `[[site]]`, in written order.
    pub sites: Vec<Arc<Site>>,
    /// `[limits]`
    pub limits: Limits,
    /// `[headers]`
    pub headers: Headers,
    /// `[log]`
    pub log: LogSettings,
    /// `[reload]`
    pub reload: ReloadSettings,
}

/// A `[[listen]]` table: where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; `[::]` is dual stack.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Peers that must send a PROXY header; from any other it is an error to send one.
    pub proxy_protocol: IpSet,
    /// A path that the gateway answers itself, whatever the Host: for load balancers' checks.
    pub health: Option<String>,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TLS with HTTP/1.1 and HTTP/2 by ALPN.
    Tls {
        /// The oldest version accepted.
        min: TlsVersion,
    },
    /// Plain HTTP/1.1.
    Plain,
    /// Plain HTTP/1.1 that answers known hosts with 308 to https on this port, others with 421.
    Redirect {
        /// The port of the https listener as clients see it.
        port: u16,
    },
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// `[admin]`: for operators and their monitoring, never for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Serves `/healthz`, `/readyz` and `/metrics`; `None` serves none of them. Needs a restart.
    pub address: Option<SocketAddr>,
    /// The unix socket for `reload` and `status`, of mode 0600. Needs a restart.
    pub socket: Option<PathBuf>,
}

/// `[client_ip]`: which proxies are believed, and which header of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIpSource {
    /// Proxies whose header is believed, `$lists` already resolved; empty: none.
    pub trusted_proxies: IpSet,
    /// The `$lists` among them.
    pub lists: Vec<String>,
    /// The header that names the client.
    pub header: HeaderName,
}

/// `[geoip]`: where countries and networks of addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoSettings {
    /// The country source.
    pub country: Option<GeoSource>,
    /// A MaxMind-format file with autonomous systems.
    pub asn: Option<PathBuf>,
    /// The name of the list of Tor exits whose country becomes `T1`.
    pub tor: Option<String>,
}

/// A country source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeoSource {
    /// The registries' assignments, compiled in.
    Builtin,
    /// A `.mmdb` file.
    MaxMind(PathBuf),
    /// A text file of `start,end,CC` lines.
    Ranges(PathBuf),
}

/// `[upstream.NAME]`: a named pool of an origin's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Its servers, tried in turn.
    pub servers: Vec<Server>,
    /// What they speak.
    pub protocol: UpstreamProtocol,
    /// Connecting, the TLS handshake included.
    pub connect_timeout: Duration,
    /// From the last byte of the request until the response's head.
    pub response_timeout: Duration,
    /// Silence in the middle of a body, either way.
    pub idle_timeout: Duration,
    /// How long an unused keep-alive connection is kept.
    pub keepalive: Duration,
    /// Unused keep-alive connections kept per worker and server; bounds what a burst leaves behind.
    pub max_idle: usize,
    /// A PEM file of roots for https servers, instead of the public ones.
    pub ca: Option<PathBuf>,
    /// The name that https servers must prove, instead of the server's host.
    pub tls_name: Option<String>,
    /// Which of its servers is asked next.
    pub balance: Balance,
    /// How often one request is asked again of another server after a failure, at most.
    pub retries: u32,
    /// Retries at once beyond a few, in percent of recent requests.
    pub retry_budget: u32,
    /// When a server that fails is left out; `None`: never.
    pub ejection: Option<Ejection>,
    /// How long a server that comes back takes to get its whole share again; `None`: it gets it at once.
    pub slow_start: Option<Duration>,
    /// How its servers are asked whether they are well; `None`: they are not.
    pub health_check: Option<HealthCheck>,
}

/// Which of an upstream's servers is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after another.
    RoundRobin,
    /// The one that has the fewest requests under way, as far as the worker knows: its own.
    LeastConnections,
}

/// When a server that fails requests is left out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row, over all workers.
    pub after: u32,
    /// The first time; it doubles each time that the server fails again soon.
    pub time: Duration,
    /// The longest time.
    pub longest: Duration,
}

/// `[upstream.NAME.health_check]`: a request that the gateway makes of each server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The target asked, path and query.
    pub path: String,
    /// The `Host` sent; the server's own unless set.
    pub host: Option<HeaderValue>,
    /// The time between two checks of one server.
    pub interval: Duration,
    /// Connecting, asking and the answer's head together.
    pub timeout: Duration,
    /// The statuses that pass; empty: 200 to 299.
    pub status: Vec<StatusCode>,
    /// Checks passed in a row until a failing server is asked again.
    pub healthy_after: u32,
    /// Checks failed in a row until a server is not asked any more.
    pub unhealthy_after: u32,
}

/// What an upstream's servers speak. Chosen by the operator, never by what a server offers: a server that answers otherwise
/// is at fault, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1: one request at a time on a connection.
    Http1,
    /// HTTP/2: many requests on a connection. https servers agree to it in the handshake (ALPN `h2`), http servers are
    /// known to speak it (h2c with prior knowledge).
    Http2,
}

/// One of an upstream's servers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Server {
    /// `http://host:port`
    Http {
        /// Host name or address, without brackets.
        host: String,
        /// The port; 80 unless written.
        port: u16,
    },
    /// `https://host:port`, verified.
    Https {
        /// Host name or address, without brackets.
        host: String,
        /// The port; 443 unless written.
        port: u16,
    },
    /// `builtin:demo`: an origin inside the gateway that shows the request it received.
    Demo,
}

/// A `[[site]]`: a set of host names with its upstream and its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// What rules see of it.
    pub facts: SiteFacts,
    /// Where its `hosts` are written, for faults about them.
    pub hosts_place: Place,
    /// Certificate and key files.
    pub certificates: Vec<CertificateFiles>,
    /// Whether a certificate is made at start.
    pub self_signed: bool,
    /// The refusal page, when it is not the shipped one.
    pub html_page: Option<PathBuf>,
    /// The refusal document, when it is not the shipped one.
    pub json_page: Option<PathBuf>,
    /// What a concealing 404 sends.
    pub not_found: NotFound,
    /// The status of refusals whose rule names none.
    pub status: RefusalStatus,
    /// What a refusal says of its cause.
    pub disclose: Disclose,
    /// A URL that `type` of problem documents points to; `about:blank` unless set.
    pub error_docs: Option<String>,
    /// How paths are read.
    pub paths: PathOptions,
}

/// A certificate chain and its key, in PEM; each path with the place where it was written, for faults found in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: Placed<PathBuf>,
    /// The key.
    pub key: Placed<PathBuf>,
}

/// What a concealing 404 sends: made to equal the origin's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// The body.
    pub body: String,
    /// Its media type.
    pub content_type: HeaderValue,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a refusal says of its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclose {
    /// The status alone.
    Nothing,
    /// The reason.
    Reason,
    /// The reason and the rule's id.
    Rule,
}

/// `[limits]`: every bound on what a client can make the gateway hold or do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A request's head, all lines together, in bytes. Beyond: 431.
    pub header_bytes: usize,
    /// Header lines in a request. Beyond: 431.
    pub header_count: usize,
    /// Path and query, in bytes. Beyond: 414.
    pub target_bytes: usize,
    /// A request's body in bytes; `None`: unlimited, since bodies stream. Beyond: 413.
    pub body_bytes: Option<u64>,
    /// From accept (or the last response) until the head is complete.
    pub header_timeout: Duration,
    /// A TLS handshake.
    pub handshake_timeout: Duration,
    /// Steps of TLS handshakes that a worker takes before it turns to everything else that is ready.
    pub handshake_turns: usize,
    /// A PROXY header.
    pub proxy_header_timeout: Duration,
    /// A keep-alive connection without a request.
    pub keepalive_timeout: Duration,
    /// A whole request; `None`: unlimited.
    pub total_timeout: Option<Duration>,
    /// The least bytes per second of a request's body, and of a response being read, after the grace; 0 is off.
    pub min_rate: u64,
    /// How long a body may be slower than `min_rate`.
    pub min_rate_grace: Duration,
    /// Client connections at once, over all listeners.
    pub connections: usize,
    /// Client connections at once from one client network (an IPv4 address, an IPv6 /64).
    pub connections_per_client: usize,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
    /// A connected tunnel (WebSocket) without a byte either way.
    pub tunnel_idle_timeout: Duration,
    /// How long connections may finish after TERM.
    pub drain_timeout: Duration,
    /// Upstream connections at once per worker and server; more wait for their turn as long as `connect_timeout`.
    pub upstream_connections: usize,
}

/// `[reload]`: what must hold of a configuration before it is put in force, and what takes it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whether a load whose `[[test]]` tables fail is refused, or only warned of.
    pub tests: bool,
    /// Who must not be blocked. It admits nobody: a load that would block them is refused.
    pub never_block: Vec<NeverBlock>,
    /// What returns to the last confirmed configuration by itself; `None`: nothing does.
    pub guard: Option<Guard>,
}

/// Clients that must reach a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeverBlock {
    /// Where it is written.
    pub place: Place,
    /// Their addresses, `$lists` already resolved.
    pub from: IpSet,
    /// The hosts that they ask for; empty: every site.
    pub hosts: Vec<Host>,
    /// What they ask for.
    pub path: String,
    /// The program that they ask with; `None`: a browser.
    pub user_agent: Option<HeaderValue>,
}

/// `[reload] guard`: after a reload that is to be confirmed, how many of the client networks that came before and come
/// again may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// How many times their share before.
    pub factor: u32,
    /// So many of them must have come again before anything is made of it.
    pub networks: u32,
    /// How far back "before" reaches, at least; twice as far at most.
    pub window: Duration,
}

/// `[headers]`: what is removed from and added to requests and responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Removed from every request.
    pub remove: Vec<HeaderName>,
    /// Whether the origin also gets RFC 7239's `Forwarded`.
    pub forwarded: bool,
    /// A header in which the origin gets the client's country.
    pub country: Option<HeaderName>,
    /// Whether responses carry `X-Request-Id`.
    pub request_id: bool,
    /// Added to every response that does not have them (`Strict-Transport-Security`, …).
    pub response: Vec<(HeaderName, HeaderValue)>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The shape of a line.
    pub format: LogFormat,
    /// Where access records go.
    pub access: LogTarget,
    /// The least level of other messages: a tracing filter such as `info`.
    pub level: String,
    /// Records waiting to be written; more are dropped and counted.
    pub queue: usize,
    /// Query parameters whose values are never logged.
    pub redact_query: Vec<String>,
    /// Requests that are remembered for `portcullis explain`: so many that were refused, and so many that rules matched and
    /// were let through. 0: none.
    pub events: usize,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, ECS names.
    Json,
    /// One line for people.
    Text,
}

/// Where access records go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// A file, opened again on USR1.
    File(PathBuf),
}

/// A status that a refusal without a rule answers with.
pub const DEFAULT_REFUSAL: RefusalStatus = RefusalStatus::Status(StatusCode::FORBIDDEN);

/// The client network that connection caps count: an IPv4 address, or an IPv6 /64.
pub fn client_network(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpNet::from(IpAddr::V4(v4)),
        IpAddr::V6(v6) => ipnet::Ipv6Net::new_assert(v6, 64).trunc().into(),
    }
}
