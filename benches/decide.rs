//! What judging a request costs, by the number and the kind of rules.
//!
//! One request of a browser, twelve headers with cookies over TLS, is judged under generated policies. `decide` is the
//! judge alone; `head_to_decision` adds what the gateway makes of the head before: host, target, client IP, facts.
//! Looking up where an address is belongs to neither: the gateway does it once, whatever the rules.

use std::{fmt::Write as _, hint::black_box, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use portcullis::{
    config,
    policy::{
        client::{ClientIpSettings, SourceAddr, client_ip},
        decision::{Decision, Verdict},
        facts::{ClientFacts, Continent, Country, GeoFacts, HttpVersion, RequestFacts},
        fault::{Faults, Source},
        lang::GeoKnown,
        network::{IpRange, IpSet},
        normalize::{Host, PathOptions, Target},
        phases::Scratch,
        policy::{ListFiles, Policy, PolicyEnvironment},
        rule::Timestamp,
        site::{DefaultVerdict, HostPattern, SiteFacts},
    },
};

/// 2026-01-01T00:00:00Z
const NOW: Timestamp = Timestamp(1_767_225_600);
const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";

fn site() -> SiteFacts {
    SiteFacts {
        name: "main".to_owned(),
        hosts: vec![HostPattern::Any],
        upstream: "app".to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    }
}

/// A request's head as it leaves the HTTP parser.
struct Head {
    host: &'static str,
    target: &'static str,
    headers: HeaderMap,
    source: SourceAddr,
}

impl Head {
    /// A browser's, from an address that no policy here names.
    fn of_browser() -> Self {
        let lines = [
            (
                "accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            ),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("accept-language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
            ("cache-control", "max-age=0"),
            (
                "cookie",
                "session=3f9a1c77b20e4d6f8a5b; theme=dark; consent=necessary%2Cstatistics; cart=18; _t=1767225600",
            ),
            ("priority", "u=0, i"),
            ("referer", "https://www.example.com/products?category=lamps"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-site", "same-origin"),
            ("upgrade-insecure-requests", "1"),
            ("user-agent", BROWSER),
        ];
        let line = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self {
            host: "www.example.com",
            target: "/products/lamps/desk-lamp-42?color=black&size=m&page=2",
            headers: lines.map(line).into_iter().collect(),
            source: SourceAddr(SocketAddr::from(([198, 51, 100, 23], 50_000))),
        }
    }

    fn from(mut self, address: [u8; 4]) -> Self {
        self.source = SourceAddr(SocketAddr::from((address, 50_000)));
        self
    }

    fn agent(mut self, user_agent: &str) -> Self {
        let value = HeaderValue::from_str(user_agent).expect("a header value");
        self.headers.insert(header::USER_AGENT, value);
        self
    }

    /// What is read of the head before it is judged.
    fn parsed(&self, settings: &ClientIpSettings) -> Parsed {
        let client = client_ip(self.source, &self.headers, settings).expect("a client");
        Parsed {
            host: Host::parse(self.host).expect("a host"),
            target: Target::parse(self.target, PathOptions::default()).expect("a target"),
            client: ClientFacts {
                ip: client.ip,
                geo: GeoFacts {
                    country: Country::new("DE").expect("a country"),
                    continent: Continent::new("EU").expect("a continent"),
                    asn: 64_511,
                },
            },
        }
    }
}

/// The parts of a head that are parsed.
struct Parsed {
    host: Host,
    target: Target,
    client: ClientFacts,
}

impl Parsed {
    fn facts<'a>(&'a self, head: &'a Head, site: &'a SiteFacts) -> RequestFacts<'a> {
        RequestFacts {
            now: NOW,
            site,
            tls: true,
            version: HttpVersion::Http2,
            method: "GET",
            host: &self.host,
            target: &self.target,
            headers: &head.headers,
            client: self.client,
        }
    }
}

/// No list here is read from a file.
struct NoFiles;

impl ListFiles for NoFiles {
    fn read(&self, _path: &str) -> Result<Arc<Source>, String> {
        Err("no such file".to_owned())
    }
}

fn compiled(rules: &str) -> Policy {
    let mut faults = Faults::new();
    let environment = PolicyEnvironment {
        sites: &[site()],
        geo: GeoKnown::ALL,
        files: &NoFiles,
        previous: None,
        now: NOW,
    };
    let policy = Policy::compile(&[Source::new("generated.toml", rules)], &environment, &mut faults);
    policy.unwrap_or_else(|| panic!("generated rules do not load: {:?}", faults.into_sorted()))
}

/// The rules of the checkout's own configuration.
fn shipped() -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/portcullis.toml");
    match config::load(&path, NOW, None) {
        Ok((snapshot, _)) => snapshot.policy,
        Err(faults) => panic!("the shipped configuration does not load: {faults:?}"),
    }
}

