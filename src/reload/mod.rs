//! Reloads: read everything again off the hot path, and swap it in whole or keep what is in force.
//!
//! Owns the one thread on which reloads happen, one at a time, and the report of how each went. Refuses to know who asks
//! (a signal, the admin socket) and who is told (metrics, logs): they come in as [`Effects`] and waiting ends.

mod changes;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

pub use self::changes::changes;
use self::changes::{keep_running, restart_required};
use crate::{
    config::{self, settings::Protocol, show},
    policy::{
        fault::{Fault, Severity},
        rule::Timestamp,
    },
    snapshot::{Current, Snapshot},
};

/// What a reload does besides swapping.
pub trait Effects: Send {
    /// Puts in force what lives outside the snapshot (the log's target). Called before the swap; a fault keeps everything
    /// as it is.
    ///
    /// # Errors
    /// What cannot be put in force.
    fn prepare(&mut self, snapshot: &Snapshot) -> Result<(), Fault>;

    /// How it went: for metrics and the service manager.
    fn reported(&mut self, report: &Report);
}

/// How a reload went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether the new configuration is in force.
    pub result: Outcome,
    /// The generation in force, new or old.
    pub generation: u64,
    /// When it ended.
    pub at: Timestamp,
    /// What is different now, in words; empty after a failure.
    pub changed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub restart_required: Vec<&'static str>,
    /// Everything that is wrong, or only warned of.
    pub faults: Vec<Fault>,
}

/// Whether a reload took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The new snapshot is in force.
    Loaded,
    /// The old one stays.
    Kept,
}

impl Report {
    /// For the admin socket: one line.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "result": match self.result {
                Outcome::Loaded => "loaded",
                Outcome::Kept => "kept",
            },
            "generation": self.generation,
            "changed": self.changed,
            "restart_required": self.restart_required,
            "faults": self.faults.iter().map(show::json).collect::<Vec<_>>(),
            "shown": show::text(&self.faults, show::Colour::Off),
        })
    }

    fn log(&self) {
        for fault in &self.faults {
            let place = fault.place.as_ref().map(ToString::to_string).unwrap_or_default();
            let help = fault.help.join("; ");
            match fault.severity {
                Severity::Error => error!(place, expected = fault.label, help, "{}", fault.message),
                Severity::Warning => warn!(place, expected = fault.label, help, "{}", fault.message),
            }
        }
        let (generation, changed) = (self.generation, self.changed.join("; "));
        let restart_required = self.restart_required.join(", ");
        match self.result {
            Outcome::Loaded => info!(generation, changed, restart_required, "configuration reloaded"),
            Outcome::Kept => error!(generation, "configuration not reloaded, the old one stays in force"),
        }
    }
}

/// Asks for reloads. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reloader(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    wake: Condvar,
}

/// What has been asked for since the last reload began.
#[derive(Debug, Default)]
struct Wanted {
    reload: bool,
    waiting: Vec<oneshot::Sender<Arc<Report>>>,
    stop: bool,
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
        let worker = Worker {
            path,
            current,
            effects: Box::new(effects),
            shared: Arc::clone(&shared),
        };
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self(shared))
    }

    /// Asks for a reload and does not wait. However often it is called while one is under way, one more follows.
    pub fn request(&self) {
        self.0.wanted().reload = true;
        self.0.wake.notify_one();
    }

    /// Asks for a reload that begins after this call, and gets its report. The channel closes unanswered when the process
    /// ends first.
    pub fn report(&self) -> oneshot::Receiver<Arc<Report>> {
        let (tell, told) = oneshot::channel();
        let mut wanted = self.0.wanted();
        wanted.reload = true;
        if wanted.waiting.len() < MAX_WAITING {
            wanted.waiting.push(tell);
        }
        drop(wanted);
        self.0.wake.notify_one();
        told
    }

    /// Ends the thread after the reload under way.
    pub fn stop(&self) {
        self.0.wanted().stop = true;
        self.0.wake.notify_one();
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until somebody asks, and meanwhile frees what nobody uses any more. `None`: it is over.
    fn next(&self, retired: &mut Retired) -> Option<Vec<oneshot::Sender<Arc<Report>>>> {
        let mut wanted = self.wanted();
        loop {
            if wanted.stop {
                return None;
            }
            if wanted.reload {
                wanted.reload = false;
                return Some(std::mem::take(&mut wanted.waiting));
            }
            if retired.0.is_empty() {
                wanted = self.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.wake.wait_timeout(wanted, RETIRED_LOOK);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                retired.free();
                wanted = self.wanted();
            }
        }
    }
}

