//! The bodies that need no template: RFC 9457 problem documents and plain text.

use std::borrow::Cow;

use serde::Serialize;

use super::values::{Cause, Values, phrase};

/// A problem document (RFC 9457), with members of our own.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    request_id: &'a str,
    timestamp: String,
}

/// The problem document. `error_docs` is the site's page about refusals.
pub(super) fn problem(values: &Values<'_>, error_docs: Option<&str>) -> Vec<u8> {
    let reason = values.cause.map(|cause| cause.reason.as_str());
    let documented = error_docs.map(|url| type_url(url, reason));
    let problem = Problem {
        r#type: documented.as_deref().unwrap_or("about:blank"),
        // RFC 9457 §4.2.1: with about:blank the title is the status phrase.
        title: match documented {
            Some(_) => values.title,
            None => phrase(values.status),
        },
        status: values.status.as_u16(),
        detail: values.cause.map(Cause::detail),
        instance: (!values.request_id.is_empty()).then(|| format!("/req/{}", values.request_id)),
        reason,
        error_code: values.cause.and_then(|cause| cause.error_code),
        rule: values.rule,
        request_id: values.request_id,
        timestamp: values.timestamp(),
    };
    serde_json::to_vec(&problem).expect("strings and numbers are always JSON")
}

/// `https://example.com/errors#ip_blocked`: one page, one heading a reason.
fn type_url(error_docs: &str, reason: Option<&str>) -> String {
    match reason {
        Some(reason) if error_docs.contains('#') => format!("{error_docs}{reason}"),
        Some(reason) => format!("{error_docs}#{reason}"),
        None => error_docs.to_owned(),
    }
}

/// For terminals and for whoever accepts nothing that we have.
pub(super) fn plain(values: &Values<'_>) -> Vec<u8> {
    let mut text = format!("{} {}\n", values.status.as_u16(), phrase(values.status));
    if let Some(cause) = values.cause {
        text += &format!("{}\n", cause.detail());
    }
    if let Some(rule) = values.rule {
        text += &format!("Rule: {rule}\n");
    }
    if !values.request_id.is_empty() {
        text += &format!("Request ID: {}\n", values.request_id);
    }
    text.into_bytes()
}
