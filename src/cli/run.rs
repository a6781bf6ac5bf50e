//! `portcullis run`: loads, binds, serves, and ends when it is told to.
//!
//! Everything that can go wrong goes wrong before the first connection is served: a configuration that does not load, a port
//! that is taken, a log that cannot be opened.

mod banner;
mod open_files;
mod service_manager;
mod signals;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use self::{service_manager::ServiceManager, signals::Signals};
use super::{Exit, session::Session};
use crate::{
    admin::{AdminListeners, AdminServer, AdminState, Readiness, Ready, RunningGateway},
    config::{
        self,
        settings::{Listener, LogFormat},
    },
    gateway::{Gateway, meters},
    policy::{fault::Fault, rule::Timestamp},
    reload::{Effects, Outcome, Reloader, Report, now},
    server::{BoundListener, ConnectionCaps, ConnectionCounts, Server, Shared, bind_all},
    snapshot::{Current, Snapshot},
    telemetry::{
        Telemetry, logging,
        messages::Messages,
        metrics::{Loaded, ReloadResult},
    },
    tls::{SniResolver, TlsSetup},
    upstream::{checks::Checks, report},
};

/// How long the last log lines may take to be written; a pipe that nobody reads must not keep the process.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(session: &Session) -> Exit {
    let (path, snapshot, warnings) = match load(session) {
        Ok(loaded) => loaded,
        Err(faults) => {
            session.faults(&faults);
            return Exit::No;
        }
    };
    session.warnings(&warnings);
    match start(path, snapshot) {
        Ok((runtime, running, signals)) => runtime.block_on(running.serve(signals)),
        Err(reasons) => {
            for reason in reasons {
                session.complain(&reason);
            }
            Exit::CouldNot
        }
    }
}

fn load(session: &Session) -> Result<(PathBuf, Snapshot, Vec<Fault>), Vec<Fault>> {
    let path = session.config().map_err(|fault| vec![fault])?;
    let (snapshot, warnings) = config::load(&path, now(), None)?;
    Ok((path, snapshot, warnings))
}

/// The gateway, serving.
struct Running {
    server: Server,
    current: Current,
    telemetry: Telemetry,
    reloader: Reloader,
    manager: ServiceManager,
    readiness: Arc<Readiness>,
    /// Answers until the very end.
    _admin: AdminServer,
    /// Last, so that what the others say when they end is written, too.
    messages: Messages,
}

/// Binds and starts everything; or says everything that keeps it from starting.
fn start(path: PathBuf, snapshot: Snapshot) -> Result<(Runtime, Running, Signals), Vec<String>> {
    let log = &snapshot.settings.log;
    let telemetry = Telemetry::start(log, snapshot.settings.workers).map_err(because("cannot open the access log"))?;
    let metrics = Arc::clone(telemetry.metrics());
    let messages = logging::init(log.format, &log.level, metrics).map_err(because("cannot set up logging"))?;
    open_files::raise(snapshot.settings.limits.connections);
    let sockets = Sockets::open(&snapshot)?;
    let (runtime, signals) = listen_to_signals()?;
    let started = Started::new(&path, &snapshot, &sockets);
    telemetry.metrics().started(snapshot.loaded);
    prepare_meters(&telemetry, &snapshot);
    telemetry.metrics().publish(loaded(&snapshot));
    let current = Current::new(snapshot);
    let effects = Reporting {
        telemetry: telemetry.clone(),
        current: current.clone(),
        manager: ServiceManager,
        checks: watch_upstreams(&current, &telemetry)?,
    };
    let reloader =
        Reloader::start(path, current.clone(), effects).map_err(because("cannot start the reloads' thread"))?;
    let readiness = Arc::<Readiness>::default();
    let operator = RunningGateway {
        reloader: reloader.clone(),
        current: current.clone(),
        metrics: Arc::clone(telemetry.metrics()),
        readiness: Arc::clone(&readiness),
        started: Instant::now(),
        listeners: started.listeners.clone(),
    };
    let admin = AdminState {
        metrics: Arc::clone(telemetry.metrics()),
        readiness: Arc::clone(&readiness),
        operator: Arc::new(operator),
    };
    let admin = sockets.admin.serve(admin).map_err(because("cannot start"))?;
    let server = serve(sockets.listeners, &current, &telemetry)?;
    let running = Running {
        server,
        current,
        telemetry,
        reloader,
        manager: ServiceManager,
        readiness,
        _admin: admin,
        messages,
    };
    running.tell(&started);
    Ok((runtime, running, signals))
}

