//! Mixed rules, each said in Portcullis's language and in the peer's.
//!
//! Of every twenty: eight name a network (one of them an IPv6 one), four a URL or a host with wildcards, three a user agent
//! (one of them by a regular expression), one a country, one an autonomous system, two a header, cookie or argument, and one
//! a path by a regular expression. All block, and none matches the requests of [`crate::heads`].

use std::fmt::Write as _;

use crate::random::Random;

/// Whether a rule may name this country.
pub fn blocks_country(code: &str) -> bool {
    COUNTRIES.contains(&code)
}

/// The name of the list that [`toml`] refers to and reads from [`LIST_FILE`].
pub const LIST: &str = "blocked";
/// Where the list's entries stand, relative to the configuration.
pub const LIST_FILE: &str = "blocked.txt";

/// What one rule blocks.
#[derive(Debug)]
pub enum Blocks {
    /// A client in this network.
    Network(String),
    /// Clients elsewhere than in 10.0.0.0/8, at this path and below.
    Locked(String),
    /// A path by wildcard.
    Path(String),
    /// A host by wildcard.
    Host(String),
    /// A user agent with this text in it, letter case aside.
    Agent(String),
    /// A user agent by regular expression.
    AgentRegex(String),
    /// Clients in these countries.
    Countries([&'static str; 3]),
    /// Clients of this autonomous system.
    Asn(usize),
    /// A value of a header, cookie or argument: its field, its name, and the text.
    Value(Map, &'static str, String),
    /// A path by regular expression.
    PathRegex(String),
}

/// Where a request keeps named values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// The headers.
    Headers,
    /// The cookies.
    Cookies,
    /// The query's arguments.
    Args,
}

impl Map {
    /// The field of Portcullis.
    pub fn field(self) -> &'static str {
        match self {
            Self::Headers => "http.request.headers",
            Self::Cookies => "http.request.cookies",
            Self::Args => "http.request.uri.args",
        }
    }
}

const COUNTRIES: [&str; 24] = [
    "KP", "IR", "SY", "CU", "BY", "MM", "SD", "VE", "ZW", "YE", "LY", "SO", "SS", "CF", "CD", "ML", "NI", "LB", "IQ",
    "AF", "HT", "ER", "GN", "BI",
];
const HEADERS: [&str; 10] = [
    "accept-language",
    "cache-control",
    "priority",
    "sec-fetch-dest",
    "origin",
    "via",
    "x-api-version",
    "x-client",
    "x-forwarded-host",
    "x-requested-with",
];
const COOKIES: [&str; 6] = ["session", "theme", "consent", "cart", "token", "variant"];
const ARGS: [&str; 6] = ["color", "size", "page", "debug", "file", "redirect"];
const SYLLABLES: [&str; 16] = [
    "ba", "cor", "dex", "fi", "gra", "ho", "jin", "ka", "lum", "mo", "net", "ori", "pul", "ra", "sem", "tiv",
];
const TRADES: [&str; 5] = ["Bot", "Spider", "Crawler", "Scanner", "Fetcher"];

/// A crawler's name that nobody uses.
pub fn invented_name(random: &mut Random) -> String {
    let mut name: String = (0..3).map(|_| random.pick(&SYLLABLES)).collect();
    name[..1].make_ascii_uppercase();
    name + random.pick(&TRADES)
}

/// The rule with this number.
pub fn nth(n: usize) -> Blocks {
    let (high, low) = (n / 256, n % 256);
    let mut random = Random::seeded(n as u64);
    match n % 20 {
        18 => Blocks::Network(format!("2001:db8:{n:x}::/48")),
        1 => Blocks::Locked(format!("/area{n}")),
        11 => Blocks::Path(format!("/shop{n}/*/checkout*")),
        5 => Blocks::Path(format!("/v*/tenants/t{n}/*/export")),
        15 => Blocks::Host(format!("*.t{n}.example.net")),
        2 | 12 => Blocks::Agent(format!("{}{n}/", invented_name(&mut random))),
        17 => Blocks::AgentRegex(format!("^{}[ /]{n}\\.[0-9]+", invented_name(&mut random))),
        3 => Blocks::Countries([(); 3].map(|()| random.pick(&COUNTRIES))),
        13 => Blocks::Asn(64_512 + n),
        7 => Blocks::Value(Map::Headers, random.pick(&HEADERS), format!("old-{n}")),
        9 if n % 40 == 9 => Blocks::Value(Map::Cookies, random.pick(&COOKIES), format!("stolen-{n}")),
        9 => Blocks::Value(Map::Args, random.pick(&ARGS), format!("..%2f{n}")),
        19 => Blocks::PathRegex(format!("^/(old|legacy)-{n}/[a-z0-9]+\\.(php|asp)$")),
        _ => Blocks::Network(format!("10.{high}.{low}.0/24")),
    }
}

/// This many rules and one over a list of addresses, as a rule file.
pub fn toml(count: usize) -> String {
    toml_of(0..count) + &listed_toml()
}

/// The rules with these numbers, as a rule file.
pub fn toml_of(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|n| nth(n).toml(n)).collect()
}

