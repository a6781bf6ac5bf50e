//! What is said on the admin socket: one JSON line each way, then it closes.
//!
//! A request is `{"verb":"reload"}` (with `"confirm":300` to be confirmed within so many seconds), `{"verb":"confirm"}`,
//! `{"verb":"status"}`, `{"verb":"upgrade"}` or `{"verb":"event","id":"…"}`. The answer is the verb's report, or
//! `{"error":"…"}`. `takeover` is what a gateway says that succeeds this one: a longer conversation, told in
//! [`crate::handover`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{handover::Opening, upstream::report::UpstreamReport};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Request {
    /// Read the configuration again, and say how it went.
    Reload {
        /// Within so many seconds it is to be confirmed, or goes back.
        #[serde(default)]
        confirm: Option<u64>,
    },
    /// Confirm the configuration in force.
    Confirm {},
    /// Say what is running.
    Status {},
    /// Say what is remembered of the request with this id.
    Event { id: String },
    /// Start a successor from the program's file as it is now, hand over to it, and say how it went.
    Upgrade {},
    /// Hand over to the one who asks.
    Takeover(Opening),
}

impl Request {
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            format!("expected one line such as {{\"verb\":\"reload\"}} or {{\"verb\":\"status\"}}: {error}")
        })
    }
}

/// The answer to what could not be done.
pub(super) fn error(message: &str) -> Value {
    json!({ "error": message })
}

/// What is remembered of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct EventReport {
    /// What the access record says, with the headers; `None`: it is not remembered.
    pub(super) event: Option<Value>,
    /// How far the memory reaches.
    pub(super) memory: Value,
    /// The load in force, counted from 1.
    pub(super) generation: u64,
    /// When it was loaded, RFC 3339.
    pub(super) loaded: String,
}

/// What is running.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime: u64,
    /// `starting`, `serving`, `handed over` or `draining`.
    pub state: &'static str,
    /// The load in force, counted from 1.
    pub generation: u64,
    /// When it was loaded, RFC 3339.
    pub loaded: String,
    /// Whether the last reload succeeded.
    pub last_reload_successful: bool,
    /// Whether keys changed that wait for a restart.
    pub restart_required: bool,
    /// Whether the files say something else than what is in force: a restart would load them.
    pub differs_from_disk: bool,
    /// What waits for `confirm`: `generation`, `returns_to`, `seconds`.
    pub unconfirmed: Option<Value>,
    /// The last return to a confirmed load: `from`, `to`, `at`, `cause`, `why`.
    pub returned: Option<Value>,
    /// Requests that the rules state, to hold them to.
    pub tests: usize,
    /// Where clients connect.
    pub listeners: Vec<ListenerReport>,
    /// Enabled rules.
    pub rules: usize,
    /// Lists.
    pub lists: usize,
    /// Open client connections.
    pub connections: u64,
    /// The upstreams that sites lead to, with their servers.
    pub upstreams: Vec<UpstreamReport>,
}

/// One of the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerReport {
    /// Address and port, the one really bound.
    pub address: String,
    /// `https`, `http` or `redirect`.
    pub protocol: &'static str,
}
