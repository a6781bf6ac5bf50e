//! `response = { … }`: what a client refused by this rule gets instead of the site's answer.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::policy::{
    fault::{Fault, Faults},
    rule::{RefusalStatus, Response},
    table::{FromToml, Placed, Table, Value},
};

/// A body is sent with every refusal, also under a flood: it stays small.
const MAX_BODY: usize = 32 * 1024;

/// Headers that frame the message or belong to the connection: a wrong one breaks HTTP (request smuggling among others).
const NOT_OURS: [&str; 12] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

impl FromToml for Response {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("`response`", faults)?;
        let response = Self {
            status: table.optional("status", faults),
            body: table.optional("body", faults).and_then(|body| fitting(body, faults)),
            content_type: table
                .optional("content_type", faults)
                .and_then(|text| media_type(text, faults)),
            headers: headers(&mut table, faults),
        };
        if response.content_type.is_some() && response.body.is_none() && table.key_place("body").is_none() {
            let place = table.key_place("content_type").unwrap_or_else(|| table.place());
            faults.push(
                Fault::error(place, "a `content_type` without a `body`")
                    .expected("the negotiated body has its own type")
                    .help("add `body = \"…\"`, or leave `content_type` out"),
            );
        }
        if response.status == Some(RefusalStatus::Close) {
            let unsent = ["body", "content_type", "headers"].map(|key| (key, table.key_place(key)));
            for (key, place) in unsent.into_iter().filter_map(|(key, place)| Some((key, place?))) {
                faults.push(
                    Fault::error(place, format!("`{key}` beside `status = 444`"))
                        .expected("444 closes the connection without an answer")
                        .help(format!("leave `{key}` out, or write another status")),
                );
            }
        }
        table.finish(faults);
        Some(response)
    }
}

impl FromToml for RefusalStatus {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let number = u64::from_toml(value, faults)?;
        let code = u16::try_from(number).ok().filter(|code| (400..=499).contains(code));
        match (code, code.and_then(|code| StatusCode::from_u16(code).ok())) {
            (Some(404), _) => Some(Self::Conceal),
            (Some(444), _) => Some(Self::Close),
            (Some(_), Some(status)) => Some(Self::Status(status)),
            (_, _) => {
                faults.push(
                    value
                        .invalid(
                            format!("{number} is no status for a refusal"),
                            "a status from 400 to 499",
                        )
                        .help("403 is the default, 404 conceals that the page exists, 444 closes without an answer"),
                );
                None
            }
        }
    }
}

fn fitting(body: Placed<String>, faults: &mut Faults) -> Option<String> {
    if body.value.len() > MAX_BODY {
        faults.push(
            Fault::error(body.place, format!("a body of {} bytes", body.value.len()))
                .expected(format!("at most {MAX_BODY} bytes")),
        );
        return None;
    }
    Some(body.value)
}

fn media_type(text: Placed<String>, faults: &mut Faults) -> Option<String> {
    if text.value.contains('/') && HeaderValue::from_str(&text.value).is_ok() {
        return Some(text.value);
    }
    faults.push(
        Fault::error(text.place, format!("`{}` is not a media type", text.value))
            .expected("expected a media type such as \"text/plain; charset=utf-8\""),
    );
    None
}

fn headers(response: &mut Table<'_>, faults: &mut Faults) -> Vec<(HeaderName, HeaderValue)> {
    let Some(mut table) = response
        .value("headers")
        .and_then(|value| value.table("`headers`", faults))
    else {
        return Vec::new();
    };
    let named = table.named();
    named
        .into_iter()
        .filter_map(|(name, value)| header(&name, value, faults))
        .collect()
}

fn header(name: &Placed<String>, value: Value<'_>, faults: &mut Faults) -> Option<(HeaderName, HeaderValue)> {
    let text = String::from_toml(value, faults)?;
    let Ok(parsed) = HeaderName::from_bytes(name.value.as_bytes()) else {
        faults.push(
            Fault::error(name.place.clone(), format!("`{}` is not a header name", name.value))
                .expected("expected letters, digits and `-`"),
        );
        return None;
    };
    if NOT_OURS.contains(&parsed.as_str()) {
        let fault = Fault::error(name.place.clone(), format!("a refusal cannot set `{}`", name.value))
            .expected("the gateway sets this header itself");
        faults.push(match parsed.as_str() {
            "content-type" => fault.help("write `content_type = \"…\"` beside `body`"),
            _ => fault.help("leave it out"),
        });
        return None;
    }
    match HeaderValue::from_str(&text) {
        Ok(value) => Some((parsed, value)),
        Err(_) => {
            faults.push(value.invalid("not a header value", "printable ASCII on one line"));
            None
        }
    }
}
