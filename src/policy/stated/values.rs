//! The kinds of value that a `[[test]]` is written with.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use toml::de::DeValue;

use crate::policy::{
    countries,
    decision::Reason,
    facts::Country,
    fault::{Fault, Faults},
    rule::Timestamp,
    table::{FromToml, Value},
};

/// What a refusal may be for of a request that somebody states: the other causes are no matter of its head.
const REASONS: [Reason; 11] = [
    Reason::IpBlocked,
    Reason::AsnBlocked,
    Reason::CountryBlocked,
    Reason::Rule,
    Reason::Lockdown,
    Reason::UserAgent,
    Reason::Hotlink,
    Reason::Default,
    Reason::Malformed,
    Reason::UnknownHost,
    Reason::NotSupported,
];

pub(super) struct Cause(pub(super) Reason);

impl FromToml for Cause {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let reason = REASONS.into_iter().find(|reason| reason.as_str() == text);
        if reason.is_none() {
            let known = REASONS.map(Reason::as_str);
            faults.push(
                value
                    .invalid(
                        format!("`{text}` is no reason of a request's head"),
                        "why it is refused",
                    )
                    .suggest(&text, known)
                    .help(format!("reasons: {}", known.join(", "))),
            );
        }
        reason.map(Self)
    }
}

pub(super) struct RefusalCode(pub(super) u16);

impl FromToml for RefusalCode {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let status = u16::from_toml(value, faults)?;
        if !(400..=599).contains(&status) {
            faults.push(value.invalid(
                format!("{status} is no status of a refusal"),
                "400 to 599; 444 where the connection is closed without an answer",
            ));
            return None;
        }
        Some(Self(status))
    }
}

pub(super) struct Address(pub(super) IpAddr);

impl FromToml for Address {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let address = text.parse().ok();
        if address.is_none() {
            faults.push(value.invalid(
                format!("\"{text}\" is not an IP address"),
                "one address, such as \"203.0.113.7\"",
            ));
        }
        address.map(Self)
    }
}

pub(super) struct StatedCountry(pub(super) Country);

impl FromToml for StatedCountry {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        countries::country(&text)
            .map_err(|error| faults.push(Fault::error(value.place(), error.message).help(error.help)))
            .ok()
            .map(Self)
    }
}

pub(super) struct Spoken(pub(super) Version);

impl FromToml for Spoken {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const VERSIONS: [(&str, Version); 3] = [
            ("1.0", Version::HTTP_10),
            ("1.1", Version::HTTP_11),
            ("2", Version::HTTP_2),
        ];
        let text = String::from_toml(value, faults)?;
        let version = VERSIONS.into_iter().find(|(name, _)| *name == text);
        if version.is_none() {
            faults.push(value.invalid(
                format!("`{text}` is no version that is spoken"),
                "\"1.0\", \"1.1\" or \"2\"",
            ));
        }
        version.map(|(_, version)| Self(version))
    }
}

/// A moment that everyone reads alike.
pub(super) struct Moment(pub(super) Timestamp);

impl FromToml for Moment {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXPECTED: &str = "a date-time with an offset, such as 2027-01-31T18:00:00Z";
        let text = match value.raw() {
            DeValue::Datetime(written) => written.to_string(),
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                faults.push(value.mismatch(EXPECTED));
                return None;
            }
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Some(Self(Timestamp(at.as_second()))),
            Err(_) => {
                let fault = value.invalid(format!("`{text}` is no moment"), EXPECTED);
                let help = match text.parse::<jiff::civil::DateTime>() {
                    Ok(at) => format!("write `{at}Z` for UTC"),
                    Err(_) => "write year, month, day, time and offset".to_owned(),
                };
                faults.push(fault.help(help));
                None
            }
        }
    }
}

/// A table of header names, each with a value or an array of them.
pub(super) struct Headers(pub(super) HeaderMap);

impl FromToml for Headers {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("`headers`", faults)?;
        let mut headers = HeaderMap::new();
        let mut all_read = true;
        for (name, value) in table.named() {
            let values = match value.raw() {
                DeValue::Array(_) => value.array(faults).unwrap_or_default(),
                _ => vec![value],
            };
            let Ok(header) = HeaderName::try_from(name.value.as_str()) else {
                all_read = false;
                faults.push(
                    Fault::error(name.place, format!("`{}` is not a header name", name.value))
                        .expected("expected letters, digits and `-`, without a colon"),
                );
                continue;
            };
            for value in values {
                match header_value(value, faults) {
                    Some(value) => {
                        headers.append(header.clone(), value);
                    }
                    None => all_read = false,
                }
            }
        }
        all_read.then_some(Self(headers))
    }
}

fn header_value(value: Value<'_>, faults: &mut Faults) -> Option<HeaderValue> {
    let text = String::from_toml(value, faults)?;
    let header = HeaderValue::try_from(&text).ok();
    if header.is_none() {
        faults.push(value.invalid("not a header value", "one line of visible characters"));
    }
    header
}
