//! One request's way through the servers of its upstream: who is asked, who after that, and how often.

use std::{rc::Rc, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Quota, Reuse,
    error::ForwardError,
    h2,
    health::InFlight,
    origin::Endpoint,
    pool::{Lease, Pool},
    resolve::{self, Name},
    rotation::{Chosen, Member, Members, Rotation},
    standing::count,
};

/// The way of one request.
pub(super) struct Tour<'t> {
    rotation: &'t Rotation,
    quota: Quota<'t>,
    members: Members,
    /// The places of those that failed it.
    tried: Vec<usize>,
    asked: Option<Chosen>,
    reuse: Reuse,
    retries: u32,
    /// When the last thing happened that took time.
    now: Instant,
}

/// Who is going to answer.
#[derive(Debug)]
pub(super) enum Reached<T> {
    Server(T),
    Demo(Arc<Endpoint>),
}

impl<'t> Tour<'t> {
    pub(super) async fn begin(rotation: &'t Rotation, quota: Quota<'t>, now: Instant) -> Result<Self, ForwardError> {
        let members = rotation.members().await?;
        // Names may have been looked up meanwhile.
        let now = if rotation.has_names { Instant::now() } else { now };
        if members.len() > 1 {
            rotation.budget.request(now);
        }
        Ok(Self {
            rotation,
            quota,
            members,
            tried: Vec::new(),
            asked: None,
            reuse: Reuse::Idle,
            retries: 0,
            now,
        })
    }

    /// A connection to the next server that has one to give.
    pub(super) async fn reach(&mut self) -> Result<Reached<Lease>, ForwardError> {
        let (settings, quota) = (self.rotation.origin.settings(), self.quota);
        let lease =
            async |pool: &Rc<Pool>, reuse, now, deadline| pool.lease(settings, quota, reuse, now, deadline).await;
        Ok(match self.reach_by(lease).await? {
            Reached::Server((lease, in_flight)) => Reached::Server(lease.counting(in_flight)),
            Reached::Demo(server) => Reached::Demo(server),
        })
    }

    /// A stream's place on a shared connection to the next server that has one to give.
    pub(super) async fn place(&mut self) -> Result<h2::Place, ForwardError> {
        let (settings, quota) = (self.rotation.origin.settings(), self.quota);
        let place =
            async |pool: &Rc<Pool>, _, _, deadline| h2::Connections::place(pool, settings, quota, deadline).await;
        match self.reach_by(place).await? {
            Reached::Server((place, in_flight)) => Ok(place.counting(in_flight)),
            // It speaks no HTTP at all; the configuration does not let it be asked for.
            Reached::Demo(_) => Err(ForwardError::NoServer),
        }
    }

    /// What the next server that has it has to give. A server that cannot be reached was sent nothing, so the next
    /// one is tried in its place, without a look at the budget; each server once, and all in `connect_timeout`: a silent one
    /// costs only its share of the time.
    async fn reach_by<T>(
        &mut self,
        ask: impl AsyncFn(&Rc<Pool>, Reuse, Instant, Instant) -> Result<T, ForwardError>,
    ) -> Result<Reached<(T, InFlight)>, ForwardError> {
        let settings = self.rotation.origin.settings();
        if self.asked.is_some() {
            self.now = Instant::now();
        }
        let end = self.now + settings.connect_timeout;
        let mut failure = ForwardError::NoServer;
        let mut has_moved = false;
        loop {
            self.asked = self.rotation.choose(&self.members, &self.tried, self.now);
            let Some((_, member)) = self.asked() else {
                return Err(failure);
            };
            let member = Rc::clone(member);
            if let (Some(name), false) = (&member.name, has_moved) {
                has_moved = Box::pin(self.moves(&member, name)).await;
                self.now = Instant::now();
                if has_moved {
                    continue;
                }
            }
            let in_flight = member.counted.begin();
            let Some(pool) = &member.pool else {
                return Ok(Reached::Demo(Arc::clone(&member.endpoint)));
            };
            let deadline = self.now + self.share_of(end.saturating_duration_since(self.now));
            match ask(pool, self.reuse, self.now, deadline).await {
                Ok(given) => return Ok(Reached::Server((given, in_flight))),
                Err(error) => {
                    self.failed(&error);
                    failure = error;
                    self.now = Instant::now();
                }
            }
        }
    }

    /// Before a connection is made to a name's address: whether the name has others by now, which are then taken over.
    async fn moves(&mut self, member: &Member, name: &Rc<Name>) -> bool {
        let is_at_hand = self.reuse == Reuse::Idle && member.pool.as_ref().is_some_and(|pool| pool.has_idle());
        if is_at_hand || !name.is_older(resolve::NEW, Instant::now()) {
            return false;
        }
        let before = name.changes();
        // A look-up that fails leaves the known addresses in use.
        let _known = name.look_up(resolve::NEW).await;
        let has_moved = name.changes() != before;
        if has_moved {
            self.members = self.rotation.current();
            // Places are others now. Who failed before and is still there may be asked once more.
            self.tried.clear();
        }
        has_moved
    }

    /// Each server that is not tried yet gets the same.
    fn share_of(&self, time: Duration) -> Duration {
        let left = self.members.len().saturating_sub(self.tried.len()).max(1);
        time / u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// The server that was asked last answered.
    pub(super) fn answered(&self) {
        if let Some((chosen, member)) = self.asked() {
            member.health.answered();
            if chosen.was_out {
                member.health.brought_back(Instant::now());
            }
        }
    }

    /// The server that was asked last failed the request.
    pub(super) fn failed(&mut self, error: &ForwardError) {
        let Some((chosen, member)) = self.asked() else { return };
        if error.is_of_server() {
            count(&member.standing.counts.failures);
            let settings = self.rotation.origin.settings();
            // The only one is asked whatever it does.
            let ejection = settings.ejection.filter(|_| self.members.len() > 1);
            if let Some(time) = member.health.failed(Instant::now(), ejection) {
                count(&member.standing.counts.ejections);
                let (upstream, server) = (&settings.name, &member.endpoint);
                let address = member.pool.as_ref().map(|pool| pool.address());
                tracing::warn!(upstream, %server, ?address, ?time, %error, "server ejected");
            }
        }
        self.tried.push(chosen.at);
    }

    /// The kept connection that the request was sent on had been closed: that speaks against nobody, and the request is sent
    /// again, on a fresh one.
    pub(super) fn found_stale(&mut self) {
        self.reuse = Reuse::Never;
    }

    /// Whether the request may be sent again, to another server. Counts it if so.
    pub(super) fn retry(&mut self) -> bool {
        let settings = self.rotation.origin.settings();
        if self.retries >= settings.retries || self.tried.len() >= self.members.len() {
            return false;
        }
        let tally = self.rotation.origin.retries();
        if !self.rotation.budget.retry(settings.retry_budget, Instant::now()) {
            count(&tally.refused);
            return false;
        }
        count(&tally.made);
        self.retries += 1;
        true
    }

    fn asked(&self) -> Option<(Chosen, &Rc<Member>)> {
        let chosen = self.asked?;
        self.members.get(chosen.at).map(|member| (chosen, member))
    }
}
