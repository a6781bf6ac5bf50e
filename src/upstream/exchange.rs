//! One request and its response on one connection.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::{
    Answer, Destination, Forwarded, Outgoing, Tunnel, Upload,
    body::{OriginBody, Progress, SentBody},
    demo,
    error::ForwardError,
    framing,
    origin::Endpoint,
    pool::Lease,
};
use crate::config::settings::Upstream;

/// A request ready to be sent: made anew from what was judged, so that no byte of the client's own framing, spelling or
/// spacing reaches an origin.
#[derive(Debug)]
pub(super) struct Prepared {
    request: Request<SentBody>,
    upload: Option<Rc<Progress>>,
    upgrade: Option<HeaderValue>,
}

impl Prepared {
    pub(super) fn new(destination: Destination, outgoing: Outgoing, idle: Duration) -> Self {
        let Outgoing {
            method,
            mut headers,
            body,
            upgrade,
        } = outgoing;
        let Destination { target, host } = destination;
        headers.insert(HOST, host);
        frame(&mut headers, &method, body.as_ref());
        connect(&mut headers, upgrade.as_ref());
        let (body, upload) = match body {
            None => (SentBody::none(), None),
            Some(upload) => {
                let (body, progress) = SentBody::sending(upload, idle);
                (body, Some(progress))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        Self {
            request,
            upload,
            upgrade,
        }
    }

    /// The demo's answer, once the whole body was read. It is counted and not kept.
    pub(super) async fn show(self, server: Arc<Endpoint>) -> Result<Forwarded, ForwardError> {
        let (head, mut body) = self.request.into_parts();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(ForwardError::Upload)?;
            length += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        }
        let answer = Answer::Response(demo::respond(&head, length).map(OriginBody::whole));
        Ok(Forwarded { answer, server })
    }

    /// A copy, when sending the request twice means the same as sending it once (RFC 9110 §9.2.2).
    pub(super) fn copy_if_repeatable(&self) -> Option<Self> {
        let is_repeatable = self.upload.is_none() && self.upgrade.is_none() && self.request.method().is_idempotent();
        is_repeatable.then(|| {
            let mut request = Request::new(SentBody::none());
            *request.method_mut() = self.request.method().clone();
            *request.uri_mut() = self.request.uri().clone();
            *request.version_mut() = self.request.version();
            *request.headers_mut() = self.request.headers().clone();
            Self {
                request,
                upload: None,
                upgrade: None,
            }
        })
    }
}

/// Says how long the body is, in the one way that leaves no doubt (RFC 9112 §6).
fn frame(headers: &mut HeaderMap, method: &Method, body: Option<&Upload>) {
    headers.remove(TRANSFER_ENCODING);
    // The gateway answers the expectation by reading the body; nothing is left for the origin to answer.
    headers.remove(EXPECT);
    let length = headers.remove(CONTENT_LENGTH);
    match body.map(Upload::length) {
        // Methods whose body means something say 0; others only if the client did.
        None if length.is_some() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        None => {}
        Some(Some(length)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Some(None) => {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    // Only a chunked body can have trailers, and hyper sends only those that `Trailer` announces: those that an HTTP/2 client
    // does not announce end here, as RFC 9110 §6.5.2 allows. Announced for another body, they would be waited for in vain.
    if !headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(TRAILER);
    }
}

/// Sets what concerns this connection alone.
fn connect(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    headers.remove(UPGRADE);
    headers.remove(CONNECTION);
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol.clone());
        headers.append(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if headers.contains_key(TE) {
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// A connection with the time that its origin has.
pub(super) struct Exchange<'a> {
    lease: Lease,
    settings: &'a Upstream,
}

/// Why an exchange came to nothing, and what can still be done about it.
pub(super) enum Failed {
    /// Not a byte of the request was sent.
    Unsent(Box<Prepared>),
    /// A kept connection was closed before any answer.
    Stale(ForwardError),
    /// Nothing can be done.
    Final(ForwardError),
}

impl<'a> Exchange<'a> {
    pub(super) fn new(lease: Lease, settings: &'a Upstream) -> Self {
        Self { lease, settings }
    }

    pub(super) async fn run(mut self, prepared: Prepared) -> Result<Forwarded, Failed> {
        let Prepared {
            request,
            upload,
            upgrade,
        } = prepared;
        let server = Arc::clone(self.lease.endpoint());
        let sent = self.lease.connection.sender.try_send_request(request);
        let answered = match answered_in_time(sent, upload.as_deref(), self.settings.response_timeout).await {
            Some(answered) => answered,
            None => return Err(Failed::Final(ForwardError::Timeout { server })),
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(mut error) => {
                if let (true, Some(request)) = (self.lease.is_reused(), error.take_message()) {
                    return Err(Failed::Unsent(Box::new(Prepared {
                        request,
                        upload,
                        upgrade,
                    })));
                }
                return Err(self.failed(server, error.into_error(), upload.as_deref()));
            }
        };
        if !framing::is_unambiguous(response.headers_mut()) {
            return Err(Failed::Final(ForwardError::Framing { server }));
        }
        let answer = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.switched(&server, response, upgrade).await.map_err(Failed::Final)?
        } else {
            if !leaves_a_good_connection(&response) {
                self.lease.spoil();
            }
            let body = |incoming| OriginBody::wire(incoming, self.lease, upload, self.settings.idle_timeout);
            Answer::Response(response.map(body))
        };
        Ok(Forwarded { answer, server })
    }

    fn failed(&self, server: Arc<Endpoint>, source: hyper::Error, upload: Option<&Progress>) -> Failed {
        if let Some(error) = upload.and_then(Progress::failure) {
            return Failed::Final(ForwardError::Upload(error));
        }
        // What did come and was no HTTP is an answer too, if a bad one: asking again would not better it.
        let is_stale = self.lease.is_reused() && !source.is_parse();
        let error = ForwardError::Broken { server, source };
        if is_stale {
            Failed::Stale(error)
        } else {
            Failed::Final(error)
        }
    }

    /// The origin's 101, if it is an answer to what was asked; else the connection closes.
    async fn switched(
        self,
        server: &Arc<Endpoint>,
        mut response: Response<Incoming>,
        asked: Option<HeaderValue>,
    ) -> Result<Answer, ForwardError> {
        let switched_to = response.headers().get(UPGRADE);
        let is_asked = match (&asked, switched_to) {
            (Some(asked), Some(switched_to)) => switched_to.as_bytes().eq_ignore_ascii_case(asked.as_bytes()),
            (_, _) => false,
        };
        if !is_asked {
            return Err(ForwardError::UnaskedSwitch {
                server: Arc::clone(server),
            });
        }
        let switching = hyper::upgrade::on(&mut response);
        let io = timeout_at(Instant::now() + self.settings.response_timeout, switching)
            .await
            .map_err(|_elapsed| ForwardError::Timeout {
                server: Arc::clone(server),
            })?
            .map_err(|source| ForwardError::Broken {
                server: Arc::clone(server),
                source,
            })?;
        let (connection, in_flight) = self.lease.into_connection();
        let tunnel = Tunnel {
            io: TokioIo::new(io),
            _connection: connection,
            _in_flight: in_flight,
        };
        Ok(Answer::Switched {
            head: response.map(drop),
            tunnel,
        })
    }
}

/// Whether another request can be sent on the connection that this response came on.
///
/// - After an answer in HTTP/1.0 hyper would send the next request in HTTP/1.0 too, and silently leave out a body of
///   unknown length.
/// - An answer that has no body but describes one may be followed by it, from origins that know no better: it would be
///   taken for the next answer. Answers to HEAD describe one by right, and are not suspected.
fn leaves_a_good_connection<B>(response: &Response<B>) -> bool {
    let headers = response.headers();
    let describes_body = || {
        headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
    };
    let has_no_body = matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    response.version() == Version::HTTP_11 && !(has_no_body && describes_body())
}

/// Waits for an answer until the origin has been silent for `patience` since the request's last byte. While the client
/// keeps the origin waiting, the body's own limits hold.
async fn answered_in_time<T>(
    sent: impl Future<Output = T>,
    upload: Option<&Progress>,
    patience: Duration,
) -> Option<T> {
    let mut sent = pin!(sent);
    let mut deadline = Instant::now() + patience;
    loop {
        if let Ok(answered) = timeout_at(deadline, &mut sent).await {
            return Some(answered);
        }
        let now = Instant::now();
        let upload = upload.filter(|upload| !upload.has_ended() || upload.last() + patience > now)?;
        deadline = match upload.is_waiting_for_client() {
            true => now + patience,
            false => upload.last() + patience,
        };
        if deadline <= now {
            return None;
        }
    }
}
