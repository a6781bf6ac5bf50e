//! What shells complete, and the manual page: made from the command line itself.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

fn completions(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("completions")
        .args(arguments)
        .env_clear()
        .output()
        .expect("it runs")
}

fn text(arguments: &[&str]) -> String {
    let output = completions(arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_shell_completes_verbs_options_and_checks() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&[shell]);
        // Only some shells' scripts complete values.
        let values: &[&str] = match shell {
            "bash" | "fish" | "zsh" => &["sarif", "unknown-country"],
            _ => &[],
        };
        let verbs = ["healthcheck", "lint", "completions", "output"];
        for word in verbs.iter().chain(values) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn bash_reads_what_it_is_given() {
    let script = text(&["bash"]);
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("portcullis.bash");
    fs::write(&path, script).expect("written");
    // A system without bash has nobody to complete for.
    let Ok(bash) = Command::new("bash")
        .arg("-n")
        .arg(&path)
        .stderr(Stdio::piped())
        .output()
    else {
        return;
    };
    assert!(bash.status.success(), "{bash:?}");
}

#[test]
fn the_manual_page_is_that_of_the_program() {
    let page = text(&["man"]);
    assert!(page.contains(".TH portcullis 1"), "{page}");
    for word in ["lint", "explain", "Exit codes: 0 yes"] {
        assert!(page.contains(word), "{word}");
    }
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let folder = tempfile::tempdir().expect("a directory");
    let to = folder.path().to_str().expect("a name");
    assert_eq!(text(&["man", "--to", to]), "");
    let page = |name: &str| fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(page("portcullis.1").contains("portcullis"));
    assert!(page("portcullis-lint.1").contains("deny"));
    let nowhere = folder.path().join("nowhere");
    let output = completions(&["man", "--to", nowhere.to_str().expect("a name")]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(completions(&["bash", "--to", to]).status.code(), Some(2));
}
