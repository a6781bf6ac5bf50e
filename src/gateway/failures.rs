//! Errors become refusals here and nowhere else.

use http::StatusCode;

use super::head::HeadError;
use crate::{
    policy::decision::Reason,
    telemetry::metrics::UpstreamFailure,
    upstream::{
        UploadError,
        error::{ConnectError, ForwardError},
    },
};

/// How a request that was not answered by its origin is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) status: StatusCode,
    /// What exactly is wrong with the request, where that can be told.
    pub(super) fault: Option<&'static str>,
}

impl Failure {
    /// The request as a whole took longer than `limits.total_timeout`.
    pub(super) const TOTAL_TIMEOUT: Self = Self::new(Reason::UpstreamTimeout, StatusCode::GATEWAY_TIMEOUT);
    /// The request's body is longer than `limits.body_bytes`.
    pub(super) const BODY_TOO_LARGE: Self = Self::new(Reason::TooLarge, StatusCode::PAYLOAD_TOO_LARGE);

    /// The origin switched protocols on a connection that cannot.
    pub(super) const UNASKED_SWITCH: Self = Self::new(Reason::UpstreamDown, StatusCode::BAD_GATEWAY);

    const fn new(reason: Reason, status: StatusCode) -> Self {
        Self {
            reason,
            status,
            fault: None,
        }
    }
}

impl From<&ForwardError> for Failure {
    fn from(error: &ForwardError) -> Self {
        match error {
            ForwardError::Unsendable => Self::new(Reason::Malformed, StatusCode::BAD_REQUEST),
            ForwardError::NoServer
            | ForwardError::Connect { .. }
            | ForwardError::Broken { .. }
            | ForwardError::Framing { .. }
            | ForwardError::UnaskedSwitch { .. } => Self::new(Reason::UpstreamDown, StatusCode::BAD_GATEWAY),
            ForwardError::Overloaded { .. } => Self::new(Reason::Overloaded, StatusCode::SERVICE_UNAVAILABLE),
            ForwardError::Timeout { .. } => Self::new(Reason::UpstreamTimeout, StatusCode::GATEWAY_TIMEOUT),
            ForwardError::Upload(UploadError::TooLarge) => Self::BODY_TOO_LARGE,
            ForwardError::Upload(UploadError::TooSlow) => Self::new(Reason::TooSlow, StatusCode::REQUEST_TIMEOUT),
            ForwardError::Upload(UploadError::Broken) => Self::new(Reason::Malformed, StatusCode::BAD_REQUEST),
        }
    }
}

impl From<HeadError> for Failure {
    fn from(error: HeadError) -> Self {
        // The other reasons have no more to say than their name.
        let is_telling = matches!(
            error.reason,
            Reason::Malformed | Reason::TooLarge | Reason::NotSupported
        );
        Self {
            fault: is_telling.then_some(error.detail),
            ..Self::new(error.reason, error.status)
        }
    }
}

/// A host that leads to no site.
pub(super) const NO_SITE: HeadError = HeadError {
    reason: Reason::UnknownHost,
    status: StatusCode::MISDIRECTED_REQUEST,
    detail: "no site has this host",
};

/// A head that is larger than the limits.
pub(super) const fn head_too_large(status: StatusCode, detail: &'static str) -> HeadError {
    HeadError {
        reason: Reason::TooLarge,
        status,
        detail,
    }
}

/// What an error counts as among the upstream's failures; `None`: the client's fault, or ours.
pub(super) fn upstream_failure(error: &ForwardError) -> Option<UpstreamFailure> {
    match error {
        ForwardError::Unsendable | ForwardError::NoServer | ForwardError::Upload(_) => None,
        ForwardError::Connect { source, .. } => Some(match source {
            ConnectError::Resolve(_) | ConnectError::NoAddress => UpstreamFailure::Resolve,
            ConnectError::Connect(_) => UpstreamFailure::Connect,
            ConnectError::Tls(_) => UpstreamFailure::Tls,
            ConnectError::Timeout => UpstreamFailure::ConnectTimeout,
        }),
        ForwardError::Overloaded { .. } => Some(UpstreamFailure::Overloaded),
        ForwardError::Broken { .. } | ForwardError::Framing { .. } | ForwardError::UnaskedSwitch { .. } => {
            Some(UpstreamFailure::Broken)
        }
        ForwardError::Timeout { .. } => Some(UpstreamFailure::ResponseTimeout),
    }
}
