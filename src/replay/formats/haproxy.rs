//! HAProxy's `option httplog` and `option httpslog`. Captured headers are in it without their names, so they stay unknown.

use std::borrow::Cow;

use super::{Unreadable, request_line, time};
use crate::replay::record::{Client, Hidden, Record, Request, Then};

/// Reads a line.
///
/// # Errors
/// Where it is no such line.
pub(in crate::replay) fn read(line: &str) -> Result<Record<'_>, Unreadable> {
    let (connected, rest) = line.split_once(" [").ok_or(Unreadable("no `[` before the time"))?;
    let (address, _port) = connected
        .rsplit_once(':')
        .ok_or(Unreadable("no address with a port at its beginning"))?;
    let client = match address.parse() {
        Ok(address) => Client::Connected(address),
        // A UNIX socket.
        Err(_) if address == "unix" => Client::Unknown,
        Err(_) => return Err(Unreadable("no address with a port at its beginning")),
    };
    let (moment, rest) = rest.split_once("] ").ok_or(Unreadable("no `]` after the time"))?;
    let time = time::common_log(moment).ok_or(Unreadable("no time in brackets"))?;
    let (before, sent) = rest.split_once(" \"").ok_or(Unreadable("no request between quotes"))?;
    let mut words = before.split(' ');
    let frontend = words.next().unwrap_or_default();
    // Backend and server, five timers, status, bytes.
    let is_http = words.next().is_some_and(|backend| backend.contains('/'))
        && words.next().is_some_and(|timers| timers.split('/').count() == 5)
        && words.next().is_some_and(|status| status.parse::<i16>().is_ok());
    if !is_http {
        return Err(Unreadable("not an HTTP line of HAProxy (`option httplog`)"));
    }
    let (sent, is_whole) = match sent.split_once('"') {
        Some((sent, _)) => (sent, true),
        // Lines are cut at the length that `log … len` sets.
        None => (sent, false),
    };
    Ok(Record {
        time: Some(time),
        id: None,
        then: Then::NotJudged,
        client,
        request: request(sent, is_whole).map(|request| Request {
            tls: Some(frontend.ends_with('~')),
            ..request
        }),
    })
}

fn request(sent: &str, is_whole: bool) -> Result<Request<'_>, &'static str> {
    if sent.starts_with('<') {
        // `<BADREQ>`
        return Err("not an HTTP request line");
    }
    let sent = decoded(sent);
    if is_whole {
        return request_line::read(sent.ok_or("bytes that are no UTF-8")?);
    }
    let line = format!("{} HTTP/1.1", sent.unwrap_or_default());
    request_line::read(Cow::Owned(line)).map(|mut request| {
        request.target.hidden = Hidden::All;
        request.version = None;
        request
    })
}

/// HAProxy writes `#22` for what could end a field; `None` when it comes to bytes that are no UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('#') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'#', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
