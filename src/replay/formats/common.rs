//! The Common Log Format and what became of it: nginx and Apache `combined`, Apache `vhost_combined`, nginx `main`, Traefik
//! as text. Escapes are those of either server.

use std::borrow::Cow;

use super::{Unreadable, request_line, time};
use crate::replay::record::{Client, Record, Request, Said, SaidHost, Then};

/// Reads a line.
///
/// # Errors
/// Where it is no such line.
pub(in crate::replay) fn read(line: &str) -> Result<Record<'_>, Unreadable> {
    let bracket = time_at(line).ok_or(Unreadable("no time in brackets, such as [26/Nov/2026:04:12:00 +0000]"))?;
    let (client, host) = who(line.get(..bracket).unwrap_or_default())?;
    let rest = line.get(bracket + 1..).unwrap_or_default();
    let (moment, rest) = rest.split_once(']').ok_or(Unreadable("no `]` after the time"))?;
    let time =
        time::common_log(moment).ok_or(Unreadable("no time in brackets, such as [26/Nov/2026:04:12:00 +0000]"))?;
    let (sent, rest) = quoted(rest).ok_or(Unreadable("no request between quotes"))?;
    let mut numbers = rest.trim_start().splitn(3, ' ');
    let is_status = |status: &str| status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    if !numbers.next().is_some_and(is_status) || numbers.next().is_none() {
        return Err(Unreadable("no status and size after the request"));
    }
    let mut fields = Fields {
        rest: numbers.next().unwrap_or_default(),
    };
    let (referer, agent) = (fields.next(), fields.next());
    let forwarded_for = fields.next().filter(|field| is_forwarded_for(field));
    let request = unescaped(sent).map_or(Err("bytes that are no UTF-8"), |sent| request_line::read(sent));
    Ok(Record {
        time: Some(time),
        id: None,
        then: Then::NotJudged,
        client,
        request: request.map(|mut request: Request<'_>| {
            request.referer = header(referer);
            request.user_agent = header(agent);
            request.host = request.host.take().or(host);
            let forwarded_for = forwarded_for.map(Cow::Borrowed);
            request
                .headers
                .extend(forwarded_for.map(|text| (Cow::Borrowed("x-forwarded-for"), text)));
            request
        }),
    })
}

/// Where the bracket before the time is: the name of a user may hold any other.
fn time_at(line: &str) -> Option<usize> {
    let is_time = |at: &usize| {
        let after = line.as_bytes().get(at + 1..at + 13);
        after.is_some_and(|after| after[2] == b'/' && after[6] == b'/' && after[11] == b':')
    };
    memchr::memchr_iter(b'[', line.as_bytes()).find(is_time)
}

/// Client and host of what stands before the time: `ADDRESS - user`, with `host:port` before it in `vhost_combined`.
fn who(text: &str) -> Result<(Client, Option<SaidHost<'_>>), Unreadable> {
    let mut words = text.split_whitespace();
    let first = words.next().ok_or(Unreadable("no address at its beginning"))?;
    if let Ok(address) = first.parse() {
        return Ok((Client::Connected(address), None));
    }
    let host = SaidHost {
        authority: Cow::Borrowed(first),
        says_port: false,
    };
    match words.next() {
        Some(second) => match second.parse() {
            Ok(address) => Ok((Client::Connected(address), Some(without_listener(host)))),
            // `HostnameLookups On`: the client's name, of which the address is not known.
            Err(_) if second == "-" => Ok((Client::Unknown, None)),
            Err(_) => Err(Unreadable("no address at its beginning")),
        },
        None => Err(Unreadable("no address at its beginning")),
    }
}

/// Apache's `%v:%p` is the virtual host's name and the port that it listens on, not the one that the client named.
fn without_listener(host: SaidHost<'_>) -> SaidHost<'_> {
    let Cow::Borrowed(authority) = host.authority else {
        return host;
    };
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    SaidHost {
        authority: Cow::Borrowed(name),
        says_port: false,
    }
}

/// The fields after status and size: in quotes or not.
struct Fields<'l> {
    rest: &'l str,
}

impl<'l> Iterator for Fields<'l> {
    type Item = &'l str;

    /// The next field, if it is one in quotes.
    fn next(&mut self) -> Option<&'l str> {
        let (field, rest) = quoted(self.rest)?;
        self.rest = rest;
        Some(field)
    }
}

/// What is between the quotes that come next, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let rest = text.trim_start_matches(' ').strip_prefix('"')?;
    let end = super::closing_quote(rest)?;
    Some((&rest[..end], &rest[end + 1..]))
}

/// `-` is written for a header that was not sent. Nothing at all is what other formats put there in its place.
fn header(field: Option<&str>) -> Said<'_> {
    match field {
        None | Some("") => Said::Unknown,
        Some("-") => Said::Nothing,
        Some(text) => unescaped(text).map_or(Said::Unknown, Said::Whole),
    }
}

/// Whether the field after those of `combined` is nginx's `$http_x_forwarded_for`: nothing else there is addresses.
fn is_forwarded_for(field: &str) -> bool {
    field
        .split(',')
        .all(|part| part.trim().parse::<std::net::IpAddr>().is_ok())
}

/// nginx writes `\x22`, Apache also `\"`, `\\` and `\n`; `None` when it comes to bytes that are no UTF-8.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, next) = match (first, after) {
            (b'\\', [b'x' | b'X', high, low, next @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, next),
                _ => (b'\\', after),
            },
            (b'\\', [letter, next @ ..]) => match letter {
                b'n' => (b'\n', next),
                b'r' => (b'\r', next),
                b't' => (b'\t', next),
                b'v' => (0x0b, next),
                b'b' => (0x08, next),
                b'f' => (0x0c, next),
                b'"' | b'\\' => (*letter, next),
                _ => (b'\\', after),
            },
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = next;
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
