//! One worker's view of an upstream: the servers that its requests go to, one entry an address, and whose turn it is.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{
    balance::{Candidate, Turn, WHOLE, choose},
    budget::Budget,
    error::{ConnectError, ForwardError},
    health::{Counted, Health},
    origin::{Endpoint, Origin},
    pool::Pool,
    resolve::{self, Addresses, Name},
    standing::Standing,
};
use crate::{config::settings::Server, http1::Scratch};

/// One worker's connections to one server, by address. Upstreams that name the same server share them.
#[derive(Debug)]
pub(super) struct Connections {
    endpoint: Arc<Endpoint>,
    /// `None`: the demo.
    addresses: Option<Addresses>,
    pools: RefCell<BTreeMap<SocketAddr, Rc<Pool>>>,
    scratch: Rc<Scratch>,
}

impl Connections {
    pub(super) fn new(endpoint: Arc<Endpoint>, scratch: Rc<Scratch>) -> Self {
        let addresses = match endpoint.server() {
            Server::Http { host, port } | Server::Https { host, port } => Some(Addresses::new(host, *port)),
            Server::Demo => None,
        };
        Self {
            endpoint,
            addresses,
            pools: RefCell::default(),
            scratch,
        }
    }

    fn name(&self) -> Option<&Rc<Name>> {
        match &self.addresses {
            Some(Addresses::Named(name)) => Some(name),
            Some(Addresses::Fixed(_)) | None => None,
        }
    }

    /// The pools of the addresses now. Those of addresses that are gone are let go of, and with them their idle
    /// connections: requests under way end on theirs.
    fn pools(&self) -> Vec<Rc<Pool>> {
        let addresses = match &self.addresses {
            Some(Addresses::Fixed(address)) => Rc::from([*address]),
            Some(Addresses::Named(name)) => name.known(),
            None => Rc::from([]),
        };
        let mut pools = self.pools.borrow_mut();
        pools.retain(|address, _| addresses.contains(address));
        let new = |address| Pool::new(Arc::clone(&self.endpoint), address, Rc::clone(&self.scratch));
        let pool = |address: &SocketAddr| {
            let pool = pools.entry(*address);
            Rc::clone(pool.or_insert_with(|| Rc::new(new(*address))))
        };
        addresses.iter().map(pool).collect()
    }
}

/// A server with one of its addresses.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    /// `None`: the demo.
    pub(super) pool: Option<Rc<Pool>>,
    /// The server's name, if it has one: it may have moved.
    pub(super) name: Option<Rc<Name>>,
    pub(super) standing: Arc<Standing>,
    pub(super) health: Arc<Health>,
    pub(super) counted: Counted,
    turn: Turn,
}

/// The members at a moment. A request keeps those that it began with, unless it finds out that a server has moved.
pub(super) type Members = Rc<[Rc<Member>]>;

/// Whom to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    /// Its place among the members.
    pub(super) at: usize,
    /// It is left out, but so is everyone else who was not tried yet.
    pub(super) was_out: bool,
}

/// An upstream as one worker uses it.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) origin: Arc<Origin>,
    connections: Vec<Rc<Connections>>,
    members: RefCell<Members>,
    /// What the names' changes were when the members were made.
    seen: Cell<u64>,
    pub(super) has_names: bool,
    pub(super) budget: Budget,
}

impl Rotation {
    /// `connections` are those of the origin's servers, in their order.
    pub(super) fn new(origin: Arc<Origin>, connections: Vec<Rc<Connections>>) -> Self {
        let rotation = Self {
            has_names: connections.iter().any(|server| server.name().is_some()),
            origin,
            connections,
            members: RefCell::new(Rc::from([])),
            seen: Cell::new(0),
            budget: Budget::new(Instant::now()),
        };
        rotation.seen.set(rotation.changes());
        rotation.gather();
        rotation
    }

    /// The members now. Names are looked up meanwhile; who waits for that is only the request that would go nowhere else,
    /// or to an answer of long ago.
    ///
    /// # Errors
    /// No name resolves.
    pub(super) async fn members(&self) -> Result<Members, ForwardError> {
        if self.has_names {
            let now = Instant::now();
            self.names().for_each(|(_, name)| name.refresh(now));
            let is_stale = |name: &Rc<Name>| name.is_known() && name.is_older(resolve::STALE, now);
            if self.names().any(|(_, name)| is_stale(name)) {
                Box::pin(self.look_up(resolve::STALE)).await?;
            }
            if self.current().is_empty() {
                Box::pin(self.look_up(resolve::FRESH)).await?;
            }
        }
        Ok(self.current())
    }

