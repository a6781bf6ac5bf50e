//! What the program tells of itself: access records, metrics, health, the admin socket and the verbs that ask.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use serde_json::{Value, json};

use crate::harness::{Gateway, exchange, gateway::Setup};

const CONFIG: &str = r#"
    rules = ["rules.toml"]

    [[listen]]
    address = "127.0.0.1:0"

    [admin]
    address = "127.0.0.1:0"
    socket = "run/admin.sock"

    [geoip]
    country = "country.mmdb"
    asn = "asn.mmdb"

    [client_ip]
    trusted_proxies = ["127.0.0.0/8"]

    [upstream.app]
    servers = ["builtin:demo"]

    [[site]]
    name = "main"
    hosts = ["*"]
    upstream = "app"

    [log]
    format = "json"
    redact_query = ["token"]
"#;

const RULES: &str = r#"
    [[geo]]
    id = "embargo"
    action = "block"
    country = ["KP"]
    note = "the law"

    [[ip_access]]
    id = "office"
    action = "allow"
    ip = ["192.0.2.1"]
"#;

fn gateway() -> Gateway {
    gateway_with(CONFIG)
}

fn gateway_with(config: &str) -> Gateway {
    with_fixtures(Setup::new(config)).start()
}

fn with_fixtures(setup: Setup) -> Setup {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/geo");
    let setup = setup.file("rules.toml", RULES);
    ["country.mmdb", "asn.mmdb"].into_iter().fold(setup, |setup, name| {
        let bytes = fs::read(fixtures.join(name)).expect("the fixture");
        setup.binary(name, &bytes)
    })
}

/// A request of a client behind the trusted proxy that the test is.
fn ask(gateway: &Gateway, target: &str, headers: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{headers}Connection: close\r\n\r\n");
    exchange(gateway.address(0), request.as_bytes())
}

fn record_of(gateway: &Gateway, original: &str) -> Value {
    gateway.wait_for_record(|record| record["url.original"] == original)
}

fn admin_get(gateway: &Gateway, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(gateway.admin(), request.as_bytes())
}

fn metric(gateway: &Gateway, series: &str) -> Option<String> {
    let metrics = admin_get(gateway, "/metrics");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(str::to_owned)
}

