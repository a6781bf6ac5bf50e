//! `[[site]]`: a set of host names with its upstream and its answers.

use std::path::PathBuf;

use http::HeaderValue;

use super::{
    settings::{CertificateFiles, DEFAULT_REFUSAL, Disclose, NotFound, Site},
    values::{HeaderTable, keep, text, word},
};
use crate::policy::{
    fault::{Fault, Faults, Place},
    normalize::{HostName, PathOptions},
    site::{DefaultVerdict, HostPattern, SiteFacts},
    table::{FromToml, Placed, Table, Value},
};

/// A site as written.
pub(super) struct WrittenSite {
    pub(super) site: Site,
    pub(super) name: Place,
    pub(super) hosts: Vec<Placed<HostPattern>>,
    pub(super) upstream: Place,
    pub(super) certificates: Vec<CertificatePlaces>,
    pub(super) html_page: Option<Place>,
    pub(super) json_page: Option<Place>,
}

/// Where a certificate's files are named.
#[derive(Debug, Clone)]
pub struct CertificatePlaces {
    /// The chain's path.
    pub cert: Place,
    /// The key's path.
    pub key: Place,
}

/// Reads a `[[site]]` table.
pub(super) fn site(mut table: Table<'_>, faults: &mut Faults) -> Option<WrittenSite> {
    let hosts = hosts(&mut table, faults);
    let name = name(&mut table, hosts.as_deref(), faults);
    let upstream = table.required::<Placed<String>>("upstream", "upstream = \"app\"", faults);
    let default = default_verdict(&mut table, faults);
    let certificates = table.or("certificates", Vec::<Certificate>::new(), faults);
    let self_signed = table.or("self_signed", false, faults);
    if self_signed && !certificates.is_empty() {
        let place = table.key_place("self_signed").unwrap_or_else(|| table.place());
        faults.push(
            Fault::error(place, "`self_signed` beside `certificates`")
                .expected("a site has either its own certificates or one made at start")
                .help("remove `self_signed = true`"),
        );
    }
    let (html_page, json_page) = pages(&mut table, faults);
    let site = Site {
        facts: SiteFacts {
            name: String::new(),
            hosts: Vec::new(),
            upstream: String::new(),
            default,
        },
        certificates: certificates.iter().map(|files| files.files.clone()).collect(),
        self_signed,
        html_page: html_page.as_ref().map(|page| page.value.clone()),
        json_page: json_page.as_ref().map(|page| page.value.clone()),
        not_found: not_found(&mut table, faults),
        status: table.or("status", DEFAULT_REFUSAL, faults),
        disclose: disclose(&mut table, faults),
        error_docs: error_docs(&mut table, faults),
        paths: paths(&mut table, faults),
    };
    table.finish(faults);
    let (name, hosts, upstream) = (name?, hosts?, upstream?);
    Some(WrittenSite {
        site: Site {
            facts: SiteFacts {
                name: name.value,
                hosts: hosts.iter().map(|host| host.value.clone()).collect(),
                upstream: upstream.value,
                default,
            },
            ..site
        },
        name: name.place,
        hosts,
        upstream: upstream.place,
        certificates: certificates.into_iter().map(|files| files.places).collect(),
        html_page: html_page.map(|page| page.place),
        json_page: json_page.map(|page| page.place),
    })
}

/// `name`, or what the first host suggests.
fn name(
    table: &mut Table<'_>,
    hosts: Option<&[Placed<HostPattern>]>,
    faults: &mut Faults,
) -> Option<Placed<String>> {
    if table.value("name").is_none() {
        let first = hosts?.first()?;
        let value = match &first.value {
            HostPattern::Any => "default".to_owned(),
            HostPattern::Exact(host) | HostPattern::Below(host) => host.to_string(),
        };
        return Some(Placed {
            value,
            place: first.place.clone(),
        });
    }
    let name = table.optional::<Placed<String>>("name", faults)?;
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.value.is_empty() || name.value.len() > 64 || !name.value.bytes().all(valid) {
        let fault = Fault::error(name.place, format!("`{}` is not a site's name", name.value));
        faults.push(fault.expected("expected 1 to 64 letters, digits, `.`, `_` or `-`; logs and metrics use it"));
        return None;
    }
    Some(name)
}

fn hosts(table: &mut Table<'_>, faults: &mut Faults) -> Option<Vec<Placed<HostPattern>>> {
    const EXAMPLE: &str = "hosts = [\"example.com\", \"*.example.com\"]";
    let hosts = table.required::<Placed<Vec<Placed<HostPattern>>>>("hosts", EXAMPLE, faults)?;
    if hosts.value.is_empty() {
        faults.push(
            Fault::error(hosts.place, "a site without hosts gets no requests")
                .expected("expected at least one host")
                .help("write `hosts = [\"*\"]` for every host that no other site has"),
        );
        return None;
    }
    Some(hosts.value)
}

/// `example.com`, `*.example.com` or `*`.
impl FromToml for HostPattern {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "\"example.com\", \"*.example.com\" or \"*\"";
        let text = text(value, EXAMPLE, faults)?;
        let pattern = host_pattern(text).ok_or_else(|| {
            let fault = value.invalid(format!("`{text}` is not a host"), EXAMPLE);
            match host_meant(text) {
                Some(help) => fault.help(help),
                None => fault,
            }
        });
        keep(pattern, faults)
    }
}

fn host_pattern(text: &str) -> Option<HostPattern> {
    if text == "*" {
        return Some(HostPattern::Any);
    }
    match text.strip_prefix("*.") {
        Some(below) => {
            let name = HostName::parse(below)?;
            crate::policy::normalize::ip_literal(&name)
                .is_none()
                .then_some(HostPattern::Below(name))
        }
        None => HostName::parse(text).map(HostPattern::Exact),
    }
}

