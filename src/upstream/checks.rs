//! Active checks: asks the servers of upstreams with a `health_check` how they are, and tells all workers.
//!
//! One thread does it for the whole process, whatever the number of workers: an origin is asked as often as its
//! configuration says. A check is a request of the gateway's own, on a connection of its own: it has no permit because it
//! is nobody's request. It is written here byte by byte, and of its answer only the status is read.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, LocalOptions},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    connect,
    error::ConnectError,
    health::{Health, Turned},
    origin::{Endpoint, Origin},
    resolve::{Addresses, FRESH},
    standing::{Standing, count},
};
use crate::config::settings::{HealthCheck, Server};

/// The most that is read of an answer: heads that may come before it, and its own as far as its status line.
const MOST_READ: usize = 16 * 1024;

/// The checks, under way. Dropped, they end.
#[derive(Debug)]
pub struct Checks(watch::Sender<()>);

impl Checks {
    /// Starts the thread that checks the servers of these origins: asked for at the start, and again whenever there may be
    /// others.
    ///
    /// # Errors
    /// No thread or no runtime.
    pub fn start(origins: impl Fn() -> Vec<Arc<Origin>> + Send + 'static) -> io::Result<Self> {
        let (changed, changes) = watch::channel(());
        let runtime = || {
            Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
        };
        let (started, starting) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("checks".to_owned())
            .spawn(move || match runtime() {
                Ok(runtime) => {
                    // Who waits for it is still there.
                    let _told = started.send(Ok(()));
                    runtime.block_on(run(origins, changes));
                    // Without waiting for a look-up of a name that the system is still at.
                    runtime.shutdown_background();
                }
                Err(error) => drop(started.send(Err(error))),
            })?;
        starting
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread died")))?;
        Ok(Self(changed))
    }

    /// There may be other origins now: after a reload.
    pub fn changed(&self) {
        self.0.send_replace(());
    }
}

