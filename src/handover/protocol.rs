//! The lines that the two gateways exchange, as the module above tells them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::passed::{FileIdentity, Purpose};

/// What this version speaks.
pub const PROTOCOL: u32 = 1;

/// The successor's first words, beside the verb.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Opening {
    /// The protocol it speaks.
    pub protocol: u32,
    /// Its version, for people.
    pub version: String,
}

/// What the running gateway hands over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) version: String,
    pub(super) sockets: Vec<OfferedSockets>,
}

/// One listener's sockets, which come in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OfferedSockets {
    pub(super) purpose: Purpose,
    /// As configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<SocketAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<FileIdentity>,
    pub(super) count: usize,
    /// A service manager keeps them.
    pub(super) kept: bool,
}

/// How the successor's start went.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It accepts connections on these of the offered sockets.
    Ready { taken: Vec<usize> },
    /// It does not, and ends.
    Failed(String),
}

/// The running gateway's last word.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It accepts no more.
    Yours {},
    /// It does not hand over.
    Error(String),
}
