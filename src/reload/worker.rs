//! The thread that reloads, confirms and goes back: one thing at a time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tracing::{error, info};

use super::{
    Ask, Effects, Shared,
    guard::Watch,
    now, once,
    report::{Cause, Confirmation, Outcome, Report, Return, Unconfirmed},
};
use crate::{
    policy::fault::Fault,
    snapshot::{Current, Snapshot},
};

/// How often retired snapshots are looked at.
const RETIRED_LOOK: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    path: PathBuf,
    current: Current,
    effects: Box<dyn Effects>,
    shared: Arc<Shared>,
    retired: Retired,
    /// The last confirmed load, while another one is in force.
    confirmed: Option<Confirmed>,
    watch: Watch,
    /// The last generation there was.
    last: u64,
    /// What waits for a restart under the load in force.
    restart_required: Vec<&'static str>,
}

/// The load that comes back unless the one in force is confirmed.
struct Confirmed {
    snapshot: Arc<Snapshot>,
    restart_required: Vec<&'static str>,
    until: Instant,
}

/// What is to be done next.
enum Next {
    Reload(Ask, Vec<oneshot::Sender<Arc<Report>>>),
    Confirm(Vec<oneshot::Sender<Confirmation>>),
    /// Nobody asks: look whether it is time for something.
    Look,
    Stop,
}

impl Worker {
    pub(super) fn new(path: PathBuf, current: Current, effects: Box<dyn Effects>, shared: Arc<Shared>) -> Self {
        let running = current.load();
        let mut watch = Watch::new(effects.networks());
        watch.set(running.settings.reload.guard);
        Self {
            path,
            last: running.generation,
            current,
            effects,
            shared,
            retired: Retired::default(),
            confirmed: None,
            watch,
            restart_required: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Next::Stop => return,
                Next::Confirm(waiting) => {
                    let confirmation = self.confirm();
                    for waiting in waiting {
                        // Who went away meanwhile need not be told.
                        let _ = waiting.send(confirmation.clone());
                    }
                }
                Next::Reload(ask, waiting) => {
                    let report = Arc::new(self.reload(ask));
                    for waiting in waiting {
                        let _ = waiting.send(Arc::clone(&report));
                    }
                }
                Next::Look => self.look(),
            }
        }
    }

    /// Waits until somebody asks, or there is something to look at. A confirmation comes before what was asked for later.
    fn next(&self) -> Next {
        let mut wanted = self.shared.wanted();
        loop {
            if wanted.stop {
                return Next::Stop;
            }
            if !wanted.confirming.is_empty() {
                return Next::Confirm(std::mem::take(&mut wanted.confirming));
            }
            if self.confirmed.as_ref().is_some_and(|held| held.until <= Instant::now()) {
                return Next::Look;
            }
            if let Some(ask) = wanted.reload.take() {
                return Next::Reload(ask, std::mem::take(&mut wanted.waiting));
            }
            match self.patience() {
                None => {
                    wanted = self.shared.wake.wait(wanted).unwrap_or_else(PoisonError::into_inner);
                }
                Some(patience) => {
                    let (again, waited) = self
                        .shared
                        .wake
                        .wait_timeout(wanted, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() {
                        return Next::Look;
                    }
                    wanted = again;
                }
            }
        }
    }

    /// How long there is nothing to look at; `None`: until somebody asks.
    fn patience(&self) -> Option<Duration> {
        let retired = (!self.retired.0.is_empty()).then_some(RETIRED_LOOK);
        let held = self.confirmed.as_ref();
        let deadline = held.map(|held| held.until.saturating_duration_since(Instant::now()));
        let watch = self.watch.patience(held.is_some());
        [retired, deadline, watch].into_iter().flatten().min()
    }

    fn look(&mut self) {
        self.retired.free();
        let Some(held) = &self.confirmed else {
            return self.watch.turn();
        };
        if held.until <= Instant::now() {
            return self.go_back(Cause::NotConfirmed, "nobody confirmed it in time".to_owned());
        }
        if let Some(why) = self.watch.too_many_refused() {
            self.go_back(Cause::Guard, why);
        }
    }
}

