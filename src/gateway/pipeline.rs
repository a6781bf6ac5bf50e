//! A request's way: what it is, who asks, what the policy says, and then its refusal or its origin.
//!
//! Each stage consumes its input and returns the next one's. The terms are taken once, at the beginning.

mod arrival;
mod decide;
mod forward;

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{LOCATION, SEC_WEBSOCKET_VERSION},
    request::Parts,
};

use self::{
    arrival::{Arrival, Checked, Known, Rejected},
    decide::Ruling,
};
use super::{
    answer::{AnswerBody, OpenRecord},
    connection::{Close, ConnectionFacts, RequestBody},
    failures::Failure,
    refusal::{Answer, Refusal},
    terms::Terms,
};
use crate::{
    config::settings::Protocol,
    policy::{phases::Scratch, rule::Timestamp},
    snapshot::{Cached, Current},
    telemetry::{WorkerTelemetry, access::Judgement},
    upstream::Upstreams,
};

/// One worker's gate: takes requests and gives answers. It belongs to its thread, so it needs no locks.
pub struct Gateway {
    current: RefCell<Cached>,
    terms: RefCell<Rc<Terms>>,
    upstreams: Upstreams,
    scratch: RefCell<Scratch>,
    /// How many requests were judged, to measure a sample of them.
    judged: Cell<u32>,
    ids: RefCell<fastrand::Rng>,
    telemetry: WorkerTelemetry,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("generation", &self.terms.borrow().snapshot.generation)
            .finish_non_exhaustive()
    }
}

impl Gateway {
    /// A worker's gate.
    pub fn new(current: Current, telemetry: WorkerTelemetry) -> Self {
        Self {
            terms: RefCell::new(Rc::new(Terms::new(current.load(), &telemetry))),
            current: RefCell::new(current.cached()),
            upstreams: Upstreams::default(),
            scratch: RefCell::default(),
            judged: Cell::new(0),
            ids: RefCell::new(fastrand::Rng::new()),
            telemetry,
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`Close`]: a rule wants the client to get no answer at all.
    pub async fn handle(
        &self,
        connection: &ConnectionFacts,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, Close> {
        let (mut parts, body) = request.into_parts();
        let (arrival, way) = Arrival::new(connection, self.terms(), &parts.headers, |received| {
            self.new_id(received)
        });
        let checked = match arrival.check(way, &mut parts) {
            Ok(checked) => checked,
            Err(rejected) => return self.reject(&arrival, &parts, &rejected),
        };
        if let (Protocol::Redirect { port }, false) = (connection.listener.protocol, checked.tls) {
            return Ok(self.redirect(&arrival, &checked, &parts, port));
        }
        match self.decide(&arrival, &checked, &parts) {
            (record, Ruling::Refuse(answer)) => arrival.refuse(record, answer),
            (record, Ruling::Fail(failure)) => arrival.refuse(
                record,
                arrival.failed(failure, Known::of(&checked), &parts.method, &parts.headers),
            ),
            (record, Ruling::Forward(permitted)) => {
                self.forward(arrival, checked, parts, body, permitted, record).await
            }
        }
    }

    /// The terms of the moment. The first request after a reload lets go of servers that no site leads to any more.
    fn terms(&self) -> Rc<Terms> {
        let mut current = self.current.borrow_mut();
        let snapshot = current.load();
        let mut terms = self.terms.borrow_mut();
        if !Arc::ptr_eq(&terms.snapshot, snapshot) {
            *terms = Rc::new(Terms::new(Arc::clone(snapshot), &self.telemetry));
            self.upstreams.retain(terms.snapshot.origins());
        }
        Rc::clone(&terms)
    }

    /// Milliseconds since 1970 and 80 random bits, in hexadecimal: unique over workers and restarts, and sorted by time.
    /// Not a secret.
    fn new_id(&self, received: SystemTime) -> HeaderValue {
        let since = received.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let random = self.ids.borrow_mut().u128(..);
        let id = ((since.as_millis() & 0xffff_ffff_ffff) << 80) | (random >> 48);
        let digit = |at: usize| {
            b"0123456789abcdef"
                .get((id >> (124 - 4 * at) & 0xf) as usize)
                .copied()
                .unwrap_or(b'0')
        };
        let digits: [u8; 32] = std::array::from_fn(digit);
        let mut id = HeaderValue::from_bytes(&digits).unwrap_or_else(|_| HeaderValue::from_static("-"));
        // It never comes again: HTTP/2's table of headers is not to make room for it.
        id.set_sensitive(true);
        id
    }

    /// Refuses what no rule was asked about.
    fn reject(&self, arrival: &Arrival<'_>, parts: &Parts, rejected: &Rejected) -> Result<Response<AnswerBody>, Close> {
        let known = rejected.known(arrival);
        let judgement = Judgement::Rejected {
            reason: rejected.error.reason,
            detail: Some(rejected.error.detail),
        };
        let record = OpenRecord::new(self.telemetry.begin(&arrival.record(parts, known, judgement)));
        let failure = Failure::from(rejected.error);
        let mut answer = arrival.failed(failure, known, &parts.method, &parts.headers);
        if let (Answer::Respond(response), StatusCode::UPGRADE_REQUIRED) = (&mut answer, failure.status) {
            let headers = response.headers_mut();
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        arrival.refuse(record, answer)
    }

    /// Sends a client of a known host to https. The rules are asked there.
    fn redirect(&self, arrival: &Arrival<'_>, checked: &Checked, parts: &Parts, port: u16) -> Response<AnswerBody> {
        let record = arrival.record(parts, Known::of(checked), Judgement::Answered);
        let record = OpenRecord::new(self.telemetry.begin(&record));
        let (name, target) = (&checked.head.host.name, checked.target.forwarded());
        let location = match port {
            443 => format!("https://{name}{target}"),
            port => format!("https://{name}:{port}{target}"),
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        // Judged hosts and targets are visible ASCII.
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(LOCATION, location);
        }
        arrival.respond(record, response)
    }
}

impl Arrival<'_> {
    /// The answer to a request that failed for another cause than the policy.
    fn failed(&self, failure: Failure, known: Known<'_>, method: &http::Method, headers: &http::HeaderMap) -> Answer {
        let answers = known.site.map_or(&self.terms.snapshot.no_site, |site| &site.answers);
        answers.respond(&Refusal {
            status: Some(failure.status),
            fault: failure.fault,
            ..self.refusal(failure.reason, known, method, headers)
        })
    }

    /// Gives the answer that a refusal came to.
    fn refuse(&self, mut record: OpenRecord, answer: Answer) -> Result<Response<AnswerBody>, Close> {
        match answer {
            Answer::Respond(response) => Ok(self.respond(record, response)),
            Answer::Close => {
                record.end(crate::telemetry::access::Ending::Complete);
                Err(Close)
            }
        }
    }

    /// Gives a response of our own.
    fn respond(&self, mut record: OpenRecord, mut response: Response<Bytes>) -> Response<AnswerBody> {
        self.terms.dress(response.headers_mut(), &self.id);
        record.status = Some(response.status());
        response.map(|body| AnswerBody::own(body, record))
    }
}

/// The second in which something happened.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
