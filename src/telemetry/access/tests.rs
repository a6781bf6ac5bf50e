use std::{io, rc::Rc, sync::Arc};

use http::{HeaderValue, header::USER_AGENT};
use proptest::prelude::*;

use super::*;
use crate::{
    config::settings::{LogSettings, LogTarget},
    policy::{
        client::ClientIp,
        fault::{Faults, Source},
        lang::GeoKnown,
        phases::Scratch,
        policy::{ListFiles, Policy, PolicyEnvironment},
        rule::Timestamp,
        site::SiteFacts,
        testing::Request,
    },
    replay::{
        formats::ours,
        record::{Client, Hidden, Said, Then},
    },
    telemetry::redact::Redaction,
};

const RULES: &str = r#"
[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]
note = "they \"scan\"\nus"

[[ip_access]]
id = "office"
action = "allow"
ip = ["192.0.2.0/24"]

[[ip_access]]
id = "soon"
action = "allow"
mode = "shadow"
ip = ["192.0.2.1"]
"#;

struct NoFiles;

impl ListFiles for NoFiles {
    fn read(&self, _path: &str) -> Result<Arc<Source>, String> {
        Err("no files here".to_owned())
    }
}

fn policy(site: &SiteFacts) -> Policy {
    let mut faults = Faults::new();
    let environment = PolicyEnvironment {
        sites: std::slice::from_ref(site),
        geo: GeoKnown::NONE,
        files: &NoFiles,
        previous: None,
        now: Timestamp(1_767_225_600),
    };
    let policy = Policy::compile(&[Source::new("rules.toml", RULES)], &environment, &mut faults);
    policy.unwrap_or_else(|| panic!("{faults:?}"))
}

/// What a test changes of a record.
struct Sent {
    request: Request,
    original: String,
    response: ResponseRecord<'static>,
}

fn sent(url: &str, original: impl Into<String>) -> Sent {
    Sent {
        request: Request::get(url),
        original: original.into(),
        response: ResponseRecord {
            status: Some(StatusCode::OK),
            ..ResponseRecord::default()
        },
    }
}

/// The line of a request judged by [`RULES`], without its duration.
fn logged(format: LogFormat, sent: &Sent) -> String {
    let facts = sent.request.facts();
    let policy = policy(facts.site);
    let mut scratch = Scratch::new();
    let decision = policy.decide(&facts, &mut scratch);
    let record = RequestRecord {
        received: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
        started: Instant::now(),
        id: "0123456789abcdef",
        peer: Peer("[::ffff:198.51.100.9]:5000".parse().expect("an address")),
        source: SourceAddr("192.0.2.77:4000".parse().expect("an address")),
        client: Some(facts.client),
        client_from: DerivedFrom::Header,
        method: facts.method,
        version: facts.version,
        tls: facts.tls,
        handshake: Some(Handshake {
            version: TlsVersion::Tls13,
            server_name: Some("example.com"),
        }),
        host: Some(facts.host.name.as_str()),
        original: &sent.original,
        path: Some(facts.target.path()),
        headers: facts.headers,
        site: Some(&facts.site.name),
        generation: 3,
        meters: None,
        site_number: None,
        judgement: Judgement::Decided {
            decision: &decision,
            took: Duration::from_micros(2),
        },
    };
    render(format, &record, &sent.response)
}

fn render(format: LogFormat, record: &RequestRecord<'_>, response: &ResponseRecord<'_>) -> String {
    let redaction = Redaction::new(&["token".to_owned()]);
    let has_reason = record.judgement.reason().is_some();
    let took = Duration::from_nanos(1500);
    let stamp = Stamps::default().of(record.received);
    let stamp = std::str::from_utf8(&stamp).expect("ASCII");
    let mut buffer = Vec::new();
    let mut line = Line::new(&mut buffer, format);
    match format {
        LogFormat::Json => {
            json::begin(&mut line, &redaction, stamp, record);
            json::end(&mut line, response, has_reason, took);
        }
        LogFormat::Text => {
            let gaps = text::begin(&mut line, &redaction, stamp, record);
            text::end(&mut line, gaps, response, has_reason, took);
        }
    }
    line.end();
    String::from_utf8(buffer).expect("lines are UTF-8")
}

