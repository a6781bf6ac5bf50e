//! `portcullis explain`: a request from options, a curl line, a HAR file or a log, told so that a person knows why.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const CONFIG: &str = r#"
rules = ["rules.toml"]
[[listen]]
address = "127.0.0.1:8080"
[client_ip]
trusted_proxies = ["10.0.0.0/8"]
[upstream.app]
servers = ["builtin:demo"]
[[site]]
name = "main"
hosts = ["example.com", "*.example.com"]
upstream = "app"
"#;

const RULES: &str = r#"
[[ip_access]]
id = "office"
action = "allow"
ip = ["203.0.113.0/24"]
note = "the office"

[[rule]]
id = "xmlrpc"
expression = 'http.request.uri.path eq "/xmlrpc.php"'
action = "block"

[[rule]]
id = "beta"
expression = 'http.request.cookies["beta"][0] eq "1"'
action = "log"

[[rule]]
id = "partners"
expression = 'http.request.headers["x-partner"][0] eq "no" and http.request.uri.path eq "/partners"'
action = "block"

[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["$team"]

[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]

[[user_agent]]
id = "curls"
action = "block"
mode = "shadow"
contains = ["curl"]

[list.team]
kind = "ip"
file = "team.txt"
"#;

/// A folder with the configuration.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        for (name, text) in [
            ("portcullis.toml", CONFIG),
            ("rules.toml", RULES),
            ("team.txt", "203.0.113.0/28\n"),
        ] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Self(folder)
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.path().join(name), text).expect("written");
        self
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        run_in(self.0.path(), &[&["explain"], arguments].concat(), input)
    }

    fn text(&self, arguments: &[&str]) -> String {
        self.text_of(arguments, "")
    }

    fn text_of(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[&["-o", "json"], arguments].concat())).expect("JSON")
    }

    /// What is said when nothing can be explained.
    fn complaint(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    }
}

fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Output {
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
    let mut stdin = child.stdin.take().expect("piped");
    // Who does not read it does not want it.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_verdict_comes_first_then_why_then_what_would_turn_it() {
    let told = Folder::new().text(&["https://example.com/%61dmin", "--ip", "198.51.100.7"]);
    assert_eq!(
        told,
        "\
BLOCKED by admin ([[lockdown]])   rules.toml:23:1
  the client gets 403, reason lockdown
  GET https://example.com/%61dmin from 198.51.100.7

why
  (http.request.uri.path wildcard \"/admin\" or http.request.uri.path wildcard \"/admin/*\")
  and not ip.src in $team
    yes  http.request.uri.path wildcard \"/admin\"   it is \"/admin\"
    no   ip.src in $team                           it is 198.51.100.7; $team has 1 entry in team.txt

it would be allowed if
  the client were in $team (such as 203.0.113.1); office then allows it

request
  client     198.51.100.7   from --ip
  country    XX, continent XX   builtin (registry-assigned country)
  network    unknown   no source is configured
  site       main, upstream app   by its host \"example.com\"
  path       /admin
             sent as /%61dmin: decoded %61 to a

rules, in the order in which they are asked
  ip_access: addresses   1 did not match
  rule                   3 did not match
  lockdown               1 not reached
    => admin   block   matched: it decides   rules.toml:23:1
  user_agent             2 not reached

--all shows every rule, --rule ID one of them and why it matched or not
"
    );
}

#[test]
fn programs_are_told_the_same() {
    let told = Folder::new().json(&["https://example.com/admin", "--ip", "198.51.100.7"]);
    assert_eq!(told["decision"]["verdict"], "block");
    assert_eq!(told["decision"]["rule"], "admin");
    assert_eq!(told["answer"], json!({ "status": 403 }));
    assert_eq!(
        told["changes"][0]["changes"][0],
        json!({ "fact": "ip.src", "words": "the client were in $team", "tried": "203.0.113.1", "rule": "admin" })
    );
    let phases = told["decision"]["readings"][0]["phases"].as_array().expect("phases");
    let fates: Vec<(&Value, &Value)> = phases
        .iter()
        .flat_map(|phase| phase["rules"].as_array().expect("rules"))
        .map(|rule| (&rule["id"], &rule["fate"]))
        .collect();
    let expected = [
        ("office", "not_matched"),
        ("xmlrpc", "not_matched"),
        ("beta", "not_matched"),
        ("partners", "not_matched"),
        ("admin", "matched"),
        ("admin.admitted", "not_reached"),
        ("scanners", "not_reached"),
        ("curls", "not_reached"),
    ];
    let expected = expected.map(|(id, fate)| (Value::from(id), Value::from(fate)));
    assert_eq!(fates, expected.iter().map(|(id, fate)| (id, fate)).collect::<Vec<_>>());
    let part = &phases[2]["rules"][0]["trace"]["parts"][1]["parts"][0];
    assert_eq!(
        (&part["list"], &part["saw"], &part["outcome"], &part["decides"]),
        (&"team".into(), &"198.51.100.7".into(), &false.into(), &true.into())
    );
}

#[test]
fn all_shows_every_rule_with_its_why_and_rule_one_of_them() {
    let folder = Folder::new();
    let all = folder.text(&["https://example.com/", "--ip", "203.0.113.200", "--all"]);
    assert!(
        all.starts_with("ALLOWED by office ([[ip_access]])   rules.toml:2:1\n  \"the office\"\n"),
        "{all}"
    );
    assert!(
        all.contains("xmlrpc     block   skipped   rules.toml:8:1\n         `office` matched and skips this phase"),
        "{all}"
    );
    assert!(
        all.contains("http.request.uri.path wildcard \"/admin\" does not hold: it is \"/\" (and 1 more)"),
        "{all}"
    );

    let one = folder.text(&["https://example.com/x", "--ip", "203.0.113.200", "--rule", "xmlrpc"]);
    assert!(
        one.ends_with(
            "xmlrpc ([[rule]], block)   rules.toml:8:1\n  \
             it does not match this request, and was not asked: `office` matched and skips this phase\n    \
             no   http.request.uri.path eq \"/xmlrpc.php\"   it is \"/x\"\n"
        ),
        "{one}"
    );
    let both = folder.text(&["https://example.com/x", "--rule", "admin"]);
    assert!(
        both.contains("\nadmin ([[lockdown]], block)") && both.contains("\nadmin.admitted ("),
        "{both}"
    );
    assert!(
        folder
            .complaint(&["/", "--rule", "xmlrcp"])
            .contains("did you mean `xmlrpc`?")
    );
}

#[test]
fn rules_in_shadow_are_shown_as_such() {
    let told = Folder::new().text(&["curl https://example.com/ --compressed", "--ip", "198.51.100.7"]);
    assert!(told.starts_with("ALLOWED: no rule objects\n"), "{told}");
    assert!(
        told.contains("curls   block, in shadow   would match; changes nothing   rules.toml:33:1"),
        "{told}"
    );
}

#[test]
fn the_client_is_derived_hop_by_hop_as_for_a_live_request() {
    let folder = Folder::new();
    let header = "X-Forwarded-For: 192.0.2.9, 203.0.113.7, 10.0.0.2";
    let from = |peer: &str| folder.json(&["https://example.com/", "--peer", peer, "-H", header]);
    let trusted = from("10.0.0.1");
    assert_eq!(
        (&trusted["client"]["ip"], &trusted["decision"]["rule"]),
        (&"203.0.113.7".into(), &"office".into())
    );
    assert_eq!(
        trusted["client"]["way"],
        json!([
            { "ip": "10.0.0.1", "trusted": true },
            { "ip": "10.0.0.2", "trusted": true },
            { "ip": "203.0.113.7", "trusted": false },
        ])
    );
    assert_eq!(from("192.0.2.1")["client"]["ip"], "192.0.2.1");
    let told = folder.text(&["https://example.com/", "--peer", "10.0.0.1", "-H", header]);
    assert!(
        told.contains("203.0.113.7 -> 10.0.0.2 (trusted proxy) -> 10.0.0.1 (trusted proxy)"),
        "{told}"
    );
    let assumed = folder.text(&["https://example.com/"]);
    assert!(assumed.contains("from 127.0.0.1 (assumed: say --ip)"), "{assumed}");
}

#[test]
fn what_is_refused_before_any_rule_is_said() {
    let folder = Folder::new();
    let refused = |url: &str| folder.json(&[url])["refused_before_rules"]["reason"].clone();
    assert_eq!(refused("https://example.com/a%2fb"), "malformed");
    assert_eq!(refused("https://other.example/"), "unknown_host");
    let told = folder.text(&["https://example.com/a%2fb"]);
    assert!(
        told.starts_with(
            "REFUSED before any rule was asked: encoded slash in the path\n  the client gets 400, reason malformed\n"
        ),
        "{told}"
    );
}

/// As Chromium and Firefox copy them.
const CHROMIUM: &str = r"curl 'https://example.com/admin' \
  -H 'accept: text/html,application/xhtml+xml' \
  -H 'accept-language: de-DE,de;q=0.9' \
  -b 'session=s3cret; beta=1' \
  -H 'user-agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0' \
  --data-raw $'{\'a\':\u0021}' \
  --compressed";
const FIREFOX: &str = "curl 'https://example.com/xmlrpc.php' --compressed -X POST -H 'User-Agent: Mozilla/5.0' \
                       -H 'Sec-Fetch-Dest: document' --resolve example.com:443:192.0.2.1 -k -u name:s3cret --data-raw 'a=1'";

#[test]
fn pasted_curl_lines_are_taken_whole_word_by_word_and_from_standard_input() {
    let folder = Folder::new();
    let chromium = folder.text(&[CHROMIUM, "--ip", "198.51.100.7"]);
    assert!(
        chromium.starts_with("BLOCKED by admin ") && chromium.contains("POST https://example.com/admin"),
        "{chromium}"
    );
    assert!(!chromium.contains("s3cret"), "{chromium}");
    assert!(chromium.contains("beta   log   matched"), "{chromium}");
    let firefox = folder.text_of(&["-"], FIREFOX);
    assert!(firefox.starts_with("BLOCKED by xmlrpc "), "{firefox}");
    assert!(
        firefox.contains("note: not looked at, since no rule can see them: --resolve, -k\n"),
        "{firefox}"
    );
    assert!(!firefox.contains("s3cret"), "{firefox}");
    let told = folder.json(&["--", "curl", "-kA", "sqlmap/1.8", "https://example.com/"]);
    assert_eq!(
        (&told["decision"]["rule"], &told["stated_by"]),
        (&"scanners".into(), &"curl".into())
    );
    let said = folder.complaint(&["curl --frobnicate -Q x https://example.com/"]);
    assert!(
        said.contains("these curl options are not understood here: --frobnicate, -Q"),
        "{said}"
    );
}

fn har(entries: &Value) -> String {
    json!({ "log": { "version": "1.2", "creator": { "name": "WebInspector" }, "entries": entries } }).to_string()
}

fn entry(method: &str, url: &str, status: u16, headers: &Value) -> Value {
    json!({
        "request": { "method": method, "url": url, "httpVersion": "h2", "headers": headers },
        "response": { "status": status },
        "serverIPAddress": "203.0.113.1",
    })
}

#[test]
fn a_har_lists_what_came_here_and_explains_one_of_it() {
    let pseudo = json!([
        { "name": ":authority", "value": "example.com" },
        { "name": ":path", "value": "/xmlrpc.php" },
        { "name": "user-agent", "value": "Mozilla/5.0" },
    ]);
    let entries = json!([
        entry("GET", "https://example.com/", 200, &pseudo),
        entry("POST", "https://example.com/xmlrpc.php?token=s3cret", 403, &pseudo),
        entry("GET", "https://tracker.test/pixel", 200, &pseudo),
    ]);
    let folder = Folder::new().file("page.har", &har(&entries));
    assert_eq!(
        folder.text(&["--har", "page.har"]),
        "\
2 requests: choose one with --entry N
     1  200   GET      https://example.com/
*    2  403   POST     https://example.com/xmlrpc.php?…
and 1 to hosts that are not served here
* was refused, or got no answer
"
    );
    let told = folder.text(&["--har", "page.har", "--entry", "2", "--ip", "198.51.100.7"]);
    assert!(told.starts_with("BLOCKED by xmlrpc "), "{told}");
    assert!(
        told.contains("POST https://example.com/xmlrpc.php?token=REDACTED from 198.51.100.7\n"),
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");
    let told = folder.json(&["--har", "page.har", "--entry", "1"]);
    // No cookie was saved, which does not mean that none was sent.
    assert_eq!(told["decision"]["depends_on"], json!(["the header cookie"]));
    assert_eq!(told["client"]["assumed"], true);
    let only = Folder::new().file("page.har", &har(&json!([entries[1], entries[2]])));
    assert_eq!(only.json(&["--har", "page.har"])["decision"]["rule"], "xmlrpc");
    assert!(
        folder
            .complaint(&["--har", "page.har", "--entry", "9"])
            .contains("there is no entry 9: the file has 3")
    );
    assert!(
        folder
            .complaint(&["--har", "rules.toml"])
            .contains("this is no HAR file")
    );
}

const RECORD: &str = r#"{"@timestamp":"2026-01-01T00:00:00.123Z","event.action":"block","event.reason":"rule","rule.id":"partners","portcullis.phase":"rule","portcullis.matched_rules":["partners"],"client.ip":"198.51.100.7","client.geo.country_iso_code":"XX","client.geo.continent_code":"XX","portcullis.client_ip_source":"source","source.ip":"198.51.100.7","source.port":1,"http.request.method":"GET","url.scheme":"https","url.domain":"example.com","url.path":"PATH","url.original":"PATH","http.version":"2","http.request.id":"0192f0c31e5a7c2e8c41d0a3b5f6e7d8","user_agent.original":"Mozilla/5.0","portcullis.site":"main","portcullis.generation":3,"http.response.status_code":403}"#;
const ID: &str = "0192f0c31e5a7c2e8c41d0a3b5f6e7d8";

#[test]
fn what_a_log_does_not_carry_is_said_and_never_taken_for_empty() {
    let log = ["/other", "/partners"]
        .map(|path| RECORD.replace("PATH", path))
        .join("\n");
    let folder = Folder::new().file("access.log", &log);
    let told = folder.text(&[ID, "--log", "access.log"]);
    assert!(
        told.starts_with(
            "UNDECIDED: it depends on the header cookie, the header x-partner, which the access log does not carry\n"
        ),
        "{told}"
    );
    assert!(
        told.contains("  it is one of: allowed; blocked by partners\n"),
        "{told}"
    );
    assert!(
        told.contains("it came 2026-01-01T00:00:00.123Z, and was blocked by partners, generation 3\n"),
        "{told}"
    );
    assert!(told.contains("partners   block   not known"), "{told}");
    // Whatever the header was: on another path the rule does not match.
    let told = folder.text_of(&["-"], &RECORD.replace("PATH", "/xmlrpc.php"));
    assert!(told.starts_with("BLOCKED by xmlrpc "), "{told}");
    assert!(told.contains("the files as they are now say otherwise"), "{told}");
}

#[test]
fn an_id_that_is_nowhere_says_where_it_was_looked_for() {
    let folder = Folder::new().file("access.log", &RECORD.replace("PATH", "/"));
    let said = folder.complaint(&["--request", "unheard-of", "--log", "access.log"]);
    assert!(
        said.contains("no request with the id unheard-of is known\n  access log: access.log does not have it"),
        "{said}"
    );
    let said = folder.complaint(&["ffffffffffffffffffffffffffffffff"]);
    assert!(
        said.contains("gateway: the configuration names no admin socket"),
        "{said}"
    );
    assert!(
        said.contains("access log: it goes to standard output; name a file that keeps it with --log FILE"),
        "{said}"
    );
    let text =
        format!("2026-01-01T00:00:00.000Z block 403 rule 198.51.100.7 XX GET https://example.com/ \"x\" 0.4ms id={ID}");
    let said = folder.file("text.log", &text).complaint(&[ID, "--log", "text.log"]);
    assert!(said.contains("has it as text, which tells too little"), "{said}");
}

#[test]
fn a_compressed_log_is_read_as_well() {
    let folder = Folder::new();
    let record = RECORD.replace("PATH", "/xmlrpc.php");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(record.as_bytes()).expect("memory");
    let path = |name: &str| folder.0.path().join(name);
    std::fs::write(path("log.gz"), gzip.finish().expect("memory")).expect("written");
    std::fs::write(path("log.zst"), zstd::encode_all(record.as_bytes(), 1).expect("memory")).expect("written");
    for log in ["log.gz", "log.zst"] {
        assert_eq!(folder.json(&[ID, "--log", log])["decision"]["rule"], "xmlrpc", "{log}");
    }
}

#[test]
fn a_question_that_makes_no_sense_says_what_would() {
    let folder = Folder::new();
    for (arguments, part) in [
        (&[][..], "say what is asked for"),
        (&["ftp://example.com/"][..], "`ftp://` is not served"),
        (&["/", "--country", "Germany"][..], "Germany"),
        (&["/", "--country", "UK"][..], "the United Kingdom is \"GB\""),
        (&["/", "--at", "tomorrow"][..], "write it like 2027-01-31T18:00:00Z"),
        (&["curl 'https://example.com/"][..], "a ' is not closed"),
        (&["--har", "absent.har"][..], "cannot read absent.har"),
    ] {
        let said = folder.complaint(arguments);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let output = folder.run(&["-"], "");
    assert_eq!(output.status.code(), Some(2));
}
