use std::net::SocketAddr;

use super::*;
use crate::policy::{
    client::{ClientIpSettings, SourceAddr, hops},
    network::IpRange,
};

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    lines.iter().map(line).collect()
}

fn shown(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
        .collect();
    lines.sort();
    lines
}

fn settings() -> settings::Headers {
    settings::Headers {
        remove: vec![
            HeaderName::from_static("x-original-url"),
            HeaderName::from_static("x-host"),
        ],
        forwarded: false,
        country: None,
        request_id: true,
        response: Vec::new(),
    }
}

fn policy() -> HeaderPolicy {
    HeaderPolicy::new(&settings(), X_FORWARDED_FOR)
}

/// What the origin gets of these headers from a source; 10.0.0.0/8 is trusted.
fn at_origin(policy: &HeaderPolicy, source: &str, mut headers: HeaderMap) -> Vec<String> {
    let trusted = IpRange::parse("10.0.0.0/8").expect("a range");
    let settings = ClientIpSettings::new([trusted].into_iter().collect(), policy.client_ip.clone());
    let source = SourceAddr(SocketAddr::new(source.parse().expect("an address"), 4711));
    let trust = if settings.trusts(source) {
        Trust::Trusted
    } else {
        Trust::Untrusted
    };
    let way = hops(source, &headers, &settings).expect("addresses");
    policy.prepare_for_rules(&mut headers, trust);
    let id = request_id(&headers, trust).cloned();
    let facts = ForOrigin {
        trust,
        way: &way,
        tls: true,
        host: &Host::parse("a.test:8443").expect("a host"),
        request_id: &id.unwrap_or(HeaderValue::from_static("made")),
        country: Country::new("DE").expect("a code"),
    };
    let ours = policy.for_origin(&mut headers, &facts);
    for (name, value) in ours {
        assert!(!headers.contains_key(&name), "{name} is the client's");
        headers.insert(name, value);
    }
    shown(&headers)
}

#[test]
fn what_an_untrusted_client_says_of_itself_does_not_reach_the_origin() {
    let forged = headers(&[
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-for", "1.2.3.5"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/admin"),
        ("x-real-ip", "1.2.3.4"),
        ("x-client-ip", "1.2.3.4"),
        ("true-client-ip", "1.2.3.4"),
        ("cf-connecting-ip", "1.2.3.4"),
        ("client-ip", "1.2.3.4"),
        ("fastly-client-ip", "1.2.3.4"),
        ("fly-client-ip", "1.2.3.4"),
        ("forwarded-for", "1.2.3.4"),
        ("x-azure-clientip", "1.2.3.4"),
        ("x-cluster-client-ip", "1.2.3.4"),
        ("x-forwarded", "for=1.2.3.4"),
        ("x-originating-ip", "1.2.3.4"),
        ("x-remote-addr", "1.2.3.4"),
        ("x-remote-ip", "1.2.3.4"),
        ("x-request-id", "chosen"),
        ("x-original-url", "/admin"),
        ("x-host", "evil.test"),
        ("cookie", "a=b"),
    ]);
    assert_eq!(
        at_origin(&policy(), "192.0.2.1", forged),
        [
            "cookie: a=b",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: a.test:8443",
            "x-forwarded-proto: https",
            "x-request-id: made",
        ]
    );
}

#[test]
fn a_trusted_chain_is_passed_on_from_the_client_that_was_judged() {
    let chain = headers(&[
        ("x-forwarded-for", "forged, 203.0.113.7, 10.0.0.2"),
        ("x-forwarded-host", "inner.test"),
        ("x-forwarded-port", "443"),
        ("x-request-id", "abc-1"),
        ("x-host", "evil.test"),
    ]);
    assert_eq!(
        at_origin(&policy(), "10.0.0.1", chain),
        [
            "x-forwarded-for: 203.0.113.7, 10.0.0.2, 10.0.0.1",
            "x-forwarded-host: a.test:8443",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https",
            "x-request-id: abc-1",
        ]
    );
}

#[test]
fn a_header_of_one_address_makes_a_chain_too() {
    let policy = HeaderPolicy::new(&settings(), HeaderName::from_static("fastly-client-ip"));
    let lines = [("fastly-client-ip", "203.0.113.7"), ("x-forwarded-for", "1.2.3.4")];
    let trusted = at_origin(&policy, "10.0.0.1", headers(&lines));
    assert!(
        trusted.contains(&"x-forwarded-for: 203.0.113.7, 10.0.0.1".to_owned()),
        "{trusted:?}"
    );
    let untrusted = at_origin(&policy, "192.0.2.1", headers(&lines));
    assert!(
        untrusted.contains(&"x-forwarded-for: 192.0.2.1".to_owned()),
        "{untrusted:?}"
    );
    assert!(
        !untrusted.iter().any(|line| line.starts_with("fastly")),
        "{untrusted:?}"
    );
}

