//! What a log line says of one request. What it does not say is unknown, never empty.

use std::{borrow::Cow, net::IpAddr};

use crate::policy::{facts::HttpVersion, rule::Timestamp};

/// One line of an access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'l> {
    /// When the request came.
    pub time: Option<Timestamp>,
    /// Its id, where the log has one.
    pub id: Option<Cow<'l, str>>,
    /// What became of it.
    pub then: Then<'l>,
    /// Who asked.
    pub client: Client,
    /// What was asked for; or what is wrong with a request that is none, such as TLS on a plain port.
    pub request: Result<Request<'l>, &'static str>,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then<'l> {
    /// No gateway of ours judged it: it passed.
    NotJudged,
    /// It was allowed.
    Allowed {
        /// The allow that decided, if any did.
        rule: Option<Cow<'l, str>>,
    },
    /// It was blocked.
    Blocked {
        /// The deciding rule; `None` for a site's default.
        rule: Option<Cow<'l, str>>,
    },
    /// It was refused before any rule was asked.
    Rejected {
        /// Why.
        reason: Cow<'l, str>,
    },
    /// The gateway answered it by itself, without asking any rule.
    Answered,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The log does not say it.
    Unknown,
    /// This client, whoever was in between.
    Is(IpAddr),
    /// This address connected: a client, or a proxy that names one.
    Connected(IpAddr),
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'l> {
    /// The method as sent.
    pub method: Cow<'l, str>,
    /// The version spoken.
    pub version: Option<HttpVersion>,
    /// Whether the client spoke TLS.
    pub tls: Option<bool>,
    /// The host.
    pub host: Option<SaidHost<'l>>,
    /// Path and query.
    pub target: SaidTarget<'l>,
    /// User-Agent.
    pub user_agent: Said<'l>,
    /// Referer.
    pub referer: Said<'l>,
    /// Other headers, by name in lower case.
    pub headers: Vec<(Cow<'l, str>, Cow<'l, str>)>,
    /// What is known of the headers that are in none of the three above.
    pub other_headers: OtherHeaders<'l>,
}

impl<'l> Request<'l> {
    /// A request of which nothing but its target is known.
    pub fn new(method: impl Into<Cow<'l, str>>, target: SaidTarget<'l>) -> Self {
        Self {
            method: method.into(),
            version: None,
            tls: None,
            host: None,
            target,
            user_agent: Said::Unknown,
            referer: Said::Unknown,
            headers: Vec::new(),
            other_headers: OtherHeaders::Unknown,
        }
    }
}

/// The host, as far as the log says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidHost<'l> {
    /// As sent, or without its port.
    pub authority: Cow<'l, str>,
    /// Whether the port is said, if there was one.
    pub says_port: bool,
}

/// Path and query, as far as the log says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidTarget<'l> {
    /// As sent, but for what is hidden.
    pub raw: Cow<'l, str>,
    /// What of it is not as sent.
    pub hidden: Hidden,
}

/// What of a target is not as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing.
    Nothing,
    /// The query: values in it are redacted, or it was cut.
    Query,
    /// Path and query.
    All,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'l> {
    /// The log does not say it.
    Unknown,
    /// It was not sent.
    Nothing,
    /// It was sent with this value.
    Whole(Cow<'l, str>),
    /// Of a Referer: where it leads to, without its query.
    Place(Cow<'l, str>),
}

/// What is known of headers that the log does not list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherHeaders<'l> {
    /// Nothing.
    Unknown,
    /// The log lists all that were sent; the values of these, by name in lower case, are redacted.
    NotSent {
        /// What is redacted.
        but: Vec<Cow<'l, str>>,
    },
}