/// Starts the checks of upstreams, and lets the metrics know how their servers are.
fn watch_upstreams(current: &Current, telemetry: &Telemetry) -> Result<Checks, Vec<String>> {
    let (shown, checked) = (current.clone(), current.clone());
    let metrics = telemetry.metrics();
    metrics.ask_upstreams(move || report::figures(shown.load().origins()));
    let origins = move || checked.load().origins().map(Arc::clone).collect();
    Checks::start(origins).map_err(because("cannot start the health checks"))
}

/// Every socket that the process listens on.
struct Sockets {
    listeners: Vec<BoundListener>,
    admin: AdminListeners,
}

impl Sockets {
    /// Opens all, or says of each that cannot be opened why.
    fn open(snapshot: &Snapshot) -> Result<Self, Vec<String>> {
        let settings = &snapshot.settings;
        let listeners = bind_all(&settings.listeners, settings.workers);
        match (listeners, AdminListeners::open(&settings.admin)) {
            (Ok(listeners), Ok(admin)) => Ok(Self { listeners, admin }),
            (listeners, admin) => {
                let errors = listeners.err().unwrap_or_default();
                let errors = errors.iter().map(ToString::to_string);
                Err(errors.chain(admin.err().map(|error| error.to_string())).collect())
            }
        }
    }
}

/// What a start says.
struct Started {
    banner: String,
    format: LogFormat,
    listeners: Vec<Arc<Listener>>,
    admin: Option<SocketAddr>,
}

impl Started {
    fn new(path: &Path, snapshot: &Snapshot, sockets: &Sockets) -> Self {
        let listeners: Vec<_> = sockets
            .listeners
            .iter()
            .map(|bound| Arc::clone(&bound.settings))
            .collect();
        let admin = sockets.admin.address();
        Self {
            banner: banner::text(path, snapshot, &listeners, admin),
            format: snapshot.settings.log.format,
            listeners,
            admin,
        }
    }
}

/// From now on no signal ends the process its default way.
fn listen_to_signals() -> Result<(Runtime, Signals), Vec<String>> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(because("cannot start"))?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new().map_err(because("cannot listen to signals"))?
    };
    Ok((runtime, signals))
}

fn because<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Vec<String> {
    move |error| vec![format!("{what}: {error}")]
}

/// Starts the workers on the bound listeners.
fn serve(bound: Vec<BoundListener>, current: &Current, telemetry: &Telemetry) -> Result<Server, Vec<String>> {
    let of_handshake = current.clone();
    let resolver = SniResolver::new(move || Arc::clone(&of_handshake.load().certificates));
    let tls = TlsSetup::new(Arc::new(resolver)).map_err(because("cannot set up TLS"))?;
    let (of_connection, of_source) = (current.clone(), current.clone());
    let shared = Arc::new(Shared {
        caps: Arc::new(ConnectionCaps::default()),
        counts: Arc::new(ConnectionCounts::default()),
        limits: Box::new(move || of_connection.load().settings.limits.clone()),
        trusts: Box::new(move |source| of_source.load().client_ip.trusts(source)),
    });
    let figures = Arc::clone(&shared);
    telemetry.metrics().ask_connections(move || figures.figures());
    let (current, telemetry) = (current.clone(), telemetry.clone());
    let gate = move |worker| Gateway::new(current.clone(), telemetry.worker(worker));
    Server::start(bound, &tls, shared, gate).map_err(because("cannot serve"))
}