#[test]
fn an_allowed_request_is_logged_with_its_rule_and_all_else() {
    let mut sent = sent("https://example.com/a/b?x=1&token=s3cret", "/a/./b?x=1&token=s3cret");
    sent.request = sent
        .request
        .ip("192.0.2.1")
        .country("DE")
        .continent("EU")
        .asn(64496)
        .header("user-agent", "curl/8")
        .header("referer", "https://other.example/x?token=s3cret")
        .header("cookie", "session=s3cret")
        .header("authorization", "Bearer s3cret");
    sent.response = ResponseRecord {
        status: Some(StatusCode::CREATED),
        request_bytes: 10,
        response_bytes: 20,
        upstream: Some(UpstreamRecord {
            name: "app",
            server: Some("http://192.0.2.9:3000"),
            took: Some(Duration::from_nanos(700)),
        }),
        ..ResponseRecord::default()
    };
    let line = logged(LogFormat::Json, &sent);
    assert_eq!(
        line,
        concat!(
            r#"{"@timestamp":"2026-01-01T00:00:00.123Z","event.action":"allow","rule.id":"office","#,
            r#""portcullis.phase":"ip_access","portcullis.matched_rules":["office"],"portcullis.shadow_rules":["soon"],"#,
            r#""client.ip":"192.0.2.1","client.geo.country_iso_code":"DE","client.geo.continent_code":"EU","#,
            r#""client.as.number":64496,"portcullis.client_ip_source":"header","source.ip":"192.0.2.77","#,
            r#""source.port":4000,"portcullis.peer_ip":"198.51.100.9","http.request.method":"GET","url.scheme":"https","#,
            r#""url.domain":"example.com","url.path":"/a/b","url.query":"x=1&token=REDACTED","#,
            r#""url.original":"/a/./b?x=1&token=REDACTED","http.version":"2","http.request.id":"0123456789abcdef","#,
            r#""user_agent.original":"curl/8","http.request.referrer":"https://other.example/x","tls.version":"1.3","#,
            r#""tls.client.server_name":"example.com","portcullis.site":"main","portcullis.generation":3,"#,
            r#""http.response.status_code":201,"event.outcome":"success","http.request.body.bytes":10,"#,
            r#""http.response.body.bytes":20,"portcullis.upstream":"app","#,
            r#""portcullis.upstream_server":"http://192.0.2.9:3000","portcullis.upstream_duration":700,"#,
            r#""event.duration":1500}"#,
            "\n"
        )
    );
    serde_json::from_str::<serde_json::Value>(&line).expect("it is JSON");
}

#[test]
fn a_blocked_request_is_logged_with_reason_rule_and_note() {
    let mut sent = sent("http://example.com/?token=x", "/?token=x");
    sent.request = sent.request.ip("203.0.113.1").header("user-agent", "sqlmap");
    sent.response.status = Some(StatusCode::FORBIDDEN);
    sent.response.response_bytes = 12;
    assert_eq!(
        logged(LogFormat::Text, &sent),
        concat!(
            "2026-01-01T00:00:00.123Z block 403 user_agent rule=scanners 203.0.113.1 XX GET ",
            "http://example.com/?token=REDACTED \"sqlmap\" 0.0ms id=0123456789abcdef source=192.0.2.77 ",
            "note=\"they \\\"scan\\\"\\u{a}us\"\n"
        )
    );
}

#[test]
fn an_origin_that_failed_is_an_allowed_request_with_a_reason() {
    let mut sent = sent("https://example.com/", "/");
    sent.response = ResponseRecord {
        status: Some(StatusCode::BAD_GATEWAY),
        failure: Some(Reason::UpstreamDown),
        ..ResponseRecord::default()
    };
    sent.response.upstream = Some(UpstreamRecord {
        name: "app",
        server: None,
        took: Some(Duration::from_millis(12)),
    });
    assert_eq!(
        logged(LogFormat::Text, &sent),
        concat!(
            "2026-01-01T00:00:00.123Z allow 502 upstream_down rule=office 192.0.2.1 XX GET https://example.com/ - ",
            "0.0ms upstream=app 12.0ms id=0123456789abcdef source=192.0.2.77 shadow=soon\n"
        )
    );
    let line: serde_json::Value = serde_json::from_str(&logged(LogFormat::Json, &sent)).expect("it is JSON");
    assert_eq!(line["event.action"], "allow");
    assert_eq!(line["event.reason"], "upstream_down");
    assert_eq!(line["event.outcome"], "failure");
}

