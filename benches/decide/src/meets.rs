//! For each generated rule a request that it blocks: what both judges must refuse before their speed means anything.

use std::net::IpAddr;

use http::{HeaderName, header};

use crate::{
    heads::Head,
    rules::{Blocks, Map},
};

/// The page, changed so that the rule blocks it.
///
/// # Panics
/// When the rule is not shaped like a generated one.
pub fn blocked_by(rule: &Blocks, page: Head) -> Head {
    match rule {
        Blocks::Network(network) => page.from(inside(network)),
        Blocks::Locked(path) => page.target(&format!("{}/x", path.to_ascii_uppercase())),
        Blocks::Path(pattern) => page.target(&pattern.replace('*', "Y")),
        Blocks::Host(pattern) => page.host(&pattern.replace('*', "a.b")),
        Blocks::Agent(text) => page.header(header::USER_AGENT, &format!("x {} y", text.to_ascii_uppercase())),
        Blocks::AgentRegex(regex) => page.header(header::USER_AGENT, &sample(regex)),
        Blocks::Countries([code, ..]) => page.country(code),
        Blocks::Asn(asn) => page.asn(*asn as u32),
        Blocks::Value(Map::Headers, name, text) => page.header(HeaderName::from_static(name), text),
        Blocks::Value(Map::Cookies, name, text) => page.header(header::COOKIE, &format!("a=b; {name}={text}; c=d")),
        Blocks::Value(Map::Args, name, text) => page.target(&format!("/search?a=b&{name}={text}&c=d")),
        Blocks::PathRegex(regex) => page.target(&sample(regex)),
    }
}

/// An address of the network, which ends in zeros.
fn inside(network: &str) -> IpAddr {
    let start = network.split('/').next().unwrap_or_default();
    let address = match start.strip_suffix(".0") {
        Some(v4) => format!("{v4}.77"),
        None => format!("{start}77"),
    };
    address.parse().expect("a generated network")
}

/// A text that one of the generated regular expressions matches.
fn sample(regex: &str) -> String {
    let parts = [
        ("^", ""),
        ("$", ""),
        ("[ /]", "/"),
        ("(old|legacy)", "legacy"),
        ("(php|asp)", "asp"),
        ("[a-z0-9]+", "a1"),
        ("[0-9]+", "12"),
        ("\\.", "."),
    ];
    let filled = |text: String, (part, with): (&str, &str)| text.replace(part, with);
    parts.into_iter().fold(regex.to_owned(), filled)
}
