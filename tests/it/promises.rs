//! What must hold of a configuration: the tests beside its rules, and who is never to be blocked; and what is different
//! between two configurations.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

const CONFIG: &str = r#"
rules = ["rules/*.toml"]
[[listen]]
address = "127.0.0.1:8080"
[upstream.app]
servers = ["builtin:demo"]
[[site]]
name = "main"
hosts = ["example.com"]
upstream = "app"
"#;

const RULES: &str = r#"
[[lockdown]]
id = "admin"
urls = ["/admin", "/admin/*"]
allow = ["203.0.113.0/24"]

[[test]]
name = "the back office is closed to others"
url = "/%61dmin/users"
ip = "198.51.100.7"
expect = "block"
rule = "admin"
status = 403

[[test]]
name = "an encoded slash is refused"
url = "/..%2fadmin"
expect = "block"
reason = "malformed"
"#;

const OPEN: &str = r#"
[[test]]
name = "the office may see it"
url = "/admin"
ip = "203.0.113.5"
expect = "allow"
"#;

/// A folder with this configuration and these rules files.
fn folder(config: &str, rules: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    fs::create_dir(folder.path().join("rules")).expect("made");
    fs::write(folder.path().join("portcullis.toml"), config).expect("written");
    for (name, text) in rules {
        fs::write(folder.path().join("rules").join(name), text).expect("written");
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .env("PORTCULLIS_CONFIG", "portcullis.toml")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn tests_are_listed_by_file_with_what_came_of_each() {
    let folder = folder(CONFIG, &[("10.toml", RULES), ("20.toml", OPEN)]);
    let (code, text) = said(&run(folder.path(), &["test"]));
    assert_eq!(
        text,
        "\
rules/10.toml
  ok      the back office is closed to others  block by admin (lockdown), status 403
  ok      an encoded slash is refused          block before any rule: encoded slash in the path (malformed), status 400

rules/20.toml
  ok      the office may see it                allow

3 tests, and all hold
"
    );
    assert_eq!(code, Some(0));
    let (code, text) = said(&run(folder.path(), &["test", "--filter", "OFFICE"]));
    assert_eq!((code, text.lines().last()), (Some(0), Some("2 tests, and all hold")));
    assert_eq!(
        run(folder.path(), &["test", "--filter", "nothing like it"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_failing_test_says_what_came_why_and_how_to_see_it() {
    let locked = RULES.replace("203.0.113.0/24", "203.0.113.6");
    let folder = folder(CONFIG, &[("10.toml", &locked), ("20.toml", OPEN)]);
    let (code, text) = said(&run(folder.path(), &["test"]));
    assert_eq!(code, Some(1));
    let (_, failed) = text.split_once("\n\nerror: ").expect("a fault");
    assert_eq!(
        failed,
        "\
test \"the office may see it\" fails: it came to block by admin (lockdown), status 403
 --> rules/20.toml:6:10
  |
6 | expect = \"allow\"
  |          ^^^^^^^ expected allow
  |
  = help: `admin` stands at rules/10.toml:2:1
  = help: every step: portcullis explain http://example.com/admin --ip 203.0.113.5

3 tests, 1 failed
"
        .replace("http://", "https://")
    );
    let told: Value = serde_json::from_slice(&run(folder.path(), &["-o", "json", "test"]).stdout).expect("JSON");
    assert_eq!(
        (&told["ok"], &told["passed"], &told["failed"]),
        (&json!(false), &json!(2), &json!(1))
    );
    let test = &told["tests"][2];
    assert_eq!(
        (&test["file"], &test["line"], &test["ok"]),
        (&json!("rules/20.toml"), &json!(2), &json!(false))
    );
    assert_eq!(test["came"]["rule"], "admin");
    let explain = test["explain"].as_str().expect("a command");
    let words: Vec<&str> = explain.split(' ').skip(1).collect();
    let explained = said(&run(folder.path(), &words)).1;
    assert!(explained.starts_with("BLOCKED by admin ([[lockdown]])"), "{explained}");
}

#[test]
fn check_and_a_start_refuse_rules_that_fail_their_tests_and_explain_still_answers() {
    let folder = folder(CONFIG, &[("10.toml", &RULES.replace("\"/admin/*\"", "\"/back/*\""))]);
    for verb in ["check", "run"] {
        let output = run(folder.path(), &[verb]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(
            said.contains("test \"the back office is closed to others\" fails") && said.contains("rules/10.toml:11:10"),
            "{said}"
        );
    }
    assert_eq!(
        run(folder.path(), &["explain", "https://example.com/admin"])
            .status
            .code(),
        Some(0)
    );
    let warned = format!("{CONFIG}[reload]\ntests = false\n");
    fs::write(folder.path().join("portcullis.toml"), warned).expect("written");
    let output = run(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("warning: test"));
}

#[test]
fn the_shipped_configurations_hold_their_own_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for config in ["config/portcullis.toml", "deploy/portcullis/portcullis.toml"] {
        let (code, text) = said(&run(root, &["-c", config, "test"]));
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.lines()
                .last()
                .is_some_and(|last| last.contains("tests, and all hold")),
            "{text}"
        );
    }
}

/// Both sides of a diff, in one folder.
fn diff(before: (&str, &str), after: (&str, &str)) -> (Option<i32>, String) {
    let (a, b) = (
        folder(before.0, &[("r.toml", before.1)]),
        folder(after.0, &[("r.toml", after.1)]),
    );
    let both = tempfile::tempdir().expect("a directory");
    fs::rename(a.keep(), both.path().join("old")).expect("moved");
    fs::rename(b.keep(), both.path().join("new")).expect("moved");
    said(&run(both.path(), &["diff", "old", "new"]))
}

const LISTED: &str = r#"
[[rule]]
id = "a"
expression = 'http.request.uri.path eq "/a" and ip.src in $partners'
action = "block"
[[rule]]
id = "b"
expression = 'http.request.uri.path eq "/b"'
action = "log"
[[rule]]
id = "c"
expression = 'http.request.uri.path eq "/c"'
action = "block"
[list.partners]
kind = "ip"
items = ["192.0.2.0/24", "198.51.100.7"]
"#;

#[test]
fn a_diff_tells_rules_order_lists_and_settings_in_words() {
    let after = LISTED
        .replace("\"/a\" and", "\"/a\" and not ssl and")
        .replace("\"log\"", "\"block\"\nmode = \"shadow\"\nnote = \"since May\"")
        .replace("\"198.51.100.7\"", "\"192.0.2.128/25\", \"203.0.113.0/25\"");
    let c = "[[rule]]\nid = \"c\"\nexpression = 'http.request.uri.path eq \"/c\"'\naction = \"block\"\n";
    let after = format!(
        "{c}{}",
        after.replace(c, "[[geo]]\nid = \"embargo\"\naction = \"block\"\ncountry = [\"KP\"]\n")
    );
    let config = CONFIG.replace("[\"example.com\"]", "[\"example.com\", \"*.example.com\"]") + "status = 404\n";
    assert_eq!(
        diff((CONFIG, LISTED), (&config, &after)),
        (
            Some(1),
            "\
rule embargo added: block (geo, new/rules/r.toml:16:1)
  +   ip.src.country eq \"KP\"
rule a changed
    expression
  -   http.request.uri.path eq \"/a\" and ip.src in $partners
  +   http.request.uri.path eq \"/a\" and not ssl and ip.src in $partners
rule b changed
    action  log -> block
    mode    enforce -> shadow
    note    none -> since May
rule c moved: now first, was after b (rule)
list partners changed
  + added    203.0.113.0/25
  - removed  198.51.100.7
site main changed
    hosts   example.com -> example.com, *.example.com
    status  403 -> 404

6 differences
"
            .to_owned()
        )
    );
}

#[test]
fn what_only_looks_different_is_no_difference() {
    let formatted = format!(
        "# a comment\n{}",
        LISTED
            .replace(
                "'http.request.uri.path eq \"/b\"'",
                "'(http.request.uri.path == \"/b\")'"
            )
            .replace(
                "\"192.0.2.0/24\"",
                "\"192.0.2.128/25\", \"192.0.2.0/25\", \"192.0.2.7\""
            )
    );
    assert_eq!(
        diff((CONFIG, LISTED), (&format!("# another\n{CONFIG}"), &formatted)),
        (Some(0), "nothing differs\n".to_owned())
    );
}

#[test]
fn a_side_that_does_not_load_is_no_answer() {
    let (code, said) = diff((CONFIG, LISTED), (CONFIG, "[[rule]]\n"));
    assert_eq!((code, said.as_str()), (Some(2), ""));
}
