//! `portcullis lint` from outside, and the page that documents it: what it shows is what the program prints.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use portcullis::policy::lint::Check;
use serde_json::Value;

const CONFIG: &str = r#"
rules = ["rules/*.toml"]
[[listen]]
address = "0.0.0.0:8080"
[upstream.app]
servers = ["builtin:demo"]
[[site]]
name = "main"
hosts = ["example.com", "*.example.com"]
upstream = "app"
"#;

fn lint(rules: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a directory");
    fs::create_dir(folder.path().join("rules")).expect("a directory");
    fs::write(folder.path().join("portcullis.toml"), CONFIG).expect("written");
    fs::write(folder.path().join("rules/10-rules.toml"), rules).expect("written");
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder.path())
        .env_clear()
        .env("PORTCULLIS_CONFIG", "portcullis.toml")
        .args(arguments)
        .output()
        .expect("it runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).expect("text")
}

const SHADOWED: &str = r#"
[[rule]]
id = "wide"
action = "block"
expression = 'http.request.uri.path wildcard "/a/*"'

[[rule]]
id = "narrow"
action = "block"
expression = 'http.request.uri.path wildcard "/a/b/*"'
"#;

const NOTE: &str = r#"
[[rule]]
id = "prefix"
action = "block"
expression = 'starts_with(http.request.uri.path, "/intern")'
"#;

#[test]
fn exit_codes_tell_warnings_from_notes() {
    let code = |rules: &str, arguments: &[&str]| lint(rules, arguments).status.code();
    assert_eq!(code(SHADOWED, &["lint"]), Some(1));
    assert_eq!(code(SHADOWED, &["lint", "--allow", "shadowed"]), Some(0));
    assert_eq!(code(SHADOWED, &["lint", "--only", "expired,duplicate"]), Some(0));
    assert_eq!(code(NOTE, &["lint"]), Some(0));
    assert_eq!(code(NOTE, &["lint", "--deny", "notes"]), Some(1));
    assert_eq!(code(NOTE, &["lint", "--deny", "prefix-without-slash"]), Some(1));
    assert_eq!(code(NOTE, &["lint", "--with", "missing-note"]), Some(1));
    assert_eq!(code("[[rule]]\nid = \"x\"\n", &["lint"]), Some(2));
    assert_eq!(code(NOTE, &["lint", "--allow", "no-such-check"]), Some(2));
}

#[test]
fn a_finding_is_one_line_when_asked() {
    let output = lint(SHADOWED, &["lint", "--brief"]);
    assert_eq!(
        text(&output.stdout),
        "rules/10-rules.toml:7:1: warning[shadowed]: `narrow` never acts: `wide` refuses all of its requests first\n\
         1 warning in 2 rules\n"
    );
}

#[test]
fn json_carries_what_the_text_does() {
    let output = lint(SHADOWED, &["-o", "json", "lint"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&told["ok"], &told["rules"], &told["warnings"]),
        (&false.into(), &2.into(), &1.into())
    );
    let finding = &told["findings"][0];
    assert_eq!(
        (
            &finding["check"],
            &finding["rule"],
            &finding["place"]["line"],
            &finding["related"][0]["place"]["line"]
        ),
        (&"shadowed".into(), &"narrow".into(), &7.into(), &2.into())
    );
}

/// What the schema of SARIF 2.1.0 requires, and what code hosts ask for besides.
#[test]
fn sarif_has_what_its_readers_need() {
    let rules = format!("{SHADOWED}\n# lint: allow(prefix-without-slash) a habit of the application\n{NOTE}");
    let output = lint(&rules, &["-o", "sarif", "lint"]);
    let log: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "portcullis");
    let rules = driver["rules"].as_array().expect("the checks");
    assert_eq!(rules.len(), Check::ALL.len());
    let results = run["results"].as_array().expect("the findings");
    assert_eq!(results.len(), 2);
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("an index")];
        assert_eq!(result["ruleId"], rule["id"]);
        assert!(!result["message"]["text"].as_str().expect("a message").is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "rules/10-rules.toml");
        let region = &place["region"];
        let number = |key: &str| region[key].as_u64().expect("a number");
        assert!(number("startLine") >= 1 && number("startColumn") >= 1);
        assert!((number("endLine"), number("endColumn")) > (number("startLine"), number("startColumn")));
    }
    assert_eq!(
        results[0]["relatedLocations"][0]["physicalLocation"]["region"]["startLine"],
        2
    );
    assert_eq!(results[1]["suppressions"][0]["kind"], "inSource");
    assert_eq!(
        results[1]["suppressions"][0]["justification"],
        "a habit of the application"
    );
    assert_eq!(results[0].get("suppressions"), None);
}

#[test]
fn only_lint_prints_sarif() {
    let output = lint(NOTE, &["-o", "sarif", "rules"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("only `portcullis lint` prints SARIF"),
        "{output:?}"
    );
}

#[test]
fn a_configuration_that_does_not_load_keeps_standard_output_clean_for_sarif() {
    let output = lint("[[rule]]\nid = \"x\"\n", &["-o", "sarif", "lint"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    assert!(text(&output.stderr).contains("has no `expression`"), "{output:?}");
}

/// Every block of rules on the page that is followed by a call and what it prints.
#[test]
fn the_page_about_lint_shows_what_it_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    let written = fs::read_to_string(&path).expect("the page");
    let current = with_checks(&with_outputs(&written));
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &current).expect("a writable file");
    } else {
        assert!(
            written == current,
            "run `UPDATE_DOCS=1 cargo test --test it lint` and look at what changed"
        );
    }
}

fn with_outputs(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(at) = rest.find("```toml\n") {
        let (before, block) = rest.split_at(at + "```toml\n".len());
        out.push_str(before);
        let end = block.find("```\n").expect("the end of a block");
        let (rules, after) = block.split_at(end);
        out.push_str(rules);
        rest = after;
        const CALL: &str = "```\n\n```\n$ portcullis ";
        if let Some(call) = rest.strip_prefix(CALL) {
            let line = call.lines().next().expect("the call");
            let arguments: Vec<&str> = line.split(' ').collect();
            let output = lint(rules, &arguments);
            out.push_str(CALL);
            out.push_str(line);
            out.push('\n');
            out.push_str(&text(&output.stdout));
            let end = call.find("```\n").expect("the end of a block");
            rest = &call[end..];
        }
    }
    out + rest
}

fn with_checks(page: &str) -> String {
    let rows = Check::ALL.iter().map(|check| {
        let opt_in = if check.is_opt_in() { ", opt-in" } else { "" };
        format!(
            "| `{check}` | {}{opt_in} | {}<br>{} |\n",
            check.severity().as_str(),
            check.summary().replace('|', "\\|"),
            check.fix().replace('|', "\\|")
        )
    });
    let table = format!(
        "| check | severity | what it finds, what to do |\n|---|---|---|\n{}",
        rows.collect::<String>()
    );
    let marker = page.find("<!-- checks:").expect("the opening marker");
    let start = marker + page[marker..].find('\n').expect("a line after it") + 1;
    let end = start + page[start..].find("<!-- end -->").expect("the closing marker");
    format!("{}{table}{}", &page[..start], &page[end..])
}
