//! Addresses of a server's name, looked up again every few seconds.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::error::ConnectError;

/// How long an answer is used. Container platforms move names to new addresses within seconds, and a look-up costs the
/// kernel's resolver a round trip: once every few seconds is little for it and soon enough for them.
const FRESH: Duration = Duration::from_secs(5);
/// Addresses kept of one name: a name with thousands must not make every connection attempt walk them.
const MOST: usize = 16;

/// The addresses of one server.
#[derive(Debug)]
pub(super) enum Addresses {
    /// The server is written as an address.
    Fixed(SocketAddr),
    /// The server is written as a name.
    Named(Rc<Name>),
}

/// A name and what it last resolved to.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    found: RefCell<Found>,
    /// At most one look-up of a name is under way in a worker, however many requests wait for it.
    under_way: Cell<bool>,
    ended: Notify,
}

#[derive(Debug)]
struct Found {
    addresses: Rc<[SocketAddr]>,
    failure: Option<Arc<io::Error>>,
    at: Option<Instant>,
}

impl Addresses {
    pub(super) fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(address) => Self::Fixed(SocketAddr::new(address, port)),
            Err(_) => Self::Named(Rc::new(Name {
                host: host.to_owned(),
                port,
                found: RefCell::new(Found {
                    addresses: Rc::from([]),
                    failure: None,
                    at: None,
                }),
                under_way: Cell::new(false),
                ended: Notify::new(),
            })),
        }
    }

    /// The addresses now.
    pub(super) async fn look_up(&self) -> Result<Rc<[SocketAddr]>, ConnectError> {
        match self {
            Self::Fixed(address) => Ok(Rc::from([*address])),
            Self::Named(name) => Name::look_up(name).await,
        }
    }
}

impl Name {
    async fn look_up(this: &Rc<Self>) -> Result<Rc<[SocketAddr]>, ConnectError> {
        while !this.is_fresh() {
            let ended = this.ended.notified();
            if !this.under_way.replace(true) {
                // A task of its own: a request that goes away must not take the answer with it that others wait for.
                // It ends when the system's resolver answers, which has its own time limit.
                tokio::task::spawn_local(Self::ask(Rc::clone(this)));
            }
            ended.await;
        }
        this.answer()
    }

    fn is_fresh(&self) -> bool {
        self.found.borrow().at.is_some_and(|at| at.elapsed() < FRESH)
    }

    fn answer(&self) -> Result<Rc<[SocketAddr]>, ConnectError> {
        let found = self.found.borrow();
        match (&found.failure, found.addresses.is_empty()) {
            (_, false) => Ok(Rc::clone(&found.addresses)),
            (Some(failure), true) => Err(ConnectError::Resolve(Arc::clone(failure))),
            (None, true) => Err(ConnectError::NoAddress),
        }
    }

    async fn ask(this: Rc<Self>) {
        let answer = tokio::net::lookup_host((this.host.as_str(), this.port)).await;
        {
            let mut found = this.found.borrow_mut();
            match answer {
                Ok(addresses) => {
                    found.addresses = addresses.take(MOST).collect();
                    found.failure = None;
                }
                // The addresses known so far stay in use: a name server that is down takes no origin with it.
                Err(error) => found.failure = Some(Arc::new(error)),
            }
            found.at = Some(Instant::now());
        }
        this.under_way.set(false);
        this.ended.notify_waiters();
    }
}
