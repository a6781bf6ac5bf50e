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

use http::{
    Request, StatusCode, Uri,
    header::{ACCEPT, USER_AGENT},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, LocalOptions},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use super::{
    connect::{self, Stream},
    error::ConnectError,
    health::{Health, Turned},
    origin::{Endpoint, Origin},
    resolve::{Addresses, FRESH},
    standing::{Standing, count},
};
use crate::config::settings::{HealthCheck, Server, UpstreamProtocol};

/// The most that is read of an answer: heads that may come before it, and its own as far as its status line.
const MOST_READ: usize = 16 * 1024;

/// Who asks.
const USER_AGENT_OF_CHECKS: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"), " (health check)");

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
                protocol: settings.protocol,
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
    protocol: UpstreamProtocol,
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
        drop(std::mem::replace(&mut healths, addresses.iter().map(health).collect()));
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
        let stream = connect::connect(&self.endpoint, std::iter::once(address), deadline).await?;
        match self.protocol {
            UpstreamProtocol::Http1 => self.exchange_http1(stream).await,
            UpstreamProtocol::Http2 => self.exchange_http2(stream).await,
        }
    }

    async fn exchange_http2(&self, stream: Stream) -> Result<StatusCode, CheckError> {
        let scheme = match self.endpoint.server() {
            Server::Https { .. } => "https",
            Server::Http { .. } | Server::Demo => "http",
        };
        let authority = self.endpoint.authority();
        let host = self.check.host.as_ref().and_then(|host| host.to_str().ok());
        let host = host.unwrap_or(&authority);
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query(&*self.check.path);
        let request = Request::get(uri.build().unwrap_or_default());
        let request = request
            .header(USER_AGENT, USER_AGENT_OF_CHECKS)
            .header(ACCEPT, "*/*")
            .body(());
        let (sender, connection) = ::h2::client::handshake(stream).await?;
        let asked = async {
            let (answer, _no_body) = sender.ready().await?.send_request(request.unwrap_or_default(), true)?;
            Ok(answer.await?.status())
        };
        tokio::select! {
            answered = asked => answered,
            ended = connection => Err(ended.map_or_else(CheckError::Stream, |()| {
                CheckError::Broken(io::ErrorKind::UnexpectedEof.into())
            })),
        }
    }

    async fn exchange_http1(&self, mut stream: Stream) -> Result<StatusCode, CheckError> {
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
    #[error("no HTTP/2: {0}")]
    Stream(#[from] ::h2::Error),
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
    [
        b"GET ",
        check.path.as_bytes(),
        b" HTTP/1.1\r\nHost: ",
        host,
        b"\r\nUser-Agent: ",
        USER_AGENT_OF_CHECKS.as_bytes(),
        b"\r\nAccept: */*\r\nConnection: close\r\n\r\n",
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use tokio::{net::TcpListener, sync::Notify};

    use super::*;
    use crate::{
        config::settings::Upstream,
        upstream::{report::reports, tests::settings},
    };

    /// An origin that answers with what it is told to, and keeps what it was asked.
    #[derive(Clone)]
    struct Checkable {
        port: u16,
        answer: Rc<RefCell<&'static str>>,
        asked: Rc<RefCell<Vec<String>>>,
        was_asked: Rc<Notify>,
    }

    const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

    impl Checkable {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let origin = Self {
                port: listener.local_addr().unwrap().port(),
                answer: Rc::new(RefCell::new(OK)),
                asked: Rc::default(),
                was_asked: Rc::default(),
            };
            let serving = origin.clone();
            tokio::task::spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    serving.asked.borrow_mut().push(String::from_utf8(head).unwrap());
                    let answer = *serving.answer.borrow();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    // The other side closes when it has read enough: then its outcome is known.
                    let _closed = stream.read_u8().await;
                    serving.was_asked.notify_one();
                }
            });
            origin
        }

        async fn wait_for_checks(&self, count: usize) {
            for _ in 0..count {
                self.was_asked.notified().await;
            }
        }

        async fn wait_for(&self, origin: &Arc<Origin>, state: &str) {
            while state_of(origin) != state {
                self.was_asked.notified().await;
            }
        }
    }

    fn checked(port: u16, check: HealthCheck) -> Arc<Origin> {
        let settings = Upstream {
            health_check: Some(check),
            ..settings(&[port])
        };
        Arc::new(Origin::load(Arc::new(settings)).unwrap())
    }

    fn quick() -> HealthCheck {
        HealthCheck {
            path: "/healthz?deep=1".to_owned(),
            host: None,
            interval: Duration::from_millis(1),
            timeout: Duration::from_secs(30),
            status: Vec::new(),
            healthy_after: 2,
            unhealthy_after: 2,
        }
    }

    fn state_of(origin: &Arc<Origin>) -> &'static str {
        reports([origin].into_iter())[0].servers[0].addresses[0].state
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_is_asked_what_is_configured() {
        let server = Checkable::start().await;
        let origin = checked(server.port, quick());
        let mut running = Running::default();
        running.become_those_of(&[Arc::clone(&origin)]);
        server.wait_for_checks(1).await;
        let (port, version) = (server.port, env!("CARGO_PKG_VERSION"));
        assert_eq!(
            server.asked.borrow()[0],
            format!(
                "GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
                 User-Agent: portcullis/{version} (health check)\r\nAccept: */*\r\nConnection: close\r\n\r\n"
            )
        );
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_that_fails_its_checks_is_left_out_until_it_passes_them() {
        let server = Checkable::start().await;
        let origin = checked(server.port, quick());
        let mut running = Running::default();
        running.become_those_of(&[Arc::clone(&origin)]);
        server.wait_for_checks(2).await;
        assert_eq!(state_of(&origin), "healthy");
        *server.answer.borrow_mut() = BUSY;
        server.wait_for(&origin, "failing_check").await;
        *server.answer.borrow_mut() = OK;
        server.wait_for(&origin, "healthy").await;
    }

    #[tokio::test(flavor = "local")]
    async fn checks_outlive_a_reload_that_leaves_them_as_they_are_and_end_with_their_origin() {
        let server = Checkable::start().await;
        *server.answer.borrow_mut() = BUSY;
        let origin = checked(server.port, quick());
        let mut running = Running::default();
        running.become_those_of(&[Arc::clone(&origin)]);
        let task = running.0["app"].servers[0].1.id();
        running.become_those_of(&[Arc::clone(&origin)]);
        assert_eq!(running.0["app"].servers[0].1.id(), task, "the same task goes on");
        server.wait_for(&origin, "failing_check").await;

        // Other settings: other tasks, and what is known stays.
        let changed = HealthCheck {
            unhealthy_after: 5,
            ..quick()
        };
        let changed = Arc::try_unwrap(checked(server.port, changed)).unwrap().after(&origin);
        let changed = Arc::new(changed);
        running.become_those_of(&[Arc::clone(&changed)]);
        assert_eq!(state_of(&changed), "failing_check");

        // No checks any more: the server is not out for ever.
        let plain = Arc::new(
            Origin::load(Arc::new(settings(&[server.port])))
                .unwrap()
                .after(&changed),
        );
        running.become_those_of(&[Arc::clone(&plain)]);
        assert!(running.0.is_empty());
        assert_eq!(state_of(&plain), "healthy");
    }

    #[tokio::test(flavor = "local")]
    async fn what_fails_a_check_is_told() {
        const LONG: &str = "HTTP/1.1 200 OK\r\n";
        for (answer, expected) in [
            (OK, Ok(())),
            (
                "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n",
                Ok(()),
            ),
            (LONG, Ok(())),
            (BUSY, Err("it answered with status 503 Service Unavailable")),
            ("SSH-2.0-OpenSSH_9.6\r\n", Err("the answer is no HTTP")),
        ] {
            let server = Checkable::start().await;
            *server.answer.borrow_mut() = answer;
            let origin = checked(server.port, quick());
            let (endpoint, standing) = origin.standings().next().unwrap();
            let watched = Watched {
                upstream: "app".to_owned(),
                endpoint: Arc::clone(endpoint),
                standing: Arc::clone(standing),
                request: request(endpoint, &quick()),
                check: quick(),
                protocol: UpstreamProtocol::Http1,
                is_over: AtomicBool::new(false),
            };
            let address = SocketAddr::from(([127, 0, 0, 1], server.port));
            let outcome = watched.ask(address).await.map_err(|error| error.to_string());
            assert_eq!(outcome, expected.map_err(str::to_owned), "{answer}");
        }
    }

    /// A server that speaks HTTP/2 alone, and answers `/well` with 200 and everything else with 503.
    async fn speak_http2(listener: tokio::net::TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = ::h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                let status = match request.uri().path() {
                    "/well" => StatusCode::OK,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                let response = http::Response::builder().status(status).body(()).unwrap();
                answer.send_response(response, true).unwrap();
            }
        }
    }

    #[tokio::test(flavor = "local")]
    async fn servers_that_speak_http2_are_asked_in_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(speak_http2(listener));
        let settings = Upstream {
            protocol: UpstreamProtocol::Http2,
            ..settings(&[address.port()])
        };
        let origin = Origin::load(Arc::new(settings)).unwrap();
        let (endpoint, standing) = origin.standings().next().unwrap();
        for (path, expected) in [
            ("/well", Ok(())),
            (
                "/ill",
                Err("it answered with status 503 Service Unavailable".to_owned()),
            ),
        ] {
            let check = HealthCheck {
                path: path.to_owned(),
                ..quick()
            };
            let watched = Watched {
                upstream: "app".to_owned(),
                endpoint: Arc::clone(endpoint),
                standing: Arc::clone(standing),
                request: request(endpoint, &check),
                check,
                protocol: UpstreamProtocol::Http2,
                is_over: AtomicBool::new(false),
            };
            let outcome = watched.ask(address).await.map_err(|error| error.to_string());
            assert_eq!(outcome, expected, "{path}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn only_the_configured_statuses_pass() {
        let server = Checkable::start().await;
        let check = HealthCheck {
            status: vec![StatusCode::OK],
            ..quick()
        };
        let origin = checked(server.port, check);
        let mut running = Running::default();
        running.become_those_of(&[Arc::clone(&origin)]);
        server.wait_for(&origin, "failing_check").await;
    }

    #[test]
    fn the_thread_ends_with_its_handle() {
        let alive = Arc::new(());
        let held = Arc::downgrade(&alive);
        let checks = Checks::start(move || {
            let _held = &alive;
            Vec::new()
        })
        .unwrap();
        checks.changed();
        drop(checks);
        while held.upgrade().is_some() {
            thread::yield_now();
        }
    }

    #[test]
    fn statuses_are_read_from_whatever_has_come() {
        let is = |code: u16| Status::Is(StatusCode::from_u16(code).unwrap());
        for (read, expected) in [
            ("", Status::Incomplete),
            ("HTTP/1.1 200 OK", Status::Incomplete),
            ("HTTP/1.1 200 OK\r\n", is(200)),
            ("HTTP/1.0 404\r\n", is(404)),
            ("HTTP/1.1 100 Continue\r\n", Status::Incomplete),
            ("HTTP/1.1 100 Continue\r\n\r\n", Status::Incomplete),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 301 Moved\r\n", is(301)),
            ("HTTP/2 200\r\n", Status::IsNone),
            ("HTTP/1.1 2000\r\n", Status::IsNone),
            ("HTTP/1.1 20\r\n", Status::IsNone),
            ("HTTP/1.1 abc\r\n", Status::IsNone),
            ("\n", Status::IsNone),
        ] {
            assert_eq!(status(read.as_bytes()), expected, "{read:?}");
        }
    }
}
