//! What docs/explain.md shows is what the program prints: every block that begins with `$ portcullis explain` is run, with the
//! shipped configuration and the files of `tests/fixtures/explain` beside it. A line `…` stands for any lines.
//! `UPDATE_DOCS=1` writes the outputs anew, but for blocks with such a line.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

const PAGE: &str = "docs/explain.md";
const ANY: &str = "…";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder like the checkout, so that places are shown as someone there sees them.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    for from in ["config", "rules", "lists", "pages", "tests/fixtures/explain"] {
        let to = if from.starts_with("tests") {
            folder.path().to_owned()
        } else {
            folder.path().join(from)
        };
        fs::create_dir_all(&to).expect("a directory");
        for entry in fs::read_dir(root().join(from)).expect("it is there") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
            }
        }
    }
    folder
}

fn run(folder: &Path, command: &str) -> String {
    let words = shlex::split(command).expect("a command line");
    let Output { stdout, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .args(&words[1..])
        .output()
        .expect("it runs");
    String::from_utf8([stdout, stderr].concat()).expect("text")
}

/// Whether the output is what is shown, where `…` is any number of lines.
fn is_shown(shown: &[&str], output: &[&str]) -> bool {
    match shown {
        [] => output.is_empty(),
        [ANY, rest @ ..] => (0..=output.len()).any(|at| is_shown(rest, &output[at..])),
        [line, rest @ ..] => output.first() == Some(line) && is_shown(rest, &output[1..]),
    }
}

#[test]
fn what_the_documentation_shows_is_what_is_printed() {
    let folder = checkout();
    let page = fs::read_to_string(root().join(PAGE)).expect("the page");
    let (mut written, mut wrong, mut runs) = (String::new(), Vec::new(), 0);
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        written += &format!("{line}\n");
        if line != "```console" {
            continue;
        }
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let (command, mut shown) = (block[0].strip_prefix("$ ").expect("a command"), &block[1..]);
        // A command that goes on in the next lines.
        let mut whole = command.to_owned();
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = format!("{begun}{}", shown[0].trim_start());
            shown = &shown[1..];
        }
        let printed = run(folder.path(), &whole);
        let printed: Vec<&str> = printed.trim_end().lines().collect();
        runs += 1;
        if !is_shown(shown, &printed) {
            wrong.push(format!(
                "$ {whole}\n--- shown\n{}\n--- printed\n{}",
                shown.join("\n"),
                printed.join("\n")
            ));
        }
        let typed = &block[..block.len() - shown.len()];
        let is_cut = shown.contains(&ANY);
        let output = if is_cut { shown } else { &printed[..] };
        for line in typed.iter().chain(output) {
            written += &format!("{line}\n");
        }
        written += "```\n";
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(PAGE), written).expect("written");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(runs > 5, "only {runs} outputs were found");
}
