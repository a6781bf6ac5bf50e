//! Starting, listening, TLS, reloading and ending.

use std::{
    io::Write,
    os::unix::net::UnixDatagram,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::{ProtocolVersion, SignatureScheme, version::TLS12};

use crate::harness::{
    Gateway, Origin, Tls,
    client::{connect, read_response, read_to_end},
    curl, exchange,
    gateway::Setup,
    h2_get,
};

/// One TLS listener, one plain one, and a site for every host in front of the demo origin.
const DEMO: &str = r#"
    [[listen]]
    address = "127.0.0.1:0"
    tls = true

    [[listen]]
    address = "127.0.0.1:0"

    [upstream.app]
    servers = ["builtin:demo"]

    [[site]]
    name = "main"
    hosts = ["*"]
    upstream = "app"
    self_signed = true
"#;

/// A certificate and its key, in PEM.
fn certificate(names: &[&str], algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names)
        .expect("names")
        .self_signed(&key)
        .expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// Files of a certificate beside the configuration.
fn with_certificate(setup: Setup, stem: &str, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Setup {
    let (cert, key) = certificate(names, algorithm);
    setup
        .file(&format!("{stem}.pem"), &cert)
        .file(&format!("{stem}.key"), &key)
}

#[test]
fn curl_is_answered_over_every_protocol() {
    let gateway = Gateway::start(DEMO);
    let https = format!("https://localhost:{}/", gateway.address(0).port());
    let http = format!("http://localhost:{}/", gateway.address(1).port());
    assert!(curl(&["--http2", &https]).ends_with("\n200"));
    assert!(curl(&["--http1.1", &https]).ends_with("\n200"));
    assert!(curl(&["--tls-max", "1.2", &https]).ends_with("\n200"));
    assert!(curl(&[&http]).ends_with("\n200"));
}

#[test]
fn the_protocol_is_agreed_on_by_alpn() {
    let gateway = Gateway::start(DEMO);
    let agreed = |protocols: &[&str]| {
        let stream = Tls::default().alpn(protocols).connect(gateway.address(0), "localhost");
        stream.expect("a handshake").alpn()
    };
    assert_eq!(agreed(&["http/1.1", "h2"]).as_deref(), Some("h2"));
    assert_eq!(agreed(&["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&[]), None);
    assert!(
        Tls::default()
            .alpn(&["smtp"])
            .connect(gateway.address(0), "localhost")
            .is_err()
    );
}

#[test]
fn the_certificate_follows_the_server_name_and_what_the_client_verifies() {
    let config = r#"
        [[listen]]
        address = "127.0.0.1:0"
        tls = true

        [upstream.app]
        servers = ["builtin:demo"]

        [[site]]
        name = "shop"
        hosts = ["shop.test", "*.shop.test"]
        upstream = "app"
        certificates = [
            { cert = "rsa.pem", key = "rsa.key" },
            { cert = "ecdsa.pem", key = "ecdsa.key" },
            { cert = "wildcard.pem", key = "wildcard.key" },
        ]

        [[site]]
        name = "other"
        hosts = ["*"]
        upstream = "app"
        certificates = [{ cert = "other.pem", key = "other.key" }]
    "#;
    let setup = with_certificate(Setup::new(config), "rsa", &["shop.test", "rsa.test"], &PKCS_RSA_SHA256);
    let setup = with_certificate(setup, "ecdsa", &["shop.test", "ecdsa.test"], &PKCS_ECDSA_P256_SHA256);
    let setup = with_certificate(setup, "wildcard", &["*.shop.test"], &PKCS_ECDSA_P256_SHA256);
    let gateway = with_certificate(setup, "other", &["other.test"], &PKCS_ECDSA_P256_SHA256).start();
    let shown = |tls: Tls, name: &str| tls.connect(gateway.address(0), name).expect("a handshake").names();
    assert_eq!(shown(Tls::default(), "shop.test"), ["shop.test", "ecdsa.test"]);
    let rsa_only = Tls::default().schemes(&[SignatureScheme::RSA_PSS_SHA256]);
    assert_eq!(shown(rsa_only, "shop.test"), ["shop.test", "rsa.test"]);
    assert_eq!(shown(Tls::default(), "www.shop.test"), ["*.shop.test"]);
    assert_eq!(shown(Tls::default(), "elsewhere.test"), ["other.test"]);
    assert_eq!(shown(Tls::default(), ""), ["other.test"]);
}

#[test]
fn a_server_name_of_another_site_than_the_host_is_misdirected() {
    let config = DEMO.replace(r#"hosts = ["*"]"#, r#"hosts = ["a.test"]"#)
        + r#"
        [[site]]
        name = "second"
        hosts = ["b.test"]
        upstream = "app"
        self_signed = true
    "#;
    let gateway = Gateway::start(&config);
    let ask = |host: &str| {
        let mut stream = Tls::default()
            .connect(gateway.address(0), "a.test")
            .expect("a handshake");
        stream.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    assert!(ask("a.test").starts_with("HTTP/1.1 200 "));
    assert!(ask("b.test").starts_with("HTTP/1.1 421 "));
    assert!(
        Tls::default().connect(gateway.address(0), "unknown.test").is_err(),
        "no default site"
    );
}

#[test]
fn an_old_tls_version_is_refused_where_a_newer_is_the_least() {
    let gateway = Gateway::start(&DEMO.replacen("tls = true", "tls = true\nmin_tls = \"1.3\"", 1));
    assert!(
        Tls::default()
            .version(&TLS12)
            .connect(gateway.address(0), "localhost")
            .is_err()
    );
    let stream = Tls::default()
        .connect(gateway.address(0), "localhost")
        .expect("a handshake");
    assert_eq!(stream.version(), Some(ProtocolVersion::TLSv1_3));

    let gateway = Gateway::start(DEMO);
    let stream = Tls::default()
        .version(&TLS12)
        .connect(gateway.address(0), "localhost")
        .expect("a handshake");
    assert_eq!(stream.version(), Some(ProtocolVersion::TLSv1_2));
}

#[test]
fn a_reload_swaps_certificates_and_keeps_connections() {
    let config = DEMO.replace(
        "self_signed = true",
        r#"certificates = [{ cert = "a.pem", key = "a.key" }]"#,
    );
    let gateway = with_certificate(Setup::new(&config), "a", &["old.test"], &PKCS_ECDSA_P256_SHA256).start();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut kept = Tls::default()
        .connect(gateway.address(0), "a.test")
        .expect("a handshake");
    assert_eq!(kept.names(), ["old.test"]);
    kept.ask(request);

    let (cert, key) = certificate(&["new.test"], &PKCS_ECDSA_P256_SHA256);
    gateway.write("a.pem", &cert);
    gateway.write("a.key", &key);
    gateway.reload();
    assert!(kept.ask(request).starts_with("HTTP/1.1 200 "));
    let fresh = Tls::default()
        .connect(gateway.address(0), "a.test")
        .expect("a handshake");
    assert_eq!(fresh.names(), ["new.test"]);
}

#[test]
fn a_bad_certificate_changes_nothing_at_a_reload() {
    let config = DEMO.replace(
        "self_signed = true",
        r#"certificates = [{ cert = "a.pem", key = "a.key" }]"#,
    );
    let gateway = with_certificate(Setup::new(&config), "a", &["old.test"], &PKCS_ECDSA_P256_SHA256).start();
    gateway.write("a.key", &certificate(&["old.test"], &PKCS_ECDSA_P256_SHA256).1);
    gateway.signal("HUP");
    gateway.wait_for_message("configuration not reloaded, the old one stays in force");
    let stream = Tls::default()
        .connect(gateway.address(0), "a.test")
        .expect("a handshake");
    assert_eq!(stream.names(), ["old.test"]);
}

#[test]
fn a_self_signed_certificate_is_kept_over_reloads() {
    let gateway = Gateway::start(DEMO);
    let shown = || {
        let stream = Tls::default()
            .connect(gateway.address(0), "localhost")
            .expect("a handshake");
        stream.certificate()
    };
    let before = shown();
    gateway.reload();
    assert_eq!(shown(), before);
}

#[test]
fn a_redirecting_listener_sends_known_hosts_to_https() {
    let config = DEMO.replace(r#"hosts = ["*"]"#, r#"hosts = ["a.test"]"#).replacen(
        "address = \"127.0.0.1:0\"\n\n",
        "address = \"127.0.0.1:0\"\nredirect = { port = 443 }\n\n",
        1,
    ) + "\n[client_ip]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = Gateway::start(&config);
    let ask = |host: &str, headers: &str| {
        let mut stream = connect(gateway.address(1));
        let request = format!("GET /x?y=1 HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        read_response(&mut stream)
    };
    let answer = ask("a.test:8080", "");
    assert!(
        answer.starts_with("HTTP/1.1 308 ") && answer.contains("ocation: https://a.test/x?y=1\r\n"),
        "{answer}"
    );
    assert!(ask("b.test", "").starts_with("HTTP/1.1 421 "));
    assert!(ask("a.test", "X-Forwarded-Proto: https\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_rule_that_closes_sends_nothing_over_http1_and_resets_the_stream_over_http2() {
    let rules = "[[rule]]\nid = \"silent\"\nexpression = 'http.request.uri.path eq \"/silent\"'\naction = \"block\"\n\
                 response = { status = 444 }\n";
    let config = format!("rules = [\"rules.toml\"]\n{DEMO}");
    let gateway = Setup::new(&config).file("rules.toml", rules).start();
    assert_eq!(
        exchange(gateway.address(1), b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n"),
        ""
    );
    let error = h2_get(gateway.address(0), "localhost", "/silent").expect_err("no answer");
    assert!(error.is_reset(), "{error:?}");
    assert_eq!(h2_get(gateway.address(0), "localhost", "/").expect("an answer").0, 200);
}

/// Lets origins go on when a test says so.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(open, |open| !*open));
    }
}

#[test]
fn term_finishes_the_request_under_way_and_then_ends() {
    let (asked, answer) = (Arc::<Gate>::default(), Arc::<Gate>::default());
    let (tell, hold) = (Arc::clone(&asked), Arc::clone(&answer));
    let origin = Origin::scripted(move |connection| {
        connection.read_head();
        tell.open();
        hold.pass();
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let gateway = Gateway::start(&DEMO.replace("builtin:demo", &origin.url()));
    let mut idle = connect(gateway.address(1));
    let mut busy = connect(gateway.address(1));
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    asked.pass();
    gateway.signal("TERM");
    assert_eq!(read_to_end(&mut idle), "", "an idle connection is closed");
    answer.open();
    assert!(read_to_end(&mut busy).ends_with("late"));
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_second_term_hastens() {
    let asked = Arc::<Gate>::default();
    let tell = Arc::clone(&asked);
    let origin = Origin::scripted(move |connection| {
        connection.read_head();
        tell.open();
        connection.read_head();
    });
    let gateway = Gateway::start(&DEMO.replace("builtin:demo", &origin.url()));
    let mut busy = connect(gateway.address(1));
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    asked.pass();
    gateway.signal("TERM");
    gateway.wait_for_message("draining");
    gateway.signal("TERM");
    assert_eq!(read_to_end(&mut busy), "");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn int_ends_at_once() {
    let gateway = Gateway::start(DEMO);
    let mut idle = connect(gateway.address(1));
    gateway.signal("INT");
    assert_eq!(read_to_end(&mut idle), "");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_body_that_crawls_is_cut() {
    let config = format!("{DEMO}\n[limits]\nmin_rate = 100000\nmin_rate_grace = \"100ms\"\n");
    let gateway = Gateway::start(&config);
    let answer = exchange(
        gateway.address(1),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nslow",
    );
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_configuration_that_does_not_load_is_shown_and_ends_with_1() {
    let (status, shown) = Setup::new(&DEMO.replace("upstream = \"app\"", "upstream = \"ap\"")).run();
    assert_eq!(status.code(), Some(1), "{shown}");
    assert!(
        shown.contains("portcullis.toml:") && shown.contains("did you mean `app`?"),
        "{shown}"
    );
}

#[test]
fn every_port_that_is_taken_is_named() {
    let running = Gateway::start(DEMO);
    let addresses = [running.address(0).to_string(), running.address(1).to_string()];
    let config = DEMO
        .replacen("127.0.0.1:0", &addresses[0], 1)
        .replacen("127.0.0.1:0", &addresses[1], 1);
    let (status, shown) = Setup::new(&config).run();
    assert_eq!(status.code(), Some(2), "{shown}");
    for address in addresses {
        assert!(shown.contains(&format!("cannot listen on {address}")), "{shown}");
    }
}

#[test]
fn a_start_in_text_says_where_it_listens_and_what_to_try() {
    let config = format!("rules = [\"rules.toml\"]\n{DEMO}\n[log]\nformat = \"text\"\naccess = \"off\"\n");
    let setup = Setup::new(&config).file(
        "rules.toml",
        "[[user_agent]]\nid = \"scanners\"\naction = \"block\"\ncontains = [\"sqlmap\"]\n",
    );
    let (_gateway, shown) = setup.start_text();
    assert!(
        shown.contains("https://127.0.0.1:") && shown.contains("rules         1 (1 user_agent)"),
        "{shown}"
    );
    let tries: Vec<&str> = shown
        .lines()
        .filter(|line| line.trim_start().starts_with("curl"))
        .collect();
    assert_eq!(
        tries.len(),
        2,
        "the allowed request, and that of the one rule: {tries:?}"
    );
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let hear = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let gateway = Setup::new(DEMO)
        .variable("NOTIFY_SOCKET", &path.to_string_lossy())
        .start();
    assert_eq!(hear().trim(), "READY=1");
    gateway.signal("HUP");
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear().trim(), "READY=1");
    gateway.signal("TERM");
    assert_eq!(hear().trim(), "STOPPING=1");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn usr1_opens_the_access_log_again() {
    let config = format!("{DEMO}\n[log]\nformat = \"json\"\naccess = \"access.log\"\n");
    let gateway = Gateway::start(&config);
    let log = gateway.directory().join("access.log");
    let get = |path: &str| {
        exchange(
            gateway.address(1),
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
        )
    };
    let wait_for = |path: &str| {
        while !std::fs::read_to_string(&log).unwrap_or_default().contains(path) {
            std::thread::yield_now();
        }
    };
    get("/first");
    wait_for("/first");
    std::fs::rename(&log, gateway.directory().join("access.log.1")).expect("it is there");
    gateway.signal("USR1");
    while !log.exists() {
        std::thread::yield_now();
    }
    get("/second");
    wait_for("/second");
}

#[test]
fn operators_are_answered_on_the_admin_address_and_socket() {
    let config = format!("{DEMO}\n[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"admin.sock\"\n");
    let gateway = Gateway::start(&config);
    let admin = format!("http://{}", gateway.admin());
    assert!(curl(&[&format!("{admin}/readyz")]).ends_with("\n200"));
    let metrics = curl(&[&format!("{admin}/metrics")]);
    assert!(
        metrics.contains("portcullis_config_last_reload_successful 1"),
        "{metrics}"
    );
    let (code, printed) = gateway.verb(&["reload"]);
    assert_eq!(code, Some(0), "{printed}");
    gateway.write("portcullis.toml", "nonsense");
    let (code, printed) = gateway.verb(&[
        "reload",
        "--socket",
        &gateway.directory().join("admin.sock").to_string_lossy(),
    ]);
    assert_eq!(code, Some(1), "{printed}");
    let metrics = curl(&[&format!("{admin}/metrics")]);
    assert!(
        metrics.contains("portcullis_config_last_reload_successful 0"),
        "{metrics}"
    );
}

#[test]
fn a_flood_of_connections_beyond_the_open_files_passes() {
    let gateway = Setup::new(&format!("workers = 1\n{DEMO}")).open_files(64).start();
    let flood: Vec<_> = (0..200).map(|_| connect(gateway.address(1))).collect();
    gateway.wait_for_message("cannot accept connections for a moment");
    drop(flood);
    let answer = exchange(
        gateway.address(1),
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// The checkout's configuration, rules and lists, on free ports and in one folder.
fn checkout() -> Setup {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = std::fs::read_to_string(root.join("config/portcullis.toml")).expect("it is there");
    let config = [":8443", ":8080", ":9180"]
        .iter()
        .fold(config, |config, port| config.replace(&format!("{port}\""), ":0\""));
    let setup = Setup::new(&config.replace("../rules/", "rules/"));
    ["rules", "lists"].iter().fold(setup, |setup, folder| {
        let files = std::fs::read_dir(root.join(folder)).expect("a folder");
        files.map_while(Result::ok).fold(setup, |setup, file| {
            let name = format!("{folder}/{}", file.file_name().to_string_lossy());
            let text = std::fs::read_to_string(file.path()).expect("a text");
            setup.file(&name, &text.replace("../lists/", "lists/"))
        })
    })
}

#[test]
fn the_requests_that_a_first_start_proposes_do_what_it_says() {
    let (_gateway, said) = checkout().start_text();
    let proposed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("curl "))
        .collect();
    let answers: Vec<String> = proposed
        .iter()
        .map(|line| {
            let arguments: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            curl(&[&["-o", "/dev/null"], &*arguments].concat()).trim().to_owned()
        })
        .collect();
    assert_eq!(answers, ["200", "403", "403", "404", "403", "403", "403"], "{said}");
}
