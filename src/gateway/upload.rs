//! A request's body on its way from the client to the origin: bounded, counted, and with trailers that are no headers.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::{RequestBody, RequestBodyError};
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

/// A body within `limits.body_bytes`.
#[derive(Debug)]
pub(super) struct BoundedBody {
    body: RequestBody,
    snapshot: Arc<Snapshot>,
    bytes: UploadedBytes,
}

impl BoundedBody {
    /// `None`: the body says itself that it is too long.
    pub(super) fn new(body: RequestBody, snapshot: &Arc<Snapshot>, bytes: UploadedBytes) -> Option<Self> {
        let fits = snapshot
            .settings
            .limits
            .body_bytes
            .is_none_or(|most| body.size_hint().lower() <= most);
        fits.then(|| Self {
            body,
            snapshot: Arc::clone(snapshot),
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
        // Origins exist that merge trailers into the headers: what a client may not say there it may not say here.
        Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                self.snapshot.headers.remove_from_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
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
