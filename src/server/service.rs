//! From a request to the gate's answer: counts requests, answers health checks, says when to close.

use std::{
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    activity::{Activity, HttpKind, InFlight},
    rate::{StreamExecutor, StreamPace},
    slots::UnderWay,
    worker::Worker,
};
use crate::gateway::{
    AnswerBody as GatewayBody, Gateway,
    connection::{Close, ConnectionFacts, RequestBody, WireFault},
    pace::Pace,
};

/// Bytes of a response that hyper is handed at once over HTTP/2: what a stream may have on its way beyond its client's window.
/// All of it counts as read at [`StreamPace`] when it is handed over, so more would be patience for nothing.
const H2_FRAME: usize = 16 * 1024 - H2_FRAME_HEAD;
/// What stands before it (RFC 9113 §4.1): both together fill one TLS record.
const H2_FRAME_HEAD: usize = 9;

/// What judges and answers requests; one per worker, so it needs no locks.
pub trait Gate: 'static {
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static;

    /// Answers a request, or closes without one.
    fn handle(
        &self,
        connection: &Arc<ConnectionFacts>,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Close>>;
}

impl Gate for Gateway {
    type Body = GatewayBody;

    async fn handle(
        &self,
        connection: &Arc<ConnectionFacts>,
        request: Request<RequestBody>,
    ) -> Result<Response<GatewayBody>, Close> {
        Self::handle(self, connection, request).await
    }
}

/// What the requests of one connection share.
pub(super) struct ConnectionService<G: Gate> {
    pub(super) worker: Rc<Worker<G>>,
    pub(super) facts: Arc<ConnectionFacts>,
    pub(super) activity: Arc<Activity>,
    pub(super) pace: Option<Pace>,
    pub(super) total: Option<Duration>,
    pub(super) kind: HttpKind,
    pub(super) streams: StreamExecutor,
}

impl<G: Gate> ConnectionService<G> {
    /// Has a request answered.
    pub(super) fn call(self: &Rc<Self>, request: Request<RequestBody>) -> UnderWay<Asked<G>, Answered<G>> {
        let asked = Asked {
            service: Rc::clone(self),
            request,
            in_flight: self.activity.request(self.total.is_some()),
            stream: self.stream_pace(),
        };
        self.worker.slots.ask(asked, Asked::answer)
    }

    /// What hyper calls for each request of an HTTP/2 connection.
    pub(super) fn call_http2(self: &Rc<Self>, request: Request<Incoming>) -> UnderWay<Asked<G>, Answered<G>> {
        let unread = Arc::clone(&self.activity.unread);
        self.call(request.map(|body| RequestBody::new(body, self.pace, unread)))
    }

    async fn ask(&self, request: Request<RequestBody>) -> Result<Response<G::Body>, Close> {
        self.worker.gate.handle(&self.facts, request).await
    }

    fn stream_pace(&self) -> Option<Rc<StreamPace>> {
        match self.kind {
            HttpKind::Http1 => None,
            HttpKind::Http2 if self.pace.is_none() && self.total.is_none() => None,
            HttpKind::Http2 => {
                let pace = StreamPace::new(self.pace, self.total.map(|total| Instant::now() + total));
                self.streams.pace_next(Rc::clone(&pace));
                Some(pace)
            }
        }
    }

