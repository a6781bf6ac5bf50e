//! What the gateway remembers of recent requests that a rule acted on or would have, and of those that it refused: enough to
//! judge them again when somebody comes with the id of a refusal page.
//!
//! An event is what the access record says, as JSON, with the headers beside it. Credentials are never kept, nor the values of
//! listed query parameters. A request that no rule says anything of costs a look at two empty lists; one that is remembered is
//! written into a buffer that another one left.

mod pace;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::Guard;
use http::{HeaderName, HeaderValue, header::USER_AGENT};
use serde_json::{Value, json};

use self::pace::Pace;
use super::{
    access::{self, Judgement, RequestRecord, Stamp},
    line::{Line, key},
    metrics::WorkerIndex,
    redact::Redaction,
    writer::Style,
};
use crate::{
    config::settings::LogFormat,
    policy::{decision::Verdict, lang::fields::is_secret_header},
};

/// The longest header value that is kept, in bytes.
const MAX_VALUE: usize = 1024;
/// The header values of one request that are kept, in bytes together; then their names, the same.
const MAX_HEADERS: usize = 4096;
/// Events take so many bytes each on the average, at most: those who send long ones push older ones out sooner, and never
/// fill the memory.
const BYTES_AN_EVENT: usize = 4096;
/// A buffer that grew beyond this is not used again.
const SPARE_CAPACITY: usize = 8192;

/// The events of all workers, each in a place of its own, so that none waits for another.
#[derive(Debug)]
pub struct Events {
    workers: Box<[Mutex<Remembered>]>,
    /// How many of each sort one worker keeps.
    room: AtomicUsize,
}

/// What one worker remembers. Those that were let through are apart: many of them must not push out one that was refused.
#[derive(Debug, Default)]
struct Remembered {
    refused: Shelf,
    passed: Shelf,
}

/// Events, the oldest first.
#[derive(Debug, Default)]
struct Shelf {
    events: VecDeque<Event>,
    bytes: usize,
    pace: Pace,
}

#[derive(Debug, Default)]
struct Event {
    id: Vec<u8>,
    line: Vec<u8>,
}

impl Events {
    /// Remembers `kept` events of each sort over all workers; 0 remembers none.
    pub(super) fn new(workers: usize, kept: usize) -> Self {
        let workers = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        let events = Self {
            workers,
            room: AtomicUsize::new(0),
        };
        events.resize(kept);
        events
    }

    /// Remembers another number from now on.
    pub(super) fn resize(&self, kept: usize) {
        self.room.store(kept.div_ceil(self.workers.len()), Relaxed);
        if kept == 0 {
            self.workers
                .iter()
                .for_each(|worker| *lock(worker) = Remembered::default());
        }
    }

    /// Remembers a request, if there is anything to say of it.
    pub(super) fn remember(
        &self,
        worker: WorkerIndex,
        style: impl FnOnce() -> Guard<Arc<Style>>,
        stamp: impl FnOnce() -> Stamp,
        record: &RequestRecord<'_>,
    ) {
        let was_refused = match &record.judgement {
            Judgement::Decided { decision, .. } => match decision.verdict {
                Verdict::Block { .. } => true,
                Verdict::Allow { .. } if decision.matched.is_empty() && decision.shadow.is_empty() => return,
                Verdict::Allow { .. } => false,
            },
            Judgement::Rejected { .. } => true,
            Judgement::Answered => return,
        };
        let room = self.room.load(Relaxed);
        let Some(worker) = self.workers.get(worker.get()).filter(|_| room > 0) else {
            return;
        };
        let mut remembered = lock(worker);
        let shelf = if was_refused {
            &mut remembered.refused
        } else {
            &mut remembered.passed
        };
        let client = record.client.map_or(record.source.0.ip(), |client| client.ip.addr());
        let since = record
            .received
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if !shelf.pace.takes(since.as_secs(), client, room) {
            return;
        }
        let mut event = shelf.make_room(room);
        event.id.extend_from_slice(record.id.as_bytes());
        write(&mut event.line, &style().redaction, &stamp(), record);
        shelf.push(event, room);
    }

    /// The request of this id, the latest if there are several, as JSON; `None` when it is not remembered.
    pub fn find(&self, id: &str) -> Option<Value> {
        let line = self.workers.iter().find_map(|worker| {
            let remembered = lock(worker);
            let shelves = [&remembered.refused, &remembered.passed];
            shelves.into_iter().find_map(|shelf| shelf.find(id.as_bytes()))
        });
        serde_json::from_slice(&line?).ok()
    }

