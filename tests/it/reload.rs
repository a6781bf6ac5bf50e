//! Reloading: what changes at once, what is never lost, and what a bad configuration cannot do.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, Barrier},
};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::harness::{
    Gateway, Origin, Tls,
    client::{connect, read_response},
    gateway::Setup,
    load::{Load, echoed, websocket},
};

/// A TLS listener, a plain one, a certificate from files, and the rules of a folder.
fn config(upstream: &str) -> String {
    format!(
        r#"
rules = ["rules/*.toml"]

[[listen]]
address = "127.0.0.1:0"
tls = true

[[listen]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"
socket = "admin.sock"

[upstream.app]
servers = ["{upstream}"]

[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
certificates = [{{ cert = "site.pem", key = "site.key" }}]
"#
    )
}

fn setup(config: &str, rules: &str) -> Setup {
    let (cert, key) = certificate("first.test");
    Setup::new(config)
        .file("rules/rules.toml", rules)
        .file("site.pem", &cert)
        .file("site.key", &key)
}

/// A certificate and its key, in PEM.
fn certificate(name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// A rule that blocks one path.
fn block(id: &str, path: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\nexpression = 'http.request.uri.path eq \"{path}\"'\naction = \"block\"\nresponse = {{ status = 451 }}\n"
    )
}

/// The status of a GET on a connection that is kept.
fn status(stream: &mut (impl Write + std::io::Read), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is open");
    read_response(stream)[9..12].to_owned()
}

/// Reloads over the admin socket, and gives the report.
fn report(gateway: &Gateway) -> (Option<i32>, Value) {
    let (code, printed) = gateway.verb(&["-o", "json", "reload"]);
    (code, serde_json::from_str(&printed).expect("JSON"))
}

/// How a reload is asked for.
#[derive(Clone, Copy)]
enum By {
    Signal,
    Verb,
}

impl By {
    fn turn(number: usize) -> Self {
        if number.is_multiple_of(2) {
            Self::Signal
        } else {
            Self::Verb
        }
    }

    fn reload(self, gateway: &Gateway) {
        match self {
            Self::Signal => gateway.reload(),
            Self::Verb => assert_eq!(report(gateway).0, Some(0)),
        }
    }

    fn reload_refused(self, gateway: &Gateway) {
        match self {
            Self::Signal => gateway.reload_refused(),
            Self::Verb => assert_eq!(report(gateway).0, Some(1)),
        }
    }
}

/// Breaks the configuration: each way with a rule that would block everything, if any of it came into force.
fn spoil(gateway: &Gateway, number: usize) {
    const EVERYTHING: &str = "[[rule]]\nid = \"everything\"\nexpression = 'true'\naction = \"block\"\n";
    let good = config("builtin:demo");
    match number % 6 {
        0 => gateway.write(
            "rules/rules.toml",
            &format!("{EVERYTHING}[[rule]]\nexpression = 'ip.src eq'\naction = \"block\"\n"),
        ),
        1 => gateway.write("rules/rules.toml", &format!("{EVERYTHING}[[rule]\n")),
        2 => {
            gateway.write("rules/rules.toml", EVERYTHING);
            gateway.write("site.key", "no key\n");
        }
        3 => {
            gateway.write("rules/rules.toml", EVERYTHING);
            gateway.write("portcullis.toml", &format!("{good}\nsurprise = true\n"));
        }
        4 => gateway.write("rules/rules.toml", ""),
        _ => {
            gateway.write("rules/rules.toml", EVERYTHING);
            gateway.write(
                "rules/more.toml",
                "[[ip_access]]\naction = \"block\"\nip = [\"$nobody\"]\n",
            );
        }
    }
}

#[test]
fn a_hundred_reloads_under_load_lose_no_request_and_close_no_connection() {
    let origin = Origin::naming_and_echoing();
    let gateway = setup(&config(&origin.url()), &block("first", "/never")).start();
    let whole = fs::read_to_string(gateway.directory().join("portcullis.toml")).expect("it is there");
    let (tls, plain) = (gateway.address(0), gateway.address(1));
    let load = Load::new().http1(tls).http1(tls).http2(tls, 8).websocket(plain);
    let mut kept = Tls::default().connect(tls, "a.test").expect("a handshake");
    status(&mut kept.0, "/");
    load.wait_for_answers();
    let accepted = gateway.metric("portcullis_connections_accepted_total").expect("shown");
    for number in 0..50 {
        let (cert, key) = certificate(&format!("g{number}.test"));
        gateway.write("portcullis.toml", &whole);
        let _ = fs::remove_file(gateway.directory().join("rules/more.toml"));
        gateway.write("rules/rules.toml", &block("moment", &format!("/only/{number}")));
        gateway.write("site.pem", &cert);
        gateway.write("site.key", &key);
        By::turn(number).reload(&gateway);
        assert_eq!(status(&mut kept.0, &format!("/only/{number}")), "451");
        assert_eq!(status(&mut kept.0, &format!("/only/{}", number + 49)), "200");
        let fresh = Tls::default().connect(tls, "a.test").expect("a handshake");
        assert_eq!(fresh.names(), [format!("g{number}.test")]);

        spoil(&gateway, number);
        By::turn(number / 2).reload_refused(&gateway);
        assert_eq!(status(&mut kept.0, &format!("/only/{number}")), "451");
        assert_eq!(status(&mut kept.0, "/"), "200");
        load.wait_for_answers();
    }
    load.finish();
    let fresh = 50;
    assert_eq!(
        gateway.metric("portcullis_connections_accepted_total"),
        Some(accepted + fresh)
    );
    gateway.wait_for_metric("portcullis_config_reloads_total{result=\"success\"}", 50);
    gateway.wait_for_metric("portcullis_config_reloads_total{result=\"failure\"}", 50);
    assert_eq!(gateway.metric("portcullis_config_last_reload_successful"), Some(0));
    let busy_at_once = 2 + 8 + 1 + 1;
    assert!(
        origin.connections() <= 3 * busy_at_once,
        "an upstream that did not change keeps its connections: {}",
        origin.connections()
    );
}

/// A million networks and addresses of both families, none of them local, with `last` below them.
fn million(last: &str) -> String {
    let mut text = String::with_capacity(24 << 20);
    for number in 0..500_000_u32 {
        let [_, a, b, c] = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        text += &format!("198.{a}.{b}.{c} # {number}\n2001:db8:{b:x}:{c:x}::{a:x}\n");
    }
    text + last
}

#[test]
fn a_million_entries_reloaded_under_load_lose_no_request() {
    const RULE: &str = "[[ip_access]]\nid = \"blocked\"\naction = \"block\"\nip = [\"$blocked\"]\n\
        [list.blocked]\nkind = \"ip\"\nfile = \"blocked.txt\"\n";
    let origin = Origin::naming_and_echoing();
    let setup = setup(&config(&origin.url()), RULE).file("blocked.txt", "192.0.2.1\n");
    let gateway = setup.start();
    let (tls, plain) = (gateway.address(0), gateway.address(1));
    let load = Load::new().http1(tls).http2(tls, 4).websocket(plain);
    load.wait_for_answers();

    gateway.write("blocked.txt", &million(""));
    let (code, told) = report(&gateway);
    assert_eq!(
        (code, &told["changed"]),
        (Some(0), &json!(["list blocked changed"])),
        "{told}"
    );
    assert_eq!(
        gateway.metric("portcullis_list_entries{list=\"blocked\"}"),
        Some(1_000_000)
    );
    load.wait_for_answers();

    gateway.write("rules/rules.toml", &(RULE.to_owned() + &block("more", "/never")));
    assert_eq!(report(&gateway).1["changed"], json!(["rule more added"]));

    gateway.write("blocked.txt", &million("198.0.0.0/8\n198.0.0\n"));
    let (code, told) = report(&gateway);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["faults"][0]["place"]["line"], json!(1_000_002));
    assert_eq!(told["faults"].as_array().map(Vec::len), Some(1));
    load.wait_for_answers();

    gateway.write("blocked.txt", &million("198.0.0.0/8\n"));
    assert_eq!(
        report(&gateway).1["changed"],
        json!([
            "list blocked changed",
            "list blocked: 1,000,001 entries, 500,000 duplicates or inside wider ones"
        ])
    );
    load.wait_for_answers();
    load.finish();
}

#[test]
fn what_is_under_way_goes_on_also_for_a_client_now_blocked() {
    let half = Arc::new(Barrier::new(2));
    let hold = Arc::clone(&half);
    let slow = Origin::scripted(move |connection| {
        connection.read_head();
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        hold.wait();
        connection.write(b"-last");
    });
    let echoing = Origin::naming_and_echoing();
    let config = config(&echoing.url())
        + &format!("\n[upstream.slow]\nservers = [\"{}\"]\n", slow.url())
        + "\n[[site]]\nname = \"slow\"\nhosts = [\"slow.test\"]\nupstream = \"slow\"\nself_signed = true\n";
    let gateway = setup(&config, &block("a", "/a")).start();
    let mut socket = websocket(gateway.address(1), "/socket");
    assert_eq!(echoed(&mut socket, "before"), "before");
    let mut kept = connect(gateway.address(1));
    assert_eq!(status(&mut kept, "/"), "200");
    let mut under_way = connect(gateway.address(1));
    under_way
        .write_all(b"GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n")
        .expect("it reads");
    let mut begun = String::new();
    while !begun.ends_with("first") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut under_way, &mut byte).expect("the first half");
        begun.push(char::from(byte[0]));
    }

    gateway.write(
        "rules/rules.toml",
        "[[ip_access]]\nid = \"me\"\naction = \"block\"\nip = [\"127.0.0.0/8\"]\n",
    );
    gateway.reload();
    assert_eq!(status(&mut kept, "/"), "403");
    half.wait();
    let mut rest = [0; 5];
    std::io::Read::read_exact(&mut under_way, &mut rest).expect("the second half");
    assert_eq!(&rest, b"-last");
    assert_eq!(echoed(&mut socket, "after"), "after");
}

