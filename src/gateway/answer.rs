//! A response's body on its way to the client, and the access record that ends with it.

use std::{
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{headers::remove_from_response_trailers, terms::ServedSite, upload::UploadedBytes};
use crate::{
    policy::decision::Reason,
    telemetry::access::{Ending, Pending, ResponseRecord, UpstreamRecord},
    upstream::{OriginBody, OriginBodyError, origin::Endpoint},
};

/// The access record of a request whose response has not ended. Written exactly once: when it ends, or when it is dropped,
/// which means that the client went away.
#[derive(Debug)]
pub(super) struct OpenRecord(
    /// On the heap: it goes from hand to hand until the answer ends.
    Box<Recorded>,
);

/// What is known of the answer so far.
#[derive(Debug)]
pub(super) struct Recorded {
    pending: Option<Pending>,
    pub(super) status: Option<StatusCode>,
    pub(super) failure: Option<Reason>,
    pub(super) uploaded: UploadedBytes,
    pub(super) downloaded: u64,
    /// The site whose upstream was asked.
    pub(super) asked: Option<ServedSite>,
    pub(super) upstream_took: Option<Duration>,
    /// The server that answered.
    pub(super) server: Option<Arc<Endpoint>>,
}

impl OpenRecord {
    pub(super) fn new(pending: Pending) -> Self {
        Self(Box::new(Recorded {
            pending: Some(pending),
            status: None,
            failure: None,
            uploaded: UploadedBytes::default(),
            downloaded: 0,
            asked: None,
            upstream_took: None,
            server: None,
        }))
    }

    /// Writes the record, if it is not written yet.
    pub(super) fn end(&mut self, ending: Ending) {
        let Some(pending) = self.pending.take() else { return };
        pending.finish(&ResponseRecord {
            status: self.status,
            failure: self.failure,
            request_bytes: self.uploaded.total(),
            response_bytes: self.downloaded,
            upstream: self.asked.as_ref().map(|site| UpstreamRecord {
                name: &site.origin.settings().name,
                server: self.server.as_deref().map(Endpoint::as_str),
                took: self.upstream_took,
            }),
            ending,
        });
    }
}

impl Deref for OpenRecord {
    type Target = Recorded;

    fn deref(&self) -> &Recorded {
        &self.0
    }
}

impl DerefMut for OpenRecord {
    fn deref_mut(&mut self) -> &mut Recorded {
        &mut self.0
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        self.end(Ending::ClientGone);
    }
}

/// The body of every response that the gateway gives.
#[derive(Debug)]
pub struct AnswerBody {
    source: Source,
    /// `None` when the record is in other hands: a tunnel's, which lives on.
    record: Option<OpenRecord>,
    /// When `limits.total_timeout` is over.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Origin(OriginBody),
}

/// Why a response's body ends early. The client sees it cut off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The origin broke off.
    #[error(transparent)]
    Origin(OriginBodyError),
    /// The request took longer than `limits.total_timeout`.
    #[error("the request took longer than limits.total_timeout")]
    TotalTimeout,
}

impl AnswerBody {
    pub(super) fn own(bytes: Bytes, record: OpenRecord) -> Self {
        Self {
            source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())),
            record: Some(record),
            deadline: None,
        }
    }

    pub(super) fn origin(body: OriginBody, record: OpenRecord, deadline: Option<Instant>) -> Self {
        Self {
            source: Source::Origin(body),
            record: Some(record),
            deadline: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
        }
    }

    /// Nothing, and nothing to record.
    pub(super) fn none() -> Self {
        Self {
            source: Source::Own(None),
            record: None,
            deadline: None,
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        match &mut self.source {
            Source::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Origin(body) => {
                // First of all: an origin that always has more would else never let the time be up.
                if is_over(&mut self.deadline, cx) {
                    return Poll::Ready(Some(Err(AnswerError::TotalTimeout)));
                }
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|frame| frame.map(|frame| frame.map(pass).map_err(AnswerError::Origin)))
            }
        }
    }

    fn end(&mut self, ending: Ending) {
        if let Some(record) = &mut self.record {
            record.end(ending);
        }
    }
}

/// Whether the time is up; if not, the task is woken when it is.
fn is_over(deadline: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    match deadline {
        Some(deadline) => deadline.as_mut().poll(cx).is_ready(),
        None => false,
    }
}

/// Trailers end a message as headers begin it: what is for one connection only stays there.
fn pass(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            remove_from_response_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let polled = self.poll_source(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Some(record) = &mut self.record {
                    record.downloaded += bytes as u64;
                }
            }
            Poll::Ready(Some(Err(AnswerError::Origin(OriginBodyError::Broken(_) | OriginBodyError::Reset(_))))) => {
                self.end(Ending::OriginGone);
            }
            Poll::Ready(Some(Err(AnswerError::Origin(OriginBodyError::Silent) | AnswerError::TotalTimeout))) => {
                self.end(Ending::TimedOut);
            }
            Poll::Ready(Some(Err(AnswerError::Origin(OriginBodyError::Upload(_))))) => self.end(Ending::ClientGone),
            Poll::Ready(None) => self.end(Ending::Complete),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Origin(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Origin(body) => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    /// A body whose last frame was taken is not asked again; one that has more was given up by the client, or by the server
    /// on a client that does not read.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end(Ending::Complete);
        } else if self
            .deadline
            .as_ref()
            .is_some_and(|deadline| deadline.deadline() <= Instant::now())
        {
            self.end(Ending::TimedOut);
        }
    }
}