fn host_meant(text: &str) -> Option<String> {
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    if host != text && host_pattern(host).is_some() {
        return Some(format!("hosts have no scheme, port or path: write `\"{host}\"`"));
    }
    if let Some(rest) = text.strip_prefix('.') {
        return Some(format!("for every name below it write `\"*.{rest}\"`"));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some(format!("an IPv6 address needs brackets: `\"[{text}]\"`"));
    }
    if !text.is_ascii() {
        return Some("write an international name as DNS has it, in its `xn--` form".to_owned());
    }
    if text.contains('*') {
        return Some("`*` stands alone, or as the whole first label: `*.example.com`".to_owned());
    }
    None
}

fn default_verdict(table: &mut Table<'_>, faults: &mut Faults) -> DefaultVerdict {
    const WORDS: [(&str, DefaultVerdict); 2] = [("forward", DefaultVerdict::Forward), ("block", DefaultVerdict::Block)];
    let value = table.value("default");
    value
        .and_then(|value| word(value, &WORDS, faults))
        .unwrap_or(DefaultVerdict::Forward)
}

fn disclose(table: &mut Table<'_>, faults: &mut Faults) -> Disclose {
    const WORDS: [(&str, Disclose); 3] = [
        ("nothing", Disclose::Nothing),
        ("reason", Disclose::Reason),
        ("rule", Disclose::Rule),
    ];
    let value = table.value("disclose");
    value
        .and_then(|value| word(value, &WORDS, faults))
        .unwrap_or(Disclose::Reason)
}

fn paths(table: &mut Table<'_>, faults: &mut Faults) -> PathOptions {
    const WORDS: [(&str, bool); 2] = [("refuse", false), ("keep", true)];
    let encoded = table.value("encoded_slashes");
    PathOptions {
        keep_encoded_slashes: encoded
            .and_then(|value| word(value, &WORDS, faults))
            .unwrap_or(false),
        merge_slashes: table.or("merge_slashes", true, faults),
    }
}

fn error_docs(table: &mut Table<'_>, faults: &mut Faults) -> Option<String> {
    let docs = table.optional::<Placed<String>>("error_docs", faults)?;
    let visible = docs.value.bytes().all(|b| b.is_ascii_graphic());
    let scheme = ["https://", "http://"].iter().any(|scheme| docs.value.starts_with(scheme));
    if !visible || !scheme {
        let fault = Fault::error(docs.place, format!("`{}` is not a URL", docs.value));
        faults.push(fault.expected("expected a URL such as \"https://example.com/errors\""));
        return None;
    }
    Some(docs.value)
}

/// A chain and its key, with their places.
struct Certificate {
    files: CertificateFiles,
    places: CertificatePlaces,
}

impl FromToml for Certificate {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("`certificates`", faults)?;
        let cert = table.required::<Placed<PathBuf>>("cert", "cert = \"tls/example.pem\"", faults);
        let key = table.required::<Placed<PathBuf>>("key", "key = \"tls/example.key\"", faults);
        table.finish(faults);
        let (cert, key) = (cert?, key?);
        Some(Self {
            files: CertificateFiles {
                cert: cert.value,
                key: key.value,
            },
            places: CertificatePlaces {
                cert: cert.place,
                key: key.place,
            },
        })
    }
}

type Page = Option<Placed<PathBuf>>;

fn pages(table: &mut Table<'_>, faults: &mut Faults) -> (Page, Page) {
    let Some(mut pages) = table.value("pages").and_then(|value| value.table("`pages`", faults)) else {
        return (None, None);
    };
    let html = pages.optional("html", faults);
    let json = pages.optional("json", faults);
    pages.finish(faults);
    (html, json)
}

fn not_found(table: &mut Table<'_>, faults: &mut Faults) -> NotFound {
    let default = NotFound {
        body: "Not Found\n".to_owned(),
        content_type: HeaderValue::from_static("text/plain"),
        headers: Vec::new(),
    };
    let Some(mut written) = table
        .value("not_found")
        .and_then(|value| value.table("`not_found`", faults))
    else {
        return default;
    };
    let not_found = NotFound {
        body: written.or("body", default.body, faults),
        content_type: written.or("content_type", default.content_type, faults),
        headers: written.or("headers", HeaderTable(Vec::new()), faults).0,
    };
    written.finish(faults);
    not_found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_wildcards_and_the_star() {
        let name = |name: &str| HostName::parse(name).expect("a name");
        assert_eq!(host_pattern("Example.COM."), Some(HostPattern::Exact(name("example.com"))));
        assert_eq!(host_pattern("*.example.com"), Some(HostPattern::Below(name("example.com"))));
        assert_eq!(host_pattern("*"), Some(HostPattern::Any));
        assert_eq!(host_pattern("*.127.0.0.1"), None);
    }

    #[test]
    fn what_is_no_host_says_what_to_write() {
        for (text, part) in [
            ("https://example.com/x", "write `\"example.com\"`"),
            ("example.com:8443", "write `\"example.com\"`"),
            (".example.com", "write `\"*.example.com\"`"),
            ("::1", "`\"[::1]\"`"),
            ("bücher.example", "`xn--`"),
            ("www.*.example", "the whole first label"),
        ] {
            assert_eq!(host_pattern(text), None, "{text}");
            let help = host_meant(text).unwrap_or_default();
            assert!(help.contains(part), "{text}: {help}");
        }
    }
}
