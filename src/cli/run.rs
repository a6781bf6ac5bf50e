//! `portcullis run`: loads, binds, serves, and ends when it is told to, or when a successor has taken over.
//!
//! Everything that can go wrong goes wrong before the first connection is served: a configuration that does not load, a port
//! that is taken, a log that cannot be opened. So a gateway that takes over from a running one says that it is ready last of
//! all, and until then nothing has changed for the other.

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

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

use self::{service_manager::ServiceManager, signals::Signals};
use super::{Exit, session::Session};
use crate::{
    admin::{AdminListeners, AdminServer, AdminState, Answering, Readiness, Ready, RunningGateway},
    config::{
        self,
        settings::{Listener, LogFormat},
        show::{self, Colour},
    },
    gateway::{Gateway, meters},
    handover::{AskError, Departure, Offered, Passed, Predecessor, Program, Succession, activated, takeover_arguments},
    policy::{fault::Fault, rule::Timestamp},
    promises,
    reload::{Cause, Effects, Outcome, Reloader, Report, Return, now},
    server::{BoundListener, ConnectionCaps, ConnectionCounts, Server, Shared, bind_all},
    snapshot::{Current, Snapshot},
    telemetry::{
        Telemetry,
        client_networks::ClientNetworks,
        logging,
        messages::Messages,
        metrics::{Loaded, ReloadResult, ReturnCause},
    },
    tls::{SniResolver, TlsSetup},
    upstream::{checks::Checks, report},
};

/// How long the last log lines may take to be written; a pipe that nobody reads must not keep the process.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Take the sockets over from the gateway that runs, which then finishes what is under way and ends; if none runs, start
    /// as usual. `portcullis upgrade` has the running gateway do this
    #[arg(long)]
    takeover: bool,

    /// The running gateway's admin socket, instead of the configuration's
    #[arg(long, value_name = "PATH", requires = "takeover")]
    socket: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let given = match Given::find(arguments, session) {
        Ok(given) => given,
        Err(exit) => return exit,
    };
    let (path, snapshot, warnings) = match load(session) {
        Ok(loaded) => loaded,
        Err(faults) => {
            session.faults(&faults);
            given.failed(&show::text(&faults, Colour::Off));
            return Exit::No;
        }
    };
    session.warnings(&warnings);
    match start(path, snapshot, given) {
        Ok((runtime, running, signals)) => runtime.block_on(running.serve(signals)),
        Err(reasons) => {
            for reason in reasons {
                session.complain(&reason);
            }
            Exit::CouldNot
        }
    }
}

/// What this process need not open itself.
struct Given {
    passed: Passed,
    /// Who runs until this gateway serves.
    predecessor: Option<Predecessor>,
}

impl Given {
    /// Asks the service manager, and then the running gateway if that is wanted.
    fn find(arguments: &Arguments, session: &Session) -> Result<Self, Exit> {
        let passed = activated().map_err(|error| {
            session.complain(&error.to_string());
            Exit::CouldNot
        })?;
        if !arguments.takeover {
            let predecessor = None;
            return Ok(Self { passed, predecessor });
        }
        let named = arguments.socket.clone().map(Ok);
        let socket = named.unwrap_or_else(|| session.admin_socket(Exit::No))?;
        match Predecessor::ask(&socket) {
            Ok(_) if !passed.is_empty() => {
                session
                    .complain("sockets came both by `LISTEN_FDS` and from the running gateway: leave out one of them");
                Err(Exit::CouldNot)
            }
            Ok((predecessor, passed)) => Ok(Self {
                passed,
                predecessor: Some(predecessor),
            }),
            // Nobody serves: there is nothing to lose by starting, and everything by not.
            Err(AskError::Nobody) => Ok(Self {
                passed,
                predecessor: None,
            }),
            Err(error) => {
                session.complain(&format!("cannot take over on {}: {error}", socket.display()));
                Err(Exit::CouldNot)
            }
        }
    }

    /// What a service manager passed is meant to be used; what a gateway hands over may be for listeners that are no more.
    fn unused(&self) -> Vec<String> {
        match self.predecessor {
            Some(_) => Vec::new(),
            None => self.passed.left(),
        }
    }

    fn failed(self, why: &str) {
        if let Some(predecessor) = self.predecessor {
            predecessor.failed(why);
        }
    }
}

