//! One reload: read, compile, hold to its promises, swap.

use std::path::Path;

use super::{
    Effects, now,
    report::{Outcome, Report},
    restart::{keep_running, restart_required},
};
use crate::{
    config::{self, settings::Protocol},
    differences::{differences, told},
    policy::fault::{Fault, Severity},
    promises,
    snapshot::{Current, Snapshot},
};

/// Reloads once, on this thread. `last`: the last generation there was, which need not be the one in force.
pub(super) fn reload(path: &Path, current: &Current, last: u64, effects: &mut dyn Effects) -> Report {
    let running = current.load();
    let at = now();
    let kept = |faults| Report {
        result: Outcome::Kept,
        generation: running.generation,
        at,
        changed: Vec::new(),
        changes: Vec::new(),
        restart_required: Vec::new(),
        faults,
        unconfirmed: None,
    };
    let (mut snapshot, mut faults) = match config::load(path, at, Some(&running)) {
        Ok(loaded) => loaded,
        Err(faults) => return kept(faults),
    };
    let restart_required = restart_required(&running.settings, &snapshot.settings);
    keep_running(&running.settings, &mut snapshot.settings);
    snapshot.generation = last + 1;
    faults.extend(promises::broken(&snapshot));
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        return kept(faults);
    }
    if let Some(fault) = certificate_missing(&snapshot) {
        faults.push(fault);
        return kept(faults);
    }
    if let Err(fault) = effects.prepare(&snapshot) {
        faults.push(fault);
        return kept(faults);
    }
    let changes = differences(&running, &snapshot);
    let changed = told(&changes, &running, &snapshot);
    let generation = snapshot.generation;
    current.swap(snapshot);
    Report {
        result: Outcome::Loaded,
        generation,
        at,
        changed,
        changes,
        restart_required,
        faults,
        unconfirmed: None,
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
