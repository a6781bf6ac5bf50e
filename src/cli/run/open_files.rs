//! How many files the process may open: each connection takes one for the client and, most of the time, one for the origin.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as the process itself may, and warns when that is less than the connections need.
pub(super) fn raise(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "cannot raise the limit of open files");
        }
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = connections as u64;
    if allowed < connections {
        tracing::warn!(
            allowed,
            connections,
            "fewer open files are allowed than limits.connections: raise LimitNOFILE or ulimit -n, or lower the limit"
        );
    }
}