/// Checks until the other end of `changes` is dropped.
async fn run(origins: impl Fn() -> Vec<Arc<Origin>>, mut changes: watch::Receiver<()>) {
    let mut running = Running::default();
    loop {
        running.become_those_of(&origins());
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// The checks of every origin that has some, by its name.
#[derive(Debug, Default)]
struct Running(BTreeMap<String, Checked>);

/// One origin, being checked. Dropped, its checks end.
#[derive(Debug)]
struct Checked {
    origin: Arc<Origin>,
    servers: Vec<(Arc<Watched>, JoinHandle<()>)>,
}

impl Running {
    /// Goes on with origins that are the same, ends the checks of those that are gone, and begins those that are new.
    fn become_those_of(&mut self, origins: &[Arc<Origin>]) {
        let checked = origins.iter().filter(|origin| origin.settings().health_check.is_some());
        let mut before = std::mem::take(&mut self.0);
        for origin in checked {
            let name = &origin.settings().name;
            let is_same = before.get(name).is_some_and(|known| Arc::ptr_eq(&known.origin, origin));
            let same = if is_same { before.remove(name) } else { None };
            self.0
                .entry(name.clone())
                .or_insert_with(|| same.unwrap_or_else(|| Checked::begin(origin)));
        }
        before.values().for_each(Checked::end);
        self.forget(&before);
    }

    /// Lets go of those that nobody checks any more: what the last checks said of them must not keep them out for ever.
    fn forget(&self, before: &BTreeMap<String, Checked>) {
        let still: Vec<_> = self.0.values().flat_map(Checked::standings).collect();
        let gone = before.values().flat_map(Checked::standings);
        gone.filter(|standing| !still.iter().any(|still| Arc::ptr_eq(still, standing)))
            .for_each(|standing| standing.unchecked());
    }
}

impl Checked {
    fn begin(origin: &Arc<Origin>) -> Self {
        let settings = origin.settings();
        let servers = origin.standings().filter_map(|(endpoint, standing)| {
            let check = settings.health_check.clone()?;
            let (host, port) = match endpoint.server() {
                Server::Http { host, port } | Server::Https { host, port } => (host, *port),
                // It is a part of the gateway, and as well as that is.
                Server::Demo => return None,
            };
            let watched = Arc::new(Watched {
                upstream: settings.name.clone(),
                endpoint: Arc::clone(endpoint),
                standing: Arc::clone(standing),
                request: request(endpoint, &check),
                check,
                is_over: AtomicBool::new(false),
            });
            let task = tokio::task::spawn_local(watch(Arc::clone(&watched), Addresses::new(host, port)));
            Some((watched, task))
        });
        Self {
            servers: servers.collect(),
            origin: Arc::clone(origin),
        }
    }

    fn standings(&self) -> impl Iterator<Item = &Arc<Standing>> {
        self.servers.iter().map(|(watched, _)| &watched.standing)
    }

    fn end(&self) {
        for (watched, task) in &self.servers {
            watched.is_over.store(true, Relaxed);
            task.abort();
        }
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.end();
    }
}

/// A server that is checked.
#[derive(Debug)]
struct Watched {
    upstream: String,
    endpoint: Arc<Endpoint>,
    standing: Arc<Standing>,
    check: HealthCheck,
    request: Vec<u8>,
    /// A check that is under way when the checks end must have nothing to say any more.
    is_over: AtomicBool,
}

/// Checks every address of a server, again and again.
async fn watch(watched: Arc<Watched>, addresses: Addresses) {
    let mut times = interval(watched.check.interval);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Held, so that they are in use also as long as no request is.
    let mut healths: Vec<Arc<Health>> = Vec::new();
    loop {
        times.tick().await;
        // A name without an address is said where it is looked up; there is nothing to ask.
        let Ok(addresses) = addresses.look_up(FRESH).await else {
            continue;
        };
        let health = |address: &SocketAddr| watched.standing.health(Some(*address));
        healths = addresses.iter().map(health).collect();
        let mut checks = JoinSet::new();
        for (address, health) in addresses.iter().zip(&healths) {
            checks.spawn_local(Arc::clone(&watched).check(*address, Arc::clone(health)));
        }
        while checks.join_next().await.is_some() {}
    }
}

impl Watched {
    async fn check(self: Arc<Self>, address: SocketAddr, health: Arc<Health>) {
        let outcome = self.ask(address).await;
        if self.is_over.load(Relaxed) {
            return;
        }
        let counts = &self.standing.counts;
        count(match outcome {
            Ok(()) => &counts.checks_passed,
            Err(_) => &counts.checks_failed,
        });
        let turned = health.checked(outcome.is_ok(), &self.check, Instant::now());
        let (upstream, server) = (&self.upstream, &self.endpoint);
        match (turned, outcome) {
            (Some(Turned::Healthy), _) => tracing::info!(upstream, %server, %address, "server passes its checks again"),
            (Some(Turned::Failing), Err(error)) => {
                tracing::warn!(upstream, %server, %address, %error, "server fails its checks");
            }
            (Some(Turned::Failing), Ok(())) | (None, _) => {}
        }
    }

    /// Asks once. Passed: a status that the configuration wants.
    async fn ask(&self, address: SocketAddr) -> Result<(), CheckError> {
        let deadline = Instant::now() + self.check.timeout;
        let answered = timeout_at(deadline, self.exchange(address, deadline)).await;
        let status = answered.map_err(|_elapsed| CheckError::Timeout)??;
        let wanted = &self.check.status;
        match wanted.contains(&status) || (wanted.is_empty() && status.is_success()) {
            true => Ok(()),
            false => Err(CheckError::Status(status)),
        }
    }

    async fn exchange(&self, address: SocketAddr, deadline: Instant) -> Result<StatusCode, CheckError> {
        let mut stream = connect::connect(&self.endpoint, std::iter::once(address), deadline).await?;
        stream.write_all(&self.request).await.map_err(CheckError::Broken)?;
        stream.flush().await.map_err(CheckError::Broken)?;
        let mut read = Vec::new();
        loop {
            match status(&read) {
                Status::Is(status) => return Ok(status),
                Status::IsNone => return Err(CheckError::NoHttp),
                Status::Incomplete if read.len() >= MOST_READ => return Err(CheckError::NoHttp),
                Status::Incomplete => {}
            }
            if stream.read_buf(&mut read).await.map_err(CheckError::Broken)? == 0 {
                return Err(CheckError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error("the answer is no HTTP")]
    NoHttp,
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("no answer in time")]
    Timeout,
}

fn request(endpoint: &Endpoint, check: &HealthCheck) -> Vec<u8> {
    let authority = endpoint.authority();
    let host = check.host.as_ref().map_or(authority.as_bytes(), |host| host.as_bytes());
    let version = env!("CARGO_PKG_VERSION");
    [
        b"GET ",
        check.path.as_bytes(),
        b" HTTP/1.1\r\nHost: ",
        host,
        b"\r\nUser-Agent: portcullis/",
        version.as_bytes(),
        b" (health check)\r\nAccept: */*\r\nConnection: close\r\n\r\n",
    ]
    .concat()
}

#[derive(Debug, PartialEq, Eq)]
enum Status {
    Is(StatusCode),
    IsNone,
    Incomplete,
}

/// The final status in what came so far: heads of interim answers before it are passed over (RFC 9110 §15.2).
fn status(read: &[u8]) -> Status {
    let mut rest = read;
    loop {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Status::Incomplete;
        };
        let line = rest.get(..end).unwrap_or_default();
        let Some(status) = status_of(line) else {
            return Status::IsNone;
        };
        if !status.is_informational() {
            return Status::Is(status);
        }
        match memchr::memmem::find(rest, b"\r\n\r\n") {
            Some(end) => rest = rest.get(end + 4..).unwrap_or_default(),
            None => return Status::Incomplete,
        }
    }
}

/// `HTTP/1.1 200 OK` (RFC 9112 §4).
fn status_of(line: &[u8]) -> Option<StatusCode> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (b'0'..=b'9', rest) = rest.split_first()? else {
        return None;
    };
    let (code, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    matches!(rest, [] | [b' ' | b'\r', ..]).then(|| StatusCode::from_bytes(code).ok())?
}
