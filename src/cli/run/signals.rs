//! What the process is told from outside.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// HUP: read the configuration again.
    Reload,
    /// USR1: open the log files again, after they were moved away.
    ReopenLogs,
    /// TERM, QUIT: finish what is under way, then end.
    Drain,
    /// INT: end now.
    Stop,
}

/// The signals that we listen to, from now on.
#[derive(Debug)]
pub(super) struct Signals {
    hup: Stream,
    usr1: Stream,
    term: Stream,
    quit: Stream,
    int: Stream,
}

impl Signals {
    /// Listens; before the first connection, so that no early signal ends the process its default way.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            term: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.hup.recv() => Signal::Reload,
            _ = self.usr1.recv() => Signal::ReopenLogs,
            _ = self.term.recv() => Signal::Drain,
            _ = self.quit.recv() => Signal::Drain,
            _ = self.int.recv() => Signal::Stop,
        }
    }

    /// The next one that asks to end; the others no longer matter.
    pub(super) async fn end(&mut self) {
        while !matches!(self.next().await, Signal::Drain | Signal::Stop) {}
    }
}
