//! The smallest change that turns a verdict, in words.

use std::net::IpAddr;

use portcullis::policy::{
    explain::{Places, Turn},
    facts::{Continent, Country, GeoFacts},
    lang::{GeoKnown, Unknown},
    testing::Request,
};

use crate::support::{TextFiles, any_site, compile};

/// Addresses of 203.0.113.0/24 are in Germany, others nowhere.
struct Atlas;

impl Places for Atlas {
    fn of(&self, address: IpAddr) -> GeoFacts {
        let is_german = address.to_string().starts_with("203.0.113.");
        let country = if is_german { Country::new("DE") } else { None };
        GeoFacts {
            country: country.unwrap_or(Country::UNKNOWN),
            ..GeoFacts::UNKNOWN
        }
    }

    fn continent(&self, _country: Country) -> Continent {
        Continent::UNKNOWN
    }
}

/// The ways to another verdict: the facts that change, joined, then the rule that then decides.
fn turns(rules: &str, request: &Request) -> Vec<String> {
    let files = TextFiles::default();
    let (policy, faults) = compile("rules.toml", rules, &files, GeoKnown::ALL, &[any_site()]);
    let policy = policy.unwrap_or_else(|| panic!("{}", faults.join("\n")));
    let turns = policy.turning(&request.facts(), Unknown::NOTHING, &Atlas);
    turns.iter().map(told).collect()
}

fn told(turn: &Turn) -> String {
    let words: Vec<&str> = turn.changes.iter().map(|change| change.words.as_str()).collect();
    let by = turn.verdict.rule.as_ref().map(|rule| format!(" ({rule})"));
    format!("{}{}", words.join(" + "), by.unwrap_or_default())
}

fn client() -> Request {
    Request::get("https://example.com/admin")
        .ip("198.51.100.7")
        .country("FR")
}

const LOCK: &str = r#"
[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["$office"]
[list.office]
kind = "ip"
items = ["203.0.113.0/24"]
"#;
const EMBARGO: &str = r#"
[[geo]]
id = "embargo"
action = "block"
country = ["FR", "KP"]
"#;
const SCANNERS: &str = r#"
[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]
"#;

#[test]
fn who_asks_comes_before_what_is_asked_for() {
    assert_eq!(turns(LOCK, &client()), ["the client were in $office"]);
}

#[test]
fn a_country_is_changed_alone_and_a_network_by_its_addresses() {
    assert_eq!(turns(EMBARGO, &client()), ["the client were not in one of FR, KP"]);
    let vip = "[[ip_access]]\nid = \"vip\"\naction = \"allow\"\nip = [\"192.0.2.9\"]\n";
    assert_eq!(
        turns(&format!("{EMBARGO}{vip}"), &client()),
        [
            "the client were not in one of FR, KP",
            "the client were 192.0.2.9 (vip)"
        ]
    );
}

#[test]
fn two_facts_are_changed_where_one_does_not_do() {
    let request = client().header("user-agent", "sqlmap");
    assert_eq!(
        turns(&format!("{EMBARGO}{SCANNERS}"), &request),
        ["the client were not in one of FR, KP + the user agent were a browser's"]
    );
}

#[test]
fn whoever_is_elsewhere_is_in_another_country_already() {
    assert_eq!(
        turns(&format!("{EMBARGO}{LOCK}"), &client()),
        ["the client were in $office"]
    );
}

#[test]
fn where_two_facts_do_not_do_nothing_is_told() {
    let post = "[[rule]]\nid = \"post\"\naction = \"block\"\nexpression = 'not ssl'\n";
    let request = client().url("http://example.com/admin").header("user-agent", "sqlmap");
    assert_eq!(
        turns(&format!("{EMBARGO}{SCANNERS}{post}"), &request),
        Vec::<String>::new()
    );
}

#[test]
fn an_expired_allow_is_told_where_a_site_lets_in_nobody_else() {
    let rules =
        "[[ip_access]]\nid = \"contractor\"\naction = \"allow\"\nip = [\"198.51.100.7\"]\nexpires = 2025-12-31\n";
    assert_eq!(
        turns(rules, &client().block_by_default()),
        ["it had come before 2026-01-01T00:00:00Z, when the rule expired (contractor)"]
    );
}

#[test]
fn what_would_keep_out_is_told_of_an_allow() {
    let rules = "[[ip_access]]\nid = \"office\"\naction = \"allow\"\nip = [\"198.51.100.0/24\"]\n";
    assert_eq!(
        turns(&format!("{rules}{EMBARGO}"), &client()),
        ["the client were not in 198.51.100.0/24 (embargo)"]
    );
    assert_eq!(turns(rules, &client()), Vec::<String>::new());
}

#[test]
fn no_header_is_forged_where_an_address_does_and_never_a_credential() {
    let rules = r#"
[[rule]]
id = "secret"
action = "block"
expression = 'not ip.src in {203.0.113.0/24} and not http.request.headers["x-role"][0] eq "ops"'
"#;
    assert_eq!(turns(rules, &client()), ["the client were in 203.0.113.0/24"]);
    let rules = r#"
[[rule]]
id = "secret"
action = "block"
expression = 'not http.request.headers["authorization"][0] eq "x" and not http.request.cookies["a"][0] eq "1"'
"#;
    assert_eq!(turns(rules, &client()), Vec::<String>::new());
}
