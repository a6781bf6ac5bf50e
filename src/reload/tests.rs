use std::{fs, sync::mpsc};

use super::*;
use crate::config;

const CONFIG: &str = r#"
rules = ["rules/*.toml"]
[[listen]]
address = "127.0.0.1:0"
[upstream.app]
servers = ["builtin:demo"]
[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
"#;

const RULES: &str = r#"
[[rule]]
id = "a"
expression = 'http.request.uri.path eq "/a"'
action = "block"
[list.partners]
kind = "ip"
items = ["192.0.2.0/24"]
"#;

/// A folder with a configuration, and the snapshot of it.
struct Folder {
    folder: tempfile::TempDir,
    current: Current,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir(folder.path().join("rules")).expect("made");
        fs::write(folder.path().join("portcullis.toml"), CONFIG).expect("written");
        fs::write(folder.path().join("rules/rules.toml"), RULES).expect("written");
        let (snapshot, _) = config::load(&folder.path().join("portcullis.toml"), now(), None).expect("it loads");
        Self {
            folder,
            current: Current::new(snapshot),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("portcullis.toml")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    fn reload(&self) -> Report {
        once::reload(
            &self.path(),
            &self.current,
            self.current.load().generation,
            &mut Nothing,
        )
    }
}

struct Nothing;

impl Effects for Nothing {
    fn prepare(&mut self, _: &Snapshot) -> Result<(), Fault> {
        Ok(())
    }

    fn reported(&mut self, _: &Report) {}
}

#[test]
fn what_changed_is_told_by_name() {
    let folder = Folder::new();
    let rules = RULES.replace("\"/a\"", "\"/b\"").replace("192.0.2.0", "192.0.3.0");
    let added = "[[rule]]\nid = \"b\"\nexpression = 'ssl'\naction = \"log\"\n";
    folder.write("rules/rules.toml", &rules);
    folder.write("rules/second.toml", added);
    folder.write(
        "portcullis.toml",
        &format!("{CONFIG}status = 451\n[limits]\nmin_rate = 0\n"),
    );
    let report = folder.reload();
    assert_eq!(report.result, Outcome::Loaded);
    assert_eq!(report.generation, 2);
    assert_eq!(
        report.changed,
        [
            "rule b added",
            "rule a changed",
            "list partners changed",
            "site main changed",
            "limits changed"
        ]
    );
}

#[test]
fn a_rule_that_only_moved_did_not_change() {
    let folder = Folder::new();
    folder.write("rules/rules.toml", &format!("# a comment\n\n{RULES}"));
    folder.write("portcullis.toml", &format!("# a comment\n{CONFIG}"));
    assert_eq!(folder.reload().changed, [] as [String; 0]);
}

#[test]
fn a_fault_keeps_what_is_in_force() {
    let folder = Folder::new();
    let before = folder.current.load();
    folder.write("rules/rules.toml", &RULES.replace("block", "blok"));
    let report = folder.reload();
    assert_eq!((report.result, report.generation), (Outcome::Kept, 1));
    assert_eq!(report.faults.len(), 1);
    assert!(Arc::ptr_eq(&before, &folder.current.load()));
}

#[test]
fn a_rules_folder_that_came_up_empty_is_no_open_gate() {
    let folder = Folder::new();
    fs::remove_file(folder.folder.path().join("rules/rules.toml")).expect("removed");
    assert_eq!(folder.reload().result, Outcome::Kept);
    assert_eq!(folder.current.load().policy.rules().len(), 1);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_taken() {
    let folder = Folder::new();
    let config = CONFIG
        .replace("127.0.0.1:0", "127.0.0.1:1")
        .replace("\"main\"", "\"other\"");
    folder.write("portcullis.toml", &config);
    let report = folder.reload();
    assert_eq!(report.restart_required, ["listen"]);
    assert_eq!(report.changed, ["site other added", "site main removed"]);
    let port = folder.current.load().settings.listeners[0].address.port();
    assert_eq!(port, 0);
    // It stays required, however often the same file is read.
    assert_eq!(folder.reload().restart_required, ["listen"]);
}

#[test]
fn a_tls_listener_that_runs_on_keeps_a_certificate() {
    let folder = Folder::new();
    let tls = CONFIG.replace("127.0.0.1:0\"", "127.0.0.1:0\"\ntls = true") + "self_signed = true\n";
    folder.write("portcullis.toml", &tls);
    let (snapshot, _) = config::load(&folder.path(), now(), None).expect("it loads");
    folder.current.swap(snapshot);
    folder.write("portcullis.toml", CONFIG);
    let report = folder.reload();
    assert_eq!(report.result, Outcome::Kept);
    let message = &report.faults.last().expect("a fault").message;
    assert_eq!(
        message,
        "the TLS listener 127.0.0.1:0 would be left without any certificate"
    );
    assert!(!folder.current.load().certificates.is_empty());
}

#[test]
fn an_effect_that_fails_keeps_what_is_in_force() {
    struct Failing;
    impl Effects for Failing {
        fn prepare(&mut self, _: &Snapshot) -> Result<(), Fault> {
            Err(Fault::without_place("cannot open the log"))
        }
        fn reported(&mut self, _: &Report) {}
    }
    let folder = Folder::new();
    let report = once::reload(&folder.path(), &folder.current, 1, &mut Failing);
    assert_eq!((report.result, report.generation), (Outcome::Kept, 1));
    assert_eq!(folder.current.load().generation, 1);
}

#[test]
fn a_panic_keeps_what_is_in_force_and_the_next_reload_works() {
    struct PanicsOnce(bool);
    impl Effects for PanicsOnce {
        fn prepare(&mut self, _: &Snapshot) -> Result<(), Fault> {
            assert!(std::mem::replace(&mut self.0, true), "a bug");
            Ok(())
        }
        fn reported(&mut self, _: &Report) {}
    }
    let folder = Folder::new();
    let reloader = Reloader::start(folder.path(), folder.current.clone(), PanicsOnce(false)).expect("it starts");
    let first = reloader.report(None).blocking_recv().expect("a report");
    assert_eq!((first.result, first.generation), (Outcome::Kept, 1));
    assert_eq!(first.faults[0].message, "internal error: the reload panicked");
    let second = reloader.report(None).blocking_recv().expect("a report");
    assert_eq!((second.result, second.generation), (Outcome::Loaded, 2));
    reloader.stop();
}

/// Lets a test hold a reload under way.
struct Gate {
    began: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Effects for Gate {
    fn prepare(&mut self, _: &Snapshot) -> Result<(), Fault> {
        self.began.send(()).expect("the test listens");
        self.go.recv().expect("the test goes on");
        Ok(())
    }

    fn reported(&mut self, _: &Report) {}
}

#[test]
fn requests_during_a_reload_start_exactly_one_more() {
    let folder = Folder::new();
    let (began, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    let gate = Gate { began, go: goes };
    let reloader = Reloader::start(folder.path(), folder.current.clone(), gate).expect("it starts");
    let first = reloader.report(None);
    begins.recv().expect("the first begins");
    let (second, third) = (reloader.report(None), reloader.report(None));
    reloader.request();
    go.send(()).expect("sent");
    assert_eq!(first.blocking_recv().expect("a report").generation, 2);
    begins.recv().expect("the second begins");
    go.send(()).expect("sent");
    assert_eq!(second.blocking_recv().expect("a report").generation, 3);
    assert_eq!(third.blocking_recv().expect("a report").generation, 3);
    reloader.stop();
    assert_eq!(folder.current.load().generation, 3);
}