#[test]
fn an_upstream_that_did_not_change_keeps_its_connection_and_one_that_did_is_asked_next() {
    let (old, new) = (Origin::naming_and_echoing(), Origin::naming_and_echoing());
    let gateway = setup(&config(&old.url()), &block("a", "/a")).start();
    let mut kept = connect(gateway.address(1));
    for number in 0..5 {
        assert_eq!(status(&mut kept, "/"), "200");
        gateway.write("rules/rules.toml", &block("a", &format!("/a/{number}")));
        gateway.reload();
    }
    assert_eq!((old.connections(), new.connections()), (1, 0));
    gateway.write("portcullis.toml", &(config(&new.url()) + "[log]\nformat = \"json\"\n"));
    gateway.reload();
    assert_eq!(status(&mut kept, "/"), "200");
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn counters_go_on_over_reloads() {
    let gateway = setup(&config("builtin:demo"), &block("a", "/blocked")).start();
    let mut kept = connect(gateway.address(1));
    for number in 1..=3 {
        assert_eq!(status(&mut kept, "/blocked"), "451");
        assert_eq!(status(&mut kept, "/"), "200");
        gateway.write(
            "rules/rules.toml",
            &(block("a", "/blocked") + &block("b", &format!("/b/{number}"))),
        );
        assert_eq!(report(&gateway).0, Some(0));
        for sample in [
            r#"portcullis_requests_total{decision="block",code_class="4xx",site="main"}"#,
            r#"portcullis_requests_total{decision="allow",code_class="2xx",site="main"}"#,
            r#"portcullis_rule_hits_total{rule="a"}"#,
            r#"portcullis_config_reloads_total{result="success"}"#,
        ] {
            gateway.wait_for_metric(sample, number);
        }
    }
}

#[test]
fn a_reload_says_what_changed() {
    let gateway = setup(&config("builtin:demo"), &(block("a", "/a") + &block("b", "/b"))).start();
    gateway.write("rules/rules.toml", &(block("a", "/other") + &block("c", "/c")));
    let (code, told) = report(&gateway);
    assert_eq!((code, &told["result"]), (Some(0), &json!("loaded")));
    assert_eq!(
        told["changed"],
        json!(["rule c added", "rule b removed", "rule a changed"])
    );
    let (_, again) = gateway.verb(&["reload"]);
    assert!(again.contains("nothing is different"), "{again}");
}

#[test]
fn a_refused_reload_says_where_and_why_and_exits_with_1() {
    let gateway = setup(&config("builtin:demo"), &block("a", "/a")).start();
    gateway.write(
        "rules/rules.toml",
        "[[rule]]\nid = \"a\"\nexpression = 'htp.host eq \"x\"'\naction = \"block\"\n",
    );
    let (code, said) = gateway.verb(&["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("rules/rules.toml:3:") && said.contains("http.host"),
        "{said}"
    );
    assert!(said.contains("not reloaded: nothing changed"), "{said}");
    gateway.wait_for_metric("portcullis_config_last_reload_successful", 0);
    gateway.write("rules/rules.toml", &block("a", "/a"));
    assert_eq!(report(&gateway).0, Some(0));
    gateway.wait_for_metric("portcullis_config_last_reload_successful", 1);
}

#[test]
fn keys_that_wait_for_a_restart_are_named_and_the_rest_is_taken() {
    let gateway = setup(&config("builtin:demo"), &block("a", "/a")).start();
    let mut kept = connect(gateway.address(1));
    assert_eq!(gateway.metric("portcullis_config_restart_required"), Some(0));
    let changed = config("builtin:demo")
        .replacen("127.0.0.1:0", "127.0.0.2:0", 1)
        .replace(
            "[admin]\naddress = \"127.0.0.1:0\"",
            "[admin]\naddress = \"127.0.0.2:0\"",
        )
        .replace("rules = ", "workers = 1\nrules = ");
    let log = "[log]\nformat = \"json\"\n";
    gateway.write("portcullis.toml", &format!("{changed}{log}level = \"debug\"\n"));
    gateway.write("rules/rules.toml", &block("a", "/b"));
    let (code, told) = report(&gateway);
    assert_eq!(code, Some(0), "{told}");
    let workers = if std::thread::available_parallelism().is_ok_and(|number| number.get() == 1) {
        json!(["listen", "admin.address", "log.level"])
    } else {
        json!(["workers", "listen", "admin.address", "log.level"])
    };
    assert_eq!(told["restart_required"], workers);
    assert_eq!(gateway.metric("portcullis_config_restart_required"), Some(1));
    assert_eq!(status(&mut kept, "/b"), "451");
    gateway.write("portcullis.toml", &format!("{}{log}", config("builtin:demo")));
    assert_eq!(report(&gateway).1["restart_required"], json!([]));
    assert_eq!(gateway.metric("portcullis_config_restart_required"), Some(0));
}

#[test]
fn an_editor_that_saves_by_renaming_is_followed() {
    let gateway = setup(&config("builtin:demo"), &block("a", "/a")).start();
    let rules = gateway.directory().join("rules");
    gateway.write("rules/.rules.toml.swp", "b0VIM\0\u{1}half a file");
    gateway.write("rules/rules.toml~", "an old copy [[");
    gateway.write("rules/4913", &block("a", "/b"));
    fs::rename(rules.join("4913"), rules.join("rules.toml")).expect("renamed");
    gateway.reload();
    let mut kept = connect(gateway.address(1));
    assert_eq!(status(&mut kept, "/b"), "451");
    assert_eq!(status(&mut kept, "/a"), "200");
}

/// Has `folder` show the files of another, as Kubernetes does for a mounted ConfigMap.
fn publish(folder: &Path, version: &str) {
    symlink(version, folder.join("..data_tmp")).expect("linked");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swapped");
}

#[test]
fn a_swapped_config_map_is_followed_and_one_whose_files_went_away_is_refused() {
    let setup = setup(&config("builtin:demo"), &block("a", "/a"))
        .file("rules/..2026_01/geo.toml", &block("a", "/a"))
        .file("rules/..2026_02/geo.toml", &block("a", "/b"))
        .file("rules/..2026_03/other.toml", &block("a", "/c"));
    let rules = setup.directory().join("rules");
    fs::remove_file(rules.join("rules.toml")).expect("it is there");
    publish(&rules, "..2026_01");
    symlink("..data/geo.toml", rules.join("geo.toml")).expect("linked");
    let gateway = setup.start();
    let mut kept = connect(gateway.address(1));
    assert_eq!(status(&mut kept, "/a"), "451");
    publish(&rules, "..2026_02");
    gateway.reload();
    assert_eq!(
        (status(&mut kept, "/a"), status(&mut kept, "/b")),
        ("200".into(), "451".into())
    );
    publish(&rules, "..2026_03");
    gateway.reload_refused();
    assert_eq!(status(&mut kept, "/b"), "451");
}

#[test]
fn a_mount_that_came_up_empty_is_refused() {
    let gateway = setup(&config("builtin:demo"), &block("a", "/a")).start();
    let rules = gateway.directory().join("rules");
    fs::rename(&rules, gateway.directory().join("away")).expect("moved");
    let mut kept = connect(gateway.address(1));
    for mount in ["absent", "empty", "without rules"] {
        match mount {
            "absent" => {}
            "empty" => fs::create_dir(&rules).expect("made"),
            _ => gateway.write("rules/README", "lost+found"),
        }
        let (code, told) = report(&gateway);
        assert_eq!((code, &told["result"]), (Some(1), &json!("kept")), "{mount}");
        assert!(
            told["shown"]
                .as_str()
                .is_some_and(|shown| shown.contains("rules/*.toml")),
            "{mount}: {told}"
        );
        assert_eq!(status(&mut kept, "/a"), "451", "{mount}");
    }
}

#[test]
fn with_a_mount_that_is_empty_it_does_not_start() {
    let setup = setup(&config("builtin:demo"), &block("a", "/a"));
    fs::remove_file(setup.directory().join("rules/rules.toml")).expect("it is there");
    let (status, said) = setup.run();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("no file matches") && said.contains("portcullis.toml:2:10"),
        "{said}"
    );
}
