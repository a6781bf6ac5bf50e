//! What a refused client gets: status, headers and a body in the representation that it asked for.
//!
//! Owns the words, the bodies and who may learn what. Knows nothing of sockets: a refusal is a value, and so is its
//! answer. The gateway sends it, and adds what every response of the house carries.

mod answers;
mod body;
mod call;
mod parts;
mod respond;
mod template;
#[cfg(test)]
mod tests;
mod trial;
mod values;
mod words;

pub use answers::{SHIPPED_PAGE, SiteAnswers};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use crate::policy::{
    client::ClientIp,
    decision::Reason,
    facts::Country,
    rule::{self, Rule, Timestamp},
};

/// Everything that a refusal depends on, besides the site's answers.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The cause.
    pub reason: Reason,
    /// The status for this case of a reason that has several (`too_large`: 413, 414, 431); `None`: the reason's usual.
    /// Of no effect on refusals by policy, whose status is the rule's or the site's.
    pub status: Option<StatusCode>,
    /// What exactly is wrong with the request, in a few words; told with the reason.
    pub fault: Option<&'static str>,
    /// What is told of the deciding rule.
    pub rule: Option<DecidingRule<'a>>,
    /// The request's method: HEAD gets no body.
    pub method: &'a Method,
    /// The request's headers: `Accept` and `Sec-Fetch-Mode` choose the representation, `Content-Type` tells gRPC calls.
    pub headers: &'a HeaderMap,
    /// The request's id.
    pub request_id: &'a str,
    /// Who is asking, as far as that is known.
    pub client: Option<ClientIp>,
    /// The client's country.
    pub country: Country,
    /// The request's host, as far as it is known.
    pub host: Option<&'a str>,
    /// When the request was made.
    pub now: Timestamp,
}

/// All that a refusal can tell of the rule behind it. Its note, owner and expression are not for clients.
#[derive(Debug, Clone, Copy)]
pub struct DecidingRule<'a> {
    /// Its id, shown if the site discloses rules.
    pub id: &'a str,
    /// What it answers instead of the site.
    pub response: Option<&'a rule::Response>,
}

impl<'a> From<&'a Rule> for DecidingRule<'a> {
    fn from(rule: &'a Rule) -> Self {
        Self {
            id: rule.id.as_str(),
            response: rule.response.as_ref(),
        }
    }
}

/// What to do with a refused client.
#[derive(Debug)]
pub enum Answer {
    /// Send this. For HEAD the body is empty, and `Content-Length` that of GET's; else it is for whoever frames the body.
    Respond(Response<Bytes>),
    /// 444: send nothing and close the connection; on HTTP/2 reset the stream.
    Close,
}
