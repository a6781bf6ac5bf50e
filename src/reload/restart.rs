//! Which differences must wait for a restart.

use crate::config::settings::Settings;

/// The keys whose new values need a restart.
pub(super) fn restart_required(running: &Settings, new: &Settings) -> Vec<&'static str> {
    let keys = [
        ("workers", running.workers != new.workers),
        ("listen", running.listeners != new.listeners),
        ("admin.address", running.admin.address != new.admin.address),
        ("admin.socket", running.admin.socket != new.admin.socket),
        ("log.level", running.log.level != new.log.level),
    ];
    keys.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}

/// Takes back the values that wait for a restart, so that a snapshot says what runs.
pub(super) fn keep_running(running: &Settings, new: &mut Settings) {
    new.workers = running.workers;
    new.listeners.clone_from(&running.listeners);
    new.admin.clone_from(&running.admin);
    new.log.level.clone_from(&running.log.level);
}
