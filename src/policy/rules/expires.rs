//! `expires`: the moment from which a rule no longer matches.

use jiff::{ToSpan, civil, tz::TimeZone};
use toml::de::DeValue;

use crate::policy::{
    fault::Faults,
    rule::Timestamp,
    table::{FromToml, Value},
};

const EXPECTED: &str = "a date such as 2027-01-31, or a date-time with an offset such as 2027-01-31T18:00:00Z";

/// The first second at which the rule no longer matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expiry(pub(super) Timestamp);

impl FromToml for Expiry {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = match value.raw() {
            DeValue::Datetime(written) => written.to_string(),
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                faults.push(value.mismatch(EXPECTED));
                return None;
            }
        };
        match parse(&text) {
            Ok(at) => Some(Self(at)),
            Err(NoMoment::Local) => {
                faults.push(
                    value
                        .invalid("a local time: every machine would read it differently", EXPECTED)
                        .help(format!("add an offset: `{}Z` is UTC", text.replacen(' ', "T", 1))),
                );
                None
            }
            Err(NoMoment::Unreadable) => {
                faults.push(value.invalid(format!("`{text}` is not a date"), EXPECTED));
                None
            }
        }
    }
}

/// Why a text names no moment.
#[derive(Debug, PartialEq, Eq)]
enum NoMoment {
    /// A date-time without an offset.
    Local,
    /// Not a date at all.
    Unreadable,
}

fn parse(text: &str) -> Result<Timestamp, NoMoment> {
    // Without colons too: `20270131T180000` is no day that lasts until midnight.
    let time_of_day = text.contains([':', 'T', 't', ' ']);
    if !time_of_day {
        let day: civil::Date = text.parse().map_err(|_| NoMoment::Unreadable)?;
        // "until the 31st" includes the 31st.
        let end = day.checked_add(1.day()).map_err(|_| NoMoment::Unreadable)?;
        let end = end.to_zoned(TimeZone::UTC).map_err(|_| NoMoment::Unreadable)?;
        return Ok(Timestamp(end.timestamp().as_second()));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Timestamp(at.as_second())),
        Err(_) if text.parse::<civil::DateTime>().is_ok() => Err(NoMoment::Local),
        Err(_) => Err(NoMoment::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_lasts_until_its_end_in_utc() {
        assert_eq!(parse("2026-01-31"), Ok(Timestamp(1_769_904_000)));
        assert_eq!(parse("2026-02-01T00:00:00Z"), Ok(Timestamp(1_769_904_000)));
    }

    #[test]
    fn an_offset_counts() {
        assert_eq!(parse("2026-02-01T02:00:00+02:00"), Ok(Timestamp(1_769_904_000)));
        assert_eq!(parse("2026-02-01 00:00:00Z"), Ok(Timestamp(1_769_904_000)));
    }

    #[test]
    fn a_local_time_and_nonsense_name_no_moment() {
        assert_eq!(parse("2026-02-01T00:00:00"), Err(NoMoment::Local));
        assert_eq!(parse("20260201T000000"), Err(NoMoment::Local));
        assert_eq!(parse("20260201T020000+0200"), Ok(Timestamp(1_769_904_000)));
        assert_eq!(parse("12:00:00"), Err(NoMoment::Unreadable));
        assert_eq!(parse("soon"), Err(NoMoment::Unreadable));
        assert_eq!(parse("2026-02-30"), Err(NoMoment::Unreadable));
    }
}
