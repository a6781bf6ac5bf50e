//! Configurations that must load, and ones that must not, with what `portcullis check` says of them.
//!
//! Every file and folder in `tests/configs/good` loads; every one in `tests/configs/bad` is refused. Beside it stands what
//! was said, word for word: add a broken configuration, run with `BLESS=1`, and read it: would you know what to do? One
//! that loads without a word needs no such file.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs").join(name)
}

/// A configuration: a file, or a folder with a `portcullis.toml`.
struct Case {
    config: PathBuf,
    expected: PathBuf,
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter_map(|path| {
            if path.is_dir() {
                return Some(Case {
                    config: path.join("portcullis.toml"),
                    expected: path.join("expected.txt"),
                });
            }
            path.extension()
                .is_some_and(|extension| extension == "toml")
                .then(|| Case {
                    expected: path.with_extension("txt"),
                    config: path,
                })
        })
        .collect();
    cases.sort_by(|a, b| a.config.cmp(&b.config));
    cases
}

/// Runs `portcullis check` in `folder`, so that no path of this machine is in what it says.
fn check(folder: &Path, config: &Path, arguments: &[&str]) -> Output {
    let config = config.strip_prefix(folder).expect("it is in the folder");
    Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder)
        .env_clear()
        .arg("-c")
        .arg(config)
        .arg("check")
        .args(arguments)
        .output()
        .expect("it runs")
}

/// Holds what was said against what is expected; the differences, if any.
fn compare(case: &Case, said: &str) -> Option<String> {
    if env::var_os("BLESS").is_some() && !said.is_empty() {
        fs::write(&case.expected, said).expect("written");
    }
    let expected = fs::read_to_string(&case.expected).unwrap_or_default();
    (said != expected).then(|| format!("{}\n--- expected\n{expected}--- said\n{said}", case.config.display()))
}

#[test]
fn good_configurations_load() {
    let folder = folder("good");
    let mut wrong = Vec::new();
    for case in cases(&folder) {
        let output = check(&folder, &case.config, &[]);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if output.status.code() != Some(0) || !stdout.starts_with("configuration OK (") {
            wrong.push(format!("{} does not load:\n{stdout}{stderr}", case.config.display()));
            continue;
        }
        wrong.extend(compare(&case, &stderr));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_configurations_are_refused_with_the_expected_words() {
    let folder = folder("bad");
    let cases = cases(&folder);
    assert!(cases.len() >= 60, "some are missing: {}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let output = check(&folder, &case.config, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(1) || !output.stdout.is_empty() {
            wrong.push(format!("{} is not refused:\n{stderr}", case.config.display()));
            continue;
        }
        wrong.extend(compare(&case, &stderr));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn programs_get_faults_as_json() {
    let folder = folder("bad");
    let output = check(&folder, &folder.join("typo_in_key.toml"), &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["ok"], false);
    let place = &answer["faults"][0]["place"];
    assert_eq!(
        (&place["file"], &place["line"]),
        (&"typo_in_key.toml".into(), &9.into())
    );
}

#[test]
fn what_cannot_be_found_is_said_with_exit_code_1() {
    let folder = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .current_dir(folder.path())
        .env_clear()
        .args(["-c", "absent.toml", "-t"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("error: cannot read `absent.toml`: no such file"),
        "{stderr}"
    );
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(arguments).output().expect("it runs").status.code()
    };
    assert_eq!(run(&["chekc"]), Some(2));
    assert_eq!(run(&["-t", "rules"]), Some(2));
}
