//! `[[site]]`: a set of host names with its upstream and its answers.

use std::path::PathBuf;

use http::HeaderValue;

use super::{
    settings::{CertificateFiles, DEFAULT_REFUSAL, Disclose, NotFound, Site},
    values::{HeaderTable, word},
};
use crate::policy::{
    fault::{Fault, Faults, Place},
    normalize::PathOptions,
    site::{DefaultVerdict, HostPattern, SiteFacts},
    table::{FromToml, Placed, Table, Value},
};

/// A site as written.
pub(super) struct WrittenSite {
    pub(super) site: Site,
    pub(super) name: Place,
    pub(super) hosts: Placed<Vec<Placed<HostPattern>>>,
    pub(super) upstream: Place,
    pub(super) html_page: Option<Place>,
    pub(super) json_page: Option<Place>,
}

/// Reads a `[[site]]` table.
pub(super) fn site(mut table: Table<'_>, faults: &mut Faults) -> Option<WrittenSite> {
    let hosts = hosts(&mut table, faults);
    let name = name(&mut table, hosts.as_ref().map(|hosts| &*hosts.value), faults);
    let upstream = table.required::<Placed<String>>("upstream", "upstream = \"app\"", faults);
    let default = default_verdict(&mut table, faults);
    let certificates = table.or("certificates", Vec::<CertificateFiles>::new(), faults);
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
            application: 0,
            default,
        },
        hosts_place: table.place(),
        certificates,
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
                hosts: hosts.value.iter().map(|host| host.value.clone()).collect(),
                upstream: upstream.value,
                // Numbered when all upstreams are known.
                application: 0,
                default,
            },
            hosts_place: hosts.place.clone(),
            ..site
        },
        name: name.place,
        hosts,
        upstream: upstream.place,
        html_page: html_page.map(|page| page.place),
        json_page: json_page.map(|page| page.place),
    })
}

/// `name`, or what the first host suggests.
fn name(table: &mut Table<'_>, hosts: Option<&[Placed<HostPattern>]>, faults: &mut Faults) -> Option<Placed<String>> {
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

fn hosts(table: &mut Table<'_>, faults: &mut Faults) -> Option<Placed<Vec<Placed<HostPattern>>>> {
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
    Some(hosts)
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
        keep_encoded_slashes: encoded.and_then(|value| word(value, &WORDS, faults)).unwrap_or(false),
        merge_slashes: table.or("merge_slashes", true, faults),
    }
}

fn error_docs(table: &mut Table<'_>, faults: &mut Faults) -> Option<String> {
    let docs = table.optional::<Placed<String>>("error_docs", faults)?;
    let visible = docs.value.bytes().all(|b| b.is_ascii_graphic());
    let scheme = ["https://", "http://"]
        .iter()
        .any(|scheme| docs.value.starts_with(scheme));
    if !visible || !scheme {
        let fault = Fault::error(docs.place, format!("`{}` is not a URL", docs.value));
        faults.push(fault.expected("expected a URL such as \"https://example.com/errors\""));
        return None;
    }
    Some(docs.value)
}

impl FromToml for CertificateFiles {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("`certificates`", faults)?;
        let cert = table.required("cert", "cert = \"tls/example.pem\"", faults);
        let key = table.required("key", "key = \"tls/example.key\"", faults);
        table.finish(faults);
        Some(Self { cert: cert?, key: key? })
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