    /// The listener's health path, asked for by load balancers: 200 while serving, also by a successor; 503 while draining.
    fn health(&self, request: &Request<RequestBody>) -> Option<Response<Option<Bytes>>> {
        let path = self.facts.listener.health.as_deref()?;
        let asked = request.uri().path() == path && matches!(*request.method(), Method::GET | Method::HEAD);
        if !asked || request.extensions().get::<WireFault>().is_some() {
            return None;
        }
        let (status, body) = if self.worker.phase().is_healthy() {
            (StatusCode::OK, Bytes::from_static(b"ok\n"))
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, Bytes::from_static(b"draining\n"))
        };
        let mut response = Response::new(Some(body));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    /// An answer given before the request's body was read is the last on an HTTP/1.1 connection: what follows is the rest of
    /// that body, and must never be taken for a request. While draining every answer is the last, and says so.
    fn close_after<B>(&self, response: &mut Response<B>) {
        if self.kind == HttpKind::Http2 {
            return;
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.activity.become_tunnel();
        } else if self.activity.unread.load(Ordering::Relaxed) || !self.worker.phase().is_serving() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A request, counted as under way.
pub(super) struct Asked<G: Gate> {
    service: Rc<ConnectionService<G>>,
    request: Request<RequestBody>,
    in_flight: InFlight,
    stream: Option<Rc<StreamPace>>,
}

/// What it gets.
pub(super) type Answered<G> = Result<Response<AnswerBody<<G as Gate>::Body>>, Close>;

impl<G: Gate> Asked<G> {
    async fn answer(self) -> Answered<G> {
        let Self {
            service,
            request,
            mut in_flight,
            stream,
        } = self;
        let mut response = match service.health(&request) {
            Some(answer) => answer.map(Answer::Own),
            None => match service.ask(request).await {
                Ok(answer) => answer.map(Answer::Gate),
                Err(close) => {
                    in_flight.answered();
                    return Err(close);
                }
            },
        };
        service.close_after(&mut response);
        if response.body().is_end_stream() {
            in_flight.answered();
        }
        Ok(response.map(|answer| AnswerBody {
            answer,
            rest: Bytes::new(),
            kind: service.kind,
            stream,
            in_flight,
        }))
    }
}

/// The body of an answer on its way to the client; the request is under way as long as it lives.
#[derive(Debug)]
pub(super) struct AnswerBody<B> {
    answer: Answer<B>,
    /// Of the frame before, still to be handed over.
    rest: Bytes,
    kind: HttpKind,
    stream: Option<Rc<StreamPace>>,
    in_flight: InFlight,
}

#[derive(Debug)]
enum Answer<B> {
    Own(Option<Bytes>),
    Gate(B),
}

impl<B: Body<Data = Bytes>> Answer<B> {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Gate(body) => body.is_end_stream(),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(stream) = &this.stream {
            stream.asked();
        }
        let frame = match &mut this.answer {
            _ if !this.rest.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.rest))))),
            Answer::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Answer::Gate(body) => Pin::new(body).poll_frame(cx),
        };
        let frame = match this.kind {
            HttpKind::Http1 => frame,
            HttpKind::Http2 => frame.map_ok(|frame| split(frame, &mut this.rest)),
        };
        if let (Some(stream), Poll::Ready(Some(Ok(frame)))) = (&this.stream, &frame) {
            stream.delivered(frame.data_ref().map_or(0, Bytes::len));
        }
        let has_ended = match &frame {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || this.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
        };
        if has_ended {
            this.in_flight.answered();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = match &self.answer {
            Answer::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Answer::Gate(body) => body.size_hint(),
        };
        longer(&hint, self.rest.len() as u64)
    }
}

/// Leaves of a frame what is handed over at once, and the rest for later.
fn split(frame: Frame<Bytes>, rest: &mut Bytes) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut data) => {
            *rest = data.split_off(data.len().min(H2_FRAME));
            Frame::data(data)
        }
        Err(trailers) => trailers,
    }
}

fn longer(hint: &SizeHint, by: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    longer.set_lower(hint.lower().saturating_add(by));
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper.saturating_add(by));
    }
    longer
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    fn body(kind: HttpKind, bytes: usize) -> AnswerBody<Full<Bytes>> {
        AnswerBody {
            answer: Answer::Gate(Full::new(Bytes::from(vec![b'x'; bytes]))),
            rest: Bytes::new(),
            kind,
            stream: None,
            in_flight: Activity::new().request(false),
        }
    }

    async fn frames(mut body: AnswerBody<Full<Bytes>>) -> Vec<usize> {
        let mut frames = Vec::new();
        let mut left = body.size_hint().exact().expect("a known size");
        while !body.is_end_stream() {
            let frame = body.frame().await.expect("not the end").expect("no error");
            let length = frame.into_data().expect("data").len();
            left -= length as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
            frames.push(length);
        }
        frames
    }

    #[tokio::test]
    async fn http2_hands_over_little_at_a_time_and_loses_none() {
        assert_eq!(frames(body(HttpKind::Http2, 40_000)).await, [16_375, 16_375, 7_250]);
        assert_eq!(frames(body(HttpKind::Http2, 16_375)).await, [16_375]);
        assert_eq!(frames(body(HttpKind::Http1, 40_000)).await, [40_000]);
    }
}