fn load(session: &Session) -> Result<(PathBuf, Snapshot, Vec<Fault>), Vec<Fault>> {
    let path = session.config().map_err(|fault| vec![fault])?;
    let (snapshot, warnings) = promises::held(config::load(&path, now(), None)?)?;
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
    succession: Arc<Succession>,
    departures: mpsc::Receiver<Departure>,
    /// Answers until the very end.
    _admin: AdminServer,
    /// Last, so that what the others say when they end is written, too.
    messages: Messages,
}

/// Binds and starts everything; or says everything that keeps it from starting, to the gateway that runs as well.
fn start(path: PathBuf, snapshot: Snapshot, mut given: Given) -> Result<(Runtime, Running, Signals), Vec<String>> {
    match prepare(path, snapshot, &mut given) {
        Ok(prepared) => prepared.serve(given),
        Err(reasons) => {
            given.failed(&reasons.join("\n"));
            Err(reasons)
        }
    }
}

/// Everything that a start needs, and nothing of it running yet that a client sees.
struct Prepared {
    runtime: Runtime,
    signals: Signals,
    listeners: Vec<BoundListener>,
    workers: usize,
    tls: TlsSetup,
    admin: AdminServer,
    started: Started,
    current: Current,
    telemetry: Telemetry,
    reloader: Reloader,
    readiness: Arc<Readiness>,
    succession: Arc<Succession>,
    departures: mpsc::Receiver<Departure>,
    messages: Messages,
}

fn prepare(path: PathBuf, snapshot: Snapshot, given: &mut Given) -> Result<Prepared, Vec<String>> {
    let log = &snapshot.settings.log;
    let workers = snapshot.settings.workers;
    let telemetry = Telemetry::start(log, workers).map_err(because("cannot open the access log"))?;
    let metrics = Arc::clone(telemetry.metrics());
    let messages = logging::init(log.format, &log.level, metrics).map_err(because("cannot set up logging"))?;
    open_files::raise(snapshot.settings.limits.connections);
    let sockets = Sockets::open(&snapshot, given)?;
    let (succession, departures) = succession(&path, &sockets)?;
    let succession = Arc::new(succession);
    let (runtime, signals) = listen_to_signals()?;
    let started = Started::new(&path, &snapshot, &sockets);
    telemetry.metrics().started(snapshot.loaded);
    prepare_meters(&telemetry, &snapshot);
    telemetry.metrics().publish(loaded(&snapshot));
    let current = Current::new(snapshot);
    let tls = tls(&current)?;
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
        events: Arc::clone(telemetry.events()),
        readiness: Arc::clone(&readiness),
        started: Instant::now(),
        listeners: started.listeners.clone(),
        succession: Arc::clone(&succession),
    };
    let admin = AdminState {
        metrics: Arc::clone(telemetry.metrics()),
        readiness: Arc::clone(&readiness),
        operator: Arc::new(operator),
        answering: match given.predecessor {
            Some(_) => Answering::WhenServing,
            None => Answering::AtOnce,
        },
    };
    let admin = sockets.admin.serve(admin).map_err(because("cannot start"))?;
    Ok(Prepared {
        runtime,
        signals,
        listeners: sockets.listeners,
        workers,
        tls,
        admin,
        started,
        current,
        telemetry,
        reloader,
        readiness,
        succession,
        departures,
        messages,
    })
}

impl Prepared {
    /// Accepts connections, and has the gateway that ran accept no more.
    fn serve(self, given: Given) -> Result<(Runtime, Running, Signals), Vec<String>> {
        let server = match serve(self.listeners, self.workers, &self.tls, &self.current, &self.telemetry) {
            Ok(server) => server,
            Err(reasons) => {
                given.failed(&reasons.join("\n"));
                return Err(reasons);
            }
        };
        if let Some(predecessor) = given.predecessor {
            let version = predecessor.version().to_owned();
            predecessor
                .release(&given.passed)
                .map_err(because("cannot take over"))?;
            tracing::info!(%version, "took over from the gateway that ran");
        }
        let running = Running {
            server,
            current: self.current,
            telemetry: self.telemetry,
            reloader: self.reloader,
            manager: ServiceManager,
            readiness: self.readiness,
            succession: self.succession,
            departures: self.departures,
            _admin: self.admin,
            messages: self.messages,
        };
        running.tell(&self.started);
        Ok((self.runtime, running, self.signals))
    }
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
    /// Opens all that were not given, or says of each that cannot be had why.
    fn open(snapshot: &Snapshot, given: &mut Given) -> Result<Self, Vec<String>> {
        let settings = &snapshot.settings;
        let listeners = bind_all(&settings.listeners, settings.workers, &mut given.passed);
        let admin = AdminListeners::open(&settings.admin, &mut given.passed);
        let unused = given.unused().into_iter().map(|socket| {
            format!(
                "the service manager passed a socket that no `[[listen]]` and not `[admin]` names: {socket}; write its \
                 address as it is there, or take it out of the socket unit"
            )
        });
        let unused: Vec<String> = unused.collect();
        match (listeners, admin) {
            (Ok(listeners), Ok(admin)) if unused.is_empty() => Ok(Self { listeners, admin }),
            (listeners, admin) => {
                let errors = listeners.err().unwrap_or_default();
                let errors = errors.iter().map(ToString::to_string);
                let errors = errors.chain(admin.err().map(|error| error.to_string()));
                Err(errors.chain(unused).collect())
            }
        }
    }

