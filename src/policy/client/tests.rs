use http::HeaderValue;
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::policy::network::IpRange;

fn settings(header: &'static str) -> ClientIpSettings {
    let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|range| IpRange::parse(range).expect("a range"));
    ClientIpSettings::new(trusted.into_iter().collect(), HeaderName::from_static(header))
}

fn source(address: &str) -> SourceAddr {
    SourceAddr(SocketAddr::new(address.parse().expect("an address"), 4711))
}

fn headers(lines: &str) -> HeaderMap {
    let lines = lines.split(" || ").filter(|line| *line != "-");
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value.trim()).expect("a value"))
        })
        .collect()
}

/// A derivation in the words of the case file.
fn told(source: SourceAddr, headers: &HeaderMap, settings: &ClientIpSettings) -> String {
    let derivation = client_ip(source, headers, settings);
    let hops = hops(source, headers, settings);
    match (derivation, hops) {
        (Ok(derivation), Ok(hops)) => {
            let via: Vec<String> = hops[..hops.len() - 1]
                .iter()
                .map(|hop| hop.ip.addr().to_string())
                .collect();
            assert_eq!(hops.last().map(|hop| hop.ip), Some(derivation.ip));
            assert_eq!(derivation.from == DerivedFrom::Header, !via.is_empty());
            let via = if via.is_empty() {
                String::new()
            } else {
                format!("  via {}", via.join(" "))
            };
            format!("{}{via}", derivation.ip.addr())
        }
        (Err(why), Err(_)) => format!("refused: {why}"),
        (derivation, hops) => panic!("{derivation:?} and {hops:?} disagree"),
    }
}

#[test]
fn clients_are_who_the_cases_say() {
    let mut current = settings("x-forwarded-for");
    for line in include_str!("../../../tests/cases/client_ip.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            current = settings(header);
            continue;
        }
        let (request, expected) = line.split_once("  =>  ").expect("REQUEST  =>  CLIENT");
        let (address, lines) = request.split_once("  ").expect("SOURCE  HEADERS");
        assert_eq!(told(source(address), &headers(lines), &current), expected, "{line}");
    }
}

#[test]
fn a_header_with_bytes_beyond_ascii_is_no_address() {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_bytes(b"\xff").expect("opaque"));
    assert!(client_ip(source("10.0.0.1"), &headers, &settings("x-forwarded-for")).is_err());
}

#[test]
fn a_trusted_source_says_whether_its_client_speaks_tls() {
    let tls = |on_socket, address, lines, header| {
        client_tls(on_socket, source(address), &headers(lines), &settings(header)).ok()
    };
    let list = "x-forwarded-for";
    assert_eq!(tls(false, "10.0.0.1", "X-Forwarded-Proto: https", list), Some(true));
    assert_eq!(tls(true, "10.0.0.1", "X-Forwarded-Proto: http", list), Some(false));
    assert_eq!(tls(false, "10.0.0.1", "X-Forwarded-Proto: wss", list), Some(true));
    assert_eq!(tls(true, "10.0.0.1", "-", list), Some(true));
    assert_eq!(tls(false, "192.0.2.1", "X-Forwarded-Proto: https", list), Some(false));
    assert_eq!(tls(false, "10.0.0.1", "X-Forwarded-Proto: https, http", list), None);
    assert_eq!(tls(false, "10.0.0.1", "X-Forwarded-Proto: ftp", list), None);
    let twice = "X-Forwarded-Proto: https || X-Forwarded-Proto: https";
    assert_eq!(tls(false, "10.0.0.1", twice, list), None);
}

#[test]
fn forwarded_says_tls_of_the_client_and_x_forwarded_proto_is_not_asked() {
    let tls = |lines| client_tls(false, source("10.0.0.1"), &headers(lines), &settings("forwarded")).ok();
    assert_eq!(
        tls("Forwarded: for=203.0.113.7;proto=https, for=10.0.0.2;proto=http"),
        Some(true)
    );
    assert_eq!(
        tls("Forwarded: for=1.2.3.4;proto=https, for=203.0.113.7;proto=http"),
        Some(false)
    );
    assert_eq!(
        tls("Forwarded: for=203.0.113.7 || X-Forwarded-Proto: https"),
        Some(false)
    );
    assert_eq!(tls("Forwarded: for=203.0.113.7;proto=gopher"), None);
}

/// What a client may have written before the proxy added its word.
fn forgery() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&[u8]] = &[
        b"10.0.0.1",
        b"1.2.3.4",
        b"for=",
        b"for=1.2.3.4",
        b"\"",
        b"\\",
        b",",
        b";",
        b"=",
        b" ",
        b"[",
        b"]",
        b"::1",
        b"unknown",
        b"\xff",
        b"\t",
        b"proto=https",
        b"x",
    ];
    vec(select(PIECES), 0..10).prop_map(|pieces| pieces.concat())
}

fn appended(forged: &[u8], word: &str, new_line: bool, name: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let line = if new_line {
        headers.append(name, HeaderValue::from_bytes(forged).expect("no control characters"));
        word.as_bytes().to_vec()
    } else {
        [forged, b", ", word.as_bytes()].concat()
    };
    headers.append(name, HeaderValue::from_bytes(&line).expect("no control characters"));
    headers
}

proptest! {
    #[test]
    fn nothing_left_of_a_proxys_word_changes_the_client(forged in forgery(), new_line in any::<bool>()) {
        let headers = appended(&forged, "203.0.113.7, 10.0.0.2", new_line, "x-forwarded-for");
        let client = client_ip(source("10.0.0.1"), &headers, &settings("x-forwarded-for")).map(|found| found.ip.addr());
        prop_assert_eq!(client, Ok("203.0.113.7".parse().expect("an address")));
    }

    #[test]
    fn nothing_left_of_a_proxys_forwarded_changes_the_client_unless_it_is_refused(
        forged in forgery(),
        new_line in any::<bool>(),
    ) {
        let headers = appended(&forged, "for=\"203.0.113.7:1\";proto=http, for=10.0.0.2", new_line, "forwarded");
        let settings = settings("forwarded");
        if let Ok(found) = client_ip(source("10.0.0.1"), &headers, &settings) {
            prop_assert_eq!(found.ip.addr(), "203.0.113.7".parse::<IpAddr>().expect("an address"));
            prop_assert_eq!(client_tls(true, source("10.0.0.1"), &headers, &settings), Ok(false));
        }
    }

    #[test]
    fn an_untrusted_source_is_the_client_whatever_it_sends(forged in forgery(), header in select(vec!["forwarded", "x-forwarded-for", "x-real-ip"])) {
        let headers = appended(&forged, "203.0.113.7", true, header);
        let found = client_ip(source("192.0.2.1"), &headers, &settings(header)).map(|found| found.ip.addr());
        prop_assert_eq!(found, Ok("192.0.2.1".parse().expect("an address")));
    }
}
