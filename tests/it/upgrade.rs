//! Being succeeded: by a binary upgrade, by a service manager's next process, or by nobody.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    process::{Child, Command, Stdio},
};

use rustls::pki_types::ServerName;
use serde_json::{Value, json};

use crate::harness::{
    Gateway, Origin, Tls,
    client::{connect, read_response, read_to_end},
    gateway::{PROGRAM, Setup},
    load::Load,
};

/// A TLS listener and a plain one, admin listeners, and a site for every host.
fn config(workers: usize, upstream: &str) -> String {
    format!(
        r#"
workers = {workers}
rules = []

[[listen]]
address = "127.0.0.1:0"
tls = true

[[listen]]
address = "127.0.0.1:0"
health = "/healthz"

[admin]
address = "127.0.0.1:0"
socket = "admin.sock"

[log]
format = "json"

[upstream.app]
servers = ["{upstream}"]

[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
self_signed = true
"#
    )
}

/// One plain listener at an address.
fn listening_on(address: SocketAddr, workers: usize, upstream: &str) -> String {
    config(workers, upstream)
        .replace("[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n", "")
        .replace(
            "[[listen]]\naddress = \"127.0.0.1:0\"",
            &format!("[[listen]]\naddress = \"{address}\""),
        )
}

/// Clients of every kind.
fn load(gateway: &Gateway) -> Load {
    let (tls, plain) = (gateway.address(0), gateway.address(1));
    Load::new()
        .fresh(plain)
        .fresh(plain)
        .fresh_tls(tls)
        .kept(plain)
        .kept_tls(tls)
        .kept_http2(tls, 4)
        .readiness(gateway.admin())
}

/// Has it upgrade, and gives what was told.
fn upgrade(gateway: &Gateway) -> (Option<i32>, Value) {
    let socket = gateway.directory().join("admin.sock");
    let (code, printed) = gateway.verb(&["-o", "json", "upgrade", "--socket", &socket.to_string_lossy()]);
    (code, serde_json::from_str(&printed).expect("JSON"))
}

/// Who answers on the admin socket.
fn pid(gateway: &Gateway) -> Option<u64> {
    let socket = gateway.directory().join("admin.sock");
    let (_, printed) = gateway.verb(&["-o", "json", "status", "--socket", &socket.to_string_lossy()]);
    let status: Value = serde_json::from_str(&printed).expect("JSON");
    status["pid"].as_u64()
}

fn kill(signal: &str, pid: u64) {
    let kill = format!("kill -{signal} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(status.success(), "{kill}");
}

#[test]
fn upgrades_under_load_lose_no_request_whatever_the_number_of_workers() {
    let origin = Origin::naming_and_echoing();
    let mut gateway = Setup::new(&config(2, &origin.url())).start();
    let load = load(&gateway);
    load.wait_for_answers();
    let mut processes = vec![u64::from(gateway.pid())];
    for (number, workers) in [3, 1, 2].into_iter().enumerate() {
        gateway.write("portcullis.toml", &config(workers, &origin.url()));
        let (code, told) = upgrade(&gateway);
        assert_eq!((code, &told["result"]), (Some(0), &json!("upgraded")), "{told}");
        assert_eq!(told["predecessor"]["pid"].as_u64(), processes.last().copied());
        let successor = told["successor"]["pid"].as_u64().expect("a process");
        assert_eq!(pid(&gateway), Some(successor));
        processes.push(successor);
        gateway.wait_for_messages("stopped", number + 1);
        load.wait_for(10);
    }
    let asked = load.finish();
    assert!(asked > 300, "{asked}");
    assert_eq!(gateway.wait_for_first().code(), Some(0));
    processes.dedup();
    assert_eq!(processes.len(), 4);
    kill("TERM", processes[3]);
    gateway.wait_for_all();
    assert!(!gateway.directory().join("admin.sock").exists());
}

#[test]
fn an_upgrade_puts_keys_in_force_that_need_a_restart() {
    let mut gateway = Setup::new(&config(1, "builtin:demo")).start();
    let (tls, plain) = (gateway.address(0), gateway.address(1));
    let without_plain = config(1, "builtin:demo")
        .replace(
            "[[listen]]\naddress = \"127.0.0.1:0\"\nhealth",
            "[[listen]]\naddress = \"127.0.0.2:0\"\nhealth",
        )
        .replace("socket = \"admin.sock\"", "socket = \"other.sock\"");
    gateway.write("portcullis.toml", &without_plain);
    let (code, told) = upgrade(&gateway);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(gateway.wait_for_first().code(), Some(0));
    gateway.wait_for_messages("ready", 2);
    let listening = |index| gateway.address(index).ip().to_string();
    assert_eq!(
        (listening(3), listening(4)),
        ("127.0.0.1".to_owned(), "127.0.0.2".to_owned())
    );
    assert_eq!(gateway.address(3), tls, "the socket that stays was handed over");
    std::net::TcpStream::connect(plain).expect_err("the other is closed with its gateway");
    assert!(!gateway.directory().join("admin.sock").exists());
    assert!(gateway.directory().join("other.sock").exists());
}

#[test]
fn an_upgrade_that_fails_changes_nothing_and_says_why() {
    let origin = Origin::naming_and_echoing();
    let setup = Setup::new(&config(2, &origin.url())).program("portcullis");
    let program = setup.directory().join("portcullis");
    symlink(PROGRAM, &program).expect("linked");
    let gateway = setup.start();
    let first = u64::from(gateway.pid());
    let load = load(&gateway);
    load.wait_for_answers();
    let refused = |reason: &[&str]| {
        let (code, told) = upgrade(&gateway);
        assert_eq!((code, &told["result"]), (Some(1), &json!("kept")), "{told}");
        let said = told["reason"].as_str().expect("a reason");
        assert!(reason.iter().all(|reason| said.contains(reason)), "{reason:?}: {said}");
        assert_eq!(pid(&gateway), Some(first));
        load.wait_for(5);
    };

    gateway.write(
        "portcullis.toml",
        &format!("{}\nsurprise = true\n", config(2, &origin.url())),
    );
    refused(&["portcullis.toml", "surprise"]);

    let occupied = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = occupied.local_addr().expect("bound");
    let more = format!("\n[[listen]]\naddress = \"{taken}\"\n");
    gateway.write("portcullis.toml", &(config(2, &origin.url()) + &more));
    refused(&[&taken.to_string(), "another process listens there"]);
    drop(occupied);
    gateway.write("portcullis.toml", &config(2, &origin.url()));

    let replace = |script: &str| {
        fs::remove_file(&program).expect("it is there");
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    };
    replace("#!/bin/sh\nexit 3\n");
    refused(&["ended before it asked for the sockets", "exit status: 3"]);
    replace("#!/bin/sh\nkill -KILL $$\n");
    refused(&["ended before it asked for the sockets", "signal: 9"]);
    fs::remove_file(&program).expect("it is there");
    refused(&["cannot start", "No such file"]);

    symlink(PROGRAM, &program).expect("linked");
    let (code, told) = upgrade(&gateway);
    assert_eq!(code, Some(0), "{told}");
    load.wait_for(5);
    let asked = load.finish();
    assert!(asked > 300, "{asked}");
}

#[test]
fn who_takes_the_sockets_and_goes_away_changes_nothing() {
    let origin = Origin::naming_and_echoing();
    let gateway = Setup::new(&config(2, &origin.url())).start();
    let load = load(&gateway);
    let socket = gateway.directory().join("admin.sock");
    let ask = |protocol: u32| {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        let opening = json!({ "verb": "takeover", "protocol": protocol, "version": "9.0.0" });
        writeln!(stream, "{opening}").expect("it reads");
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).expect("an answer");
        let offer: Value = serde_json::from_str(&line).expect("JSON");
        (reader.into_inner(), offer)
    };
    let (stream, offer) = ask(1);
    assert_eq!(offer["sockets"].as_array().map(Vec::len), Some(4), "{offer}");
    drop(stream);
    gateway.wait_for_messages("not handed over", 1);
    let (mut stream, _) = ask(1);
    writeln!(stream, "{}", json!({ "failed": "I cannot" })).expect("it reads");
    gateway.wait_for_messages("not handed over", 2);
    let (_, answer) = ask(2);
    assert!(
        answer["error"]
            .as_str()
            .is_some_and(|error| error.contains("protocol 2")),
        "{answer}"
    );
    load.wait_for(5);
    assert_eq!(pid(&gateway), Some(u64::from(gateway.pid())));
    load.finish();
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_gateway_started_by_hand_takes_over() {
    let origin = Origin::naming_and_echoing();
    let mut gateway = Setup::new(&config(2, &origin.url())).start();
    let load = load(&gateway);
    load.wait_for_answers();
    let mut command = gateway.beside(&["run", "--takeover"]);
    let second = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let second = Ending(second.expect("the program runs"));
    assert_eq!(gateway.wait_for_first().code(), Some(0));
    assert_eq!(pid(&gateway), Some(u64::from(second.0.id())));
    load.wait_for(5);
    load.finish();
}

#[test]
fn with_nobody_to_take_over_from_it_starts() {
    let setup = Setup::new(&config(1, "builtin:demo")).arguments(&["run", "--takeover"]);
    let gateway = setup.start();
    assert_eq!(pid(&gateway), Some(u64::from(gateway.pid())));
}

#[test]
fn the_service_manager_is_told_who_the_service_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let hear = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    };
    let mut gateway = Setup::new(&config(1, "builtin:demo"))
        .variable("NOTIFY_SOCKET", &path.to_string_lossy())
        .start();
    assert_eq!(hear(), "READY=1");
    let (_, told) = upgrade(&gateway);
    let successor = told["successor"]["pid"].as_u64().expect("a process");
    assert_eq!(hear(), format!("MAINPID={successor}"));
    assert_eq!(hear(), "READY=1");
    assert_eq!(gateway.wait_for_first().code(), Some(0));
    kill("TERM", successor);
    assert_eq!(hear(), "STOPPING=1", "and the first did not say that the service stops");
}

