//! AWS Application Load Balancer access logs.

use std::borrow::Cow;

use super::{Unreadable, request_line, time};
use crate::replay::record::{Client, Record, Said, Then};

/// Reads a line.
///
/// # Errors
/// Where it is no such line.
pub(in crate::replay) fn read(line: &str) -> Result<Record<'_>, Unreadable> {
    const SHORT: Unreadable = Unreadable("fewer fields than an AWS load balancer writes");
    let mut fields = Fields { rest: line };
    let kind = fields.next().ok_or(SHORT)?;
    let tls = match kind {
        "http" | "ws" => false,
        "https" | "h2" | "grpcs" | "wss" => true,
        _ => return Err(Unreadable("no type such as `https` or `h2` at its beginning")),
    };
    let ended = fields.next().ok_or(SHORT)?;
    let client = fields.nth(1).ok_or(SHORT)?;
    let client = client.rsplit_once(':').map_or(client, |(address, _)| address);
    let client = client.trim_start_matches('[').trim_end_matches(']');
    let client = client
        .parse()
        .map_err(|_| Unreadable("the fourth field is no client:port"))?;
    // Target, three times, two statuses, bytes both ways.
    let sent = fields.nth(8).ok_or(SHORT)?;
    let agent = fields.next().ok_or(SHORT)?;
    // Cipher, protocol, target group, trace id, server name, certificate, priority; then when the request came.
    let came = fields.nth(7);
    let time = came.and_then(time::rfc3339).or_else(|| time::rfc3339(ended));
    let request = match sent.strip_suffix(" -").or_else(|| sent.strip_prefix("- ")) {
        Some(_) => Err("not an HTTP request line"),
        None => request_line::read(Cow::Borrowed(sent)),
    };
    Ok(Record {
        time: Some(time.ok_or(Unreadable("the second field is no time"))?),
        id: None,
        then: Then::NotJudged,
        client: Client::Connected(client),
        request: request.map(|mut request| {
            request.tls = Some(tls);
            request.user_agent = match agent {
                "-" => Said::Nothing,
                agent => Said::Whole(Cow::Borrowed(agent)),
            };
            if let Some(host) = &mut request.host {
                // The port is written whether the client named it or not.
                host.says_port = false;
                if let Cow::Borrowed(authority) = host.authority {
                    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
                    host.authority = Cow::Borrowed(name);
                }
            }
            request
        }),
    })
}

/// Fields between spaces, some of them in quotes.
struct Fields<'l> {
    rest: &'l str,
}

impl<'l> Iterator for Fields<'l> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        let rest = self.rest.trim_start_matches(' ');
        if rest.is_empty() {
            return None;
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = super::closing_quote(quoted)?;
            self.rest = &quoted[end + 1..];
            return Some(&quoted[..end]);
        }
        let (field, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        self.rest = rest;
        Some(field)
    }
}
