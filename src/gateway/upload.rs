//! A request's body on its way from the client to the origin: bounded, counted, and with trailers that are no headers.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, header::TRAILER};
use http_body::{Body, Frame, SizeHint};

use super::{
    connection::{RequestBody, RequestBodyError},
    headers::folded,
};
use crate::{snapshot::Snapshot, upstream::UploadError};

/// The bytes of a request's body so far.
#[derive(Debug, Clone, Default)]
pub(super) struct UploadedBytes(Rc<Cell<u64>>);

impl UploadedBytes {
    pub(super) fn total(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_add(bytes));
    }
}

/// What the trailers of a request may not say: what its own headers said. `None`: it announces no trailers, so that none
/// are passed on (only those that were announced are sent).
#[derive(Debug)]
pub(super) struct Trailers(Option<Vec<String>>);

impl Trailers {
    /// The trailers of a request with these headers.
    pub(super) fn after(headers: &HeaderMap) -> Self {
        let announced = headers.contains_key(TRAILER);
        Self(announced.then(|| headers.keys().map(folded).collect()))
    }

    fn pass(&self, mut trailers: HeaderMap, snapshot: &Snapshot) -> HeaderMap {
        let Some(headers) = &self.0 else {
            return HeaderMap::new();
        };
        let is_judged = |name: &str| snapshot.policy.reads_header(name) || headers.iter().any(|said| said == name);
        snapshot.headers.remove_from_trailers(&mut trailers, is_judged);
        trailers
    }
}

/// A body within `limits.body_bytes`.
#[derive(Debug)]
pub(super) struct BoundedBody {
    body: RequestBody,
    snapshot: Arc<Snapshot>,
    trailers: Trailers,
    bytes: UploadedBytes,
}

impl BoundedBody {
    /// `None`: the body says itself that it is too long.
    pub(super) fn new(
        body: RequestBody,
        trailers: Trailers,
        snapshot: &Arc<Snapshot>,
        bytes: UploadedBytes,
    ) -> Option<Self> {
        let fits = snapshot
            .settings
            .limits
            .body_bytes
            .is_none_or(|most| body.size_hint().lower() <= most);
        fits.then(|| Self {
            body,
            snapshot: Arc::clone(snapshot),
            trailers,
            bytes,
        })
    }

    fn pass(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let Some(chunk) = frame.data_ref() {
            self.bytes.add(chunk.len() as u64);
            if self
                .snapshot
                .settings
                .limits
                .body_bytes
                .is_some_and(|most| self.bytes.total() > most)
            {
                return Err(UploadError::TooLarge);
            }
            return Ok(frame);
        }
        Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(self.trailers.pass(trailers, &self.snapshot)),
            Err(frame) => frame,
        })
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            frame.map(|frame| match frame {
                Ok(frame) => self.pass(frame),
                Err(RequestBodyError::TooSlow) => Err(UploadError::TooSlow),
                Err(RequestBodyError::Broken(error)) => {
                    tracing::debug!(%error, "a request's body broke off");
                    Err(UploadError::Broken)
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
