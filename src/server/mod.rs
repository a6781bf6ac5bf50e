//! Sockets, TLS handshakes and HTTP framing: everything between the network and a request with its connection's facts.
//!
//! Owns listeners, workers, connections with their caps, timeouts and minimum data rates, the PROXY protocol, and the way to
//! an orderly end. Refuses to know of hosts, rules and upstreams: a [`Gate`] answers the requests.

mod activity;
mod caps;
mod connection;
mod h1;
mod listen;
mod proxy;
mod rate;
mod service;
mod slots;
mod stream;
mod tls_stream;
mod turns;
mod worker;

use std::{io, sync::Arc, thread, time::Duration};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, watch},
};

use self::worker::{Worker, WorkerListener};
pub use self::{
    caps::ConnectionCaps,
    listen::{BindError, BoundListener, bind_all},
    service::Gate,
    worker::{ConnectionCounts, Phase, Shared},
};
use crate::{config::settings::Protocol, tls::TlsSetup};

/// The workers, serving.
#[derive(Debug)]
pub struct Server {
    phase: watch::Sender<Phase>,
    /// Every worker holds a sender; none is left when all are done.
    working: mpsc::Receiver<()>,
}

/// Why the workers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No thread or no runtime.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] io::Error),
}

impl Server {
    /// Starts the workers, each with its share of the listeners' sockets. Each makes its own gate, on its own thread.
    ///
    /// # Errors
    /// When TLS or a thread cannot be set up.
    pub fn start<G: Gate>(
        listeners: Vec<BoundListener>,
        workers: usize,
        tls: &TlsSetup,
        shared: Arc<Shared>,
        gate: impl Fn(usize) -> G + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (work, working) = mpsc::channel(1);
        let gate = Arc::new(gate);
        let shares = by_worker(&listeners, workers, tls)?;
        listeners.iter().try_for_each(BoundListener::listen)?;
        drop(listeners);
        for (number, listeners) in shares.into_iter().enumerate() {
            let (shared, gate, phases, work) = (Arc::clone(&shared), Arc::clone(&gate), phases.clone(), work.clone());
            let (started, starting) = std::sync::mpsc::sync_channel(1);
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _work = work;
                match Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
                {
                    Ok(runtime) => {
                        runtime.block_on(async {
                            let worker = Worker::new(gate(number), shared);
                            worker.run(listeners, phases, |result| drop(started.send(result))).await;
                        });
                        // Without waiting for a look-up of a name that the system is still at.
                        runtime.shutdown_background();
                    }
                    Err(error) => drop(started.send(Err(error))),
                }
            })?;
            starting
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the worker's thread died")))?;
        }
        Ok(Self { phase, working })
    }

    /// Stops accepting because another process has the sockets: what waits in their queues is left to it, and health checks
    /// are still told that all is well. To be followed by [`Self::drain`].
    pub fn leave(&self) {
        self.phase.send_if_modified(|phase| advance(phase, Phase::Leaving));
    }

    /// Stops accepting and finishes what is under way, for as long as `timeout`, then drops the rest.
    pub async fn drain(&mut self, timeout: Duration) {
        // Who leaves drains already.
        self.phase
            .send_if_modified(|phase| phase.is_serving() && advance(phase, Phase::Draining));
        // However it ends, nothing is left after it.
        let _ = tokio::time::timeout(timeout, self.ended()).await;
        self.stop().await;
    }

    /// Waits until no worker is left, which happens by itself only when they failed.
    pub async fn ended(&mut self) {
        // Nothing is ever sent: the end of the channel is the end of the last worker.
        self.working.recv().await;
    }

    /// Drops every connection.
    pub async fn stop(&mut self) {
        self.phase.send_if_modified(|phase| advance(phase, Phase::Stopped));
        self.ended().await;
    }
}

fn advance(phase: &mut Phase, to: Phase) -> bool {
    let further = to > *phase;
    if further {
        *phase = to;
    }
    further
}

/// Each worker's sockets of every listener.
fn by_worker(
    listeners: &[BoundListener],
    workers: usize,
    tls: &TlsSetup,
) -> Result<Vec<Vec<WorkerListener>>, StartError> {
    let mut shares: Vec<Vec<WorkerListener>> = Vec::new();
    shares.resize_with(workers, Vec::new);
    for listener in listeners {
        let config = match listener.settings.protocol {
            Protocol::Tls { min } => Some(tls.server_config(min)?),
            Protocol::Plain | Protocol::Redirect { .. } => None,
        };
        for (worker, share) in shares.iter_mut().enumerate() {
            for socket in listener.share(worker, workers)? {
                share.push(WorkerListener {
                    socket,
                    settings: Arc::clone(&listener.settings),
                    tls: config.clone(),
                    kept: listener.kept.clone(),
                });
            }
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests;