/// A gateway on a socket that this test keeps, as a service manager does.
fn activated(listener: &TcpListener, workers: usize, origin: &Origin) -> Gateway {
    let address = listener.local_addr().expect("bound");
    Setup::new(&listening_on(address, workers, &origin.url()))
        .passing(listener.try_clone().expect("a descriptor"))
        .start()
}

#[test]
fn restarts_by_a_service_manager_that_keeps_the_socket_lose_no_request() {
    let origin = Origin::naming_and_echoing();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut gateway = activated(&listener, 2, &origin);
    let load = Load::new().fresh(address).fresh(address).kept(address).kept(address);
    load.wait_for_answers();
    for workers in [1, 3] {
        gateway.signal("TERM");
        assert_eq!(gateway.wait_for_first().code(), Some(0));
        gateway = activated(&listener, workers, &origin);
        load.wait_for(20);
        // The next one before the end of this one.
        let next = activated(&listener, 2, &origin);
        gateway.signal("TERM");
        load.wait_for(20);
        assert_eq!(gateway.wait_for_first().code(), Some(0));
        gateway = next;
    }
    load.wait_for(20);
    let asked = load.finish();
    assert!(asked > 300, "{asked}");
}

#[test]
fn a_gateway_on_passed_sockets_can_be_upgraded_and_leaves_them_open() {
    let origin = Origin::naming_and_echoing();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut gateway = activated(&listener, 2, &origin);
    let load = Load::new().fresh(address).kept(address);
    load.wait_for_answers();
    let (code, told) = upgrade(&gateway);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(gateway.wait_for_first().code(), Some(0));
    load.wait_for(20);
    load.finish();
    kill("TERM", told["successor"]["pid"].as_u64().expect("a process"));
    gateway.wait_for_all();
    let _waits = connect(address);
}

