//! One request on a stream, and the head of its answer.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::task::AbortHandle;

use super::{
    REPLAY,
    connection::Place,
    response::ResponseBody,
    talk::{Silence, Talk, in_time},
};
use crate::{
    config::settings::{Server, Upstream},
    upstream::{
        Answer, Destination, Forwarded, OriginBody, Outgoing, Upload, UploadError, error::ForwardError, framing,
        origin::Endpoint,
    },
};

/// A request ready to be sent on a stream: made anew from what was judged. It stays here until it is answered, so that it can
/// be sent again.
#[derive(Debug)]
pub(in crate::upstream) struct Call {
    method: Method,
    authority: Authority,
    path: PathAndQuery,
    headers: HeaderMap,
    source: Option<Rc<RefCell<Source>>>,
    talk: Rc<Talk>,
}

/// Why a stream came to nothing, and what can still be done about it.
#[derive(Debug)]
pub(in crate::upstream) enum Failed {
    /// The server did not process the request, and says so.
    Unprocessed(ForwardError),
    /// The connection was lost before any answer.
    Lost(ForwardError),
    /// Nothing can be done.
    Final(ForwardError),
}

impl Call {
    /// # Errors
    /// HTTP/2 cannot carry the request: not unchanged, or not with what is to follow it.
    pub(in crate::upstream) fn new(
        destination: Destination,
        outgoing: Outgoing,
        settings: &Upstream,
    ) -> Result<Self, ForwardError> {
        let Outgoing {
            method,
            mut headers,
            ours,
            accepts_trailers,
            body,
            upgrade,
            conversation,
        } = outgoing;
        if upgrade.is_some() {
            return Err(ForwardError::CannotSwitch);
        }
        let Destination { target, host } = destination;
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| ForwardError::Unsendable)?;
        let path = PathAndQuery::try_from(&*target).map_err(|_| ForwardError::Unsendable)?;
        // What was judged is what is sent, byte for byte: neither a fragment cut off nor a slash put before.
        if path.as_str() != &*target || authority.as_str().as_bytes() != host.as_bytes() {
            return Err(ForwardError::Unsendable);
        }
        headers.extend(ours);
        if accepts_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        frame(&mut headers, &method, body.as_ref());
        let talk = Rc::new(Talk::new(settings.idle_timeout, conversation));
        Ok(Self {
            method,
            authority,
            path,
            headers,
            source: body.map(|body| Rc::new(RefCell::new(Source::new(body, Rc::clone(&talk))))),
            talk,
        })
    }

    /// Sends it and waits for the head of its answer.
    pub(in crate::upstream) async fn send(&self, place: Place, settings: &Upstream) -> Result<Forwarded, Failed> {
        let server = Arc::clone(place.endpoint());
        self.talk.client_spoke();
        let (answer, stream) = place
            .sender()
            .send_request(self.head(&server), self.source.is_none())
            .map_err(|error| not_sent(&server, error))?;
        let pump = match &self.source {
            Some(source) => Pump::start(Rc::clone(source), stream).await,
            None => None,
        };
        let response = match in_time(answer, &self.talk, settings.response_timeout).await {
            None => return Err(Failed::Final(ForwardError::Timeout { server })),
            Some(Err(error)) => return Err(self.failed(server, error)),
            Some(Ok(response)) => response,
        };
        self.talk.origin_spoke();
        if let Some(source) = &self.source {
            source.borrow_mut().forget();
        }
        self.answered(server, response, place, pump)
    }

    /// Whether it can be sent once more after the server did not process it: its body so far is still here.
    pub(in crate::upstream) fn rewind(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.borrow_mut().rewind())
    }

    /// Whether sending it twice means the same as sending it once (RFC 9110 §9.2.2).
    pub(in crate::upstream) fn is_repeatable(&self) -> bool {
        self.source.is_none() && self.method.is_idempotent()
    }

    fn head(&self, server: &Endpoint) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        let mut uri = http::uri::Parts::default();
        // The scheme of the connection, not the client's: servers refuse one that does not fit (RFC 9113 §8.3.1 lets them).
        uri.scheme = Some(match server.server() {
            Server::Https { .. } => Scheme::HTTPS,
            Server::Http { .. } | Server::Demo => Scheme::HTTP,
        });
        uri.authority = Some(self.authority.clone());
        uri.path_and_query = Some(self.path.clone());
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }

    fn failed(&self, server: Arc<Endpoint>, source: h2::Error) -> Failed {
        if let Some(error) = self.talk.failure() {
            return Failed::Final(ForwardError::Upload(error));
        }
        let is_refused = source.is_reset() && source.is_remote() && source.reason() == Some(Reason::REFUSED_STREAM);
        // A stream learns of a GOAWAY only if it lies beyond the last one that the server looked at (RFC 9113 §6.8).
        let is_left_out = source.is_go_away() && source.is_remote();
        let is_lost = source.is_io();
        let error = ForwardError::Stream { server, source };
        match (is_refused || is_left_out, is_lost) {
            (true, _) => Failed::Unprocessed(error),
            (false, true) => Failed::Lost(error),
            (false, false) => Failed::Final(error),
        }
    }

    fn answered(
        &self,
        server: Arc<Endpoint>,
        response: Response<h2::RecvStream>,
        place: Place,
        pump: Option<Pump>,
    ) -> Result<Forwarded, Failed> {
        let (mut head, stream) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failed::Final(ForwardError::UnaskedSwitch { server }));
        }
        if !framing::is_unambiguous(&mut head.headers) {
            return Err(Failed::Final(ForwardError::Framing { server }));
        }
        let length = match self.method == Method::HEAD {
            true => None,
            false => head.headers.get(CONTENT_LENGTH),
        };
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = ResponseBody::new(stream, length, Rc::clone(&self.talk), place, pump);
        let answer = Answer::Response(Response::from_parts(head, OriginBody::stream(body)));
        Ok(Forwarded { answer, server })
    }
}

