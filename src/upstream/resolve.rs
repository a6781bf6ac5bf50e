//! Addresses of a server's name, looked up again every few seconds.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::error::ConnectError;

/// How long an answer is used. Container platforms move names to new addresses within seconds, and a look-up costs the
/// kernel's resolver a round trip: once every few seconds is little for it and soon enough for them.
const FRESH: Duration = Duration::from_secs(5);
/// How long a look-up is waited for where older addresses are known. A container that moved is then found at once, and a
/// resolver that hangs takes no origin with it: only requests at the look-up's beginning wait at all.
const PATIENCE: Duration = Duration::from_millis(250);
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
    /// When the look-up that is under way began: at most one in a worker, however many requests wait for it.
    asked: Cell<Option<Instant>>,
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
                asked: Cell::new(None),
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
            let asked = this.asked.get().unwrap_or_else(|| Self::begin(this));
            if this.found.borrow().addresses.is_empty() {
                ended.await;
            } else if timeout_at(asked + PATIENCE, ended).await.is_err() {
                break;
            }
        }
        this.answer()
    }

    /// Begins a look-up, in a task of its own: a request that goes away must not take the answer with it that others wait
    /// for. It ends when the system's resolver answers, which has its own time limit.
    fn begin(this: &Rc<Self>) -> Instant {
        let now = Instant::now();
        this.asked.set(Some(now));
        tokio::task::spawn_local(Self::ask(Rc::clone(this)));
        now
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
        this.asked.set(None);
        this.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_look_up_that_hangs_takes_no_known_address_away() {
        let known: Rc<[SocketAddr]> = Rc::from([SocketAddr::from(([192, 0, 2, 1], 80))]);
        let name = Rc::new(Name {
            host: "app.test".to_owned(),
            port: 80,
            found: RefCell::new(Found {
                addresses: Rc::clone(&known),
                failure: None,
                at: None,
            }),
            asked: Cell::new(Some(Instant::now() - PATIENCE)),
            ended: Notify::new(),
        });
        assert_eq!(Name::look_up(&name).await.expect("the known one"), known);
    }
}
