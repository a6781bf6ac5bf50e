//! Times as logs write them.

use crate::policy::rule::Timestamp;

/// `2026-11-26T04:12:00.123Z`, or with an offset.
pub(super) fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    match bytes {
        // Nearly all: read in place, since every line has one.
        [
            y1,
            y2,
            y3,
            y4,
            b'-',
            m1,
            m2,
            b'-',
            d1,
            d2,
            b'T' | b't' | b' ',
            h1,
            h2,
            b':',
            n1,
            n2,
            b':',
            s1,
            s2,
            rest @ ..,
        ] if is_utc(rest) => {
            let day = days(
                number(&[*y1, *y2, *y3, *y4])?,
                number(&[*m1, *m2])?,
                number(&[*d1, *d2])?,
            )?;
            clock(day, [number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?])
        }
        _ => {
            let parsed: jiff::Timestamp = text.parse().ok()?;
            Some(Timestamp(parsed.as_second()))
        }
    }
}

/// A fraction, or none, and `Z`.
fn is_utc(rest: &[u8]) -> bool {
    match rest {
        [b'Z' | b'z'] => true,
        [b'.', digits @ .., b'Z' | b'z'] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// `26/Nov/2026:04:12:00 +0100`, `26/Nov/2026:04:12:00.655`: the offset is UTC when there is none.
pub(super) fn common_log(text: &str) -> Option<Timestamp> {
    let (moment, offset) = match text.split_once(' ') {
        Some((moment, offset)) => (moment, offset_seconds(offset)?),
        None => (text, 0),
    };
    let mut parts = moment.split(['/', ':', '.']);
    let day = number(parts.next()?.as_bytes())?;
    let month = month(parts.next()?)?;
    let year = number(parts.next()?.as_bytes())?;
    let mut next = || number(parts.next()?.as_bytes());
    let clock = clock(days(year, month, day)?, [next()?, next()?, next()?])?;
    Some(Timestamp(clock.0 - offset))
}

/// Seconds since 1970, with or without a fraction.
pub(super) fn unix(seconds: f64) -> Option<Timestamp> {
    // Within what a date can be; a float of this size holds every second.
    let is_a_date = seconds.is_finite() && (0.0..4e11).contains(&seconds);
    is_a_date.then(|| Timestamp(seconds.floor() as i64))
}

fn offset_seconds(offset: &str) -> Option<i64> {
    let (sign, digits) = match offset.as_bytes() {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    match digits {
        [h1, h2, m1, m2] => Some(sign * (number(&[*h1, *h2])? * 3600 + number(&[*m1, *m2])? * 60)),
        _ => None,
    }
}

fn month(name: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
    i64::try_from(at + 1).ok()
}

fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0_i64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

fn clock(day: i64, [hour, minute, second]: [i64; 3]) -> Option<Timestamp> {
    // A leap second is told as the second after it.
    let exists = hour < 24 && minute < 60 && second <= 60;
    exists.then(|| Timestamp(((day * 24 + hour) * 60 + minute) * 60 + second))
}

/// Days since 1970 of a date of the Gregorian calendar: whole cycles of 400 years, then years that begin in March.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1..=9999).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_each_log_writes_them() {
        let moment = Some(Timestamp(1_795_666_320));
        assert_eq!(rfc3339("2026-11-26T04:12:00Z"), moment);
        assert_eq!(rfc3339("2026-11-26T04:12:00.123456Z"), moment);
        assert_eq!(rfc3339("2026-11-26T05:12:00.123+01:00"), moment);
        assert_eq!(common_log("26/Nov/2026:04:12:00 +0000"), moment);
        assert_eq!(common_log("26/Nov/2026:05:42:00 +0130"), moment);
        assert_eq!(common_log("25/Nov/2026:23:12:00 -0500"), moment);
        assert_eq!(common_log("26/Nov/2026:04:12:00.655"), moment);
        assert_eq!(unix(1_795_666_320.9), moment);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-01-01T25:00:00Z",
            "2026-01-01T00:00:0xZ",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        for text in [
            "",
            "26/Foo/2026:04:12:00 +0000",
            "26/Nov/2026:04:12",
            "26/Nov/2026:04:12:00 CET",
        ] {
            assert_eq!(common_log(text), None, "{text}");
        }
        assert_eq!((unix(f64::NAN), unix(-1.0)), (None, None));
    }

    proptest! {
        #[test]
        fn the_calendar_is_that_of_everyone(seconds in 0_i64..200_000_000_000) {
            let shown = jiff::Timestamp::from_second(seconds).expect("in range").to_string();
            prop_assert_eq!(rfc3339(&shown), Some(Timestamp(seconds)));
        }
    }
}
