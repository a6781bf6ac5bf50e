//! gRPC: what tells its calls from other requests, and in what words they are refused.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// The outcome of a call, by number.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The outcome in words.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The media type of calls and of what answers them.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// A number that gRPC clients know an outcome by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    const UNKNOWN: Self = Self(2);
    /// The caller may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    const INTERNAL: Self = Self(13);
    const UNAVAILABLE: Self = Self(14);
    const UNAUTHENTICATED: Self = Self(16);

    /// What a client makes of an answer without a `grpc-status`: gRPC's own table from HTTP statuses, so that a refusal means
    /// the same whether it is read by its HTTP status or by ours.
    pub fn of_http(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::INTERNAL,
            StatusCode::UNAUTHORIZED => Self::UNAUTHENTICATED,
            StatusCode::FORBIDDEN => Self::PERMISSION_DENIED,
            StatusCode::NOT_FOUND => Self::UNIMPLEMENTED,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// Whether it says more than that something went wrong.
    pub fn is_telling(self) -> bool {
        self != Self::UNKNOWN
    }

    /// As a header's value.
    pub fn value(self) -> HeaderValue {
        HeaderValue::from(u16::from(self.0))
    }
}

/// Whether a request is a gRPC call: `application/grpc`, alone or with a subtype. gRPC-Web is not: it is HTTP like any other.
pub fn is_call(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let (name, rest) = media_type.as_bytes().split_at(media_type.len().min(MEDIA_TYPE.len()));
    name.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// Everything that is not visible ASCII is escaped, and the escape itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// A sentence as `grpc-message` carries it.
pub fn message(text: &str) -> HeaderValue {
    let escaped = percent_encode(text.as_bytes(), ESCAPED).to_string();
    HeaderValue::try_from(escaped).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_media_type() {
        let is_call_of = |media_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
            is_call(&headers)
        };
        for call in ["application/grpc", "application/grpc+proto", "Application/gRPC;x=1"] {
            assert!(is_call_of(call), "{call}");
        }
        for other in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grp",
            "text/plain",
            "",
        ] {
            assert!(!is_call_of(other), "{other}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn messages_are_escaped() {
        assert_eq!(message("100 % sûr\n"), "100 %25 s%C3%BBr%0A");
    }
}
