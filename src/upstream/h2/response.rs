//! What comes back on a stream.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};

use super::{
    call::Pump,
    connection::Place,
    talk::{Silence, Talk},
};
use crate::upstream::OriginBodyError;

/// An answer's body. Dropped before its end, the stream is reset.
#[derive(Debug)]
pub(in crate::upstream) struct ResponseBody {
    stream: RecvStream,
    /// Bytes that are still to come, where the head said how many.
    left: Option<u64>,
    has_data_ended: bool,
    has_ended: bool,
    talk: Rc<Talk>,
    silence: Silence,
    /// Sends the request as long as the answer comes. An answer that has ended wants no more of it.
    pump: Option<Pump>,
    place: Option<Place>,
}

impl ResponseBody {
    pub(super) fn new(
        stream: RecvStream,
        length: Option<u64>,
        talk: Rc<Talk>,
        place: Place,
        pump: Option<Pump>,
    ) -> Self {
        let mut body = Self {
            left: length,
            has_data_ended: false,
            has_ended: false,
            talk,
            silence: Silence::default(),
            pump,
            place: Some(place),
            stream,
        };
        if body.stream.is_end_stream() {
            body.finish();
        }
        body
    }

    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginBodyError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let polled = match self.poll_stream(cx) {
            Poll::Pending => match self.silence.poll_too_long(&self.talk, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => Some(Err(OriginBodyError::Silent)),
            },
            Poll::Ready(polled) => polled,
        };
        self.silence.broken();
        match &polled {
            Some(Ok(frame)) => {
                self.talk.origin_spoke();
                if frame.is_trailers() || self.stream.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) | None => self.finish(),
        }
        Poll::Ready(polled)
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginBodyError>>> {
        while !self.has_data_ended {
            match self.stream.poll_data(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(data))) => {
                    // Taken: it goes to the client now, and the server may send as much more.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    if data.is_empty() && !self.stream.is_end_stream() {
                        continue;
                    }
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(broken(error)))),
                Poll::Ready(None) => self.has_data_ended = true,
            }
        }
        self.stream.poll_trailers(cx).map(|trailers| match trailers {
            Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(None) => None,
            Err(error) => Some(Err(broken(error))),
        })
    }

    fn finish(&mut self) {
        self.has_ended = true;
        self.pump = None;
        self.place = None;
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.has_ended
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.has_ended => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

/// The reason is the client's to know if the server took its own part back; any other would say something of our
/// connection to the server that a client might take for its own: that a request may be sent again, or HTTP/1.1 be used.
fn broken(error: h2::Error) -> OriginBodyError {
    OriginBodyError::Reset(match error.reason() {
        Some(Reason::CANCEL) if error.is_remote() => error,
        _ => {
            tracing::debug!(%error, "a stream to an origin broke off");
            h2::Error::from(Reason::INTERNAL_ERROR)
        }
    })
}