/// This many rules of all kinds: of every twenty, eight name a network (one of them an IPv6 one), four a path or a host
/// with wildcards, three a user agent, one a country, one an autonomous system, two a header, cookie or argument, and one
/// is a regex. All block, and none matches [`Head::of_browser`].
fn mixed(count: usize) -> String {
    (0..count).map(mixed_rule).collect()
}

fn mixed_rule(n: usize) -> String {
    let (high, low) = (n / 256, n % 256);
    let rule =
        |expression: String| format!("[[rule]]\nid = \"r{n}\"\naction = \"block\"\nexpression = '{expression}'\n");
    let entry = |kind: &str, key: String| format!("[[{kind}]]\nid = \"r{n}\"\naction = \"block\"\n{key}\n");
    match n % 20 {
        0 | 4 | 6 | 8 | 10 | 14 | 16 => entry("ip_access", format!("ip = [\"10.{high}.{low}.0/24\"]")),
        18 => entry("ip_access", format!("ip = [\"2001:db8:{n:x}::/48\"]")),
        1 | 11 => {
            format!("[[lockdown]]\nid = \"r{n}\"\nurls = [\"/area{n}\", \"/area{n}/*\"]\nallow = [\"10.0.0.0/8\"]\n")
        }
        5 => rule(format!("http.request.uri.path wildcard \"/v*/tenants/t{n}/*/export\"")),
        15 => rule(format!("http.host wildcard \"*.t{n}.example.net\"")),
        2 | 12 | 17 => entry("user_agent", format!("contains = [\"agent-{n}/\"]")),
        3 => entry(
            "geo",
            format!("country = [\"{}\"]", COUNTRIES[(n / 20) % COUNTRIES.len()]),
        ),
        13 => entry("ip_access", format!("asn = [{}]", 64_512 + n)),
        7 => rule(format!("any(http.request.headers[\"x-client-{n}\"][*] eq \"old\")")),
        9 if n % 40 == 9 => rule(format!("any(http.request.cookies[\"c{n}\"][*] eq \"1\")")),
        9 => rule(format!("any(http.request.uri.args[\"a{n}\"][*] contains \"../\")")),
        19 => rule(format!(
            "http.request.uri.path matches \"^/(old|legacy)-{n}/[a-z0-9]+\\.(php|asp)$\""
        )),
        slot => unreachable!("{slot} is below twenty"),
    }
}

const COUNTRIES: [&str; 10] = ["KP", "IR", "SY", "CU", "BY", "MM", "SD", "VE", "ZW", "YE"];

/// One rule over a list of this many entries: addresses and networks of both families.
fn listed(count: u32) -> String {
    let mut items = String::new();
    for n in 0..count {
        let [_, high, mid, low] = n.to_be_bytes();
        let _ = match n % 10 {
            0 => write!(items, "\"2001:db8:{high:x}:{mid:x}{low:02x}::/64\","),
            1..4 => write!(items, "\"11.{mid}.{low}.0/24\","),
            _ => write!(items, "\"{}.{high}.{mid}.{low}\",", 12 + n % 7),
        };
    }
    format!(
        "[list.blocked]\nkind = \"ip\"\nitems = [{items}]\n[[ip_access]]\naction = \"block\"\nip = [\"$blocked\"]\n"
    )
}

const CATALOGUE: &str = "[[user_agent]]\naction = \"block\"\ncategory = [\"ai_crawler\", \"scanner\", \"seo\"]\n";

/// What must come of a head, so that no benchmark measures something else than it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Allowed,
    Refused,
}

fn is_as_expected(decision: &Decision<'_>, expected: Expected) -> bool {
    match decision.verdict {
        Verdict::Allow { .. } => expected == Expected::Allowed,
        Verdict::Block { .. } => expected == Expected::Refused,
    }
}

/// A policy by name, with the heads that it is asked about.
struct Case {
    name: &'static str,
    policy: Policy,
    heads: Vec<(&'static str, Head, Expected)>,
}

impl Case {
    fn new(name: &'static str, policy: Policy) -> Self {
        let heads = vec![("allowed", Head::of_browser(), Expected::Allowed)];
        Self { name, policy, heads }
    }

