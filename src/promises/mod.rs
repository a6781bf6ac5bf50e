//! What an operator says must hold of a configuration before it is put in force: `[[test]]` tables beside the rules, and
//! `[reload] never_block`.
//!
//! Owns how a stated request is judged (by the code that judges live ones), and what is said of a promise that is broken.
//! Refuses to know when it is asked: `check`, `run`, `reload` and `test` do.

mod judged;
mod never_block;
mod outcome;

pub use self::outcome::{Came, Outcome, outcome};
use crate::{
    policy::fault::{Fault, Severity},
    snapshot::Snapshot,
};

/// Every promise that the snapshot breaks. Without `[reload] tests` a failing test is a warning; an address of
/// `never_block` that would be blocked is an error always.
pub fn broken(snapshot: &Snapshot) -> Vec<Fault> {
    let mut faults: Vec<Fault> = snapshot
        .policy
        .tests()
        .iter()
        .filter_map(|test| outcome(test, snapshot).fault(snapshot))
        .collect();
    if !snapshot.settings.reload.tests {
        for fault in &mut faults {
            fault.severity = Severity::Warning;
        }
    }
    faults.extend(never_block::broken(snapshot));
    faults
}

/// Holds a load to its promises: what is broken joins the warnings, and stops it if any of that is an error.
///
/// # Errors
/// All of them, warnings too; at least one is an error.
pub fn held(loaded: (Snapshot, Vec<Fault>)) -> Result<(Snapshot, Vec<Fault>), Vec<Fault>> {
    let (snapshot, mut faults) = loaded;
    faults.extend(broken(&snapshot));
    match faults.iter().any(|fault| fault.severity == Severity::Error) {
        true => Err(faults),
        false => Ok((snapshot, faults)),
    }
}

#[cfg(test)]
mod tests;
