//! Our own access records, as JSON and as text: what the log says of a request, and what was decided then.

use std::borrow::Cow;

use super::{
    Unreadable,
    json::{Members, Value},
    time,
};
use crate::{
    policy::facts::HttpVersion,
    replay::record::{Client, Hidden, OtherHeaders, Record, Request, Said, SaidHost, SaidTarget, Then},
};

/// What stands in the log for the value of a parameter that is never logged.
const REDACTED: &str = "REDACTED";
/// What ends a value that was cut, after its length.
const CUT: &str = "_bytes)";

/// The members of a JSON record that tell of the request.
#[derive(Default)]
struct Told<'l> {
    time: Option<Value<'l>>,
    action: Option<Value<'l>>,
    reason: Option<Value<'l>>,
    rule: Option<Value<'l>>,
    client: Option<Value<'l>>,
    source: Option<Value<'l>>,
    method: Option<Value<'l>>,
    scheme: Option<Value<'l>>,
    host: Option<Value<'l>>,
    target: Option<Value<'l>>,
    version: Option<Value<'l>>,
    id: Option<Value<'l>>,
    agent: Option<Value<'l>>,
    referer: Option<Value<'l>>,
    detail: Option<Value<'l>>,
}

/// Reads a record as `format = "json"` writes it.
///
/// # Errors
/// What is missing.
pub fn json(line: &str) -> Result<Record<'_>, Unreadable> {
    const NO_JSON: Unreadable = Unreadable("not one whole JSON object");
    let mut members = Members::of(line).map_err(|_| NO_JSON)?;
    let mut told = Told::default();
    while let Some((key, value)) = members.next().map_err(|_| NO_JSON)? {
        if let Some(place) = told.place(key) {
            *place = Some(value);
        }
    }
    told.record()
}

impl<'l> Told<'l> {
    /// Where the value of a member goes, if it tells of the request.
    fn place(&mut self, key: &str) -> Option<&mut Option<Value<'l>>> {
        Some(match key {
            "@timestamp" => &mut self.time,
            "event.action" => &mut self.action,
            "event.reason" => &mut self.reason,
            "rule.id" => &mut self.rule,
            "client.ip" => &mut self.client,
            "source.ip" => &mut self.source,
            "http.request.method" => &mut self.method,
            "url.scheme" => &mut self.scheme,
            "url.domain" => &mut self.host,
            "url.original" => &mut self.target,
            "http.version" => &mut self.version,
            "http.request.id" => &mut self.id,
            "user_agent.original" => &mut self.agent,
            "http.request.referrer" => &mut self.referer,
            "portcullis.detail" => &mut self.detail,
            _ => return None,
        })
    }

    fn record(self) -> Result<Record<'l>, Unreadable> {
        let text = |value: Option<Value<'l>>| value.and_then(Value::text);
        let action = text(self.action).ok_or(Unreadable("no `event.action`: not an access record of Portcullis"))?;
        let then = then(&action, text(self.rule), text(self.reason))?;
        let client = match text(self.client).or_else(|| text(self.source)) {
            Some(address) => Client::Is(address.parse().map_err(|_| Unreadable("`client.ip` is no address"))?),
            None => return Err(Unreadable("no `client.ip`")),
        };
        let method = text(self.method).ok_or(Unreadable("no `http.request.method`"))?;
        let target = text(self.target).ok_or(Unreadable("no `url.original`"))?;
        let time = text(self.time).and_then(|time| time::rfc3339(&time));
        let mut request = Request::new(method, said_target(target));
        request.version = text(self.version).and_then(|version| http_version(&version));
        request.tls = text(self.scheme).map(|scheme| scheme == "https");
        request.host = text(self.host).map(without_port);
        request.user_agent = text(self.agent).map_or(Said::Nothing, whole);
        request.referer = text(self.referer).map_or(Said::Nothing, place);
        request.other_headers = OtherHeaders::Unknown;
        Ok(Record {
            time: Some(time.ok_or(Unreadable("no time in `@timestamp`"))?),
            id: text(self.id),
            then,
            client,
            request: Ok(request),
        })
    }
}

fn then<'l>(action: &str, rule: Option<Cow<'l, str>>, reason: Option<Cow<'l, str>>) -> Result<Then<'l>, Unreadable> {
    Ok(match action {
        "allow" => Then::Allowed { rule },
        "block" => Then::Blocked { rule },
        "reject" => Then::Rejected {
            reason: reason.unwrap_or(Cow::Borrowed("malformed")),
        },
        "answer" => Then::Answered,
        _ => return Err(Unreadable("`event.action` is none of allow, block, reject, answer")),
    })
}