#[test]
fn a_passed_socket_that_nothing_names_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (status, said) = Setup::new(&config(1, "builtin:demo")).passing(listener).run();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(
        said.contains("no `[[listen]]`") && said.contains(&format!("{address} (descriptor 3, `web`)")),
        "{said}"
    );
}

#[test]
fn what_was_passed_and_is_no_listening_socket_is_told() {
    let file = fs::File::open("Cargo.toml").expect("it is there");
    let (status, said) = Setup::new(&config(1, "builtin:demo")).passing(file).run();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("descriptor 3") && said.contains("LISTEN_FDS"), "{said}");
}

#[test]
fn the_admin_socket_can_be_passed_but_only_a_private_one() {
    let passing = |mode: u32| {
        let setup = Setup::new(&config(1, "builtin:demo"));
        let path = setup.directory().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        setup.passing(listener)
    };
    let gateway = passing(0o600).start();
    assert_eq!(pid(&gateway), Some(u64::from(gateway.pid())));
    gateway.end_then(|directory| assert!(directory.join("admin.sock").exists(), "it is not the gateway's"));
    let (status, said) = passing(0o666).run();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("mode 0666") && said.contains("SocketMode=0600"), "{said}");
}

#[test]
fn a_drain_tells_clients_of_both_protocols() {
    let gateway = Setup::new(&config(1, "builtin:demo")).start();
    let (tls, plain) = (gateway.address(0), gateway.address(1));
    let mut kept = connect(plain);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .expect("it reads");
    assert!(!read_response(&mut kept).to_lowercase().contains("connection: close"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(tls).await.expect("it listens");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(Tls::default().alpn(&["h2"]).config()));
        let name = ServerName::try_from("a.test").expect("a name");
        let stream = connector.connect(name, tcp).await.expect("a handshake");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let mut sender = sender.ready().await.expect("open");
        let request = http::Request::get("https://a.test/").body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("sent");
        assert_eq!(response.await.expect("an answer").status(), 200);

        // A request that has begun may be ended whenever its time allows.
        kept.write_all(b"GET / HT").expect("it reads");
        gateway.signal("TERM");
        gateway.wait_for_message("draining");
        kept.write_all(b"TP/1.1\r\nHost: a.test\r\n\r\n").expect("it reads");
        let answer = read_to_end(&mut kept).to_lowercase();
        assert!(
            answer.starts_with("http/1.1 200 ") && answer.contains("connection: close"),
            "{answer}"
        );
        connection.await.expect("no panic").expect("an orderly end");
        let error = sender.ready().await.expect_err("GOAWAY");
        assert!(
            error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR),
            "{error}"
        );
    });
    assert_eq!(gateway.wait().code(), Some(0));
}

