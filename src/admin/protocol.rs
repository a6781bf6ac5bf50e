//! What is said on the admin socket: one JSON line each way, then it closes.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// The longest answer that [`ask`] reads; a reload may have many faults.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// How long connecting and asking may take; the answer may take longer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Read the configuration again, and say how it went.
    Reload {},
    /// Say what is running.
    Status {},
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `reload`.
    Reload(ReloadReport),
    /// To `status`.
    Status(StatusReport),
    /// The request was not understood.
    Error {
        /// Why.
        message: String,
    },
}

/// How a reload went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Whether the new configuration is in force; if not, nothing changed.
    pub ok: bool,
    /// The load in force now.
    pub generation: u64,
    /// What changed, a line each.
    pub changes: Vec<String>,
    /// Keys that changed and wait for a restart.
    pub restart_required: Vec<String>,
    /// What the operator should look at.
    pub warnings: Vec<String>,
    /// Why the configuration does not load.
    pub faults: Vec<String>,
}

/// What is running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime: u64,
    /// `starting`, `serving` or `draining`.
    pub state: String,
    /// The load in force.
    pub generation: u64,
    /// When it was loaded, RFC 3339.
    pub loaded: String,
    /// Whether the last reload succeeded.
    pub last_reload_successful: bool,
    /// Keys that changed and wait for a restart.
    pub restart_required: Vec<String>,
    /// Where clients connect.
    pub listeners: Vec<ListenerReport>,
    /// Enabled rules.
    pub rules: usize,
    /// Lists.
    pub lists: usize,
    /// Open client connections.
    pub connections: u64,
}

/// One of the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Address and port.
    pub address: String,
    /// `https`, `http` or `redirect`.
    pub protocol: String,
}

/// Asks the gateway at a socket, and waits for its answer as long as `patience`.
///
/// # Errors
/// Nobody listens there, or what is answered is no answer.
pub fn ask(socket: &Path, request: Request, patience: Duration) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
