//! The refusal of a gRPC call: an outcome in the headers, and no body (gRPC's "Trailers-Only" answer, with HTTP status 200). A
//! page or a document would reach no caller: gRPC clients read nothing else, and show `grpc-message` to people.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};

use super::{Refusal, SiteAnswers, respond::add_own, values::Values, words::is_policy};
use crate::{
    policy::rule,
    represent::grpc::{self, GRPC_MESSAGE, GRPC_STATUS, GrpcStatus},
};

impl SiteAnswers {
    /// The refusal of a call that would have got this HTTP status.
    pub(super) fn refuse_call(
        &self,
        refusal: &Refusal<'_>,
        status: StatusCode,
        own: Option<&rule::Response>,
    ) -> Response<Bytes> {
        let values = Values::new(refusal, status, self.disclose);
        let outcome = match GrpcStatus::of_http(status) {
            // What a rule denies is denied, whatever status it chose for people.
            known if known.is_telling() || !is_policy(refusal.reason) => known,
            _ => GrpcStatus::PERMISSION_DENIED,
        };
        let mut message = match values.cause {
            Some(cause) => cause.detail().into_owned(),
            None => values.title.to_owned(),
        };
        if let Some(rule) = values.rule {
            message += &format!(" Rule: {rule}.");
        }
        let mut headers = HeaderMap::with_capacity(8);
        add_own(&mut headers, own);
        headers.insert(GRPC_MESSAGE, grpc::message(&message));
        answer(headers, outcome)
    }

    /// No such method, as far as the caller can tell.
    pub(super) fn conceal_call(&self, own: Option<&rule::Response>) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.not_found.headers {
            headers.append(name, value.clone());
        }
        add_own(&mut headers, own);
        answer(headers, GrpcStatus::UNIMPLEMENTED)
    }
}

fn answer(mut headers: HeaderMap, outcome: GrpcStatus) -> Response<Bytes> {
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, grpc::MEDIA_TYPE);
    headers.insert(GRPC_STATUS, outcome.value());
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = headers;
    response
}