    /// Other handles of all.
    fn offered(&self) -> std::io::Result<Vec<Offered>> {
        let mut offered = self.admin.offered()?;
        for listener in &self.listeners {
            offered.push(listener.offered()?);
        }
        Ok(offered)
    }
}

fn succession(path: &Path, sockets: &Sockets) -> Result<(Succession, mpsc::Receiver<Departure>), Vec<String>> {
    // Without an admin socket nobody can ask for a successor.
    let socket = sockets.admin.socket().unwrap_or_default();
    let program = Program::this(takeover_arguments(path, &socket)).map_err(because("cannot find this program"))?;
    let offered = sockets
        .offered()
        .map_err(because("cannot keep the listening sockets"))?;
    Ok(Succession::new(offered, program))
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

fn tls(current: &Current) -> Result<TlsSetup, Vec<String>> {
    let of_handshake = current.clone();
    let resolver = SniResolver::new(move || Arc::clone(&of_handshake.load().certificates));
    TlsSetup::new(Arc::new(resolver)).map_err(because("cannot set up TLS"))
}

/// Starts the workers on the listeners' sockets.
fn serve(
    listeners: Vec<BoundListener>,
    workers: usize,
    tls: &TlsSetup,
    current: &Current,
    telemetry: &Telemetry,
) -> Result<Server, Vec<String>> {
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
    Server::start(listeners, workers, tls, shared, gate).map_err(because("cannot serve"))
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

    /// Serves until a signal ends it, or a successor has taken over.
    async fn serve(mut self, mut signals: Signals) -> Exit {
        let exit = loop {
            let signal = tokio::select! {
                signal = signals.next() => signal,
                Some(departure) = self.departures.recv() => {
                    self.depart(departure);
                    self.finish(&mut signals).await;
                    break Exit::Yes;
                }
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
                    self.end();
                    self.finish(&mut signals).await;
                    break Exit::Yes;
                }
                signals::Signal::Stop => {
                    self.end();
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

    /// A successor accepts on the sockets: this gateway no longer does, and is not the service any more.
    fn depart(&mut self, departure: Departure) {
        self.succession.release(&departure);
        self.server.leave();
        self.readiness.set(Ready::HandedOver);
        self.manager.succeeded_by(departure.successor.pid);
        departure.departed();
    }

    /// The end was asked for: nobody is to follow.
    fn end(&mut self) {
        self.readiness.set(Ready::Draining);
        self.manager.stopping();
        self.succession.close();
        // Who is about to take over is told that it does not.
        self.departures.close();
        while self.departures.try_recv().is_ok() {}
    }

    /// Finishes what is under way; a second signal to end hastens.
    async fn finish(&mut self, signals: &mut Signals) {
        let timeout = self.current.load().settings.limits.drain_timeout;
        tracing::info!(?timeout, "draining");
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

    fn returned(&mut self, returned: &Return) {
        let metrics = self.telemetry.metrics();
        metrics.publish(loaded(&self.current.load()));
        metrics.returned(match returned.cause {
            Cause::NotConfirmed => ReturnCause::NotConfirmed,
            Cause::Guard => ReturnCause::Guard,
        });
        metrics.restart_required(!returned.restart_required.is_empty());
        self.checks.changed();
    }

    fn waits_for_confirmation(&mut self, waits: bool) {
        self.telemetry.metrics().waits_for_confirmation(waits);
    }

    fn networks(&self) -> Option<Arc<ClientNetworks>> {
        Some(Arc::clone(self.telemetry.networks()))
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