/// One frame of HTTP/2: its type, flags and payload; `None` at the end.
fn frame(stream: &mut impl Read) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
    stream.read_exact(&mut payload).expect("a whole frame");
    Some((head[3], head[4], payload))
}

#[test]
fn an_http2_client_that_has_not_read_all_is_not_reset() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const GET: &[u8] = b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x87\x84\x41\x06a.test";
    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0portcull";
    const GOAWAY: u8 = 7;
    const PINGED: (u8, u8) = (6, 0);
    const ENDED: (u8, u8) = (0, 1);
    let gateway = Setup::new(&config(1, "builtin:demo")).start();
    let mut stream = Tls::default()
        .alpn(&["h2"])
        .connect(gateway.address(0), "a.test")
        .expect("a handshake")
        .0;
    stream.write_all(&[PREFACE, GET].concat()).expect("it reads");
    while let Some((kind, flags, _)) = frame(&mut stream) {
        if (kind, flags) == ENDED {
            break;
        }
    }
    gateway.signal("TERM");
    let mut last_streams = Vec::new();
    while let Some((kind, flags, payload)) = frame(&mut stream) {
        if kind == GOAWAY {
            last_streams.push(u32::from_be_bytes(payload[..4].try_into().expect("four bytes")));
        } else if (kind, flags) == PINGED {
            let pong = [b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat();
            stream.write_all(&pong).expect("it reads");
        }
    }
    assert_eq!(
        last_streams,
        [u32::MAX >> 1, 1],
        "first that it ends, then what it took"
    );
    // What a client still writes that has more to read than this one.
    for _ in 0..3 {
        stream.write_all(PING).expect("no reset");
        stream.flush().expect("no reset");
    }
    drop(stream);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_request_that_hangs_is_cut_at_the_end_of_the_drain() {
    let origin = Origin::scripted(|connection| {
        connection.read_head();
        connection.read_head();
    });
    let config = config(1, &origin.url()) + "\n[limits]\ndrain_timeout = \"300ms\"\n";
    let gateway = Setup::new(&config).start();
    let mut hanging = connect(gateway.address(1));
    hanging
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .expect("it reads");
    while !origin.received().contains("\r\n\r\n") {
        std::thread::yield_now();
    }
    gateway.signal("TERM");
    assert_eq!(read_to_end(&mut hanging), "");
    assert_eq!(gateway.wait().code(), Some(0));
}
