use std::time::{Instant, SystemTime};

use http::HeaderMap;

use super::*;
use crate::{
    policy::{
        client::{DerivedFrom, Peer, SourceAddr},
        decision::Reason,
        facts::HttpVersion,
    },
    telemetry::access::read::{Record, Withheld},
};

const WORKER: usize = 0;

fn remember(events: &Events, id: &str, headers: &HeaderMap, target: &str) {
    let address = "192.0.2.1:1".parse().expect("an address");
    let record = RequestRecord {
        received: SystemTime::UNIX_EPOCH,
        started: Instant::now(),
        id,
        peer: Peer(address),
        source: SourceAddr(address),
        client: None,
        client_from: DerivedFrom::Source,
        method: "GET",
        version: HttpVersion::Http11,
        tls: true,
        handshake: None,
        host: Some("a.test"),
        original: target,
        path: None,
        headers,
        site: None,
        generation: 1,
        meters: None,
        site_number: None,
        judgement: Judgement::Rejected {
            reason: Reason::Malformed,
            detail: None,
        },
    };
    let style = arc_swap::ArcSwap::from_pointee(Style {
        on: false,
        format: LogFormat::Text,
        redaction: Redaction::new(&["token".to_owned()]),
    });
    let stamp = || *b"2026-01-01T00:00:00.000Z";
    events.remember(WorkerIndex::new(WORKER), || style.load(), stamp, &record);
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

fn found(events: &Events, id: &str) -> Record {
    Record::of(&events.find(id).expect("it is remembered")).expect("a record")
}

#[test]
fn credentials_and_listed_values_are_never_kept() {
    let events = Events::new(1, 10);
    let sent = headers(&[
        ("cookie", "s3cret"),
        ("authorization", "Bearer s3cret"),
        ("proxy-authorization", "s3cret"),
        ("x-api-key", "s3cret"),
        ("x_api_key", "s3cret"),
        ("private-token", "s3cret"),
        ("x-original-url", "/a?token=s3cret"),
        ("referer", "https://b.test/x?token=s3cret"),
        ("x-callback", "https://b.test/x#token=s3cret"),
        ("user-agent", "sqlmap/1.8#stable (https://sqlmap.org)"),
        ("accept", "text/html"),
    ]);
    remember(&events, "1", &sent, "/a?token=s3cret&b=1");
    let kept = events.find("1").expect("it is remembered");
    assert!(!kept.to_string().contains("s3cret"), "{kept}");
    let record = found(&events, "1");
    assert_eq!(record.target, "/a?token=REDACTED&b=1");
    let known: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let agent = ("user-agent", "sqlmap/1.8#stable (https://sqlmap.org)");
    assert_eq!(known, [agent, ("accept", "text/html"), ("referer", "https://b.test/x")]);
    let Withheld::These(names) = record.withheld else {
        panic!("{:?}", record.withheld);
    };
    assert_eq!(
        names,
        [
            "cookie",
            "authorization",
            "proxy-authorization",
            "x-api-key",
            "x_api_key",
            "private-token",
            "x-original-url",
            "referer",
            "x-callback"
        ]
    );
}

#[test]
fn the_oldest_is_forgotten_first_and_the_reach_is_told() {
    let events = Events::new(1, 3);
    for id in ["1", "2", "3", "4"] {
        remember(&events, id, &HeaderMap::new(), "/");
    }
    assert_eq!(events.find("1"), None);
    assert_eq!(found(&events, "2").id, "2");
    assert_eq!(
        events.reach(),
        json!({
            "room": 3,
            "refused": { "count": 3, "since": "2026-01-01T00:00:00.000Z" },
            "let_through": { "count": 0, "since": null },
        })
    );
}

#[test]
fn long_requests_take_no_more_memory_than_is_meant_for_all() {
    let events = Events::new(1, 8);
    let long = "x".repeat(MAX_VALUE);
    let sent = headers(&[("a", &long), ("b", &long), ("c", &long), ("d", &long), ("e", &long)]);
    let target = format!("/{}", "y".repeat(4000));
    for id in 0..8 {
        remember(&events, &id.to_string(), &sent, &target);
    }
    let bytes = lock(&events.workers[0]).refused.bytes;
    assert!(bytes <= 8 * BYTES_AN_EVENT, "{bytes}");
    let record = found(&events, "7");
    assert_eq!(record.headers.len(), 4);
    assert_eq!(record.withheld, Withheld::These(vec!["e".to_owned()]));
}

#[test]
fn none_is_remembered_where_none_is_to_be() {
    let events = Events::new(1, 0);
    remember(&events, "1", &HeaderMap::new(), "/");
    assert_eq!(events.find("1"), None);
    events.resize(1);
    remember(&events, "1", &HeaderMap::new(), "/");
    assert!(events.find("1").is_some());
    events.resize(0);
    assert_eq!(events.find("1"), None);
}
