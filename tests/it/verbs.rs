//! The verbs that ask a configuration offline.

use std::process::{Command, Output};

use serde_json::Value;

const CONFIG: &str = r#"
rules = ["rules.toml"]
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
[[ip_access]]
id = "office"
action = "allow"
ip = ["203.0.113.0/24"]
note = "the office"

[[rule]]
id = "xmlrpc"
expression = 'http.request.uri.path eq "/xmlrpc.php"'
action = "block"

[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]
"#;

/// Runs the program beside the configuration.
fn portcullis(arguments: &[&str]) -> Output {
    portcullis_with(CONFIG, RULES, arguments)
}

fn portcullis_with(config: &str, rules: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("portcullis.toml"), config).expect("written");
    std::fs::write(folder.path().join("rules.toml"), rules).expect("written");
    run_in(folder.path(), arguments)
}

fn run_in(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .env("PORTCULLIS_CONFIG", "portcullis.toml")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn text(arguments: &[&str]) -> String {
    let output = portcullis(arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(&[&["-o", "json"], arguments].concat())).expect("JSON")
}

#[test]
fn rules_are_listed_in_the_order_in_which_they_are_asked() {
    assert_eq!(
        text(&["rules"]),
        "\
# ip_access: addresses
office: allow   (ip_access, rules.toml:2:1)
    # the office
    ip.src in {203.0.113.0/24}

# rule
xmlrpc: block   (rule, rules.toml:8:1)
    http.request.uri.path eq \"/xmlrpc.php\"

# user_agent
scanners: block   (user_agent, rules.toml:13:1)
    lower(http.user_agent) contains \"sqlmap\"
"
    );
    let rules = json(&["rules", "xmlrpc"]);
    assert_eq!(
        (&rules[0]["id"], &rules[0]["line"], &rules[1]),
        (&"xmlrpc".into(), &8.into(), &Value::Null)
    );
}

#[test]
fn a_question_that_cannot_be_asked_is_exit_code_2() {
    for arguments in [
        &["-c", "absent.toml", "rules"][..],
        &["reload"],
        &["reload", "--socket", "no-such.sock"],
    ] {
        assert_eq!(portcullis(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn rules_that_are_not_there_are_named_and_a_lockdown_shows_all_that_it_stands_for() {
    let output = portcullis(&["rules", "office", "xmlrcp"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("there is no rule `xmlrcp`; did you mean `xmlrpc`?"),
        "{said}"
    );
    assert!(output.stdout.is_empty());

    let rules = format!(
        "{RULES}\n[[lockdown]]\nid = \"admin\"\nurls = [\"/admin\"]\nallow = [\"10.0.0.1\"]\nnote = \"a\\u001b[31mb\"\n"
    );
    let output = portcullis_with(CONFIG, &rules, &["rules", "admin"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("admin: block") && told.contains("admin.admitted: skip"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn a_reload_whose_admin_table_does_not_load_is_a_no_that_says_why() {
    let faulty = format!("{CONFIG}\n[admin]\nsokcet = \"run/admin.sock\"\n");
    let swallowed = format!("{CONFIG}\n[admin\nsocket = \"run/admin.sock\"\n");
    for (config, why) in [(faulty, "unknown key `sokcet`"), (swallowed, "invalid TOML")] {
        let output = portcullis_with(&config, RULES, &["reload"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let absent = portcullis_with(
        &format!("{CONFIG}\n[admin]\nsocket = \"gone.sock\"\n"),
        RULES,
        &["reload"],
    );
    assert_eq!(absent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("`--socket OLD`"));
}

#[test]
fn a_rules_file_that_is_no_utf8_is_shown_at_its_line() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::write(folder.path().join("portcullis.toml"), CONFIG).expect("written");
    std::fs::write(folder.path().join("rules.toml"), b"# one\n# caf\xe9\n").expect("written");
    let output = run_in(folder.path(), &["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("rules.toml:2:6") && said.contains("save the file as UTF-8"),
        "{said}"
    );
}

/// One rule that is looked up, one that is asked of everyone, one that can never match.
const COMPILED: &str = r#"
[[ip_access]]
id = "office"
action = "allow"
ip = ["203.0.113.0/24", "2001:db8::/32"]

[[rule]]
id = "elsewhere"
expression = 'not http.host eq "example.com" and not ssl'
action = "log"

[[rule]]
id = "never"
expression = 'ssl and false'
action = "log"
"#;

#[test]
fn check_tells_what_the_rules_were_compiled_to() {
    let output = portcullis_with(CONFIG, COMPILED, &["check", "--stats"]);
    let text = String::from_utf8(output.stdout).expect("text");
    let (_, text) = text.split_once("\n\n").expect("statistics after the verdict");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("time ")).collect();
    assert_eq!(
        lines,
        [
            "rules    3 enabled; 1 asked of every request, 1 can never match",
            "atoms    3 different tests, of which 1 bring up rules when they hold",
            lines[2],
            "",
            "matcher  holds                           memory",
            lines[5],
            "",
            "asked of every request, since nothing in them can be looked up",
            "elsewhere  rules.toml:7:1  not http.host eq \"example.com\" and not ssl",
        ]
    );
    assert!(lines[2].starts_with("memory   rules "), "{text}");
    assert!(
        lines[5].starts_with("ip.src   1 IPv4 network, 1 IPv6 network"),
        "{text}"
    );
}

#[test]
fn check_tells_programs_the_same() {
    let output = portcullis_with(CONFIG, COMPILED, &["-o", "json", "check", "--stats"]);
    let stats: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let plan = &stats["stats"]["plan"];
    assert_eq!(plan["rules"], 3);
    assert_eq!(plan["never_asked"], 1);
    assert_eq!(plan["always_asked"][0]["id"], "elsewhere");
    assert_eq!(plan["matchers"][0]["holds"][0]["what"], "IPv4 networks");
}
