//! One access record a request, nothing secret or forged in any, and telling never holds a request up.

use std::{
    io::Write,
    sync::{Mutex, PoisonError, mpsc},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{
    Gateway, Origin, Tls,
    client::{connect, read_response, read_to_end},
    exchange,
    gateway::Setup,
};

fn config(upstream: &str, log: &str) -> String {
    format!(
        r#"
rules = ["rules.toml"]

[[listen]]
address = "127.0.0.1:0"
tls = true

[[listen]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"

[upstream.app]
servers = ["{upstream}"]

[[site]]
name = "main"
hosts = ["a.test"]
upstream = "app"
self_signed = true

[log]
{log}
"#
    )
}

const RULES: &str = r#"
[[rule]]
id = "closed"
note = "nobody goes there"
expression = 'http.request.uri.path eq "/closed"'
action = "block"

[[rule]]
id = "watched"
mode = "shadow"
expression = 'http.request.method eq "GET"'
action = "block"

[[ip_access]]
id = "here"
action = "log"
ip = ["127.0.0.0/8"]
"#;

fn start(upstream: &str) -> Gateway {
    Setup::new(&config(upstream, "format = \"json\""))
        .file("rules.toml", RULES)
        .start()
}

/// One exchange on a plain connection of its own.
fn ask(gateway: &Gateway, head: &str) -> String {
    exchange(
        gateway.address(1),
        format!("{head}Connection: close\r\n\r\n").as_bytes(),
    )
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map_or("", |(_, value)| value)
}

/// A record without what differs from run to run, after checking that it is there.
fn steady(mut record: Value) -> Value {
    let fields = record.as_object_mut().expect("an object");
    for (key, is_right) in [
        ("@timestamp", Value::is_string as fn(&Value) -> bool),
        ("event.duration", Value::is_u64),
        ("source.port", Value::is_u64),
    ] {
        let value = fields.remove(key).unwrap_or_default();
        assert!(is_right(&value), "{key}: {value}");
    }
    record
}

#[test]
fn an_allowed_request_leaves_exactly_this_record() {
    let origin = Origin::answering(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello");
    let gateway = start(&origin.url());
    let mut stream = Tls::default()
        .connect(gateway.address(0), "a.test")
        .expect("a handshake");
    let answer = stream.ask(
        "GET /a//%62?q=1&token=s3cret HTTP/1.1\r\nHost: A.test:8443\r\nUser-Agent: a \"test\"\\\r\n\
         Referer: https://user:pass@b.test/x?session=s3cret\r\nCookie: id=s3cret\r\nAuthorization: Bearer s3cret\r\n\r\n",
    );
    let mut record = steady(gateway.wait_for_record(|_| true));
    let fields = record.as_object_mut().expect("an object");
    let upstream_took = fields.remove("portcullis.upstream_duration").unwrap_or_default();
    assert!(upstream_took.is_u64());
    assert_eq!(
        record,
        json!({
            "event.action": "allow",
            "event.outcome": "success",
            "portcullis.matched_rules": ["here"],
            "portcullis.shadow_rules": ["watched"],
            "client.ip": "127.0.0.1",
            "client.geo.country_iso_code": "XX",
            "client.geo.continent_code": "XX",
            "portcullis.client_ip_source": "source",
            "source.ip": "127.0.0.1",
            "http.request.method": "GET",
            "url.scheme": "https",
            "url.domain": "a.test",
            "url.path": "/a/b",
            "url.query": "q=1&token=REDACTED",
            "url.original": "/a//%62?q=1&token=REDACTED",
            "http.version": "1.1",
            "http.request.id": header(&answer, "x-request-id"),
            "user_agent.original": "a \"test\"\\",
            "http.request.referrer": "https://b.test/x",
            "tls.version": "1.3",
            "tls.client.server_name": "a.test",
            "portcullis.site": "main",
            "portcullis.generation": 1,
            "http.response.status_code": 201,
            "http.request.body.bytes": 0,
            "http.response.body.bytes": 5,
            "portcullis.upstream": "app",
            "portcullis.upstream_server": origin.url(),
        })
    );
    assert!(origin.received().contains("s3cret"), "the origin gets them");
}

#[test]
fn every_request_leaves_one_record_and_no_secret() {
    let gateway = start("builtin:demo");
    let mut ids = Vec::new();
    for target in [
        "/?token=s3cret",
        "/closed?password=s3cret",
        "/x?a=1&API_KEY=s3cret",
        "/x?user%5Bpassword%5D=s3cret",
        "/x?%74oken=s3cret",
        "/%2f?token=s3cret",
        "http://me:s3cret@a.test/",
        "/#s3cret",
    ] {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: a.test\r\nCookie: id=s3cret\r\nAuthorization: Basic s3cret\r\n\
             Proxy-Authorization: s3cret\r\nX-Api-Key: s3cret\r\nReferer: https://b.test/?code=s3cret#s3cret\r\n"
        );
        ids.push(header(&ask(&gateway, &head), "x-request-id").to_owned());
    }
    let records = gateway.end();
    let recorded = records
        .iter()
        .filter_map(|record| record["http.request.id"].as_str().map(str::to_owned));
    // Each worker writes its own in order.
    assert_eq!(sorted(recorded), sorted(ids.into_iter()));
    for record in &records {
        assert!(!record.to_string().contains("s3cret"), "{record}");
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<_> = values.collect();
    values.sort();
    values
}

/// What a client may write that would end a line or a string, move a terminal's cursor, or not be text at all.
const ODD: &[&[u8]] = &[
    b"\",\"rule.id\":\"forged\",\"x\":\"",
    b"a\\",
    b"\\\"\\n",
    b"tab\there",
    b"{\"event.action\":\"allow\"}",
    b"event.action=allow rule.id=forged",
    b"\xff\xfe not UTF-8",
    b"\xc2\x85 next line \xe2\x80\xa8 separator",
    b"\xc2\x9b31m a terminal",
];

fn ask_oddly(gateway: &Gateway, odd: &[u8]) {
    let head = b"GET /odd HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nUser-Agent: ";
    let request = [head, odd, b"\r\nReferer: https://b.test/", odd, b"\r\n\r\n"].concat();
    let answer = exchange(gateway.address(1), &request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn nothing_that_a_client_writes_forges_a_record() {
    let gateway = start("builtin:demo");
    for odd in ODD {
        ask_oddly(&gateway, odd);
    }
    let records = gateway.end();
    assert_eq!(records.len(), ODD.len(), "{records:#?}");
    for record in &records {
        assert!(record.is_object(), "no JSON: {record}");
        assert_eq!(
            (&record["event.action"], record.get("rule.id")),
            (&json!("allow"), None)
        );
    }
    let agents: Vec<_> = records.iter().map(|record| &record["user_agent.original"]).collect();
    for odd in ODD.iter().filter_map(|odd| std::str::from_utf8(odd).ok()) {
        assert!(agents.contains(&&json!(odd)), "{odd} is not among {agents:?}");
    }
}

#[test]
fn nothing_that_a_client_writes_leaves_its_line_of_text() {
    let gateway = start("builtin:demo");
    let log = "format = \"text\"\naccess = \"access.log\"";
    gateway.write("portcullis.toml", &config("builtin:demo", log));
    gateway.reload();
    for odd in ODD {
        ask_oddly(&gateway, odd);
    }
    let text = gateway.end_then(|folder| std::fs::read_to_string(folder.join("access.log")).expect("text"));
    assert_eq!(text.lines().count(), ODD.len(), "{text}");
    let is_odd = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!text.contains(is_odd), "{text:?}");
    let outside = unquoted(&text);
    assert_eq!(outside.matches(" also=here").count(), ODD.len(), "{outside}");
    for word in ["forged", "UTF-8", "separator", "terminal"] {
        assert!(!outside.contains(word), "{word} in {outside}");
    }
}

/// What stands outside of quotes, where a backslash inside quotes takes the next character with it.
fn unquoted(text: &str) -> String {
    let (mut outside, mut quoted) = (String::new(), false);
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => drop(rest.next()),
            _ if quoted => {}
            _ => outside.push(character),
        }
    }
    outside
}

#[test]
fn metrics_count_known_traffic() {
    let gateway = start("builtin:demo");
    let mut kept = connect(gateway.address(1));
    for (path, times) in [("/", 3), ("/closed", 2)] {
        for _ in 0..times {
            let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            kept.write_all(request.as_bytes()).expect("it reads");
            read_response(&mut kept);
        }
    }
    ask(&gateway, "GET / HTTP/1.1\r\nHost: b.test\r\n");
    ask(&gateway, "GET /%zz HTTP/1.1\r\nHost: a.test\r\n");
    for (sample, value) in [
        (
            r#"portcullis_requests_total{decision="allow",code_class="2xx",site="main"}"#,
            3,
        ),
        (
            r#"portcullis_requests_total{decision="block",code_class="4xx",site="main"}"#,
            2,
        ),
        (
            r#"portcullis_requests_total{decision="reject",code_class="4xx",site="main"}"#,
            1,
        ),
        (
            r#"portcullis_requests_total{decision="reject",code_class="4xx",site=""}"#,
            1,
        ),
        (r#"portcullis_rule_hits_total{rule="closed"}"#, 2),
        (r#"portcullis_rule_hits_total{rule="here"}"#, 5),
        (r#"portcullis_rule_hits_total{rule="watched"}"#, 3),
        (
            r#"portcullis_decisions_total{action="block",phase="rule",mode="enforce"}"#,
            2,
        ),
        (
            r#"portcullis_decisions_total{action="block",phase="rule",mode="shadow"}"#,
            3,
        ),
        ("portcullis_request_duration_seconds_count", 7),
        ("portcullis_decision_duration_seconds_count", 5),
        ("portcullis_connections_accepted_total", 3),
        (r#"portcullis_connections{state="http"}"#, 1),
        ("portcullis_log_records_dropped_total", 0),
        ("portcullis_config_last_reload_successful", 1),
    ] {
        gateway.wait_for_metric(sample, value);
    }
    let shown = gateway.ask_admin("/metrics");
    // Each worker measures the first request that it judges.
    for phase in ["ip_access", "rule"] {
        let sample = format!("portcullis_phase_duration_seconds_count{{phase=\"{phase}\"}} ");
        let count = shown.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok());
        assert!(matches!(count, Some(1_u64..)), "{sample}{count:?}");
    }
    for from_clients in ["127.0.0.1", "a.test", "b.test", "/closed"] {
        assert!(!shown.contains(from_clients), "{from_clients} in {shown}");
    }
}

#[test]
fn health_is_alive_and_ready_and_then_draining() {
    let ((tell, asked), (answer, hold)) = (mpsc::channel(), mpsc::channel::<()>());
    let hold = Mutex::new(hold);
    let origin = Origin::scripted(move |connection| {
        connection.read_head();
        tell.send(()).expect("the test waits");
        // An error means that the test is over.
        let _ = hold.lock().unwrap_or_else(PoisonError::into_inner).recv();
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let gateway = start(&origin.url());
    let admin = gateway.admin().to_string();
    let check = |gateway: &Gateway| gateway.verb(&["healthcheck", "--admin", &admin, "--timeout", "60"]);
    assert!(gateway.ask_admin("/healthz").starts_with("HTTP/1.1 200 "));
    assert!(gateway.ask_admin("/readyz").starts_with("HTTP/1.1 200 "));
    assert!(gateway.ask_admin("/else").starts_with("HTTP/1.1 404 "));
    assert_eq!(check(&gateway), (Some(0), "ready\n".to_owned()));

    let mut busy = connect(gateway.address(1));
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .expect("it reads");
    asked
        .recv_timeout(Duration::from_secs(60))
        .expect("the origin is asked");
    gateway.signal("TERM");
    gateway.wait_for_message("draining");
    while !gateway.ask_admin("/readyz").starts_with("HTTP/1.1 503 ") {
        std::thread::yield_now();
    }
    assert!(gateway.ask_admin("/healthz").starts_with("HTTP/1.1 200 "));
    assert_eq!(check(&gateway), (Some(1), "draining\n".to_owned()));
    answer.send(()).expect("the origin waits");
    assert!(read_to_end(&mut busy).ends_with("late"));
}

#[test]
fn a_log_that_nobody_reads_holds_no_request_up_and_what_is_dropped_is_counted() {
    let config = config("builtin:demo", "format = \"json\"\nqueue = 10");
    let (mut gateway, unread) = Setup::new(&config).file("rules.toml", RULES).start_unread();
    let mut kept = connect(gateway.address(1));
    let request = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "long".repeat(500));
    let mut ask = |request: &str| {
        kept.write_all(request.as_bytes()).expect("it reads");
        assert!(read_response(&mut kept).starts_with("HTTP/1.1 200 "));
    };
    let dropped = |gateway: &Gateway| gateway.metric("portcullis_log_records_dropped_total").expect("shown");
    let mut asked = 0;
    while dropped(&gateway) == 0 {
        assert!(asked < 10_000, "a pipe of 64 KiB must have been full long ago");
        (0..50).for_each(|_| ask(&request));
        asked += 50;
    }
    gateway.read_records(unread);
    let mut last = 0;
    loop {
        // What the queue has no room for yet is dropped, too.
        ask(&format!("GET /last/{last} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        last += 1;
        asked += 1;
        let is_last = |record: &Value| {
            record["url.path"]
                .as_str()
                .is_some_and(|path| path.starts_with("/last/"))
        };
        if gateway.records().iter().any(is_last) {
            break;
        }
    }
    drop(kept);
    gateway.wait_for_metric("portcullis_connections{state=\"http\"}", 0);
    let dropped = dropped(&gateway);
    let written = gateway.end();
    assert!(written.iter().all(Value::is_object), "no line is cut");
    assert_eq!(written.len() as u64 + dropped, asked);
}