    /// How far the memory reaches: how many events there are and may be, and since when.
    pub fn reach(&self) -> Value {
        let room = self.room.load(Relaxed) * self.workers.len();
        let (mut refused, mut passed) = ((0, None), (0, None));
        for worker in &self.workers {
            let remembered = lock(worker);
            remembered.refused.count(&mut refused);
            remembered.passed.count(&mut passed);
        }
        let sort = |(count, since): (usize, Option<Vec<u8>>)| {
            let since = since.and_then(|since| String::from_utf8(since).ok());
            json!({ "count": count, "since": since })
        };
        json!({ "room": room, "refused": sort(refused), "let_through": sort(passed) })
    }
}

fn lock(worker: &Mutex<Remembered>) -> MutexGuard<'_, Remembered> {
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// An empty event, made of the oldest when there is no room for another.
    fn make_room(&mut self, room: usize) -> Event {
        let mut spare = Event::default();
        while self.events.len() >= room {
            spare = self.forget_oldest();
        }
        if spare.line.capacity() > SPARE_CAPACITY {
            spare = Event::default();
        }
        spare.id.clear();
        spare.line.clear();
        spare
    }

    fn push(&mut self, event: Event, room: usize) {
        self.bytes += event.line.len();
        self.events.push_back(event);
        while self.bytes > room.saturating_mul(BYTES_AN_EVENT) && self.events.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> Event {
        let oldest = self.events.pop_front().unwrap_or_default();
        self.bytes -= oldest.line.len();
        oldest
    }

    fn find(&self, id: &[u8]) -> Option<Vec<u8>> {
        let found = self.events.iter().rev().find(|event| event.id == id);
        found.map(|event| event.line.clone())
    }

    fn count(&self, (count, since): &mut (usize, Option<Vec<u8>>)) {
        const STAMP: std::ops::Range<usize> = 15..39;
        *count += self.events.len();
        let oldest = self.events.front().and_then(|event| event.line.get(STAMP));
        // Times of one form are in order as text.
        let is_older = |oldest: &&[u8]| since.as_ref().is_none_or(|since| *oldest < since.as_slice());
        if let Some(oldest) = oldest.filter(is_older) {
            *since = Some(oldest.to_vec());
        }
    }
}

/// What the access record says of a request, and its headers: `name: value` in their order, then the names of those whose values
/// are not kept.
fn write(buffer: &mut Vec<u8>, redaction: &Redaction, stamp: &Stamp, record: &RequestRecord<'_>) {
    let mut line = Line::new(buffer, LogFormat::Json);
    access::write_request(&mut line, redaction, stamp, record);
    let headers = || {
        let mut budget = Budget::default();
        let lines = record.headers.iter();
        lines.map(move |(name, value)| (name, value, budget.keeps(name, value, redaction)))
    };
    let kept = headers().filter(|(.., keeps)| *keeps == Keeps::Whole);
    line.texts(
        key!("portcullis.headers"),
        kept.map(|(name, value, _)| [name.as_str().as_bytes(), b": ", value.as_bytes()]),
    );
    let withheld = headers().filter_map(|(name, _, keeps)| match keeps {
        Keeps::Whole => None,
        Keeps::Name => Some(name.as_str()),
        Keeps::Nothing => None,
    });
    let is_cut = headers().any(|(.., keeps)| keeps == Keeps::Nothing);
    line.tokens(
        key!("portcullis.headers_withheld"),
        withheld.chain(is_cut.then_some(ANY_OTHER)),
    );
    line.end();
}

/// Stands where names would be, when there are too many even of them.
pub(super) const ANY_OTHER: &str = "*";

/// What is kept of a header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Whole,
    Name,
    Nothing,
}

/// How much of a request's headers was kept so far.
#[derive(Debug, Default)]
struct Budget {
    values: usize,
    names: usize,
}

impl Budget {
    fn keeps(&mut self, name: &HeaderName, value: &HeaderValue, redaction: &Redaction) -> Keeps {
        self.names += name.as_str().len();
        if self.names > MAX_HEADERS {
            return Keeps::Nothing;
        }
        let fits = value.len() <= MAX_VALUE && self.values + value.len() <= MAX_HEADERS;
        if !fits || is_withheld(name, value, redaction) {
            return Keeps::Name;
        }
        self.values += value.len();
        Keeps::Whole
    }
}

/// Whether the value is a credential, holds one, or is no text. Many a header holds a URL, `Referer` for one; a user agent holds
/// none that leads anywhere, and is logged whole.
pub(super) fn is_withheld(name: &HeaderName, value: &HeaderValue, redaction: &Redaction) -> bool {
    is_secret_header(name.as_str())
        || value.to_str().is_err()
        || (name != USER_AGENT && redaction.conceals(value.as_bytes()))
}

#[cfg(test)]
mod tests;
