//! For operators and their monitoring, never for clients: an HTTP listener with health and metrics, and a unix socket that
//! takes `reload` and `status`.
//!
//! Owns both listeners and their protocols, on a thread and runtime of their own, so that they answer when the workers are
//! busy. Refuses to know how a reload is done: an [`Operator`] has it done.

mod http;
mod operator;
mod protocol;
mod socket;
mod socket_file;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
};

use tokio::{runtime::Builder, sync::oneshot};

use self::socket_file::SocketFile;
pub use self::{
    operator::{Operator, RunningGateway},
    protocol::{ListenerReport, StatusReport},
    socket_file::{TooLong, check_length},
};
use crate::{config::settings::Admin, telemetry::metrics::Metrics};

/// Whether the gateway takes traffic.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

/// What `/readyz` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The listeners are not yet open: 503.
    Starting,
    /// 200.
    Serving,
    /// No new connections are taken: 503.
    Draining,
}

impl Readiness {
    /// Goes on to a state.
    pub fn set(&self, ready: Ready) {
        let number = match ready {
            Ready::Starting => 0,
            Ready::Serving => 1,
            Ready::Draining => 2,
        };
        self.0.store(number, Relaxed);
    }

    /// The state now.
    pub fn get(&self) -> Ready {
        match self.0.load(Relaxed) {
            0 => Ready::Starting,
            1 => Ready::Serving,
            _ => Ready::Draining,
        }
    }
}

/// What both listeners show.
pub struct AdminState {
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Shown by `/readyz`.
    pub readiness: Arc<Readiness>,
    /// Asked by the socket.
    pub operator: Arc<dyn Operator>,
}

/// Why the admin listeners cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken, or not ours.
    #[error("`[admin] address`: cannot listen on {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("`[admin] socket`: {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start the admin thread: {0}")]
    Thread(io::Error),
}

/// The admin listeners, open but not yet answering: so that a start finds out early whether it can have them.
#[derive(Debug)]
pub struct AdminListeners {
    http: Option<TcpListener>,
    socket: Option<SocketFile>,
}

impl AdminListeners {
    /// Opens what is configured.
    ///
    /// # Errors
    /// One of them cannot be opened; another gateway's socket is never taken away.
    pub fn open(settings: &Admin) -> Result<Self, AdminError> {
        let http = settings.address.map(|address| {
            let listener = TcpListener::bind(address);
            listener.map_err(|source| AdminError::Address { address, source })
        });
        let socket = settings.socket.as_deref().map(|path| {
            let file = SocketFile::bind(path);
            file.map_err(|source| AdminError::Socket {
                path: path.to_owned(),
                source,
            })
        });
        Ok(Self {
            http: http.transpose()?,
            socket: socket.transpose()?,
        })
    }

    /// Where the HTTP listener really is, with the port that the system chose.
    pub fn address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Answers from now on, until the server is dropped.
    ///
    /// # Errors
    /// No thread or runtime.
    pub fn serve(self, state: AdminState) -> Result<AdminServer, AdminError> {
        let (stop, stopped) = oneshot::channel();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Thread)?;
        let address = self.address();
        let work = move || {
            let state = Arc::new(state);
            runtime.block_on(async {
                tokio::select! {
                    () = serve_http(self.http, &state) => {}
                    () = serve_socket(self.socket.as_ref(), &state) => {}
                    // Its sender is dropped, or sends nothing.
                    _ = stopped => {}
                }
            });
            // A reload that hangs must not keep the process from ending.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(work)
            .map_err(AdminError::Thread)?;
        Ok(AdminServer {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

async fn serve_http(listener: Option<TcpListener>, state: &Arc<AdminState>) {
    match listener {
        Some(listener) => http::serve(listener, Arc::clone(state)).await,
        None => std::future::pending().await,
    }
}

async fn serve_socket(file: Option<&SocketFile>, state: &Arc<AdminState>) {
    match file {
        Some(file) => socket::serve(file, Arc::clone(state)).await,
        None => std::future::pending().await,
    }
}

/// The admin listeners, answering. Dropping closes them and removes the socket.
#[derive(Debug)]
pub struct AdminServer {
    address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl AdminServer {
    /// Where the HTTP listener is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported where it happened.
            let _reported = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
