//! Judging a request that is allowed allocates nothing, whatever kind of request and rule it is.
//!
//! A test binary of its own: the counting allocator is the whole process's.

use std::sync::Arc;

use allocation_counter::measure;

use portcullis::policy::{
    decision::Verdict,
    fault::{Faults, Source},
    lang::GeoKnown,
    phases::Scratch,
    policy::{ListFiles, Policy, PolicyEnvironment},
    rule::Timestamp,
    site::{DefaultVerdict, HostPattern, SiteFacts},
    testing::Request,
};

const RULES: &str = r#"
[list.office]
kind = "ip"
items = ["203.0.113.0/24", "2001:db8::/32"]
[list.hosts]
kind = "string"
items = ["shop.example.com", "www.example.com"]

[[ip_access]]
id = "office"
action = "allow"
ip = ["$office"]
[[ip_access]]
id = "bad"
action = "block"
ip = ["198.51.100.0/24"]
[[ip_access]]
id = "systems"
action = "block"
asn = [64496]
[[geo]]
id = "embargo"
action = "block"
country = ["KP"]
[[geo]]
id = "watched"
action = "log"
country = ["DE"]
[[rule]]
id = "regex"
action = "block"
expression = 'http.request.uri.path matches "^/[0-9]+$" or http.request.uri.path wildcard "/v*/export"'
[[rule]]
id = "arguments"
action = "block"
expression = 'any(url_decode(http.request.uri.args["q"][*])[*] contains "<script") or any(lower(http.request.headers["x-debug"][*])[*] eq "on")'
[[rule]]
id = "made-values"
action = "block"
expression = 'http.request.full_uri contains "/../" or concat(http.host, "/", http.request.method) eq "a/b" or len(http.request.headers.names) gt 90 or upper(http.request.method) eq "TRACE" or join(http.request.uri.args.names, ",") eq "x"'
[[rule]]
id = "exception"
action = "skip"
skip = ["user_agent"]
expression = 'http.request.uri.path wildcard "/api/*" and http.host in $hosts'
[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["$office"]
[[user_agent]]
id = "scanners"
action = "block"
category = ["scanner"]
contains = ["sqlmap"]
matches = ['^python-requests/[01]\.']
[[hotlink]]
id = "images"
extensions = ["jpg", "png"]
allow_referers = ["partner.example"]
[[rule]]
id = "trial"
action = "block"
mode = "shadow"
expression = 'not ip.src.country in {"AT"}'
"#;

struct NoFiles;

impl ListFiles for NoFiles {
    fn read(&self, _path: &str) -> Result<Arc<Source>, String> {
        Err("no files here".to_owned())
    }
}

fn policy() -> Policy {
    let environment = PolicyEnvironment {
        sites: &[SiteFacts {
            name: "main".to_owned(),
            hosts: vec![HostPattern::Any],
            upstream: "app".to_owned(),
            application: 0,
            default: DefaultVerdict::Forward,
        }],
        geo: GeoKnown::ALL,
        files: &NoFiles,
        now: Timestamp(0),
        previous: None,
    };
    let mut faults = Faults::new();
    let policy = Policy::compile(&[Source::new("rules.toml", RULES)], &environment, &mut faults);
    policy.unwrap_or_else(|| panic!("{:?}", faults.into_sorted()))
}

fn browser(url: &str) -> Request {
    Request::get(url)
        .ip("192.0.2.7")
        .country("DE")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        )
        .header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        .header("accept-language", "de-DE,de;q=0.9")
        .header("cookie", "session=3f9a; theme=dark")
        .header("cookie", "consent=yes")
}

#[test]
fn an_allowed_request_is_judged_without_an_allocation() {
    let policy = policy();
    let mut scratch = Scratch::new();
    let requests = [
        (
            "a page",
            browser("https://www.example.com/products?page=2&q=lamp%20shade"),
        ),
        (
            "an image on our own page",
            browser("https://www.example.com/photo.jpg")
                .header("sec-fetch-site", "same-origin")
                .header("referer", "https://www.example.com/products"),
        ),
        (
            "an image on a partner's page",
            browser("https://www.example.com/a/photo.PNG").header("referer", "https://partner.example/"),
        ),
        (
            "an API call that skips a phase",
            browser("https://shop.example.com/api/items"),
        ),
        (
            "a path with several readings",
            browser("https://www.example.com/a;v=1/%2541?y=%41+b"),
        ),
        (
            "an allowed address",
            browser("https://www.example.com/admin/").ip("203.0.113.5"),
        ),
        (
            "an IPv6 client over HTTP",
            browser("http://www.example.com/").ip("2001:db9::1"),
        ),
    ];
    for (what, request) in &requests {
        let facts = request.facts();
        // The first request after a reload makes room, once.
        let _ = policy.decide(&facts, &mut scratch);
        let mut is_allowed = false;
        let made = measure(|| {
            is_allowed = matches!(policy.decide(&facts, &mut scratch).verdict, Verdict::Allow { .. });
        });
        assert!(is_allowed, "{what} is not allowed");
        assert_eq!(made.count_total, 0, "{what}: {made:?}");
    }
}