    fn refuses(mut self, which: &'static str, head: Head) -> Self {
        self.heads.push((which, head, Expected::Refused));
        self
    }

    /// Mixed rules: the first that is asked refuses by address, the last by user agent, after all others.
    fn mixed(name: &'static str, count: usize) -> Self {
        let last = (0..count)
            .rev()
            .find(|n| matches!(n % 20, 2 | 12 | 17))
            .expect("ten rules or more");
        Self::new(name, compiled(&mixed(count)))
            .refuses("refused_first", Head::of_browser().from([10, 0, 0, 7]))
            .refuses("refused_last", Head::of_browser().agent(&format!("agent-{last}/1.0")))
    }

    fn listed(name: &'static str, count: u32) -> Self {
        Self::new(name, compiled(&listed(count))).refuses("refused", Head::of_browser().from([11, 0, 1, 7]))
    }
}

fn cases() -> Vec<Case> {
    let crawler =
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)";
    vec![
        Case::new("no_rules", compiled("")),
        Case::new("shipped_rules", shipped()),
        Case::mixed("10_rules", 10),
        Case::mixed("100_rules", 100),
        Case::mixed("1000_rules", 1000),
        Case::mixed("10000_rules", 10_000),
        Case::listed("list_of_1000", 1000),
        Case::listed("list_of_100000", 100_000),
        Case::new("agent_catalogue", compiled(CATALOGUE)).refuses("refused", Head::of_browser().agent(crawler)),
    ]
}

/// No header is believed, as in a gateway that clients reach directly.
fn nobody_is_trusted() -> ClientIpSettings {
    ClientIpSettings::new(IpSet::default(), HeaderName::from_static("x-forwarded-for"))
}

/// What is read of the head, whatever the rules.
fn facts(criterion: &mut Criterion) {
    let (head, site) = (Head::of_browser(), site());
    let direct = nobody_is_trusted();
    criterion.bench_function("facts/direct", |bencher| {
        bencher.iter(|| black_box(black_box(&head).parsed(&direct).facts(&head, &site).client));
    });

    let proxy = IpRange::parse("10.0.0.1").expect("an address");
    let mut proxied = Head::of_browser().from([10, 0, 0, 1]);
    let way = HeaderValue::from_static("203.0.113.9, 198.51.100.23");
    proxied.headers.insert("x-forwarded-for", way);
    let trusted = ClientIpSettings::new(
        [proxy].into_iter().collect(),
        HeaderName::from_static("x-forwarded-for"),
    );
    criterion.bench_function("facts/behind_proxy", |bencher| {
        bencher.iter(|| black_box(black_box(&proxied).parsed(&trusted).facts(&proxied, &site).client));
    });

    let encoded = Head {
        target: "/products/lamps%20%26%20lights/desk;v=2/a%2520b",
        ..Head::of_browser()
    };
    criterion.bench_function("facts/many_readings", |bencher| {
        bencher.iter(|| black_box(black_box(&encoded).parsed(&direct).facts(&encoded, &site).client));
    });
}

fn decide(criterion: &mut Criterion) {
    for case in cases() {
        for (which, head, expected) in &case.heads {
            measure(criterion, &case, which, head, *expected);
        }
    }
}

fn measure(criterion: &mut Criterion, case: &Case, which: &str, head: &Head, expected: Expected) {
    let (site, settings, mut scratch) = (site(), nobody_is_trusted(), Scratch::new());
    let parsed = head.parsed(&settings);
    let facts = parsed.facts(head, &site);
    let decision = case.policy.decide(&facts, &mut scratch);
    assert!(
        is_as_expected(&decision, expected),
        "{} {which}: {decision:?}",
        case.name
    );
    criterion.bench_function(&format!("decide/{}/{which}", case.name), |bencher| {
        bencher.iter(|| is_as_expected(&case.policy.decide(black_box(&facts), &mut scratch), expected));
    });
    criterion.bench_function(&format!("head_to_decision/{}/{which}", case.name), |bencher| {
        bencher.iter(|| {
            let parsed = black_box(head).parsed(&settings);
            let facts = parsed.facts(head, &site);
            is_as_expected(&case.policy.decide(&facts, &mut scratch), expected)
        });
    });
}

/// Some forty benchmarks in about a minute and a half.
fn settings() -> Criterion {
    Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = facts, decide
}
criterion_main!(benches);
