//! The running gateway's side: what it can hand over, to whom, and how it starts a successor itself.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufRead, BufReader, Read},
    net::SocketAddr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    process::Command,
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    descriptors,
    passed::{FileIdentity, KeptElsewhere, Purpose},
    protocol::{Answer, Offer, OfferedSockets, Opening, PROTOCOL, Verdict},
};

/// How long a successor may take from its start, or from asking for the sockets, until its workers accept: it reads its
/// whole configuration meanwhile. After it this gateway goes on alone.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long what was written may wait to be read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// No verdict is longer; faults of a whole configuration are in it.
const LONGEST_VERDICT: u64 = 1 << 20;

const ENDING: &str = "the running gateway is ending";

/// One listener's sockets, kept in hand beside those that are accepted on.
#[derive(Debug)]
pub struct Offered {
    /// What they are for.
    pub purpose: Purpose,
    /// As configured: a port may be 0.
    pub address: Option<SocketAddr>,
    /// Of a unix socket.
    pub file: Option<FileIdentity>,
    /// The sockets.
    pub sockets: Vec<OwnedFd>,
    /// Set for who accepts on them, when they are handed over.
    pub kept: KeptElsewhere,
}

/// The gateway that follows this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Successor {
    /// Its process; 0 when that is in another container.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// A successor accepts connections: whoever runs this gateway ends it now, gracefully.
#[derive(Debug)]
pub struct Departure {
    /// Who took over.
    pub successor: Successor,
    taken: Vec<usize>,
    departed: oneshot::Sender<()>,
}

impl Departure {
    /// This gateway accepts no more.
    pub fn departed(self) {
        // Who asked may be gone; the successor serves all the same.
        let _gone = self.departed.send(());
    }
}

/// How this gateway was started, so that its successor is started in the same way.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// This program, with other arguments: by the path that it was started with, as far as that is one, so that a link which
    /// leads to another version by now is followed.
    ///
    /// # Errors
    /// The path cannot be found out.
    pub fn this(arguments: Vec<OsString>) -> io::Result<Self> {
        let called = std::env::args_os().next().map(PathBuf::from);
        let path = match called.filter(|called| called.components().count() > 1) {
            Some(called) => std::path::absolute(called)?,
            // The name was looked up in PATH, which need not hold any more what it did.
            None => std::env::current_exe()?,
        };
        Ok(Self { path, arguments })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null());
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
            command.env_remove(variable);
        }
        command
    }
}

/// Everything about being succeeded.
#[derive(Debug)]
pub struct Succession {
    /// `None`: nothing is handed over any more.
    offered: Mutex<Option<Vec<Offered>>>,
    departures: mpsc::Sender<Departure>,
    program: Program,
    /// Held while a successor is talked to: one at a time.
    conversing: Mutex<()>,
    /// Held while a successor is started: one at a time.
    upgrading: Mutex<()>,
    /// Told how the next conversation went.
    outcome: Mutex<Option<oneshot::Sender<Outcome>>>,
}

type Outcome = Result<Successor, String>;

impl Succession {
    /// With all that can be handed over. Departures are to be listened to.
    pub fn new(offered: Vec<Offered>, program: Program) -> (Self, mpsc::Receiver<Departure>) {
        let (departures, departing) = mpsc::channel(1);
        let succession = Self {
            offered: Mutex::new(Some(offered)),
            departures,
            program,
            conversing: Mutex::default(),
            upgrading: Mutex::default(),
            outcome: Mutex::default(),
        };
        (succession, departing)
    }

    /// Keeps the sockets no longer: what is not accepted on any more is closed then, and nobody can take over.
    pub fn close(&self) {
        drop(lock(&self.offered).take());
    }

    /// Leaves to a successor the sockets that it took. The others are closed when they are accepted on no more.
    pub fn release(&self, departure: &Departure) {
        let offered = lock(&self.offered).take().unwrap_or_default();
        let taken = departure.taken.iter().filter_map(|number| offered.get(*number));
        taken.for_each(|offered| offered.kept.set());
    }

    /// Starts this program anew, from the file that is there now, and waits until it has taken over; or says why it has not.
    /// To be called where waiting is allowed, within a runtime.
    ///
    /// # Errors
    /// Why this gateway goes on as it was.
    pub fn upgrade(&self) -> Outcome {
        if std::process::id() == 1 {
            return Err("this gateway is the first process of its container, which ends with it: put another container in its place".to_owned());
        }
        let Ok(_only) = self.upgrading.try_lock() else {
            return Err("an upgrade is under way already".to_owned());
        };
        let (tell, told) = oneshot::channel();
        *lock(&self.outcome) = Some(tell);
        let outcome = Handle::current().block_on(self.start(told));
        drop(lock(&self.outcome).take());
        if let Err(reason) = &outcome {
            tracing::error!(%reason, "not upgraded, this process goes on");
        }
        outcome
    }

    async fn start(&self, mut told: oneshot::Receiver<Outcome>) -> Outcome {
        let program = self.program.path.display();
        tracing::info!(%program, "starting a successor");
        let mut command = self.program.command();
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let outcome = tokio::select! {
            biased;
            outcome = &mut told => outcome.unwrap_or_else(|_| Err(ENDING.to_owned())),
            status = child.wait() => self.ended(status, told).await,
            () = tokio::time::sleep(PATIENCE) => Err(late()),
        };
        if outcome.is_err() {
            // It may have ended by itself.
            let _ended = child.kill().await;
        }
        outcome
    }