/// Leaves what HTTP/2 says in other ways, or not at all (RFC 9113 §8.2.2), and says how long the body is where that is known.
fn frame(headers: &mut HeaderMap, method: &Method, body: Option<&Upload>) {
    for name in [HOST, CONNECTION, TRANSFER_ENCODING, UPGRADE, EXPECT] {
        headers.remove(name);
    }
    let length = headers.remove(CONTENT_LENGTH);
    let length = match body.map(Upload::length) {
        None if length.is_some() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Some(0),
        None => None,
        Some(known) => known,
    };
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// The connection ended before the request was on it, or the request is nothing that HTTP/2 can carry.
fn not_sent(server: &Arc<Endpoint>, source: h2::Error) -> Failed {
    match source.is_io() || source.is_go_away() {
        true => Failed::Unprocessed(ForwardError::Stream {
            server: Arc::clone(server),
            source,
        }),
        false => Failed::Final(ForwardError::Unsendable),
    }
}

/// A request's body, and as much of its beginning as is kept to send it again.
struct Source {
    body: Upload,
    talk: Rc<Talk>,
    silence: Silence,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// How many of the kept ones were sent.
    sent: usize,
    /// Whether everything that was taken is kept.
    is_whole: bool,
}

/// What a body gives next.
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

impl Source {
    fn new(upload: Upload, talk: Rc<Talk>) -> Self {
        Self {
            body: upload,
            talk,
            silence: Silence::default(),
            kept: Vec::new(),
            kept_bytes: 0,
            sent: 0,
            is_whole: true,
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, UploadError>> {
        if let Some(kept) = self.kept.get(self.sent) {
            self.sent += 1;
            return Poll::Ready(Ok(Piece::Data(kept.clone())));
        }
        let frame = match self.body.poll_frame(cx) {
            Poll::Pending => {
                self.talk.client_is_awaited();
                ready!(self.silence.poll_too_long(&self.talk, cx));
                Some(Err(UploadError::TooSlow))
            }
            Poll::Ready(frame) => frame,
        };
        self.silence.broken();
        Poll::Ready(match frame {
            None => {
                self.talk.client_spoke();
                Ok(Piece::End)
            }
            Some(Err(error)) => {
                self.talk.client_failed(error);
                Err(error)
            }
            Some(Ok(frame)) => {
                self.talk.client_spoke();
                Ok(self.piece(frame))
            }
        })
    }

    fn piece(&mut self, frame: http_body::Frame<Bytes>) -> Piece {
        match frame.into_data() {
            Ok(data) => {
                self.keep(&data);
                Piece::Data(data)
            }
            Err(frame) => {
                self.forget();
                match frame.into_trailers() {
                    // Trailers of which nothing was passed on.
                    Ok(trailers) if trailers.is_empty() => Piece::End,
                    Ok(trailers) => Piece::Trailers(trailers),
                    Err(_neither) => Piece::Data(Bytes::new()),
                }
            }
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if !self.is_whole || self.kept_bytes > REPLAY {
            return self.forget();
        }
        // An empty piece costs a place too.
        if !data.is_empty() {
            self.kept.push(data.clone());
            self.sent = self.kept.len();
        }
    }

    fn forget(&mut self) {
        self.is_whole = false;
        self.kept = Vec::new();
        self.sent = 0;
    }

    fn rewind(&mut self) -> bool {
        self.sent = 0;
        self.is_whole && self.talk.failure().is_none()
    }

    fn is_at_end(&self) -> bool {
        self.sent == self.kept.len() && self.body.is_end_stream()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("kept_bytes", &self.kept_bytes)
            .field("is_whole", &self.is_whole)
            .finish_non_exhaustive()
    }
}

/// The task that sends a body while its answer comes. Dropped, it resets its half of the stream if that has not ended.
#[derive(Debug)]
pub(super) struct Pump(AbortHandle);

impl Pump {
    /// Sends what is there already. `None`: that was all of it.
    async fn start(source: Rc<RefCell<Source>>, stream: SendStream<Bytes>) -> Option<Self> {
        let mut pumping = Pumping {
            source,
            stream,
            waiting: None,
        };
        let has_ended = poll_fn(|cx| Poll::Ready(pumping.poll(cx).is_ready())).await;
        (!has_ended).then(|| Self(tokio::task::spawn_local(poll_fn(move |cx| pumping.poll(cx))).abort_handle()))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body on its way into a stream.
struct Pumping {
    source: Rc<RefCell<Source>>,
    stream: SendStream<Bytes>,
    /// Waits for the server's window.
    waiting: Option<Bytes>,
}

impl Pumping {
    /// Sends until the body has ended, or the server wants no more of it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(data) = self.waiting.take() {
                match self.poll_room(cx) {
                    Poll::Pending => {
                        self.waiting = Some(data);
                        return Poll::Pending;
                    }
                    Poll::Ready(false) => return Poll::Ready(()),
                    Poll::Ready(true) => {}
                }
                let is_last = self.source.borrow().is_at_end();
                if self.stream.send_data(data, is_last).is_err() || is_last {
                    return Poll::Ready(());
                }
            }
            let piece = ready!(self.source.borrow_mut().poll_piece(cx));
            match piece {
                Ok(Piece::Data(data)) if data.is_empty() => {}
                Ok(Piece::Data(data)) => {
                    // A claim on the connection's window only now that there is something to send, and no larger than it
                    // must be: an idle stream must not hold what the others could use.
                    self.stream.reserve_capacity(1);
                    self.waiting = Some(data);
                }
                Ok(Piece::Trailers(trailers)) => {
                    self.stream.reserve_capacity(0);
                    let _ = self.stream.send_trailers(trailers);
                    return Poll::Ready(());
                }
                Ok(Piece::End) => {
                    let _ = self.stream.send_data(Bytes::new(), true);
                    return Poll::Ready(());
                }
                Err(_told_by_the_talk) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Waits until the window has room; `false`: the stream takes no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }
}