#[test]
fn header_values_cannot_forge_a_line() {
    let mut sent = sent("https://example.com/", "/");
    sent.request = sent
        .request
        .header("user-agent", b"x\" event.action=allow\xff\t\"}".as_slice());
    let json = logged(LogFormat::Json, &sent);
    assert_eq!(json.matches('\n').count(), 1);
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(parsed["user_agent.original"], "x\" event.action=allow\u{fffd}\t\"}");
    let text = logged(LogFormat::Text, &sent);
    assert!(
        text.contains(r#" "x\" event.action=allow\xff\u{9}\"}" 0.0ms id="#),
        "{text}"
    );
}

#[test]
fn a_request_that_makes_no_sense_is_logged_as_far_as_it_does() {
    let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("x"))]);
    let record = RequestRecord {
        received: SystemTime::UNIX_EPOCH,
        started: Instant::now(),
        id: "0",
        peer: Peer("192.0.2.1:1".parse().expect("an address")),
        source: SourceAddr("192.0.2.1:1".parse().expect("an address")),
        client: None,
        client_from: DerivedFrom::Source,
        method: "GET",
        version: HttpVersion::Http11,
        tls: false,
        handshake: None,
        host: None,
        original: "/a\\b",
        path: None,
        headers: &headers,
        site: None,
        generation: 1,
        meters: None,
        site_number: None,
        judgement: Judgement::Rejected {
            reason: Reason::Malformed,
            detail: Some("backslash in the path"),
        },
    };
    let response = ResponseRecord {
        status: Some(StatusCode::BAD_REQUEST),
        ..ResponseRecord::default()
    };
    assert_eq!(
        render(LogFormat::Json, &record, &response),
        concat!(
            r#"{"@timestamp":"1970-01-01T00:00:00.000Z","event.action":"reject","event.reason":"malformed","#,
            r#""portcullis.detail":"backslash in the path","source.ip":"192.0.2.1","source.port":1,"#,
            r#""http.request.method":"GET","url.scheme":"http","url.original":"/a\\b","http.version":"1.1","#,
            r#""http.request.id":"0","user_agent.original":"x","portcullis.generation":1,"#,
            r#""http.response.status_code":400,"event.outcome":"success","http.request.body.bytes":0,"#,
            r#""http.response.body.bytes":0,"event.duration":1500}"#,
            "\n"
        )
    );
}

#[test]
fn a_request_that_is_dropped_is_recorded_as_one_whose_client_went_away() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("access.log");
    let settings = LogSettings {
        format: LogFormat::Json,
        access: LogTarget::File(path.clone()),
        level: "info".to_owned(),
        queue: 10,
        redact_query: Vec::new(),
        events: 0,
    };
    let telemetry = crate::telemetry::Telemetry::start(&settings, 1)?;
    let worker = telemetry.worker(0);
    let request = Request::get("https://example.com/");
    let facts = request.facts();
    let policy = policy(facts.site);
    let mut scratch = Scratch::new();
    let decision = policy.decide(&facts, &mut scratch);
    let meters = Rc::new(Arc::new(telemetry.metrics().meters(["main"], ["office", "soon"], [])));
    let record = RequestRecord {
        received: SystemTime::now(),
        started: Instant::now(),
        id: "1",
        peer: Peer("192.0.2.1:1".parse().expect("an address")),
        source: SourceAddr("192.0.2.1:1".parse().expect("an address")),
        client: Some(ClientFacts {
            ip: ClientIp::new([192, 0, 2, 1].into()),
            ..facts.client
        }),
        client_from: DerivedFrom::Source,
        method: "GET",
        version: HttpVersion::Http2,
        tls: true,
        handshake: None,
        host: Some("example.com"),
        original: "/",
        path: Some("/"),
        headers: facts.headers,
        site: Some("main"),
        generation: 1,
        meters: Some(&meters),
        site_number: Some(0),
        judgement: Judgement::Decided {
            decision: &decision,
            took: Duration::from_micros(2),
        },
    };
    drop(worker.begin(&record));
    worker.begin(&record).finish(&ResponseRecord {
        status: Some(StatusCode::OK),
        ..ResponseRecord::default()
    });
    assert!(telemetry.flush(Duration::from_secs(10)));
    let log = std::fs::read_to_string(path)?;
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    let endings: Vec<_> = lines.iter().map(|line| line["portcullis.ending"].as_str()).collect();
    assert_eq!(endings, [Some("client_gone"), None]);

    let metrics = telemetry.metrics().render();
    for expected in [
        r#"portcullis_requests_total{decision="allow",code_class="none",site="main"} 1"#,
        r#"portcullis_requests_total{decision="allow",code_class="2xx",site="main"} 1"#,
        r#"portcullis_decisions_total{action="allow",phase="ip_access",mode="enforce"} 2"#,
        r#"portcullis_decisions_total{action="allow",phase="ip_access",mode="shadow"} 2"#,
        r#"portcullis_rule_hits_total{rule="office"} 2"#,
        r#"portcullis_rule_hits_total{rule="soon"} 2"#,
        "portcullis_request_duration_seconds_count 2",
        "portcullis_decision_duration_seconds_count 2",
        r#"portcullis_decision_duration_seconds_bucket{le="0.000002"} 2"#,
    ] {
        assert!(
            metrics.lines().any(|line| line == expected),
            "{expected} is missing in\n{metrics}"
        );
    }
    Ok(())
}