/// The rule over the list alone.
pub fn listed_toml() -> String {
    format!(
        "[list.{LIST}]\nkind = \"ip\"\nfile = \"{LIST_FILE}\"\n\
         [[ip_access]]\nid = \"listed\"\naction = \"block\"\nip = [\"${LIST}\"]\n"
    )
}

impl Blocks {
    /// The rule's table in a rule file.
    fn toml(&self, n: usize) -> String {
        let entry = |kind: &str, key: String| format!("[[{kind}]]\nid = \"r{n}\"\naction = \"block\"\n{key}\n");
        let rule = |expression: String| entry("rule", format!("expression = '{expression}'"));
        match self {
            Self::Network(network) => entry("ip_access", format!("ip = [\"{network}\"]")),
            Self::Locked(path) => {
                format!("[[lockdown]]\nid = \"r{n}\"\nurls = [\"{path}\", \"{path}/*\"]\nallow = [\"10.0.0.0/8\"]\n")
            }
            Self::Path(pattern) => rule(format!("http.request.uri.path wildcard \"{pattern}\"")),
            Self::Host(pattern) => rule(format!("http.host wildcard \"{pattern}\"")),
            Self::Agent(text) => entry("user_agent", format!("contains = [\"{text}\"]")),
            Self::AgentRegex(regex) => entry("user_agent", format!("matches = ['{regex}']")),
            Self::Countries(codes) => entry("geo", format!("country = {}", distinct(codes))),
            Self::Asn(asn) => entry("ip_access", format!("asn = [{asn}]")),
            Self::Value(map, name, text) => rule(format!("any({}[\"{name}\"][*] eq \"{text}\")", map.field())),
            Self::PathRegex(regex) => rule(format!("http.request.uri.path matches \"{regex}\"")),
        }
    }

    /// The same as the peer's expression.
    pub(crate) fn peer(&self) -> String {
        match self {
            Self::Network(network) => format!("ip.src in {{{network}}}"),
            Self::Locked(path) => {
                format!("http.request.uri.path matches \"(?i)^{path}(/.*)?$\" && not ip.src in {{10.0.0.0/8}}")
            }
            Self::Path(pattern) => format!("http.request.uri.path matches \"{}\"", regex_of(pattern)),
            Self::Host(pattern) => format!("http.host matches \"{}\"", regex_of(pattern)),
            Self::Agent(text) => format!("http.user_agent.lower contains \"{}\"", text.to_ascii_lowercase()),
            Self::AgentRegex(regex) => format!("http.user_agent matches \"{regex}\""),
            Self::Countries([a, b, c]) => format!("ip.src.country in {{\"{a}\" \"{b}\" \"{c}\"}}"),
            Self::Asn(asn) => format!("ip.src.asnum == {asn}"),
            Self::Value(map, name, text) => format!("{} == \"{text}\"", peer_field(*map, name)),
            Self::PathRegex(regex) => format!("http.request.uri.path matches \"{regex}\""),
        }
    }
}

/// The peer has no maps: each value that a rule asks for is a field of its own.
pub(crate) fn peer_field(map: Map, name: &str) -> String {
    format!("{}.{}", map.field(), name.replace('-', "_"))
}

/// The peer has no wildcards.
fn regex_of(pattern: &str) -> String {
    format!("(?i)^{}$", pattern.replace('.', "\\.").replace('*', ".*"))
}

fn distinct(codes: &[&str]) -> String {
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    codes.dedup();
    let mut text = String::from("[");
    for code in codes {
        // Writing into a String cannot fail.
        let _ = write!(text, "\"{code}\",");
    }
    text + "]"
}
