//! Reloads: read everything again off the hot path, and swap it in whole or keep what is in force. One that is to be
//! confirmed goes back to the last confirmed one unless somebody says in time that it may stay.
//!
//! Owns the one thread on which this happens, one thing at a time, and the report of how each went. Refuses to know who asks
//! (a signal, the admin socket) and who is told (metrics, logs): they come in as [`Effects`] and waiting ends.

mod guard;
mod once;
mod report;
mod restart;
mod worker;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

pub use self::report::{Cause, Confirmation, Outcome, Report, Return, Unconfirmed};
use self::worker::Worker;
use crate::{
    policy::{fault::Fault, rule::Timestamp},
    snapshot::{Current, Snapshot},
    telemetry::client_networks::ClientNetworks,
};

/// What a reload does besides swapping.
pub trait Effects: Send {
    /// Puts in force what lives outside the snapshot (the log's target). Called before the swap; a fault keeps everything
    /// as it is, unless a confirmed load comes back: that happens whatever is wrong.
    ///
    /// # Errors
    /// What cannot be put in force.
    fn prepare(&mut self, snapshot: &Snapshot) -> Result<(), Fault>;

    /// How it went: for metrics and the service manager.
    fn reported(&mut self, report: &Report);

    /// The last confirmed load is in force again.
    fn returned(&mut self, _returned: &Return) {}

    /// Whether a load in force waits for its confirmation from now on.
    fn waits_for_confirmation(&mut self, _waits: bool) {}

    /// Which client networks come, for the guard.
    fn networks(&self) -> Option<Arc<ClientNetworks>> {
        None
    }
}

/// Asks for reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    wake: Condvar,
    standing: Mutex<Standing>,
}

/// What has been asked for since the last reload began.
#[derive(Debug, Default)]
struct Wanted {
    reload: Option<Ask>,
    waiting: Vec<oneshot::Sender<Arc<Report>>>,
    confirming: Vec<oneshot::Sender<Confirmation>>,
    stop: bool,
}

/// How a reload is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ask {
    /// Within which time somebody confirms it.
    confirm: Option<Duration>,
}

/// What is known of confirmations.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// What waits for one, and until when.
    waits: Option<(Unconfirmed, Instant)>,
    /// The last return.
    returned: Option<Return>,
}

/// More than this many wait for one reload only when the admin socket is abused; those are told nothing.
const MAX_WAITING: usize = 64;

impl Reloader {
    /// Starts the thread that reloads `path` into `current`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(path: PathBuf, current: Current, effects: impl Effects + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(path, current, Box::new(effects), Arc::clone(&shared));
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self(shared))
    }

    /// Asks for a reload and does not wait. However often it is called while one is under way, one more follows.
    pub fn request(&self) {
        self.0.wanted().want(None);
        self.0.wake.notify_one();
    }

    /// Asks for a reload that begins after this call, and gets its report. With `confirm` it goes back after this time, unless
    /// [`Reloader::confirm`] is called before. The channel closes unanswered when the process ends first.
    pub fn report(&self, confirm: Option<Duration>) -> oneshot::Receiver<Arc<Report>> {
        let (tell, told) = oneshot::channel();
        let mut wanted = self.0.wanted();
        wanted.want(confirm);
        if wanted.waiting.len() < MAX_WAITING {
            wanted.waiting.push(tell);
        }
        drop(wanted);
        self.0.wake.notify_one();
        told
    }

    /// Confirms what is in force, after the reload under way.
    pub fn confirm(&self) -> oneshot::Receiver<Confirmation> {
        let (tell, told) = oneshot::channel();
        let mut wanted = self.0.wanted();
        if wanted.confirming.len() < MAX_WAITING {
            wanted.confirming.push(tell);
        }
        drop(wanted);
        self.0.wake.notify_one();
        told
    }

    /// What waits for a confirmation.
    pub fn unconfirmed(&self) -> Option<Unconfirmed> {
        let standing = self.0.standing();
        standing.waits.map(|(unconfirmed, until)| Unconfirmed {
            left: until.saturating_duration_since(Instant::now()),
            ..unconfirmed
        })
    }

    /// The last return to a confirmed load.
    pub fn last_return(&self) -> Option<Return> {
        self.0.standing().returned.clone()
    }

    /// Ends the thread after the reload under way.
    pub fn stop(&self) {
        self.0.wanted().stop = true;
        self.0.wake.notify_one();
    }
}

impl Wanted {
    /// Several who ask get one reload: to be confirmed if any of them wants that, within the shortest time.
    fn want(&mut self, confirm: Option<Duration>) {
        let before = self.reload.and_then(|ask| ask.confirm);
        let shortest = before.into_iter().chain(confirm).min();
        self.reload = Some(Ask { confirm: shortest });
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock, as rules know it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    Timestamp(seconds)
}

#[cfg(test)]
mod tests;
