//! From a refusal to its answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::{
    Answer, Refusal, SiteAnswers, body,
    values::Values,
    words::{is_policy, words},
};
use crate::{
    policy::rule::{self, RefusalStatus},
    represent::{
        accept::{self, MediaType},
        grpc,
    },
};

/// For the shipped page: its own style, and nothing else whatever comes to be in it.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
);

impl SiteAnswers {
    /// The answer to a refused request.
    pub fn respond(&self, refusal: &Refusal<'_>) -> Answer {
        let own = refusal.rule.and_then(|rule| rule.response);
        let is_call = grpc::is_call(refusal.headers);
        match self.status_of(refusal, own) {
            RefusalStatus::Close => Answer::Close,
            RefusalStatus::Conceal if is_call => Answer::Respond(self.conceal_call(own)),
            RefusalStatus::Status(status) if is_call => Answer::Respond(self.refuse_call(refusal, status, own)),
            RefusalStatus::Conceal => Answer::Respond(self.conceal(refusal, own)),
            RefusalStatus::Status(status) => Answer::Respond(self.refuse(refusal, status, own)),
        }
    }

    fn status_of(&self, refusal: &Refusal<'_>, own: Option<&rule::Response>) -> RefusalStatus {
        match is_policy(refusal.reason) {
            true => own.and_then(|own| own.status).unwrap_or(self.status),
            false => RefusalStatus::Status(refusal.status.unwrap_or_else(|| words(refusal.reason).status)),
        }
    }

    /// The site's `not_found`, and nothing that tells it from the origin's: no negotiation, no header of ours.
    fn conceal(&self, refusal: &Refusal<'_>, own: Option<&rule::Response>) -> Response<Bytes> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.not_found.headers {
            headers.append(name, value.clone());
        }
        remove_framing(&mut headers);
        headers.insert(header::CONTENT_TYPE, self.not_found.content_type.clone());
        let body = match own.and_then(fixed_body) {
            Some((body, content_type)) => {
                headers.insert(header::CONTENT_TYPE, content_type);
                body
            }
            None => &self.not_found.body,
        };
        add_own(&mut headers, own);
        let body = Bytes::copy_from_slice(body.as_bytes());
        finish(StatusCode::NOT_FOUND, headers, body, refusal.method)
    }

    fn refuse(&self, refusal: &Refusal<'_>, status: StatusCode, own: Option<&rule::Response>) -> Response<Bytes> {
        let mut headers = HeaderMap::with_capacity(8);
        add_own(&mut headers, own);
        let body = match own.and_then(fixed_body) {
            Some((body, content_type)) => {
                headers.insert(header::CONTENT_TYPE, content_type);
                Bytes::copy_from_slice(body.as_bytes())
            }
            None => self.negotiated(refusal, status, &mut headers),
        };
        // A refusal kept by a cache would be shown to others, or to the same client once let in.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.append(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        finish(status, headers, body, refusal.method)
    }

    fn negotiated(&self, refusal: &Refusal<'_>, status: StatusCode, headers: &mut HeaderMap) -> Bytes {
        let values = Values::new(refusal, status, self.disclose);
        let media_type = media_type(refusal.headers);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(media_type.content_type()),
        );
        match media_type {
            MediaType::Html => {
                let (page, shipped) = self.render_page(&values);
                if shipped {
                    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
                }
                page
            }
            MediaType::ProblemJson | MediaType::Json => self
                .render_document(&values)
                .unwrap_or_else(|| body::problem(&values, self.error_docs.as_deref()).into()),
            MediaType::Plain => body::plain(&values).into(),
        }
    }
}

/// A browser that navigates is shown a page; anything else that does not say gets a document. Who accepts nothing that
/// we have gets plain text.
fn media_type(headers: &HeaderMap) -> MediaType {
    use MediaType::{Html, Json, Plain, ProblemJson};
    let offers = match accept::navigates(headers) {
        true => [Html, ProblemJson, Json, Plain],
        false => [ProblemJson, Json, Plain, Html],
    };
    accept::choose(headers, offers).unwrap_or(Plain)
}

/// The body that a rule names, and its media type.
fn fixed_body(own: &rule::Response) -> Option<(&str, HeaderValue)> {
    let content_type = own
        .content_type
        .as_deref()
        .and_then(|content_type| HeaderValue::from_str(content_type).ok())
        .unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
    Some((own.body.as_deref()?, content_type))
}

/// The rule's headers take the place of the site's of the same name; among themselves they add up (`Set-Cookie`).
pub(super) fn add_own(headers: &mut HeaderMap, own: Option<&rule::Response>) {
    let Some(own) = own else { return };
    for (name, _) in &own.headers {
        headers.remove(name);
    }
    for (name, value) in &own.headers {
        headers.append(name, value.clone());
    }
    remove_framing(headers);
}

/// How the body is framed is for whoever frames it, not for those who write headers into a configuration.
fn remove_framing(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

fn finish(status: StatusCode, mut headers: HeaderMap, body: Bytes, method: &Method) -> Response<Bytes> {
    let mut response = Response::new(match *method {
        Method::HEAD => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            Bytes::new()
        }
        _ => body,
    });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
