//! Traefik's access log as JSON. It keeps no headers unless told to; those that it keeps are listed, the rest is unknown.

use std::borrow::Cow;

use super::{
    Unreadable,
    json::{Members, Value},
    request_line, time,
};
use crate::replay::record::{Client, Hidden, Record, Request, Said, SaidHost, SaidTarget, Then};

fn text<'l>(value: Option<Value<'l>>, missing: &'static str) -> Result<Cow<'l, str>, Unreadable> {
    value.and_then(Value::text).ok_or(Unreadable(missing))
}

/// What stands in the place of a header's value that is not to be logged.
const REDACTED: &str = "REDACTED";

/// Reads a line.
///
/// # Errors
/// What is missing.
pub(in crate::replay) fn read(line: &str) -> Result<Record<'_>, Unreadable> {
    const NO_JSON: Unreadable = Unreadable("not one whole JSON object");
    let mut members = Members::of(line).map_err(|_| NO_JSON)?;
    let [
        mut client,
        mut method,
        mut path,
        mut host,
        mut version,
        mut scheme,
        mut start,
        mut logged,
    ] = [None; 8];
    let mut headers: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    while let Some((key, value)) = members.next().map_err(|_| NO_JSON)? {
        let place = match key {
            "ClientHost" => &mut client,
            "RequestMethod" => &mut method,
            "RequestPath" => &mut path,
            "RequestHost" => &mut host,
            "RequestProtocol" => &mut version,
            "RequestScheme" => &mut scheme,
            "StartUTC" => &mut start,
            "time" => &mut logged,
            _ => {
                if let (Some(name), Some(text)) = (key.strip_prefix("request_"), value.text()) {
                    headers.push((Cow::Owned(name.to_ascii_lowercase()), text));
                }
                continue;
            }
        };
        *place = Some(value);
    }
    let client = text(client, "no `ClientHost`: not an access record of Traefik")?;
    let method = text(method, "no `RequestMethod`")?;
    let path = path.and_then(Value::text).ok_or(Unreadable("no `RequestPath`"))?;
    let time = [start, logged]
        .into_iter()
        .flatten()
        .find_map(|value| time::rfc3339(&value.text()?));
    let version = text(version, "no `RequestProtocol`")?;
    headers.retain(|(_, value)| value != REDACTED);
    let mut said = |name: &str| match headers.iter().position(|(header, _)| header == name) {
        Some(at) => Said::Whole(headers.swap_remove(at).1),
        None => Said::Unknown,
    };
    let (user_agent, referer) = (said("user-agent"), said("referer"));
    let request = request_line::http_version(&version).map(|version| Request {
        version,
        tls: scheme.and_then(Value::text).map(|scheme| scheme == "https"),
        host: host.and_then(Value::text).map(|authority| SaidHost {
            authority,
            says_port: false,
        }),
        user_agent,
        referer,
        headers,
        ..Request::new(
            method.into_owned(),
            SaidTarget {
                raw: path,
                hidden: Hidden::Nothing,
            },
        )
    });
    Ok(Record {
        time: Some(time.ok_or(Unreadable("no time in `StartUTC` or `time`"))?),
        id: None,
        then: Then::NotJudged,
        client: client.parse().map_or(Client::Unknown, Client::Connected),
        request,
    })
}