    /// Waits for answers that are not older than this, from names that have given one; from all if none has. No longer than
    /// a connection may take.
    async fn look_up(&self, age: Duration) -> Result<(), ForwardError> {
        let end = Instant::now() + self.origin.settings().connect_timeout;
        let has_none = self.current().is_empty();
        let mut failure = None;
        for (server, name) in self.names() {
            if !has_none && !name.is_known() {
                continue;
            }
            let answered = timeout_at(end, name.look_up(age)).await;
            if let Err(source) = answered.unwrap_or(Err(ConnectError::Timeout)) {
                let server = Arc::clone(&server.endpoint);
                failure = Some(ForwardError::Connect { server, source });
            }
        }
        failure.filter(|_| self.current().is_empty()).map_or(Ok(()), Err)
    }

    /// The members as far as they are known.
    pub(super) fn current(&self) -> Members {
        if self.has_names {
            let changes = self.changes();
            if self.seen.replace(changes) != changes {
                self.gather();
            }
        }
        Rc::clone(&self.members.borrow())
    }

    /// Which of the members is to be asked, of those not tried yet. Who is left out is asked only when nobody else is left.
    pub(super) fn choose(&self, members: &Members, tried: &[usize], now: Instant) -> Option<Chosen> {
        if members.len() == 1 {
            let only = Chosen { at: 0, was_out: false };
            return tried.is_empty().then_some(only);
        }
        let settings = self.origin.settings();
        let untried = members.iter().enumerate().filter(|(at, _)| !tried.contains(at));
        let well = untried.clone().filter_map(|(at, member)| {
            let weight = member.health.weight(now, settings.slow_start)?;
            Some((at, member.candidate(weight)))
        });
        if let Some(at) = choose(settings.balance, well) {
            return Some(Chosen { at, was_out: false });
        }
        let all = untried.map(|(at, member)| (at, member.candidate(WHOLE)));
        choose(settings.balance, all).map(|at| Chosen { at, was_out: true })
    }

    fn names(&self) -> impl Iterator<Item = (&Rc<Connections>, &Rc<Name>)> {
        let servers = self.connections.iter();
        servers.filter_map(|server| server.name().map(|name| (server, name)))
    }

    fn changes(&self) -> u64 {
        self.names().map(|(_, name)| name.changes()).sum()
    }

    /// The first name.
    #[cfg(test)]
    pub(super) fn name(&self) -> Option<Rc<Name>> {
        self.names().next().map(|(_, name)| Rc::clone(name))
    }

    /// Makes the members anew; those that stay keep their turns.
    fn gather(&self) {
        let before = self.members.borrow();
        let mut members = Vec::new();
        for (server, (_, standing)) in self.connections.iter().zip(self.origin.standings()) {
            let mut add = |pool: Option<Rc<Pool>>| {
                let member = Rc::new(Member::new(server, pool, standing));
                let known = before.iter().find(|known| known.is(&member));
                members.push(known.map_or(member, Rc::clone));
            };
            match server.addresses {
                None => add(None),
                Some(_) => server.pools().into_iter().for_each(|pool| add(Some(pool))),
            }
        }
        if before.is_empty() && !members.is_empty() {
            // Else all workers would begin with the same one, and with few requests each that one would have them all.
            let first = fastrand::usize(..members.len());
            members.rotate_left(first);
        }
        drop(before);
        self.members.replace(members.into());
    }
}

impl Member {
    fn new(server: &Connections, pool: Option<Rc<Pool>>, standing: &Arc<Standing>) -> Self {
        let health = standing.health(pool.as_ref().map(|pool| pool.address()));
        Self {
            endpoint: Arc::clone(&server.endpoint),
            pool,
            name: server.name().cloned(),
            standing: Arc::clone(standing),
            counted: health.counted(),
            health,
            turn: Turn::default(),
        }
    }

    /// Whether it is the same connections to the same address.
    fn is(&self, other: &Self) -> bool {
        let is_same_pool = match (&self.pool, &other.pool) {
            (Some(pool), Some(other)) => Rc::ptr_eq(pool, other),
            (pool, other) => pool.is_none() && other.is_none(),
        };
        is_same_pool && Arc::ptr_eq(&self.health, &other.health)
    }

    fn candidate(&self, weight: u32) -> Candidate<'_> {
        Candidate {
            turn: &self.turn,
            weight,
            in_flight: self.counted.in_flight(),
        }
    }
}