#[test]
fn a_block_is_recorded_with_its_rule_and_all_that_is_known() {
    let gateway = gateway();
    let answer = ask(
        &gateway,
        "/a//b?token=s3cret&x=1",
        "X-Forwarded-For: 203.0.113.5\r\nUser-Agent: probe\r\nReferer: https://o.example/p?token=s3cret\r\nCookie: s3cret\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let mut record = record_of(&gateway, "/a//b?token=REDACTED&x=1");
    assert!(!record.to_string().contains("s3cret"));
    let fields = record.as_object_mut().expect("an object");
    for varying in [
        "@timestamp",
        "event.duration",
        "http.request.id",
        "source.port",
        "http.response.body.bytes",
    ] {
        assert!(fields.remove(varying).is_some(), "{varying} is missing");
    }
    assert_eq!(
        record,
        json!({
            "event.action": "block",
            "event.reason": "country_blocked",
            "event.outcome": "success",
            "rule.id": "embargo",
            "rule.note": "the law",
            "portcullis.phase": "ip_access",
            "portcullis.matched_rules": ["embargo"],
            "client.ip": "203.0.113.5",
            "client.geo.country_iso_code": "KP",
            "client.geo.continent_code": "AS",
            "portcullis.client_ip_source": "header",
            "source.ip": "127.0.0.1",
            "http.request.method": "GET",
            "url.scheme": "http",
            "url.domain": "example.com",
            "url.path": "/a/b",
            "url.query": "token=REDACTED&x=1",
            "url.original": "/a//b?token=REDACTED&x=1",
            "http.version": "1.1",
            "user_agent.original": "probe",
            "http.request.referrer": "https://o.example/p",
            "portcullis.site": "main",
            "portcullis.generation": 1,
            "http.response.status_code": 403,
            "http.request.body.bytes": 0,
        })
    );
}

#[test]
fn an_allow_is_recorded_with_its_rule_and_upstream() {
    let gateway = gateway();
    assert!(ask(&gateway, "/ok", "X-Forwarded-For: 192.0.2.1\r\n").starts_with("HTTP/1.1 200 "));
    let record = record_of(&gateway, "/ok");
    for (field, expected) in [
        ("event.action", json!("allow")),
        ("rule.id", json!("office")),
        ("client.geo.country_iso_code", json!("DE")),
        ("client.as.number", json!(64496)),
        ("portcullis.upstream", json!("app")),
        ("http.response.status_code", json!(200)),
    ] {
        assert_eq!(record[field], expected, "{field}");
    }
}

#[test]
fn what_a_client_sends_cannot_forge_a_record() {
    let gateway = gateway();
    let agent = "x\",\"event.action\":\"allow\"}\t{\"forged\":\"yes\u{2028}\x7f";
    ask(
        &gateway,
        "/forge",
        &format!(
            "X-Forwarded-For: 203.0.113.5\r\nUser-Agent: {}\r\n",
            agent.replace('\x7f', "")
        ),
    );
    let record = record_of(&gateway, "/forge");
    assert_eq!(record["event.action"], "block");
    assert_eq!(record["forged"], Value::Null);
    assert_eq!(record["user_agent.original"], agent.replace('\x7f', ""));
}

#[test]
fn metrics_count_what_happened() {
    let gateway = gateway();
    for target in ["/1", "/2"] {
        ask(&gateway, target, "X-Forwarded-For: 203.0.113.5\r\n");
        record_of(&gateway, target);
    }
    ask(&gateway, "/3", "");
    record_of(&gateway, "/3");
    for (series, value) in [
        (
            r#"portcullis_requests_total{decision="block",code_class="4xx",site="main"}"#,
            "2",
        ),
        (
            r#"portcullis_requests_total{decision="allow",code_class="2xx",site="main"}"#,
            "1",
        ),
        (
            r#"portcullis_decisions_total{action="block",phase="ip_access",mode="enforce"}"#,
            "2",
        ),
        (
            r#"portcullis_decisions_total{action="allow",phase="default",mode="enforce"}"#,
            "1",
        ),
        (r#"portcullis_rule_hits_total{rule="embargo"}"#, "2"),
        (r#"portcullis_rule_hits_total{rule="office"}"#, "0"),
        ("portcullis_request_duration_seconds_count", "3"),
        (
            r#"portcullis_geoip_build_timestamp_seconds{source="asn"}"#,
            "1767225600",
        ),
        ("portcullis_config_generation", "1"),
    ] {
        assert_eq!(metric(&gateway, series).as_deref(), Some(value), "{series}");
    }
}

#[test]
fn health_and_readiness_are_told_apart_from_anything_else() {
    let gateway = gateway();
    assert!(admin_get(&gateway, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(admin_get(&gateway, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(admin_get(&gateway, "/").starts_with("HTTP/1.1 404 "));
    // The admin paths are nothing special where clients connect.
    let of_client = ask(&gateway, "/healthz", "");
    assert!(
        of_client.starts_with("HTTP/1.1 200 ") && !of_client.ends_with("alive\n"),
        "{of_client}"
    );
}

#[test]
fn the_admin_socket_is_its_owners_alone_and_gone_at_the_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("made/admin.sock");
    let config = CONFIG.replace("run/admin.sock", &socket.display().to_string());
    let gateway = gateway_with(&config);
    let found = fs::symlink_metadata(&socket).expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let (code, said) = gateway.verb(&["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("  generation   1, loaded "), "{said}");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    assert!(!socket.exists());
}

#[test]
fn a_second_gateway_does_not_take_the_socket_away() {
    let gateway = gateway();
    let socket = gateway.directory().join("run/admin.sock");
    let config = CONFIG.replace("run/admin.sock", &socket.display().to_string());
    let (status, said) = with_fixtures(Setup::new(&config)).run();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("another gateway listens on it"), "{said}");
    assert_eq!(gateway.verb(&["status"]).0, Some(0));
}

#[test]
fn the_healthcheck_verb_asks_the_running_gateway() {
    let gateway = gateway();
    let admin = gateway.admin().to_string();
    assert_eq!(
        gateway.verb(&["healthcheck", "--admin", &admin]),
        (Some(0), "ready\n".to_owned())
    );
    gateway.signal("INT");
    gateway.wait_for_message("stopped");
    let (code, said) = gateway.verb(&["healthcheck", "--admin", &admin]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no gateway answers on"), "{said}");
}

#[test]
fn the_geo_verb_says_what_is_known_and_from_which_source() {
    let gateway = gateway();
    let (code, text) = gateway.verb(&["geo", "::ffff:192.0.2.1", "10.0.0.1"]);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "  looked up as  192.0.2.1\n",
        "(GeoLite2-Country, 2026-01-01)\n",
        "  as number     64496  Example Carrier  from ",
        "  special       private: no source is asked, rules see XX\n",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let (_, text) = gateway.verb(&["geo", "-o", "json", "192.0.2.1"]);
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(json["addresses"][0]["country"], "DE");
    assert_eq!(json["addresses"][0]["organization"], "Example Carrier");
    assert_eq!(gateway.verb(&["geo", "nowhere"]).0, Some(2));
}

#[test]
fn a_log_file_that_was_moved_is_opened_again() {
    let config = CONFIG.replace("[log]", "[log]\n    access = \"access.log\"");
    let config = config
        .replace("country = \"country.mmdb\"", "")
        .replace("asn = \"asn.mmdb\"", "");
    let gateway = Setup::new(&config).file("rules.toml", "may_be_empty = true\n").start();
    let (log, moved) = (
        gateway.directory().join("access.log"),
        gateway.directory().join("access.log.1"),
    );
    ask(&gateway, "/before", "");
    wait_for_text(&log, "/before");
    fs::rename(&log, &moved).expect("it moves");
    gateway.signal("USR1");
    wait_until(|| log.exists());
    ask(&gateway, "/after", "");
    wait_for_text(&log, "/after");
    assert!(!fs::read_to_string(&moved).expect("it is there").contains("/after"));
}

fn wait_for_text(path: &Path, text: &str) {
    wait_until(|| fs::read_to_string(path).is_ok_and(|read| read.contains(text)));
}

/// Files tell nobody that they changed; a hang fails after a minute.
fn wait_until(happened: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !happened() {
        assert!(std::time::Instant::now() < deadline, "it never happened");
        std::thread::yield_now();
    }
}
