//! For operators and their monitoring, never for clients: an HTTP listener with health and metrics, and a unix socket that
//! takes `reload`, `upgrade`, `status` and `event`.
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
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    runtime::Builder,
    sync::{oneshot, watch},
};

use self::socket_file::SocketFile;
pub use self::{
    operator::{Operator, RunningGateway},
    protocol::{ListenerReport, StatusReport},
    socket_file::{TooLong, check_length},
};
use crate::{
    config::settings::Admin,
    handover::{KeptElsewhere, Offered, Passed, Purpose},
    telemetry::metrics::Metrics,
};

/// How long, after a handover, those who were connected may take to hear their answer.
const LAST_ANSWERS: Duration = Duration::from_secs(15);

/// Whether the gateway takes traffic.
#[derive(Debug, Default)]
pub struct Readiness(watch::Sender<Ready>);

/// What `/readyz` answers. Only ever goes forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ready {
    /// The listeners are not yet open: 503.
    #[default]
    Starting,
    /// 200.
    Serving,
    /// New connections are a successor's, which also answers on the admin listeners: 200.
    HandedOver,
    /// No new connections are taken: 503.
    Draining,
}

impl Readiness {
    /// Goes on to a state.
    pub fn set(&self, ready: Ready) {
        self.0.send_replace(ready);
    }

    /// The state now.
    pub fn get(&self) -> Ready {
        *self.0.borrow()
    }

    /// Waits for a state.
    async fn reached(&self, ready: Ready) {
        // Its sender is ours, and lives as long as this borrow.
        let _ = self.0.subscribe().wait_for(|now| *now == ready).await;
    }

    /// Waits until it is no longer starting.
    async fn started(&self) {
        let _ = self.0.subscribe().wait_for(|now| *now > Ready::Starting).await;
    }
}

/// When the admin listeners answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// At once: that the gateway starts, to begin with.
    AtOnce,
    /// When it serves: until then the gateway that has the same sockets answers.
    WhenServing,
}

/// What both listeners show.
pub struct AdminState {
    /// Shown by `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Shown by `/readyz`.
    pub readiness: Arc<Readiness>,
    /// Asked by the socket.
    pub operator: Arc<dyn Operator>,
    /// From when on.
    pub answering: Answering,
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
    http: Option<HttpListener>,
    socket: Option<SocketFile>,
}

#[derive(Debug)]
struct HttpListener {
    socket: TcpListener,
    /// As configured: the port may be 0.
    configured: SocketAddr,
    kept: KeptElsewhere,
}

impl HttpListener {
    fn open(address: SocketAddr, passed: &mut Passed) -> io::Result<Self> {
        let passed = passed.take_admin(address);
        let kept = KeptElsewhere::new(passed.as_ref().is_some_and(|passed| passed.kept));
        Ok(Self {
            socket: passed.map_or_else(|| TcpListener::bind(address), |passed| Ok(passed.socket))?,
            configured: address,
            kept,
        })
    }

    fn offered(&self) -> io::Result<Offered> {
        Ok(Offered {
            purpose: Purpose::Admin,
            address: Some(self.configured),
            file: None,
            sockets: vec![self.socket.try_clone()?.into()],
            kept: self.kept.clone(),
        })
    }
}

impl AdminListeners {
    /// Opens what is configured, or takes what was passed for it.
    ///
    /// # Errors
    /// One of them cannot be opened; another gateway's socket is never taken away.
    pub fn open(settings: &Admin, passed: &mut Passed) -> Result<Self, AdminError> {
        let http = settings.address.map(|address| {
            let listener = HttpListener::open(address, passed);
            listener.map_err(|source| AdminError::Address { address, source })
        });
        let socket = settings.socket.as_deref().map(|path| {
            let file = match passed.take_admin_socket(path) {
                Some(passed) => SocketFile::adopt(passed, path),
                None => SocketFile::bind(path),
            };
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
        self.http.as_ref().and_then(|http| http.socket.local_addr().ok())
    }

    /// Where the admin socket is.
    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.as_ref().map(|file| file.path().to_owned())
    }

    /// Other handles, for a gateway that takes over.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn offered(&self) -> io::Result<Vec<Offered>> {
        let http = self.http.as_ref().map(HttpListener::offered);
        http.into_iter()
            .chain(self.socket.as_ref().map(SocketFile::offered))
            .collect()
    }

    /// Answers until the server is dropped.
    ///
    /// # Errors
    /// No thread or runtime.
    pub fn serve(self, state: AdminState) -> Result<AdminServer, AdminError> {
        let (stop, stopped) = oneshot::channel();
        let (finish, finished) = mpsc::channel();
        let readiness = Arc::clone(&state.readiness);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AdminError::Thread)?;
        let address = self.address();
        let work = move || {
            // Dropped with the thread.
            let _finish: mpsc::Sender<()> = finish;
            let state = Arc::new(state);
            runtime.block_on(async {
                let serve = async {
                    match state.answering {
                        Answering::AtOnce => {}
                        Answering::WhenServing => state.readiness.started().await,
                    }
                    tokio::join!(
                        serve_http(self.http, &state),
                        serve_socket(self.socket.as_ref(), &state)
                    );
                };
                tokio::select! {
                    () = serve => {}
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
            readiness,
            finished,
        })
    }
}

/// Ends only after a handover.
async fn serve_http(listener: Option<HttpListener>, state: &Arc<AdminState>) {
    match listener {
        Some(listener) => http::serve(listener.socket, Arc::clone(state)).await,
        None => state.readiness.reached(Ready::HandedOver).await,
    }
}

/// Ends only after a handover.
async fn serve_socket(file: Option<&SocketFile>, state: &Arc<AdminState>) {
    match file {
        Some(file) => socket::serve(file, Arc::clone(state)).await,
        None => state.readiness.reached(Ready::HandedOver).await,
    }
}

/// The admin listeners, answering. Dropping closes them and removes the socket; after a handover it leaves the socket, and
/// first waits a little until those who were connected have heard their answer.
#[derive(Debug)]
pub struct AdminServer {
    address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    readiness: Arc<Readiness>,
    /// Nothing is ever sent; it ends with the thread.
    finished: mpsc::Receiver<()>,
}

impl AdminServer {
    /// Where the HTTP listener is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if self.readiness.get() == Ready::HandedOver {
            let _ended_or_late = self.finished.recv_timeout(LAST_ANSWERS);
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported where it happened.
            let _reported = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