impl Running {
    /// Says that it serves: to people in text, to programs as messages, to the service manager.
    fn tell(&self, started: &Started) {
        match started.format {
            LogFormat::Text => self.messages.say(&started.banner),
            LogFormat::Json => {
                for listener in &started.listeners {
                    tracing::info!(address = %listener.address, protocol = banner::protocol(listener), "listening");
                }
                if let Some(address) = started.admin {
                    tracing::info!(%address, protocol = "admin", "listening");
                }
            }
        }
        self.readiness.set(Ready::Serving);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        self.manager.ready();
    }

    /// Serves until a signal ends it.
    async fn serve(mut self, mut signals: Signals) -> Exit {
        let exit = loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                () = self.server.ended() => {
                    tracing::error!("the workers ended by themselves");
                    break Exit::CouldNot;
                }
            };
            match signal {
                signals::Signal::Reload => {
                    self.manager.reloading();
                    self.reloader.request();
                }
                signals::Signal::ReopenLogs => self.telemetry.reopen(),
                signals::Signal::Drain => {
                    self.drain(&mut signals).await;
                    break Exit::Yes;
                }
                signals::Signal::Stop => {
                    self.readiness.set(Ready::Draining);
                    self.manager.stopping();
                    self.server.stop().await;
                    break Exit::Yes;
                }
            }
        };
        self.reloader.stop();
        self.telemetry.flush(FLUSH_PATIENCE);
        tracing::info!("stopped");
        exit
    }

    /// Finishes what is under way; a second signal to end hastens.
    async fn drain(&mut self, signals: &mut Signals) {
        let timeout = self.current.load().settings.limits.drain_timeout;
        tracing::info!(?timeout, "draining");
        self.readiness.set(Ready::Draining);
        self.manager.stopping();
        tokio::select! {
            () = self.server.drain(timeout) => {}
            () = signals.end() => self.server.stop().await,
        }
    }
}

/// What a reload does besides swapping the snapshot.
struct Reporting {
    telemetry: Telemetry,
    current: Current,
    manager: ServiceManager,
    checks: Checks,
}

impl Effects for Reporting {
    fn prepare(&mut self, snapshot: &Snapshot) -> Result<(), Fault> {
        let applied = self.telemetry.apply(&snapshot.settings.log);
        applied.map_err(|error| Fault::without_place(format!("cannot open the access log: {error}")))?;
        prepare_meters(&self.telemetry, snapshot);
        Ok(())
    }

    fn reported(&mut self, report: &Report) {
        let metrics = self.telemetry.metrics();
        match report.result {
            Outcome::Loaded => {
                metrics.reloaded(ReloadResult::Success, report.at);
                metrics.publish(loaded(&self.current.load()));
                self.checks.changed();
                metrics.restart_required(!report.restart_required.is_empty());
            }
            Outcome::Kept => metrics.reloaded(ReloadResult::Failure, report.at),
        }
        self.manager.ready();
    }
}

fn prepare_meters(telemetry: &Telemetry, snapshot: &Snapshot) {
    let metrics = telemetry.metrics();
    metrics.prepare(snapshot.generation, meters(snapshot, metrics));
}

/// What a load says of itself in the metrics.
fn loaded(snapshot: &Snapshot) -> Loaded {
    let policy = &snapshot.policy;
    Loaded {
        generation: snapshot.generation,
        lists: policy
            .lists()
            .iter()
            .map(|list| (list.name().to_owned(), list.len()))
            .collect(),
        expiries: policy
            .rules()
            .iter()
            .filter_map(|rule| rule.expires.map(|expires| (rule.id.to_string(), expires)))
            .collect(),
        geo: snapshot
            .geo
            .sources()
            .into_iter()
            .filter_map(|source| source.built.map(|built| (source.key.to_owned(), built)))
            .collect(),
        certificates: snapshot
            .certificates
            .iter()
            .map(|(site, certificate)| (site.to_owned(), Timestamp(certificate.not_after.as_second())))
            .collect(),
    }
}
