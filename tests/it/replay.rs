//! Past traffic put to a configuration: logs of the gateway itself and of a real nginx, and how the program ends.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::harness::{exchange, gateway::Setup, nginx::Nginx};

const CONFIG: &str = r#"
rules = ["rules.toml"]
[[listen]]
address = "127.0.0.1:0"
[upstream.app]
servers = ["builtin:demo"]
[[site]]
name = "main"
hosts = ["example.com"]
upstream = "app"
[log]
format = "json"
access = "access.log"
"#;

const RULES: &str = r#"
[[rule]]
id = "xmlrpc"
expression = 'http.request.uri.path eq "/xmlrpc.php"'
action = "block"

[[rule]]
id = "debug"
expression = 'http.request.headers["x-debug"][0] eq "1" and http.request.uri.path eq "/debug"'
action = "block"

[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["203.0.113.0/24"]

[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]
"#;

/// Runs `replay` with these arguments in a folder: how it ends, and what it says on either side.
fn replay(folder: &Path, arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .env("PORTCULLIS_CONFIG", "portcullis.toml")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // One that does not read its input closes it.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let (code, told, said) = replay(folder, &[&["-o", "json", "replay"], arguments].concat(), b"");
    assert_eq!(code, Some(0), "{said}{told}");
    serde_json::from_str(&told).expect("JSON")
}

/// How many there are of each kind.
fn counts(told: &Value) -> [u64; 6] {
    let kinds = ["newly_blocked", "newly_allowed", "other_rule", "undecided", "unchanged"];
    let [a, b, c, d, e] = kinds.map(|kind| told[kind]["count"].as_u64().expect("a number"));
    [a, b, c, d, e, told["unreadable"]["count"].as_u64().expect("a number")]
}

/// A folder with the configuration and a log.
fn folder(log: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, text) in [("portcullis.toml", CONFIG), ("rules.toml", RULES), ("access.log", log)] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

const COMBINED: &str = "\
198.51.100.7 - - [26/Nov/2026:04:48:25 +0000] \"GET / HTTP/1.1\" 200 3 \"-\" \"Firefox\"
198.51.100.7 - - [26/Nov/2026:04:48:26 +0000] \"POST /xmlrpc.php HTTP/1.1\" 200 3 \"-\" \"curl/8\"
198.51.100.8 - - [26/Nov/2026:04:48:27 +0000] \"GET /%61dmin?token=s3cret HTTP/1.1\" 200 3 \"-\" \"curl/8\"
198.51.100.9 - - [26/Nov/2026:04:48:28 +0000] \"GET /debug HTTP/1.1\" 200 3 \"-\" \"Firefox\"
198.51.100.9 - - [26/Nov/2026:04:48:29 +0000] \"\\x16\\x03\\x01\" 400 157 \"-\" \"-\"
not a line of it
";

#[test]
fn the_gateways_own_log_put_to_its_own_rules_changes_nothing() {
    let gateway = Setup::new(CONFIG).file("rules.toml", RULES).start();
    let requests = [
        (
            "/",
            "Host: example.com\r\nUser-Agent: Firefox\r\nReferer: https://example.com/?q=1",
        ),
        ("/xmlrpc.php?token=s3cret", "Host: example.com"),
        ("/%61dmin", "Host: example.com:8443"),
        ("/a;token=s3cret/b", "Host: example.com"),
        ("/x", "Host: example.com\r\nUser-Agent: sqlmap/1.8 \"x\" \\"),
        ("/x", "Host: nowhere.example"),
        ("/a%2fb", "Host: example.com"),
        ("/debug", "Host: example.com"),
        ("/x", "Host: example.com\r\nUser-Agent: a\u{e9}b"),
    ];
    for (path, headers) in requests {
        let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
        exchange(gateway.address(0), request.as_bytes());
    }
    gateway.end_then(|folder| {
        let told = json(folder, &["access.log"]);
        // A header and a redacted path are not in the log: what depends on them is not known.
        assert_eq!(counts(&told), [0, 0, 0, 2, 5, 0], "{told:#}");
        assert_eq!(told["unchanged"]["blocked"], 3);
        assert_eq!(told["not_compared"].as_array().map(Vec::len), Some(2));
        let told = json(folder, &["--against", ".", "access.log"]);
        assert_eq!(counts(&told), [0, 0, 0, 0, 7, 0], "{told:#}");

        let opened = RULES
            .replace("/xmlrpc.php", "/xmlrpc2.php")
            .replace("sqlmap", "firefox");
        fs::write(folder.join("rules.toml"), opened).expect("written");
        let told = json(folder, &["access.log"]);
        assert_eq!(counts(&told), [1, 2, 0, 2, 2, 0], "{told:#}");
        assert_eq!(told["newly_allowed"]["rules"][0]["name"], "scanners");
        assert_eq!(told["newly_blocked"]["samples"][0]["then"], "(no rule)");
        assert!(!told.to_string().contains("s3cret"), "{told}");
    });
}

#[test]
fn a_log_of_nginx_is_read_and_each_example_explains_itself() {
    let nginx = Nginx::start("access_log @folder/combined.log combined;", &[("index.html", b"hello")]);
    for request in [
        "GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: Firefox\r\nConnection: close\r\n\r\n",
        "GET /x?a=%22 HTTP/1.1\r\nHost: example.com\r\nUser-Agent: sqlmap \"q\" \\ x\r\nConnection: close\r\n\r\n",
        "POST /xmlrpc.php HTTP/1.0\r\n\r\n",
    ] {
        exchange(nginx.address(), request.as_bytes());
    }
    let log = fs::read_to_string(nginx.folder().join("combined.log")).expect("a log");
    let folder = folder(&log);
    let told = json(folder.path(), &["--scheme", "https", "access.log"]);
    assert_eq!(counts(&told), [2, 0, 0, 0, 1, 0], "{log}{told:#}");
    assert_eq!(told["formats"]["combined (nginx, Apache)"], 3);
    assert_eq!(told["assumed_host"], "example.com");
    let samples = told["newly_blocked"]["samples"].as_array().expect("examples");
    for sample in samples {
        let line = sample["explain"].as_str().expect("a command");
        let command = line.replacen("portcullis", env!("CARGO_BIN_EXE_portcullis"), 1);
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(folder.path())
            .env("PORTCULLIS_CONFIG", "portcullis.toml")
            .output()
            .expect("a shell");
        let explained = String::from_utf8_lossy(&output.stdout).into_owned();
        let rule = sample["now"].as_str().expect("a rule");
        assert!(explained.contains(&format!("=> {rule} ")), "{command}\n{explained}");
    }
}

#[test]
fn people_are_told_the_numbers_first_and_then_why() {
    let folder = folder(COMBINED);
    let (code, told, said) = replay(folder.path(), &["replay", "access.log"], b"");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(told, include_str!("replay/report.txt"));
}

#[test]
fn numbers_are_gates() {
    let folder = folder(COMBINED);
    for (arguments, code, part) in [
        (
            &["--max-new-blocks", "2"][..],
            0,
            "undecided requests (1) may be blocked too",
        ),
        (
            &["--max-new-blocks", "1"],
            1,
            "2 of 3 requests are newly blocked: --max-new-blocks allows 1",
        ),
        (&["--max-new-blocks", "66%"], 1, "--max-new-blocks allows 66%"),
        (&["--max-new-blocks", "67%", "--max-undecided", "1"], 0, ""),
        (&["--max-undecided", "0"], 1, "1 of 4 requests are undecided"),
        (&["--max-new-allows", "0"], 0, ""),
        (&["--max-unreadable", "0"], 2, "1 of 6 lines are unreadable"),
        (&["--max-new-blocks", "some"], 2, "neither a number"),
        (&["--format", "alb"], 2, "6 of 6 lines are unreadable"),
        (&["--since", "2027-01-01"], 2, "no request was compared"),
        (&["--since", "2026-11-26", "--until", "2026-11-27"], 0, ""),
        (&["--since", "soon"], 2, "`soon` is no time"),
        (&["--host", "a/b"], 2, "`a/b` is no host"),
        (&["--against", "absent.toml"], 2, "absent.toml"),
    ] {
        let (exit, _, said) = replay(folder.path(), &[&["replay", "access.log"], arguments].concat(), b"");
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
        assert!(
            said.contains(part) && (part.is_empty() == said.is_empty()),
            "{arguments:?}: {said}"
        );
    }
    let (exit, told, _) = replay(
        folder.path(),
        &["-o", "json", "replay", "access.log", "--max-new-blocks=0"],
        b"",
    );
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(exit, Some(1));
    assert!(
        told["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("--max-new-blocks allows 0"))
    );
}

#[test]
fn files_and_standard_input_are_read_compressed_or_not() {
    let folder = folder(COMBINED);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(COMBINED.as_bytes()).expect("into memory");
    let gzip = gzip.finish().expect("into memory");
    fs::write(folder.path().join("access.log.1"), &gzip).expect("written");
    let zstd = zstd::encode_all(COMBINED.as_bytes(), 1).expect("into memory");
    fs::write(folder.path().join("access.log.2"), zstd).expect("written");
    let told = json(folder.path(), &["access.log.1", "access.log", "access.log.2"]);
    assert_eq!(counts(&told), [6, 0, 0, 3, 3, 3]);
    for arguments in [&["-o", "json", "replay"][..], &["-o", "json", "replay", "-"]] {
        let (code, told, said) = replay(folder.path(), arguments, &gzip);
        assert_eq!(code, Some(0), "{said}");
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(counts(&told), [2, 0, 0, 1, 1, 1]);
    }
    let (code, _, said) = replay(folder.path(), &["replay", "absent.log"], b"");
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot read absent.log"), "{said}");
    let (code, _, said) = replay(folder.path(), &["replay"], b"");
    assert_eq!(code, Some(2));
    assert!(said.contains("no request was compared"), "{said}");
    let cut = gzip.get(..gzip.len() - 9).expect("longer");
    let (code, _, said) = replay(folder.path(), &["replay"], cut);
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot read -"), "{said}");
}
