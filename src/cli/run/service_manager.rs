//! What systemd is told (`Type=notify-reload`). Without systemd nobody is.

use sd_notify::NotifyState;

/// The service manager, if there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServiceManager;

impl ServiceManager {
    /// Started, or done with a reload, however it went.
    pub(super) fn ready(self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload begins.
    pub(super) fn reloading(self) {
        // Without the clock systemd would take the reload for failed; better it hears nothing of it.
        if let Ok(clock) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, clock]);
        }
    }

    /// Another process is the service from now on. Told by the one that was, which alone is believed.
    pub(super) fn succeeded_by(self, pid: u32) {
        if pid != 0 {
            tell(&[NotifyState::MainPid(pid)]);
        }
    }

    /// The end begins.
    pub(super) fn stopping(self) {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
