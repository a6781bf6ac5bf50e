//! `portcullis fmt` over real files.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

const CONFIG: &str = r#"
rules = ["rules/*.toml"]
[[listen]]
address = "127.0.0.1:8080"
[upstream.app]
servers = ["builtin:demo"]
[[site]]
hosts = ["example.com"]
upstream = "app"
"#;

const MESSY: &str =
    "# of the office\n[[rule]]\nid='a'  # why\nexpression = 'ssl&&http.host==\"a.example\"'\naction = \"block\"\n";
const CLEAN: &str = "# of the office\n[[rule]]\nid = 'a'  # why\nexpression = 'ssl and http.host eq \"a.example\"'\naction = \"block\"\n";

/// A folder with a configuration and these rules files.
fn folder(rules: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    fs::create_dir(folder.path().join("rules")).expect("a directory");
    fs::write(folder.path().join("portcullis.toml"), CONFIG).expect("written");
    for (name, text) in rules {
        fs::write(folder.path().join("rules").join(name), text).expect("written");
    }
    folder
}

fn fmt(folder: &Path, arguments: &[&str]) -> Output {
    fmt_with_input(folder, arguments, "")
}

fn fmt_with_input(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .env("PORTCULLIS_CONFIG", "portcullis.toml")
        .arg("fmt")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn without_files_those_of_the_configuration_are_formatted_once() {
    let folder = folder(&[("a.toml", MESSY), ("b.toml", CLEAN)]);
    let path = |name: &str| folder.path().join("rules").join(name);
    fs::set_permissions(path("a.toml"), fs::Permissions::from_mode(0o640)).expect("set");
    let output = fmt(folder.path(), &[]);
    assert_eq!(
        told(&output),
        (Some(0), "formatted rules/a.toml\n".to_owned(), String::new())
    );
    assert_eq!(fs::read_to_string(path("a.toml")).expect("a file"), CLEAN);
    let mode = fs::metadata(path("a.toml")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = fs::read_dir(folder.path().join("rules")).expect("a directory").count();
    assert_eq!(names, 2, "nothing is left behind");
    let again = fmt(folder.path(), &[]);
    assert_eq!(
        told(&again),
        (Some(0), "nothing to change (2 files)\n".to_owned(), String::new())
    );
}

#[test]
fn a_check_shows_what_would_change_and_changes_nothing() {
    let folder = folder(&[("a.toml", MESSY)]);
    let (code, shown, _) = told(&fmt(folder.path(), &["--check"]));
    assert_eq!(code, Some(1));
    assert!(
        shown.starts_with("--- rules/a.toml\n+++ rules/a.toml\n@@ -1,5 +1,5 @@\n"),
        "{shown}"
    );
    assert!(
        shown.contains("-id='a'  # why\n") && shown.contains("+id = 'a'  # why\n"),
        "{shown}"
    );
    let text = fs::read_to_string(folder.path().join("rules/a.toml")).expect("a file");
    assert_eq!(text, MESSY);
    fs::write(folder.path().join("rules/a.toml"), CLEAN).expect("written");
    assert_eq!(
        told(&fmt(folder.path(), &["--check"])),
        (Some(0), String::new(), String::new())
    );
}

#[test]
fn one_faulty_file_keeps_all_as_they_are_and_every_fault_is_told() {
    let faulty = "[[rule]]\nexpression = 'ssl and'\n";
    let folder = folder(&[("a.toml", MESSY), ("b.toml", faulty), ("c.toml", "x = [\n")]);
    let (code, shown, said) = told(&fmt(folder.path(), &["rules/a.toml", "rules/b.toml", "rules/c.toml"]));
    assert_eq!((code, shown), (Some(2), String::new()));
    assert!(
        said.contains("rules/b.toml:2:19") && said.contains("rules/c.toml:"),
        "{said}"
    );
    assert!(said.ends_with("nothing is formatted: 2 errors\n"), "{said}");
    let text = fs::read_to_string(folder.path().join("rules/a.toml")).expect("a file");
    assert_eq!(text, MESSY);
    assert_eq!(told(&fmt(folder.path(), &["absent.toml"])).0, Some(2));
}

#[test]
fn standard_input_comes_out_formatted() {
    let folder = folder(&[]);
    for arguments in [&["-"][..], &["--stdin"]] {
        let output = fmt_with_input(folder.path(), arguments, &MESSY.replace('\n', "\r\n"));
        assert_eq!(told(&output), (Some(0), CLEAN.replace('\n', "\r\n"), String::new()));
    }
    assert_eq!(
        told(&fmt_with_input(folder.path(), &["-", "--check"], MESSY)).0,
        Some(1)
    );
    assert_eq!(told(&fmt(folder.path(), &["-", "a.toml"])).0, Some(2));
}

#[test]
fn an_expression_is_formatted_by_itself_with_names_that_nobody_knows() {
    let folder = folder(&[]);
    let (code, shown, _) = told(&fmt(folder.path(), &["-e", r#"!a.b||(c=="x")"#]));
    assert_eq!((code, shown.as_str()), (Some(0), "not a.b or c eq \"x\"\n"));
    let (code, shown, said) = told(&fmt(folder.path(), &["-e", "ssl and"]));
    assert_eq!((code, shown.as_str()), (Some(2), ""));
    assert!(
        said.contains("<expression>:1:5") && said.contains("a condition is missing"),
        "{said}"
    );
}

#[test]
fn a_link_stays_a_link() {
    let folder = folder(&[("a.toml", MESSY)]);
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink("rules/a.toml", &link).expect("a link");
    assert_eq!(told(&fmt(folder.path(), &["link.toml"])).0, Some(0));
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    let text = fs::read_to_string(folder.path().join("rules/a.toml")).expect("a file");
    assert_eq!(text, CLEAN);
}
