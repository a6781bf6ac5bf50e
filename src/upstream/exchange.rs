//! One request and its response on one connection.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, UPGRADE},
};
use tokio::time::timeout;

use super::{
    Answer, Destination, Forwarded, Outgoing, Tunnel, Upload, UploadError,
    body::OriginBody,
    demo,
    error::{ForwardError, WireError},
    framing,
    h1::{self, BodyLength, BodyReader, Length, RequestHead, ResponseHead, SendError, Sender},
    origin::Endpoint,
    pool::{Connection, Lease},
};
use crate::config::settings::Upstream;

/// A request ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    head: RequestHead,
    upload: Option<Upload>,
}

impl Prepared {
    pub(super) fn new(destination: Destination, outgoing: Outgoing) -> Self {
        let Outgoing {
            method,
            headers,
            ours,
            accepts_trailers,
            body,
            upgrade,
            conversation: _,
        } = outgoing;
        // RFC 9112 §6: how long the body is, in the one way that leaves no doubt.
        let length = match body.as_ref().map(Upload::length) {
            Some(Some(bytes)) => BodyLength::Known(bytes),
            Some(None) => BodyLength::Chunked,
            // Methods whose body means something say 0; others only if the client did.
            None if matches!(method, Method::POST | Method::PUT | Method::PATCH) => BodyLength::Known(0),
            None if headers.contains_key(CONTENT_LENGTH) => BodyLength::Known(0),
            None => BodyLength::Unsaid,
        };
        Self {
            head: RequestHead {
                method,
                target: destination.target,
                host: destination.host,
                headers,
                ours,
                accepts_trailers,
                body: length,
                upgrade,
            },
            upload: body,
        }
    }

    /// The demo's answer, once the whole body was read. It is counted and not kept.
    pub(super) async fn show(self, server: Arc<Endpoint>, idle: Duration) -> Result<Forwarded, ForwardError> {
        let mut length = 0;
        let mut upload = self.upload;
        while let Some(upload) = &mut upload {
            let frame = match timeout(idle, poll_fn(|cx| upload.poll_frame(cx))).await {
                Ok(Some(frame)) => frame.map_err(ForwardError::Upload)?,
                Ok(None) => break,
                Err(_elapsed) => return Err(ForwardError::Upload(UploadError::TooSlow)),
            };
            length += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        }
        let mut request = Request::new(());
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.target.parse().map_err(|_| ForwardError::Unsendable)?;
        *request.headers_mut() = self.head.lines();
        let (head, ()) = request.into_parts();
        let answer = Answer::Response(demo::respond(&head, length).map(OriginBody::whole));
        Ok(Forwarded { answer, server })
    }

    /// Whether sending the request again means the same as sending it once: its body is not gone, and the origin has not
    /// seen it, or does the same twice (RFC 9110 §9.2.2).
    pub(super) fn is_repeatable(&self, seen: Seen) -> bool {
        let is_harmless = match seen {
            Seen::Nothing => true,
            Seen::Perhaps => self.head.method.is_idempotent(),
        };
        is_harmless
            && self.head.upgrade.is_none()
            && matches!(self.head.body, BodyLength::Unsaid | BodyLength::Known(0))
    }
}

/// A connection with the time that its origin has.
pub(super) struct Exchange<'a> {
    lease: Lease,
    settings: &'a Upstream,
}

/// Why an exchange came to nothing, and what can still be done about it.
pub(super) enum Failed {
    /// A kept connection was closed before any answer.
    Stale(Seen, ForwardError),
    /// Nothing can be done.
    Final(ForwardError),
}

/// What an origin that did not answer has seen of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not a byte was sent.
    Nothing,
    /// Some or all of it was sent.
    Perhaps,
}

/// Why no head came.
enum Unanswered {
    Upload(UploadError),
    Wire(WireError),
    TimedOut,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(lease: Lease, settings: &'a Upstream) -> Self {
        Self { lease, settings }
    }

