//! The running gateway remembers what it refused, and `portcullis explain` tells it from the id of the refusal page.

use serde_json::Value;

use crate::harness::{Gateway, exchange, gateway::Setup};

fn config(log: &str) -> String {
    format!(
        r#"
rules = ["rules.toml"]

[[listen]]
address = "127.0.0.1:0"

[admin]
socket = "admin.sock"

[upstream.app]
servers = ["builtin:demo"]

[[site]]
name = "main"
hosts = ["a.test"]
upstream = "app"

[log]
format = "json"
{log}
"#
    )
}

const RULES: &str = r#"
[[rule]]
id = "closed"
expression = 'http.request.uri.path eq "/closed"'
action = "block"

[[rule]]
id = "beta"
expression = 'http.request.uri.path eq "/beta" and not http.request.cookies["beta"][0] eq "1"'
action = "block"
"#;

fn start(log: &str) -> Gateway {
    Setup::new(&config(log)).file("rules.toml", RULES).start()
}

/// The id of the answer to a request.
fn asked(gateway: &Gateway, target: &str, headers: &str) -> String {
    let head = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{headers}Connection: close\r\n\r\n");
    let answer = exchange(gateway.address(0), head.as_bytes());
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    let id = lines.find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
    id.map(|(_, id)| id.to_owned()).expect("an id")
}

fn explained(gateway: &Gateway, id: &str) -> String {
    let (code, told) = gateway.verb(&["explain", id]);
    assert_eq!(code, Some(0), "{told}");
    told
}

#[test]
fn a_refused_request_is_explained_by_its_id_and_again_after_the_rules_have_changed() {
    let gateway = start("");
    let id = asked(
        &gateway,
        "/closed?token=s3cret",
        "User-Agent: test\r\nAuthorization: Bearer s3cret\r\n",
    );
    let told = explained(&gateway, &id);
    assert!(
        told.starts_with("BLOCKED by closed ([[rule]])") && told.contains("rules.toml:2:1\n"),
        "{told}"
    );
    assert!(
        told.contains("GET http://a.test/closed?token=REDACTED from 127.0.0.1\n"),
        "{told}"
    );
    assert!(
        told.contains("and was blocked by closed, generation 1; the same is in force now\n"),
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");

    gateway.write("rules.toml", "may_be_empty = true\n");
    gateway.reload();
    let told = explained(&gateway, &id);
    assert!(told.starts_with("ALLOWED: no rule objects\n"), "{told}");
    assert!(
        told.contains("was blocked by closed, generation 1; generation 2, loaded "),
        "{told}"
    );
    assert!(told.contains("note: the files as they are now say otherwise"), "{told}");
}

#[test]
fn what_is_never_kept_is_not_known_and_what_was_not_sent_is() {
    let gateway = start("");
    let without = explained(&gateway, &asked(&gateway, "/beta", ""));
    assert!(without.starts_with("BLOCKED by beta "), "{without}");
    let with = explained(&gateway, &asked(&gateway, "/beta", "Cookie: a=b\r\n"));
    assert!(
        with.starts_with("UNDECIDED: it depends on the header cookie, which is never kept\n"),
        "{with}"
    );
    assert!(with.contains("and was blocked by beta, generation 1"), "{with}");
}

#[test]
fn a_malformed_request_is_explained_too() {
    let gateway = start("");
    let told = explained(&gateway, &asked(&gateway, "/a%2fb", ""));
    assert!(
        told.starts_with("REFUSED before any rule was asked: encoded slash in the path\n"),
        "{told}"
    );
    assert!(
        told.contains("and was refused before any rule: encoded slash in the path"),
        "{told}"
    );
}

#[test]
fn what_is_not_remembered_is_found_in_the_access_log_and_else_the_reach_is_told() {
    let gateway = start("access = \"access.log\"\nevents = 1");
    let first = asked(&gateway, "/closed", "");
    let second = asked(&gateway, "/closed", "");
    let from = |id: &str| {
        let (_, told) = gateway.verb(&["-o", "json", "explain", id]);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        (told["stated_by"].clone(), told["decision"]["rule"].clone())
    };
    // One worker may have room for both, when there are several.
    assert_eq!(from(&second), ("memory".into(), "closed".into()));
    assert_eq!(from(&first).1, "closed");
    let (code, said) = gateway.verb(&["explain", "00000000000000000000000000000000"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains("gateway: it does not remember it. It remembers "),
        "{said}"
    );
    assert!(
        said.contains("access log: ") && said.contains("access.log does not have it"),
        "{said}"
    );
}

#[test]
fn a_request_that_no_rule_says_anything_of_is_not_remembered() {
    let gateway = start("");
    let id = asked(&gateway, "/", "");
    let (code, said) = gateway.verb(&["explain", &id]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("It remembers 0 refused requests, and 0 that were let through"),
        "{said}"
    );
}