/// How often retired snapshots are looked at.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

/// Snapshots that are no longer in force. Held here so that none is freed by a worker in the middle of a request: with
/// large lists that takes long.
#[derive(Debug, Default)]
struct Retired(Vec<Arc<Snapshot>>);

impl Retired {
    /// Frees those that nobody else holds; who does not hold one now never will again.
    fn free(&mut self) {
        self.0.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }
}

struct Worker {
    path: PathBuf,
    current: Current,
    effects: Box<dyn Effects>,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut retired = Retired::default();
        while let Some(waiting) = self.shared.next(&mut retired) {
            let running = self.current.load();
            let report = Arc::new(self.reload());
            if report.result == Outcome::Loaded {
                retired.0.push(running);
            }
            report.log();
            self.effects.reported(&report);
            for waiting in waiting {
                // Who went away meanwhile need not be told.
                let _ = waiting.send(Arc::clone(&report));
            }
        }
    }
}

impl Worker {
    /// Reloads once. A panic in it is a fault of ours, and no reason that the next reload should not work.
    fn reload(&mut self) -> Report {
        // What a panic leaves half done is dropped with it; the swap is the last thing that can happen.
        let reloaded = catch_unwind(AssertUnwindSafe(|| {
            reload(&self.path, &self.current, &mut *self.effects)
        }));
        reloaded.unwrap_or_else(|_| {
            let fault = Fault::without_place("internal error: the reload panicked")
                .help("standard error has the panic's message; please report it with the files that caused it");
            Report {
                result: Outcome::Kept,
                generation: self.current.load().generation,
                at: now(),
                changed: Vec::new(),
                restart_required: Vec::new(),
                faults: vec![fault],
            }
        })
    }
}

/// Reloads once, on this thread.
pub fn reload(path: &Path, current: &Current, effects: &mut dyn Effects) -> Report {
    let running = current.load();
    let at = now();
    let kept = |faults| Report {
        result: Outcome::Kept,
        generation: running.generation,
        at,
        changed: Vec::new(),
        restart_required: Vec::new(),
        faults,
    };
    let (mut snapshot, mut faults) = match config::load(path, at, Some(&running)) {
        Ok(loaded) => loaded,
        Err(faults) => return kept(faults),
    };
    let restart_required = restart_required(&running.settings, &snapshot.settings);
    keep_running(&running.settings, &mut snapshot.settings);
    if let Some(fault) = certificate_missing(&snapshot) {
        faults.push(fault);
        return kept(faults);
    }
    if let Err(fault) = effects.prepare(&snapshot) {
        faults.push(fault);
        return kept(faults);
    }
    let changed = changes(&running, &snapshot);
    let generation = snapshot.generation;
    current.swap(snapshot);
    Report {
        result: Outcome::Loaded,
        generation,
        at,
        changed,
        restart_required,
        faults,
    }
}

/// The new file may have no TLS listener, and so no certificate; the one that runs until the restart needs one all the same.
fn certificate_missing(snapshot: &Snapshot) -> Option<Fault> {
    let listeners = &snapshot.settings.listeners;
    let tls = listeners.iter().find(|listener| match listener.protocol {
        Protocol::Tls { .. } => true,
        Protocol::Plain | Protocol::Redirect { .. } => false,
    })?;
    snapshot.certificates.is_empty().then(|| {
        Fault::without_place(format!(
            "the TLS listener {} would be left without any certificate",
            tls.address
        ))
        .expected("it runs until the restart that `listen` needs")
        .help("keep a site's certificate until then, or restart")
    })
}

/// The clock, as rules know it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    Timestamp(seconds)
}

#[cfg(test)]
mod tests;