    pub(super) async fn run(mut self, prepared: &mut Prepared) -> Result<Forwarded, Failed> {
        let since = self.lease.since;
        let head = &prepared.head;
        let http = &mut self.lease.connection.http;
        let spare = std::mem::take(&mut http.spare);
        let upload = prepared.upload.take();
        let mut sender = Sender::new(head, upload, self.settings.idle_timeout, since, spare);
        let patience = self.settings.response_timeout;
        let answered = poll_fn(|cx| poll_answer(cx, http, &mut sender, patience)).await;
        let mut response = match answered {
            Ok(response) => response,
            Err(unanswered) => return Err(self.failed(unanswered, &sender)),
        };
        let server = Arc::clone(self.lease.endpoint());
        let framed = framing::is_unambiguous(&mut response.headers).then(|| Length::of(&head.method, &response).ok());
        let Some(length) = framed.flatten() else {
            return Err(Failed::Final(ForwardError::Framing { server }));
        };
        let answer = if response.status == StatusCode::SWITCHING_PROTOCOLS {
            switched(self.lease, &server, response, head.upgrade.as_ref()).map_err(Failed::Final)?
        } else {
            if !h1::is_reusable(&response, length) {
                self.lease.spoil();
            }
            let body = OriginBody::wire(self.lease, BodyReader::new(length), sender, self.settings.idle_timeout);
            Answer::Response(into_response(response, body))
        };
        Ok(Forwarded { answer, server })
    }

    fn failed(&self, unanswered: Unanswered, sender: &Sender) -> Failed {
        let server = Arc::clone(self.lease.endpoint());
        let source = match unanswered {
            Unanswered::Upload(error) => return Failed::Final(ForwardError::Upload(error)),
            Unanswered::TimedOut => return Failed::Final(ForwardError::Timeout { server }),
            Unanswered::Wire(source) => source,
        };
        // What did come and was no HTTP is an answer too, if a bad one: asking again would not better it.
        let is_stale = self.lease.is_reused() && !matches!(source, WireError::Malformed(_));
        let error = ForwardError::Broken { server, source };
        match (is_stale, sender.has_begun()) {
            (true, true) => Failed::Stale(Seen::Perhaps, error),
            (true, false) => Failed::Stale(Seen::Nothing, error),
            (false, _) => Failed::Final(error),
        }
    }
}

/// Sends, and waits for the head of an answer, until the origin has been silent for `patience` since the request's last
/// byte. While the client keeps the origin waiting, the body's own limits hold.
fn poll_answer(
    cx: &mut Context<'_>,
    http: &mut h1::Connection,
    sender: &mut Sender,
    patience: Duration,
) -> Poll<Result<ResponseHead, Unanswered>> {
    if !sender.is_over() {
        match http.poll_send(cx, sender) {
            Poll::Ready(Err(SendError::Upload(error))) => return Poll::Ready(Err(Unanswered::Upload(error))),
            Poll::Ready(Err(SendError::Io(error))) if !sender.has_begun() => {
                return Poll::Ready(Err(Unanswered::Wire(error.into())));
            }
            // An origin that takes no more may have said why.
            Poll::Ready(Err(SendError::Io(_)) | Ok(())) | Poll::Pending => {}
        }
    }
    // What came before the first byte went out is no answer to it.
    while sender.has_begun() {
        match http.poll_head(cx) {
            Poll::Ready(Ok(head)) if is_interim(head.status) => {}
            Poll::Ready(head) => return Poll::Ready(head.map_err(Unanswered::Wire)),
            Poll::Pending => break,
        }
    }
    match sender.waits_since() {
        Some(since) => http
            .clock
            .poll(cx, since + patience)
            .map(|()| Err(Unanswered::TimedOut)),
        None => Poll::Pending,
    }
}

/// Whether the answer is still to come (RFC 9110 §15.2).
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn into_response<B>(head: ResponseHead, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.version_mut() = head.version;
    *response.headers_mut() = head.headers;
    response
}

/// The origin's 101, if it is an answer to what was asked; else the connection closes.
fn switched(
    lease: Lease,
    server: &Arc<Endpoint>,
    response: ResponseHead,
    asked: Option<&HeaderValue>,
) -> Result<Answer, ForwardError> {
    let is_asked = match (asked, response.headers.get(UPGRADE)) {
        (Some(asked), Some(switched_to)) => switched_to.as_bytes().eq_ignore_ascii_case(asked.as_bytes()),
        (_, _) => false,
    };
    if !is_asked {
        return Err(ForwardError::UnaskedSwitch {
            server: Arc::clone(server),
        });
    }
    let (Connection { http, open }, in_flight) = lease.into_connection();
    Ok(Answer::Switched {
        head: into_response(response, ()),
        tunnel: Tunnel {
            io: http.into_tunnel(),
            _open: open,
            _in_flight: in_flight,
        },
    })
}
