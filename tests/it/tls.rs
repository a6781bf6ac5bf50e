//! Sessions and what comes back with them; many handshakes at once; records.

use std::{io::Read, thread};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::harness::{Gateway, Origin, Tls, client::TlsStream, gateway::Setup};

/// Two sites that each have a certificate of their own, four workers, and no site for other hosts.
const SITES: &str = r#"
    workers = 4

    [[listen]]
    address = "127.0.0.1:0"
    tls = true

    [admin]
    address = "127.0.0.1:0"

    [upstream.app]
    servers = ["builtin:demo"]

    [[site]]
    name = "a"
    hosts = ["a.test"]
    upstream = "app"
    certificates = [{ cert = "a.pem", key = "a.key" }]

    [[site]]
    name = "b"
    hosts = ["b.test"]
    upstream = "app"
    certificates = [{ cert = "b.pem", key = "b.key" }]

    [limits]
    handshake_turns = 1
"#;

const BOTH_VERSIONS: [(&SupportedProtocolVersion, &str); 2] = [(&TLS12, "1.2"), (&TLS13, "1.3")];

/// A certificate and its key, in PEM.
fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

fn start(config: &str) -> Gateway {
    let mut setup = Setup::new(config);
    for site in ["a", "b"] {
        let (cert, key) = certificate(&format!("{site}.test"));
        setup = setup
            .file(&format!("{site}.pem"), &cert)
            .file(&format!("{site}.key"), &key);
    }
    setup.start()
}

/// Asks once; tickets of TLS 1.3 have arrived with the answer.
fn ask(stream: &mut TlsStream, host: &str) -> String {
    stream.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn a_session_resumes_whichever_worker_takes_the_connection() {
    for (version, name) in BOTH_VERSIONS {
        let gateway = start(SITES);
        let client = Tls::default().version(version).returning();
        // Kept open, so that each is another connection; the kernel spreads them over the workers.
        let mut streams: Vec<TlsStream> = Vec::new();
        for number in 0..32 {
            let mut stream = client.connect(gateway.address(0), "a.test").expect("a handshake");
            assert_eq!(stream.is_resumed(), number > 0, "connection {number} over TLS {name}");
            assert!(ask(&mut stream, "a.test").starts_with("HTTP/1.1 200 "));
            streams.push(stream);
        }
        let counted = |resumed: &str| {
            gateway.metric(&format!(
                r#"portcullis_tls_handshakes_total{{version="{name}",resumed="{resumed}"}}"#
            ))
        };
        assert_eq!((counted("no"), counted("yes")), (Some(1), Some(31)));
    }
}

#[test]
fn sessions_outlive_a_reload_that_changes_the_certificate() {
    for (version, name) in BOTH_VERSIONS {
        let gateway = start(SITES);
        let client = Tls::default().version(version).returning();
        ask(
            &mut client.connect(gateway.address(0), "a.test").expect("a handshake"),
            "a.test",
        );
        let (cert, key) = certificate("new.test");
        gateway.write("a.pem", &cert);
        gateway.write("a.key", &key);
        gateway.reload();
        let mut resumed = client.connect(gateway.address(0), "a.test").expect("a handshake");
        assert!(resumed.is_resumed(), "TLS {name}");
        assert!(ask(&mut resumed, "a.test").starts_with("HTTP/1.1 200 "));
        let fresh = Tls::default().version(version).connect(gateway.address(0), "a.test");
        assert_eq!(fresh.expect("a handshake").names(), ["new.test"]);
    }
}

#[test]
fn a_session_ends_with_its_site() {
    for (version, name) in BOTH_VERSIONS {
        let gateway = start(SITES);
        let client = Tls::default().version(version).returning();
        ask(
            &mut client.connect(gateway.address(0), "a.test").expect("a handshake"),
            "a.test",
        );
        gateway.write("portcullis.toml", &with_logs(&SITES.replace("a.test", "c.test")));
        gateway.reload();
        let refused = client.connect(gateway.address(0), "a.test");
        assert!(refused.is_err(), "TLS {name}: no site has the name any more");
    }
}

/// As the harness writes it.
fn with_logs(config: &str) -> String {
    format!("rules = []\n{config}\n[log]\nformat = \"json\"\n")
}

#[test]
fn a_ticket_of_one_name_resumes_nothing_under_another() {
    for (version, name) in BOTH_VERSIONS {
        let gateway = start(SITES);
        let client = Tls::default().version(version).offering_any_ticket();
        let connect = |name: &str| client.connect(gateway.address(0), name).expect("a handshake");
        ask(&mut connect("a.test"), "a.test");
        let mut elsewhere = connect("b.test");
        assert!(!elsewhere.is_resumed(), "TLS {name}");
        assert_eq!(
            elsewhere.names(),
            ["b.test"],
            "TLS {name}: its certificate was shown and verified"
        );
        ask(&mut elsewhere, "b.test");
        assert!(
            connect("b.test").is_resumed(),
            "TLS {name}: the client does offer what it has"
        );
    }
}

#[test]
fn a_resumed_session_asks_for_its_own_site_alone() {
    for (version, name) in BOTH_VERSIONS {
        let gateway = start(SITES);
        let client = Tls::default().version(version).returning();
        let connect = || client.connect(gateway.address(0), "a.test").expect("a handshake");
        ask(&mut connect(), "a.test");
        let mut resumed = connect();
        assert!(resumed.is_resumed(), "TLS {name}");
        assert!(ask(&mut resumed, "b.test").starts_with("HTTP/1.1 421 "), "TLS {name}");
    }
}

#[test]
fn a_hundred_handshakes_at_once_all_succeed_in_their_turn() {
    let gateway = start(SITES);
    let address = gateway.address(0);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut stream = Tls::default().connect(address, "a.test").expect("a handshake");
                assert!(ask(&mut stream, "a.test").starts_with("HTTP/1.1 200 "));
            });
        }
    });
    assert_eq!(
        gateway.metric(r#"portcullis_tls_handshakes_total{version="1.3",resumed="no"}"#),
        Some(100)
    );
}

/// How much each record carries of what comes, until this much has.
fn record_sizes(stream: &mut TlsStream, total: usize) -> Vec<usize> {
    let (session, socket) = (&mut stream.0.conn, &mut stream.0.sock);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < total {
        let mut record = vec![0; 5];
        socket.read_exact(&mut record).expect("a record's head");
        record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
        socket.read_exact(&mut record[5..]).expect("a record");
        let mut unread = &record[..];
        while !unread.is_empty() {
            session.read_tls(&mut unread).expect("room");
        }
        let state = session.process_new_packets().expect("a valid record");
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        session.reader().read_exact(&mut plain).expect("it is there");
        // Tickets carry nothing.
        if !plain.is_empty() {
            sizes.push(plain.len());
        }
    }
    sizes
}

#[test]
fn the_first_record_to_a_cold_connection_is_small_and_the_others_are_full() {
    const BODY: usize = 1_000_000;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n{}", "x".repeat(BODY));
    let origin = Origin::answering(Box::leak(answer.into_bytes().into_boxed_slice()));
    let gateway = start(&SITES.replace("builtin:demo", &origin.url()));
    let mut stream = Tls::default()
        .connect(gateway.address(0), "a.test")
        .expect("a handshake");
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    std::io::Write::write_all(&mut stream.0, request.as_bytes()).expect("it reads");
    let sizes = record_sizes(&mut stream, BODY);
    assert_eq!(
        (sizes.first(), sizes.iter().max()),
        (Some(&4096), Some(&16384)),
        "{sizes:?}"
    );
}
