//! Caddy's access log as JSON. It lists all headers that were sent, with those that hold credentials redacted.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::Value;

use super::{Unreadable, request_line, time};
use crate::{
    policy::rule::Timestamp,
    replay::record::{Client, Hidden, OtherHeaders, Record, Request, Said, SaidHost, SaidTarget, Then},
};

/// What stands in the place of a header's value that is not to be logged.
const REDACTED: &str = "REDACTED";

/// Headers that Go takes out of a request, or puts into it, before Caddy logs it.
const CHANGED: [&str; 4] = ["host", "transfer-encoding", "trailer", "cache-control"];

#[derive(Deserialize)]
struct Line<'l> {
    ts: Option<Value>,
    #[serde(borrow)]
    request: Option<Asked<'l>>,
}

#[derive(Deserialize)]
struct Asked<'l> {
    #[serde(borrow)]
    client_ip: Option<Cow<'l, str>>,
    #[serde(borrow)]
    remote_ip: Option<Cow<'l, str>>,
    #[serde(borrow)]
    remote_addr: Option<Cow<'l, str>>,
    #[serde(borrow)]
    proto: Cow<'l, str>,
    #[serde(borrow)]
    method: Cow<'l, str>,
    #[serde(borrow)]
    host: Cow<'l, str>,
    #[serde(borrow)]
    uri: Cow<'l, str>,
    #[serde(borrow)]
    headers: Option<BTreeMap<Cow<'l, str>, Vec<Cow<'l, str>>>>,
    tls: Option<Value>,
}

/// Reads a line.
///
/// # Errors
/// What is missing.
pub(in crate::replay) fn read(line: &str) -> Result<Record<'_>, Unreadable> {
    let line: Line<'_> = serde_json::from_str(line).map_err(|_| Unreadable("not an access record of Caddy as JSON"))?;
    let asked = line
        .request
        .ok_or(Unreadable("no `request`: not an access record of Caddy"))?;
    let time = line.ts.as_ref().and_then(moment);
    Ok(Record {
        time,
        id: None,
        then: Then::NotJudged,
        client: client(&asked),
        request: request(asked),
    })
}

fn moment(ts: &Value) -> Option<Timestamp> {
    match ts {
        Value::Number(seconds) => time::unix(seconds.as_f64()?),
        Value::String(text) => time::rfc3339(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whom Caddy takes for the client, if its trusted proxies named another than who connected.
fn client(asked: &Asked<'_>) -> Client {
    let parsed = |text: &Option<Cow<'_, str>>| text.as_ref().and_then(|text| text.parse().ok());
    let connected = parsed(&asked.remote_ip).or_else(|| {
        let (address, _port) = asked.remote_addr.as_ref()?.rsplit_once(':')?;
        address.trim_start_matches('[').trim_end_matches(']').parse().ok()
    });
    match (parsed(&asked.client_ip), connected) {
        (Some(client), connected) if Some(client) != connected => Client::Is(client),
        (_, Some(connected)) => Client::Connected(connected),
        (_, None) => Client::Unknown,
    }
}

fn request(asked: Asked<'_>) -> Result<Request<'_>, &'static str> {
    let version = request_line::http_version(&asked.proto)?;
    let mut request = Request::new(
        asked.method,
        SaidTarget {
            raw: asked.uri,
            hidden: Hidden::Nothing,
        },
    );
    request.version = version;
    request.tls = Some(asked.tls.is_some());
    request.host = Some(SaidHost {
        authority: asked.host,
        says_port: true,
    });
    let Some(sent) = asked.headers else {
        return Ok(request);
    };
    let mut redacted: Vec<Cow<'_, str>> = CHANGED.into_iter().map(Cow::Borrowed).collect();
    (request.user_agent, request.referer) = (Said::Nothing, Said::Nothing);
    for (name, values) in sent {
        let name = name.to_ascii_lowercase();
        if values.iter().any(|value| value == REDACTED) {
            redacted.push(Cow::Owned(name));
            continue;
        }
        for value in values {
            match name.as_str() {
                "user-agent" => request.user_agent = Said::Whole(value),
                "referer" => request.referer = Said::Whole(value),
                changed if CHANGED.contains(&changed) => {}
                _ => request.headers.push((Cow::Owned(name.clone()), value)),
            }
        }
    }
    request.other_headers = OtherHeaders::NotSent { but: redacted };
    Ok(request)
}