/// Rules saw a host without its port, and so does the log.
fn without_port(authority: Cow<'_, str>) -> SaidHost<'_> {
    SaidHost {
        authority,
        says_port: false,
    }
}

fn http_version(text: &str) -> Option<HttpVersion> {
    match text {
        "1.0" => Some(HttpVersion::Http10),
        "1.1" => Some(HttpVersion::Http11),
        "2" => Some(HttpVersion::Http2),
        _ => None,
    }
}

/// A value is not as it was sent when it was cut, or had bytes that are no UTF-8.
fn is_exact(text: &str) -> bool {
    let is_cut = text.ends_with(CUT) && text.contains('…');
    !is_cut && (text.is_ascii() || !text.contains('\u{fffd}'))
}

fn whole(text: Cow<'_, str>) -> Said<'_> {
    if is_exact(&text) {
        Said::Whole(text)
    } else {
        Said::Unknown
    }
}

/// A Referer is logged without its query.
fn place(text: Cow<'_, str>) -> Said<'_> {
    if is_exact(&text) {
        Said::Place(text)
    } else {
        Said::Unknown
    }
}

/// A target without redacted values is as it was sent. One of absolute form is left without its authority, which the log
/// says as the host.
fn said_target(text: Cow<'_, str>) -> SaidTarget<'_> {
    let hidden = match text.find(REDACTED) {
        _ if !is_exact(&text) => Hidden::All,
        None => Hidden::Nothing,
        Some(at) if text.find('?').is_some_and(|query| query < at) => Hidden::Query,
        Some(_) => Hidden::All,
    };
    SaidTarget {
        raw: super::origin_form(text).0,
        hidden,
    }
}

/// Reads a record as `format = "text"` writes it.
///
/// # Errors
/// Where it is no such line.
pub fn text(line: &str) -> Result<Record<'_>, Unreadable> {
    const CUT_SHORT: Unreadable = Unreadable("not a whole access record of Portcullis");
    let mut words = Words { rest: line };
    let time = words
        .next()
        .and_then(time::rfc3339)
        .ok_or(Unreadable("no time at its beginning"))?;
    let action = words.next().ok_or(CUT_SHORT)?;
    let status = words.next().ok_or(CUT_SHORT)?;
    let is_status = status == "closed" || (status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_status {
        return Err(Unreadable("no status after what became of the request"));
    }
    let mut word = words.next().ok_or(CUT_SHORT)?;
    let mut reason = None;
    let is_reason =
        |word: &str| !word.starts_with("rule=") && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_reason(word) {
        reason = Some(Cow::Borrowed(word));
        word = words.next().ok_or(CUT_SHORT)?;
    }
    let rule = word.strip_prefix("rule=");
    if rule.is_some() {
        word = words.next().ok_or(CUT_SHORT)?;
    }
    let client = word.parse().map_err(|_| Unreadable("no client address"))?;
    let _country = words.next().ok_or(CUT_SHORT)?;
    let method = words.next().map(unescaped).ok_or(CUT_SHORT)?;
    let url = words.next().map(unescaped).ok_or(CUT_SHORT)?;
    let agent = words.next_quoted().ok_or(CUT_SHORT)?;
    let id = words.find_map(|word| word.strip_prefix("id="));
    let then = then(action, rule.map(Cow::Borrowed), reason)?;
    Ok(Record {
        time: Some(time),
        id: id.map(Cow::Borrowed),
        then,
        client: Client::Is(client),
        request: Ok(Request {
            user_agent: agent.map_or(Said::Nothing, |agent| shown(agent).map_or(Said::Unknown, whole)),
            ..of_url(method, url)
        }),
    })
}

/// A request for `https://host/path?query`, as the text form writes it; without a host only for what was rejected.
fn of_url<'l>(method: Cow<'l, str>, url: Cow<'l, str>) -> Request<'l> {
    let tls = match &url {
        url if url.starts_with("https://") => Some(true),
        url if url.starts_with("http://") => Some(false),
        _ => None,
    };
    let is_shown_whole = !url.contains("\\x");
    let mut target = said_target(url.clone());
    if !is_shown_whole {
        target.hidden = Hidden::All;
    }
    let mut request = Request::new(method, target);
    request.tls = tls;
    request.host = super::origin_form(url).1.map(without_port);
    request
}

/// The words of a line. One in quotes is whole only when it is asked for as such.
struct Words<'l> {
    rest: &'l str,
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        let rest = self.rest;
        if rest.is_empty() {
            return None;
        }
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        self.rest = rest;
        Some(word)
    }
}

impl<'l> Words<'l> {
    /// What is between quotes; `Some(None)` for a `-`.
    fn next_quoted(&mut self) -> Option<Option<&'l str>> {
        let Some(rest) = self.rest.strip_prefix('"') else {
            return (self.next()? == "-").then_some(None);
        };
        let end = super::closing_quote(rest)?;
        self.rest = rest[end + 1..].trim_start_matches(' ');
        Some(Some(&rest[..end]))
    }
}

/// A word with its escapes undone, but for those of bytes that were no UTF-8.
fn unescaped(word: &str) -> Cow<'_, str> {
    if !word.contains('\\') {
        return Cow::Borrowed(word);
    }
    shown(word).unwrap_or(Cow::Borrowed(word))
}

/// A shown value as it was sent; `None` when bytes of it were no UTF-8.
fn shown(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut sent = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        sent.push_str(before);
        if let Some(number) = escape.strip_prefix("u{") {
            let (digits, after) = number.split_once('}')?;
            sent.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = after;
        } else {
            let escaped = escape.chars().next().filter(|c| matches!(c, '"' | '\\'))?;
            sent.push(escaped);
            rest = &escape[1..];
        }
    }
    sent.push_str(rest);
    Some(Cow::Owned(sent))
}
