//! The program as a child process with a configuration of its own.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::exchange;

/// How long the program may take for what it does at once: far more than it needs, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_portcullis");

/// Files for a start.
pub(crate) struct Setup {
    directory: TempDir,
    environment: Vec<(String, String)>,
    open_files: Option<u32>,
    program: PathBuf,
    passed: Option<OwnedFd>,
    arguments: Vec<String>,
}

impl Setup {
    /// With this portcullis.toml, and no rules unless it names some. JSON logs are added: the harness reads them.
    pub(crate) fn new(config: &str) -> Self {
        let setup = Self {
            directory: tempfile::tempdir().expect("a directory"),
            environment: Vec::new(),
            open_files: None,
            program: PathBuf::from(PROGRAM),
            passed: None,
            arguments: Vec::new(),
        };
        let rules = if config.contains("rules =") { "" } else { "rules = []\n" };
        let log = if config.contains("[log]") {
            ""
        } else {
            "\n[log]\nformat = \"json\"\n"
        };
        setup.file("portcullis.toml", &format!("{rules}{config}{log}"))
    }

    /// With this file beside it.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        write(self.directory.path(), name, text);
        self
    }

    /// The directory of the files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// With this file of any bytes beside it.
    pub(crate) fn binary(self, name: &str, bytes: &[u8]) -> Self {
        write(self.directory.path(), name, bytes);
        self
    }

    /// With this variable in the environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With room for so many open files only.
    pub(crate) fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Started by this path, below the directory, which leads to the program.
    pub(crate) fn program(mut self, name: &str) -> Self {
        self.program = self.directory.path().join(name);
        self
    }

    /// With this listening socket passed to it, as a service manager does.
    pub(crate) fn passing(mut self, listener: impl Into<OwnedFd>) -> Self {
        self.passed = Some(listener.into());
        self
    }

    /// With these arguments behind the configuration's.
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    fn command(&self) -> Command {
        let mut command = match (&self.passed, self.open_files) {
            (Some(_), _) => self.shell(
                "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$0\" \"$@\"",
            ),
            (None, Some(most)) => self.shell(&format!("ulimit -n {most} && exec \"$0\" \"$@\"")),
            (None, None) => Command::new(&self.program),
        };
        self.prepare(&mut command);
        if let Some(passed) = &self.passed {
            command.stdin(passed.try_clone().expect("a descriptor"));
        }
        command.args(&self.arguments);
        command
    }

    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(&self.program);
        shell
    }

    /// Another call of the program under this configuration.
    fn verb(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        self.prepare(&mut command);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command
            // Ended as one, with those that it starts.
            .process_group(0)
            .arg("-c")
            .arg(self.directory.path().join("portcullis.toml"))
            .env_remove("PORTCULLIS_LOG")
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(self) -> Gateway {
        let (mut gateway, records) = self.start_unread();
        gateway.records = Lines::read(records);
        gateway
    }

    /// Starts it with access records going to a pipe that nobody reads before the caller does.
    pub(crate) fn start_unread(self) -> (Gateway, ChildStdout) {
        let mut child = self.command().spawn().expect("the program runs");
        let messages = Lines::read(child.stderr.take().expect("piped"));
        let records = child.stdout.take().expect("piped");
        let gateway = Gateway {
            setup: self,
            child,
            messages,
            records: Lines::default(),
        };
        gateway.wait_for_message("ready");
        (gateway, records)
    }

    /// Starts it with logs as text, and gives everything it said until it was ready.
    pub(crate) fn start_text(self) -> (Gateway, String) {
        let mut child = self.command().spawn().expect("the program runs");
        let messages = Lines::read(child.stderr.take().expect("piped"));
        let gateway = Gateway {
            setup: self,
            child,
            records: Lines::default(),
            messages,
        };
        let is_ready = |line: &Value| line.as_str().is_some_and(|line| line.contains(" ready "));
        gateway.messages.wait(is_ready);
        let lines = gateway.messages.matching(|_| true);
        let said = lines
            .iter()
            .filter_map(Value::as_str)
            .map(|line| format!("{line}\n"))
            .collect();
        (gateway, said)
    }

    /// Runs it to its end: for a start that must fail.
    pub(crate) fn run(self) -> (ExitStatus, String) {
        let output = self.command().output().expect("the program runs");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn write(directory: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory");
    std::fs::write(path, text).expect("a writable directory");
}

/// The running program. Killed when dropped, by its own process id, with the successors that it started.
pub(crate) struct Gateway {
    setup: Setup,
    child: Child,
    messages: Lines,
    records: Lines,
}

impl Gateway {
    /// Starts with this portcullis.toml.
    pub(crate) fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    /// The configuration's directory.
    pub(crate) fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// Writes a file of the configuration.
    pub(crate) fn write(&self, name: &str, text: &str) {
        write(self.directory(), name, text);
    }

    /// The bound address of the `index`th listener.
    pub(crate) fn address(&self, index: usize) -> SocketAddr {
        let listening = self.messages.matching(|message| message["message"] == "listening");
        let address = listening.get(index).and_then(|message| message["address"].as_str());
        address.and_then(|address| address.parse().ok()).expect("a listener")
    }

    /// What `GET path` on the address for operators is answered with, head and body.
    pub(crate) fn ask_admin(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
        exchange(self.admin(), request.as_bytes())
    }

    /// The value of a metric, given with its labels as they are shown; `None` when it is not shown.
    pub(crate) fn metric(&self, sample: &str) -> Option<u64> {
        let shown = self.ask_admin("/metrics");
        let value = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok();
        shown.lines().find_map(value)
    }

    /// Waits until a metric has a value: what a signal or an ended response causes shows a moment later.
    pub(crate) fn wait_for_metric(&self, sample: &str, value: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(sample) != Some(value) {
            assert!(Instant::now() < deadline, "{sample} is {:?}", self.metric(sample));
            thread::yield_now();
        }
    }

    /// The first message for operators with this text.
    pub(crate) fn wait_for_message(&self, text: &str) -> Value {
        self.messages.wait(|message| message["message"] == text)
    }

    /// The first access record that satisfies this.
    pub(crate) fn wait_for_record(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.records.wait(wanted)
    }

    /// How many messages have this text so far.
    pub(crate) fn messages(&self, text: &str) -> usize {
        self.messages.matching(|message| message["message"] == text).len()
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{kill}");
    }

    /// Its process, as it was started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process that was started, not of those that succeeded it.
    pub(crate) fn wait_for_first(&mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }

    /// Waits until no process has its output any more.
    pub(crate) fn wait_for_all(&self) {
        self.messages.wait_for_end();
    }

    /// Another call of the program under the same configuration, to be run beside it.
    pub(crate) fn beside(&self, arguments: &[&str]) -> Command {
        let mut command = self.setup.verb();
        command.args(arguments);
        command
    }

    /// Waits for the nth message with this text, counted from 1.
    pub(crate) fn wait_for_messages(&self, text: &str, number: usize) {
        let said = |messages: &[Value]| messages.iter().filter(|message| message["message"] == text).count();
        self.messages.wait_until(|messages| said(messages) >= number);
    }

    /// Has it reload by signal, and waits until the new configuration is in force.
    pub(crate) fn reload(&self) {
        self.signal_and_wait_for("configuration reloaded");
    }

    /// Has it reload by signal, and waits until it says that the old configuration stays.
    pub(crate) fn reload_refused(&self) {
        self.signal_and_wait_for("configuration not reloaded, the old one stays in force");
    }

    fn signal_and_wait_for(&self, text: &str) {
        let before = self.messages(text);
        self.signal("HUP");
        let said = |messages: &[Value]| messages.iter().filter(|message| message["message"] == text).count();
        self.messages.wait_until(|messages| said(messages) > before);
    }

    /// All access records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.records.matching(|_| true)
    }

    /// Reads the access records from now on.
    pub(crate) fn read_records(&mut self, from: ChildStdout) {
        self.records = Lines::read(from);
    }

    /// Ends it by signal, and gives all its access records.
    pub(crate) fn end(mut self) -> Vec<Value> {
        self.terminate();
        self.records()
    }

    /// Ends it by signal, and then looks at what is left in its directory.
    pub(crate) fn end_then<T>(mut self, look: impl FnOnce(&Path) -> T) -> T {
        self.terminate();
        look(self.directory())
    }

    fn terminate(&mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("it was started");
        assert_eq!(status.code(), Some(0));
        self.records.wait_for_end();
    }

    /// Runs another verb of the program under the same configuration: its exit code and all that it printed.
    pub(crate) fn verb(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.setup.verb().args(arguments).output().expect("the program runs");
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// The address of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        let message = self.messages.wait(|message| message["protocol"] == "admin");
        let address = message["address"].as_str().and_then(|address| address.parse().ok());
        address.expect("an address")
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it was started")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let group = format!("kill -KILL -{}", self.child.id());
        let _ = Command::new("sh").args(["-c", &group]).stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// JSON lines that a thread reads; lines that are none are kept as strings.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    lines: Vec<Value>,
    ended: bool,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let filled = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                filled.change(|read| read.lines.push(value));
            }
            filled.change(|read| read.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Collected)) {
        let (read, changed) = &*self.0;
        change(&mut read.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    fn matching(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let (read, _) = &*self.0;
        let read = read.lock().unwrap_or_else(PoisonError::into_inner);
        read.lines.iter().filter(|line| wanted(line)).cloned().collect()
    }

    fn wait(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_until(|lines| lines.iter().any(&wanted));
        self.matching(wanted).swap_remove(0)
    }

    fn wait_for_end(&self) {
        let (read, changed) = &*self.0;
        let read = read.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, _) = changed
            .wait_timeout_while(read, PATIENCE, |read| !read.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(read.ended, "the pipe is not closed");
    }

    fn wait_until(&self, satisfied: impl Fn(&[Value]) -> bool) {
        let (read, changed) = &*self.0;
        let read = read.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |read: &mut Collected| !satisfied(&read.lines) && !read.ended;
        let (read, _) = changed
            .wait_timeout_while(read, PATIENCE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(satisfied(&read.lines), "not among the lines: {:#?}", read.lines);
    }
}