#[test]
fn hop_by_hop_headers_and_those_named_in_connection_are_removed() {
    let mut lines = headers(&[
        ("connection", "close, X-Custom"),
        ("connection", "Cookie , content-length, host"),
        ("x-custom", "1"),
        ("cookie", "a=b"),
        ("content-length", "3"),
        ("host", "a.test"),
        ("keep-alive", "1"),
        ("proxy-connection", "1"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("proxy-authorization", "x"),
    ]);
    policy().prepare_for_rules(&mut lines, Trust::Untrusted);
    assert_eq!(shown(&lines), ["content-length: 3", "host: a.test", "trailer: x"]);
}

#[test]
fn connection_cannot_take_away_a_trusted_proxys_word() {
    let lines = [("connection", "x-forwarded-for"), ("x-forwarded-for", "203.0.113.7")];
    let origin = at_origin(&policy(), "10.0.0.1", headers(&lines));
    assert!(
        origin.contains(&"x-forwarded-for: 203.0.113.7, 10.0.0.1".to_owned()),
        "{origin:?}"
    );
    let mut facts = headers(&lines);
    policy().prepare_for_rules(&mut facts, Trust::Untrusted);
    assert!(facts.is_empty());
}

#[test]
fn forwarded_and_country_are_sent_where_they_are_wanted() {
    let settings = settings::Headers {
        forwarded: true,
        country: Some(HeaderName::from_static("x-country")),
        ..settings()
    };
    let policy = HeaderPolicy::new(&settings, X_FORWARDED_FOR);
    let lines = [
        ("x-forwarded-for", "2001:db8::7"),
        ("x-country", "US"),
        ("forwarded", "for=1.2.3.4"),
    ];
    let origin = at_origin(&policy, "10.0.0.1", headers(&lines));
    assert_eq!(
        origin[..2],
        [
            "forwarded: for=\"[2001:db8::7]\";host=\"a.test:8443\";proto=https, for=10.0.0.1",
            "x-country: DE",
        ]
    );
}

#[test]
fn request_ids_are_kept_from_trusted_sources_if_they_are_plain() {
    let id = |lines: &[(&'static str, &'static str)], trust| request_id(&headers(lines), trust).cloned();
    let kept = Some(HeaderValue::from_static("a.B_c-1"));
    assert_eq!(id(&[("x-request-id", "a.B_c-1")], Trust::Trusted), kept);
    assert_eq!(id(&[("x-request-id", "a.B_c-1")], Trust::Untrusted), None);
    assert_eq!(
        id(&[("x-request-id", "a"), ("x-request-id", "b")], Trust::Trusted),
        None
    );
    for bad in ["", "a b", "a\"b", "a,b"] {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static(bad));
        assert_eq!(request_id(&headers, Trust::Trusted), None, "{bad:?}");
    }
    let mut headers = HeaderMap::new();
    for (length, kept) in [(128, true), (129, false)] {
        headers.insert(X_REQUEST_ID, text(&"a".repeat(length)));
        assert_eq!(request_id(&headers, Trust::Trusted).is_some(), kept, "{length}");
    }
}

#[test]
fn cookies_of_several_lines_become_one() {
    let mut lines = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
    policy().prepare_for_rules(&mut lines, Trust::Untrusted);
    assert_eq!(shown(&lines), ["cookie: a=1; b=2; c=3"]);
}

#[test]
fn trailers_that_could_be_headers_are_dropped_and_checksums_pass() {
    let mut trailers = headers(&[
        ("authorization", "Basic eDp5"),
        ("content-type", "text/html"),
        ("cookie", "a=b"),
        ("host", "evil.test"),
        ("if-none-match", "x"),
        ("sec-fetch-site", "same-origin"),
        ("user_agent", "browser"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-http-method-override", "DELETE"),
        ("x_judged", "1"),
        ("content-digest", "x"),
        ("digest", "x"),
        ("x-amz-checksum-crc32", "x"),
        ("x-checksum", "x"),
    ]);
    policy().remove_from_trailers(&mut trailers, |name| name == "x-judged");
    assert_eq!(
        shown(&trailers),
        [
            "content-digest: x",
            "digest: x",
            "x-amz-checksum-crc32: x",
            "x-checksum: x"
        ]
    );
}

#[test]
fn trailers_of_an_answer_say_nothing_that_its_head_has_to_say() {
    let mut trailers = headers(&[
        ("content-length", "7"),
        ("content-type", "text/html"),
        ("set-cookie", "a=b"),
        ("transfer-encoding", "chunked"),
        ("location", "/"),
        ("content-digest", "x"),
        ("grpc-status", "0"),
        ("server-timing", "db"),
    ]);
    remove_from_response_trailers(&mut trailers);
    assert_eq!(
        shown(&trailers),
        ["content-digest: x", "grpc-status: 0", "server-timing: db"]
    );
}
