//! What a refusal can say: one value per documented variable, with `disclose` already applied.
//!
//! Every body is made from [`Values`] alone, so what is not disclosed cannot leak: it is not there.

use std::{borrow::Cow, net::IpAddr};

use http::StatusCode;

use super::{
    Refusal,
    words::{self, Words},
};
use crate::{
    config::settings::Disclose,
    policy::{decision::Reason, facts::Country, rule::Timestamp},
    represent::address,
};

/// What is known, and may be told, of one refusal.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub(super) status: StatusCode,
    pub(super) title: &'a str,
    pub(super) advice: &'a str,
    /// `None` when nothing is disclosed.
    pub(super) cause: Option<Cause>,
    pub(super) rule: Option<&'a str>,
    pub(super) request_id: &'a str,
    pub(super) client_ip: Option<IpAddr>,
    pub(super) country: Country,
    pub(super) host: &'a str,
    pub(super) now: Timestamp,
}

/// Why the request is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause {
    pub(super) reason: Reason,
    detail: &'static str,
    fault: Option<&'static str>,
    pub(super) error_code: Option<u16>,
}

impl<'a> Values<'a> {
    pub(super) fn new(refusal: &Refusal<'a>, status: StatusCode, disclose: Disclose) -> Self {
        let words = words::words(refusal.reason);
        let (title, advice, cause) = match disclose {
            Disclose::Nothing => (phrase(status), advice_by_status(status), None),
            Disclose::Reason | Disclose::Rule => (words.title, words.advice, Some(Cause::new(refusal, &words))),
        };
        let rule = match disclose {
            Disclose::Rule => refusal.rule.map(|rule| rule.id),
            Disclose::Nothing | Disclose::Reason => None,
        };
        Self {
            status,
            title,
            advice,
            cause,
            rule,
            request_id: refusal.request_id,
            client_ip: refusal.client.map(|client| client.addr()),
            country: refusal.country,
            host: refusal.host.unwrap_or_default(),
            now: refusal.now,
        }
    }

    /// RFC 3339, UTC.
    pub(super) fn timestamp(&self) -> String {
        jiff::Timestamp::from_second(self.now.0).unwrap_or_default().to_string()
    }

    /// The value of a variable.
    pub(super) fn value(&self, variable: Variable) -> Value<'_> {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        match variable {
            Variable::Status => Value::Number(self.status.as_u16()),
            Variable::Title => Value::Text(self.title.into()),
            Variable::Detail => Value::Text(self.cause.map_or(Cow::Borrowed(""), Cause::detail)),
            Variable::Advice => Value::Text(self.advice.into()),
            Variable::Reason => text(self.cause.map_or("", |cause| cause.reason.as_str())),
            Variable::ErrorCode => self
                .cause
                .and_then(|cause| cause.error_code)
                .map_or(Value::NoNumber, Value::Number),
            Variable::Rule => Value::Text(self.rule.unwrap_or_default().into()),
            Variable::RequestId => Value::Text(self.request_id.into()),
            Variable::ClientIp => Value::Text(self.client_ip.map(shown).unwrap_or_default().into()),
            Variable::Country => Value::Text(self.country.as_str().into()),
            Variable::Host => Value::Text(self.host.into()),
            Variable::Timestamp => Value::Text(self.timestamp().into()),
        }
    }
}

fn shown(ip: IpAddr) -> String {
    let mut text = Vec::new();
    address::push(&mut text, ip);
    String::from_utf8(text).unwrap_or_default()
}

impl Cause {
    fn new(refusal: &Refusal<'_>, words: &Words) -> Self {
        Self {
            reason: refusal.reason,
            detail: words.detail,
            fault: refusal.fault,
            error_code: words.error_code,
        }
    }

    /// One sentence: what happened, and where it is known what exactly.
    pub(super) fn detail(self) -> Cow<'static, str> {
        match self.fault {
            Some(fault) => format!("{}: {fault}.", self.detail.trim_end_matches('.')).into(),
            None => self.detail.into(),
        }
    }
}

/// The status in words, as RFC 9110 has them.
pub(super) fn phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Refused")
}

/// Advice that tells no more than the status does.
fn advice_by_status(status: StatusCode) -> &'static str {
    match status.is_server_error() {
        true => words::TRY_LATER,
        false => words::ASK_OWNER,
    }
}

/// A variable of page and document templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Status,
    Title,
    Detail,
    Advice,
    Reason,
    ErrorCode,
    Rule,
    RequestId,
    ClientIp,
    Country,
    Host,
    Timestamp,
}

impl Variable {
    pub(super) const ALL: [Self; 12] = [
        Self::Status,
        Self::Title,
        Self::Detail,
        Self::Advice,
        Self::Reason,
        Self::ErrorCode,
        Self::Rule,
        Self::RequestId,
        Self::ClientIp,
        Self::Country,
        Self::Host,
        Self::Timestamp,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Title => "title",
            Self::Detail => "detail",
            Self::Advice => "advice",
            Self::Reason => "reason",
            Self::ErrorCode => "error_code",
            Self::Rule => "rule",
            Self::RequestId => "request_id",
            Self::ClientIp => "client_ip",
            Self::Country => "country",
            Self::Host => "host",
            Self::Timestamp => "timestamp",
        }
    }

    /// The variable called `name`; `ray_id` and `geo` are what Cloudflare's tokens become.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "ray_id" => Some(Self::RequestId),
            "geo" => Some(Self::Country),
            name => Self::ALL.into_iter().find(|variable| variable.as_str() == name),
        }
    }
}

/// A variable's value. Text that is not known or not disclosed is empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u16),
    /// Nothing in HTML, `null` in JSON.
    NoNumber,
}

impl Value<'_> {
    /// What `{% if … %}` goes by.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0,
            Self::NoNumber => false,
        }
    }
}