/// Bytes that a header's value may hold.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let byte =
        prop_oneof![8 => 0x20..0x7f_u8, 1 => Just(b'\t'), 1 => 0x80..=0xff_u8, 1 => Just(b'"'), 1 => Just(b'\\')];
    let bytes = prop::collection::vec(byte, 1..40);
    let text = prop::sample::select(vec![
        "é \"x\" \\x22 \\u{22}",
        "…(9_bytes)",
        "-",
        "a id=forged rule=x",
        "\u{feff}\u{202e}",
    ]);
    prop_oneof![4 => bytes, 1 => text.prop_map(|text| text.as_bytes().to_vec())]
        .prop_filter("no space at the ends", |value| value.trim_ascii().len() == value.len())
}

fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[!-\"$-~]{1,12}",
        prop::sample::select(vec![
            "?",
            "token=s3cret",
            ";token=s3cret/x",
            "&a=1",
            "%3Ftoken=x",
            "REDACTED",
            "\\x41",
            "\\u{41}"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| format!("/{}", parts.concat()))
}

proptest! {
    #[test]
    fn what_a_line_says_is_read_as_it_was_sent_or_taken_as_unknown(
        agent in prop::option::of(value()), referer in prop::option::of(value()), target in target(), blocked: bool,
    ) {
        let mut sent = sent("https://example.com/", target.clone());
        sent.request = sent.request.ip(if blocked { "203.0.113.1" } else { "192.0.2.1" });
        if blocked {
            sent.request = sent.request.header("user-agent", "sqlmap");
        } else if let Some(agent) = &agent {
            sent.request = sent.request.header("user-agent", agent);
        }
        if let Some(referer) = &referer {
            sent.request = sent.request.header("referer", referer);
        }
        let agent = if blocked { Some(b"sqlmap".to_vec()) } else { agent };
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = logged(format, &sent);
            let line = line.trim_end_matches('\n');
            let read = match format {
                LogFormat::Json => ours::json(line),
                LogFormat::Text => ours::text(line),
            };
            let record = read.unwrap_or_else(|unreadable| panic!("{}: {line}", unreadable.0));
            prop_assert_eq!(record.time, Some(Timestamp(1_767_225_600)));
            prop_assert_eq!(record.id.as_deref(), Some("0123456789abcdef"), "{}", line);
            let facts = sent.request.facts();
            prop_assert_eq!(record.client, Client::Is(facts.client.ip.addr()));
            let rule = |name: &'static str| Some(std::borrow::Cow::Borrowed(name));
            prop_assert_eq!(record.then, match blocked {
                true => Then::Blocked { rule: rule("scanners") },
                false => Then::Allowed { rule: rule("office") },
            });
            let request = record.request.expect("a request");
            prop_assert_eq!((&*request.method, request.tls), ("GET", Some(true)));
            let host = request.host.as_ref().map(|host| &*host.authority);
            prop_assert_eq!(host, Some("example.com"));
            match &request.user_agent {
                Said::Unknown | Said::Place(_) => prop_assert!(agent.is_some()),
                Said::Nothing => prop_assert!(agent.is_none()),
                Said::Whole(said) => prop_assert_eq!(Some(said.as_bytes()), agent.as_deref(), "{}", line),
            }
            match &request.referer {
                Said::Unknown => prop_assert!(referer.is_some() || format == LogFormat::Text),
                Said::Nothing => prop_assert!(referer.is_none()),
                Said::Whole(_) => prop_assert!(false, "a Referer is never logged whole"),
                Said::Place(said) => {
                    let host = |referer: &[u8]| {
                        let request = Request::get("/").header("referer", referer);
                        let (facts, arena) = (request.facts(), bumpalo::Bump::new());
                        let input = crate::policy::lang::Input::new(&facts, "/", &arena);
                        input.referer_host().map(str::to_owned)
                    };
                    prop_assert_eq!(host(said.as_bytes()), host(referer.as_deref().unwrap_or_default()), "{}", line);
                }
            }
            let path = |target: &str| target.split('?').next().map(str::to_owned);
            match request.target.hidden {
                Hidden::All => {}
                Hidden::Query => prop_assert_eq!(path(&request.target.raw), path(&target), "{}", line),
                Hidden::Nothing => prop_assert_eq!(&*request.target.raw, target.as_str(), "{}", line),
            }
        }
    }
}
