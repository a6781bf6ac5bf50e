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

/// How old an answer becomes before it is asked for again, as long as requests come. Container platforms move names to new
/// addresses within seconds, and a look-up costs the kernel's resolver a round trip: once every few seconds is little for it
/// and soon enough for them.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// Nothing is sent to an answer older than this without waiting a little for a new one: a name that nobody asked for in a
/// while may have moved long ago.
pub(super) const STALE: Duration = Duration::from_secs(10);
/// No new connection is made to an answer older than this without waiting a little for a new one: that a connection is
/// needed may well be because the server has moved.
pub(super) const NEW: Duration = Duration::from_secs(1);
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
    /// How often other addresses were found than before.
    changes: Cell<u64>,
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
            Err(_) => Self::Named(Rc::new(Name::new(host, port))),
        }
    }

    /// The addresses now; asks again when they are older than `age`.
    pub(super) async fn look_up(&self, age: Duration) -> Result<Rc<[SocketAddr]>, ConnectError> {
        match self {
            Self::Fixed(address) => Ok(Rc::from([*address])),
            Self::Named(name) => name.look_up(age).await,
        }
    }
}

impl Name {
    fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            found: RefCell::new(Found {
                addresses: Rc::from([]),
                failure: None,
                at: None,
            }),
            changes: Cell::new(0),
            asked: Cell::new(None),
            ended: Notify::new(),
        }
    }

    /// The addresses as far as they are known.
    pub(super) fn known(&self) -> Rc<[SocketAddr]> {
        Rc::clone(&self.found.borrow().addresses)
    }

    pub(super) fn is_known(&self) -> bool {
        !self.found.borrow().addresses.is_empty()
    }

    /// A number that is another one whenever other addresses were found.
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// Asks again if the answer is older than [`FRESH`], and does not wait.
    pub(super) fn refresh(self: &Rc<Self>, now: Instant) {
        if self.is_older(FRESH, now) && self.asked.get().is_none() {
            self.begin();
        }
    }

    /// The addresses; asks again if the answer is older than `age`, and waits for it: as long as it takes if none are known,
    /// else a moment.
    pub(super) async fn look_up(self: &Rc<Self>, age: Duration) -> Result<Rc<[SocketAddr]>, ConnectError> {
        while self.is_older(age, Instant::now()) {
            let ended = self.ended.notified();
            let asked = self.asked.get().unwrap_or_else(|| self.begin());
            if !self.is_known() {
                ended.await;
            } else if timeout_at(asked + PATIENCE, ended).await.is_err() {
                break;
            }
        }
        self.answer()
    }

    /// Whether the last answer, good or bad, is older than this.
    pub(super) fn is_older(&self, age: Duration, now: Instant) -> bool {
        let at = self.found.borrow().at;
        at.is_none_or(|at| now.saturating_duration_since(at) >= age)
    }

    /// Begins a look-up, in a task of its own: a request that goes away must not take the answer with it that others wait
    /// for. It ends when the system's resolver answers, which has its own time limit.
    fn begin(self: &Rc<Self>) -> Instant {
        let now = Instant::now();
        self.asked.set(Some(now));
        tokio::task::spawn_local(Rc::clone(self).ask());
        now
    }

    fn answer(&self) -> Result<Rc<[SocketAddr]>, ConnectError> {
        let found = self.found.borrow();
        match (&found.failure, found.addresses.is_empty()) {
            (_, false) => Ok(Rc::clone(&found.addresses)),
            (Some(failure), true) => Err(ConnectError::Resolve(Arc::clone(failure))),
            (None, true) => Err(ConnectError::NoAddress),
        }
    }

    async fn ask(self: Rc<Self>) {
        let answer = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        self.answered(answer.map(Iterator::collect));
        self.asked.set(None);
        self.ended.notify_waiters();
    }

    fn answered(&self, answer: io::Result<Vec<SocketAddr>>) {
        let mut found = self.found.borrow_mut();
        match answer {
            Ok(addresses) => {
                found.failure = None;
                // No address is no answer to go by: as with a failure, those known so far stay in use.
                if !addresses.is_empty()
                    && let Some(addresses) = taken_over(&found.addresses, &addresses)
                {
                    found.addresses = addresses;
                    self.changes.set(self.changes.get() + 1);
                }
            }
            // The addresses known so far stay in use: a name server that is down takes no origin with it.
            Err(error) => {
                if found.failure.is_none() {
                    // Once, not with every look-up: the access log has what comes of it.
                    tracing::warn!(name = %self.host, %error, "the name of a server does not resolve");
                }
                found.failure = Some(Arc::new(error));
            }
        }
        found.at = Some(Instant::now());
    }

    /// A look-up that never ends.
    #[cfg(test)]
    pub(super) fn hang(&self) {
        self.asked.set(Some(Instant::now()));
    }

    #[cfg(test)]
    pub(super) fn tell_of_long_ago(&self, addresses: &[SocketAddr]) {
        self.tell(addresses);
        self.found.borrow_mut().at = None;
    }

    #[cfg(test)]
    pub(super) fn tell(&self, addresses: &[SocketAddr]) {
        self.answered(Ok(addresses.to_vec()));
    }
}

/// The addresses from now on, or `None` when they are the same as before. Those that stay keep their places: name servers
/// turn the order with every answer, and of more than are kept those are kept that were.
fn taken_over(before: &[SocketAddr], answer: &[SocketAddr]) -> Option<Rc<[SocketAddr]>> {
    let stay = before.iter().filter(|known| answer.contains(known));
    let mut addresses: Vec<SocketAddr> = stay.copied().collect();
    for address in answer {
        if addresses.len() < MOST && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    (addresses != before).then(|| addresses.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 80))
    }

    #[tokio::test(flavor = "local")]
    async fn a_look_up_that_hangs_takes_no_known_address_away() {
        let name = Rc::new(Name::new("app.test", 80));
        name.tell(&[address(1)]);
        name.asked.set(Some(Instant::now() - PATIENCE));
        let found = name.look_up(Duration::ZERO).await.expect("the known one");
        assert_eq!(*found, [address(1)]);
    }

    #[tokio::test(flavor = "local")]
    async fn a_failing_look_up_takes_no_known_address_away() {
        let name = Rc::new(Name::new("app.test", 80));
        name.tell(&[address(1)]);
        name.answered(Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(*name.look_up(STALE).await.expect("the known one"), [address(1)]);
    }

    #[test]
    fn another_order_is_no_change() {
        let name = Name::new("app.test", 80);
        name.tell(&[address(1), address(2)]);
        name.tell(&[address(2), address(1)]);
        assert_eq!((name.changes(), &*name.known()), (1, &[address(1), address(2)][..]));
        name.tell(&[address(3), address(2)]);
        assert_eq!((name.changes(), &*name.known()), (2, &[address(2), address(3)][..]));
    }

    #[test]
    fn of_too_many_addresses_those_are_kept_that_were() {
        let name = Name::new("app.test", 80);
        let all: Vec<_> = (0..40).map(address).collect();
        name.tell(&all);
        let turned: Vec<_> = all.iter().rev().copied().collect();
        name.tell(&turned);
        assert_eq!((name.changes(), &*name.known()), (1, &all[..MOST]));
    }
}