impl Worker {
    /// Reloads once. A panic in it is a fault of ours, and no reason that the next reload should not work.
    fn reload(&mut self, ask: Ask) -> Report {
        let running = self.current.load();
        // What a panic leaves half done is dropped with it; the swap is the last thing that can happen.
        let reloaded = catch_unwind(AssertUnwindSafe(|| {
            once::reload(&self.path, &self.current, self.last, &mut *self.effects)
        }));
        let mut report = reloaded.unwrap_or_else(|_| panicked(running.generation));
        if report.result == Outcome::Loaded {
            self.last = report.generation;
            self.shared.standing().returned = None;
            let before = std::mem::replace(&mut self.restart_required, report.restart_required.clone());
            self.hold(ask, running, before);
        }
        report.unconfirmed = self.tell_standing();
        report.log();
        self.effects.reported(&report);
        report
    }

    /// Keeps the last confirmed load, if what was loaded is to be confirmed: the one that ran, or the one that is kept already.
    /// What is loaded meanwhile without a word of confirming, by a signal, waits with it: nothing confirms itself.
    fn hold(&mut self, ask: Ask, running: Arc<Snapshot>, restart_required: Vec<&'static str>) {
        let until = |confirm: Duration| Instant::now() + confirm;
        match (&mut self.confirmed, ask.confirm) {
            (None, None) => {
                self.retired.0.push(running);
                self.watch.set(self.current.load().settings.reload.guard);
            }
            (None, Some(confirm)) => {
                self.confirmed = Some(Confirmed {
                    snapshot: running,
                    restart_required,
                    until: until(confirm),
                });
                self.watch.begin();
            }
            (Some(held), confirm) => {
                held.until = confirm.map_or(held.until, until);
                self.retired.0.push(running);
                self.watch.begin();
            }
        }
    }

    fn confirm(&mut self) -> Confirmation {
        let generation = self.current.load().generation;
        let Some(held) = self.confirmed.take() else {
            let returned = self.shared.standing().returned.clone();
            return Confirmation::Nothing { generation, returned };
        };
        self.retired.0.push(held.snapshot);
        self.watch.confirmed();
        self.watch.set(self.current.load().settings.reload.guard);
        self.tell_standing();
        info!(generation, "configuration confirmed");
        Confirmation::Confirmed { generation }
    }

    /// Puts the last confirmed load in force again. It is whole and in memory, so nothing can keep it from that.
    fn go_back(&mut self, cause: Cause, why: String) {
        let Some(held) = self.confirmed.take() else { return };
        let prepared = catch_unwind(AssertUnwindSafe(|| self.effects.prepare(&held.snapshot)));
        if let Ok(Err(fault)) = prepared {
            error!("{}", fault.message);
        }
        let returned = Return {
            from: self.current.load().generation,
            to: held.snapshot.generation,
            at: now(),
            cause,
            why,
            restart_required: held.restart_required.clone(),
        };
        self.restart_required = held.restart_required;
        let retired = self.current.restore(held.snapshot);
        self.retired.0.push(retired);
        self.watch.returned();
        returned.log();
        self.effects.returned(&returned);
        self.shared.standing().returned = Some(returned);
        self.tell_standing();
    }

    /// Lets everybody know what waits for a confirmation.
    fn tell_standing(&mut self) -> Option<Unconfirmed> {
        let generation = self.current.load().generation;
        let waits = self.confirmed.as_ref().map(|held| {
            let unconfirmed = Unconfirmed {
                generation,
                returns_to: held.snapshot.generation,
                left: held.until.saturating_duration_since(Instant::now()),
            };
            (unconfirmed, held.until)
        });
        self.shared.standing().waits = waits;
        self.effects.waits_for_confirmation(waits.is_some());
        waits.map(|(unconfirmed, _)| unconfirmed)
    }
}

fn panicked(generation: u64) -> Report {
    let fault = Fault::without_place("internal error: the reload panicked")
        .help("standard error has the panic's message; please report it with the files that caused it");
    Report {
        result: Outcome::Kept,
        generation,
        at: now(),
        changed: Vec::new(),
        changes: Vec::new(),
        restart_required: Vec::new(),
        faults: vec![fault],
        unconfirmed: None,
    }
}

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
