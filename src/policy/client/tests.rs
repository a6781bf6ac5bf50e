use http::HeaderValue;

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