    /// What an ended successor said, or else how it ended.
    async fn ended(&self, status: io::Result<ExitStatus>, told: oneshot::Receiver<Outcome>) -> Outcome {
        let is_conversing = self.conversing.try_lock().is_err();
        let outcome = tokio::time::timeout(WRITE_TIMEOUT, told);
        match (is_conversing, status) {
            // Its words are read before the end of its connection.
            (true, _) => outcome.await.ok().and_then(Result::ok).unwrap_or_else(|| Err(late())),
            (false, Ok(status)) => Err(format!(
                "the new process ended before it asked for the sockets ({status}); what it said is where this gateway's messages go"
            )),
            (false, Err(error)) => Err(format!("the new process cannot be waited for: {error}")),
        }
    }

    /// Talks to a successor that asks to take over, to the end. To be called where waiting is allowed.
    pub fn hand_over(&self, stream: &UnixStream, opening: &Opening, pid: u32) {
        let successor = Successor {
            pid,
            version: opening.version.clone(),
        };
        let outcome = self.converse(stream, opening, successor);
        match &outcome {
            Ok(successor) => tracing::info!(pid = successor.pid, version = %successor.version, "handed over"),
            Err(reason) => tracing::warn!(%reason, "not handed over"),
        }
        if let Some(upgrade) = lock(&self.outcome).take() {
            // Who waited too long was told so.
            let _late = upgrade.send(outcome);
        }
    }

    /// Tells who asks to take over that now is not the time.
    pub fn decline(&self, stream: &UnixStream, why: String) {
        let outcome = refuse(stream, why);
        if let Some(upgrade) = lock(&self.outcome).take() {
            let _late = upgrade.send(outcome);
        }
    }

    fn converse(&self, stream: &UnixStream, opening: &Opening, successor: Successor) -> Outcome {
        if opening.protocol != PROTOCOL {
            let (ours, version) = (env!("CARGO_PKG_VERSION"), &opening.version);
            let theirs = opening.protocol;
            return refuse(
                stream,
                format!(
                    "the running gateway (version {ours}) hands over by protocol {PROTOCOL}, and version {version} asks for protocol {theirs}: stop the one and start the other"
                ),
            );
        }
        let Ok(_only) = self.conversing.try_lock() else {
            return refuse(stream, "another gateway is taking over already".to_owned());
        };
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => late(),
            _ => format!("the new process cannot be talked to: {error}"),
        };
        let offer = self.offer(stream).map_err(broken)?;
        if !offer {
            return refuse(stream, ENDING.to_owned());
        }
        match verdict(stream).map_err(broken)? {
            None => Err("the new process ended before it served".to_owned()),
            Some(Verdict::Failed(why)) => Err(why),
            Some(Verdict::Ready { taken }) => self.depart(stream, successor, taken),
        }
    }

    /// Sends the sockets; whether there are any to send.
    fn offer(&self, stream: &UnixStream) -> io::Result<bool> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let Some((line, sockets)) = self.offered()? else {
            return Ok(false);
        };
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        descriptors::send(stream, &line, &sockets)?;
        Ok(true)
    }

    /// The line and handles of our own: the lock is not held while a peer takes its time to read.
    fn offered(&self) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
        let offered = lock(&self.offered);
        let Some(offered) = offered.as_deref() else {
            return Ok(None);
        };
        let line = serde_json::to_string(&Offer {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sockets: offered.iter().map(described).collect(),
        })?;
        let sockets = offered.iter().flat_map(|offered| &offered.sockets);
        let sockets = sockets.map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        Ok(Some((line, sockets)))
    }

    fn depart(&self, stream: &UnixStream, successor: Successor, taken: Vec<usize>) -> Outcome {
        let (departed, done) = oneshot::channel();
        let departure = Departure {
            successor: successor.clone(),
            taken,
            departed,
        };
        let told = self.departures.blocking_send(departure).is_ok();
        if !told || done.blocking_recv().is_err() {
            return refuse(stream, ENDING.to_owned());
        }
        // It serves, whether it hears of it or not.
        let _heard = answer(stream, &Answer::Yours {});
        Ok(successor)
    }
}

fn described(offered: &Offered) -> OfferedSockets {
    OfferedSockets {
        purpose: offered.purpose,
        address: offered.address,
        file: offered.file,
        count: offered.sockets.len(),
        kept: offered.kept.is_kept(),
    }
}

/// `None`: it ended without a word.
fn verdict(stream: &UnixStream) -> io::Result<Option<Verdict>> {
    let mut line = String::new();
    match BufReader::new(stream.take(LONGEST_VERDICT)).read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => serde_json::from_str(&line).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

fn refuse(stream: &UnixStream, why: String) -> Outcome {
    // Who is gone needs no reason.
    let _gone = answer(stream, &Answer::Error(why.clone()));
    Err(why)
}

fn answer(stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let line = serde_json::to_string(answer)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    descriptors::send(stream, &line, &[])
}

fn late() -> String {
    format!("the new process did not serve within {} seconds", PATIENCE.as_secs())
}

/// The values behind these locks are whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Arguments that start a gateway which takes over from the one on an admin socket.
pub fn takeover_arguments(config: &Path, socket: &Path) -> Vec<OsString> {
    let [run, takeover] = ["run", "--takeover"].map(OsStr::new);
    let config = [OsStr::new("--config"), config.as_os_str(), run];
    let socket = [takeover, OsStr::new("--socket"), socket.as_os_str()];
    config.into_iter().chain(socket).map(OsString::from).collect()
}
