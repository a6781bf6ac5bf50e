//! Text range files: `start,end,CC` a line, `#` comments. The layout of Debian's `tor-geoipdb`, whose IPv4 addresses are
//! decimal numbers, and of the CSV files that DB-IP and IP2Location publish.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::Path,
    str::FromStr,
};

use super::{
    Location, Parsed, Problem,
    ranges::{RangeTable, Spans},
};
use crate::policy::{
    facts::Country,
    fault::{Fault, Place, Source},
};

/// More bad lines than this are one wrong file, and are counted instead of shown.
const FAULTS_SHOWN: usize = 20;

/// A file as country source.
pub(super) fn countries(path: &Path, bytes: Vec<u8>) -> Result<Parsed<RangeTable<Location>>, Problem> {
    let text = String::from_utf8(bytes).map_err(|_| {
        Problem::with_help(
            "is no text file",
            "expected lines of `start,end,CC`; the name of a MaxMind DB file must end in `.mmdb`",
        )
    })?;
    let mut lines = read_lines(&text);
    lines.ranges.sort_by_key(|range| range.first);
    lines.check_overlaps(&text);
    if !lines.bad.is_empty() {
        return Err(Problem::Lines(lines.into_faults(path, text)));
    }
    if lines.ranges.is_empty() {
        return Err(Problem::with_help("has no ranges", "expected lines of `start,end,CC`"));
    }
    Ok(Parsed {
        label: "text ranges".to_owned(),
        built: None,
        table: lines.table(),
    })
}

#[derive(Debug, Default)]
struct Lines {
    ranges: Vec<Entry>,
    bad: Vec<Bad>,
}

/// One good line. IPv4 sorts before IPv6.
#[derive(Debug)]
struct Entry {
    first: IpAddr,
    last: IpAddr,
    country: Country,
    /// Byte offset of the line in the text.
    line: usize,
}

/// One bad line.
#[derive(Debug)]
struct Bad {
    span: Range<usize>,
    message: String,
    expected: &'static str,
}

fn read_lines(text: &str) -> Lines {
    let mut lines = Lines::default();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            match read_line(line.trim_end(), offset) {
                Ok(entry) => lines.ranges.push(entry),
                Err(bad) => lines.bad.push(bad),
            }
        }
        offset += line.len();
    }
    lines
}

fn read_line(line: &str, offset: usize) -> Result<Entry, Bad> {
    let mut fields = fields(line, offset);
    let whole = offset..offset + line.len();
    let (Some(first), Some(last), Some(country)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Bad {
            span: whole,
            message: "this line has fewer than three fields".to_owned(),
            expected: "expected `start,end,CC`",
        });
    };
    let (first, last) = (first.address()?, last.address()?);
    if first.is_ipv4() != last.is_ipv4() || first > last {
        return Err(Bad {
            span: whole,
            message: format!("{first} to {last} is no range"),
            expected: "expected two addresses of one family, the lower first",
        });
    }
    Ok(Entry {
        first,
        last,
        country: country.country()?,
        line: offset,
    })
}

/// A field with its place in the text, without blanks and quotes around it.
struct Field<'a> {
    text: &'a str,
    span: Range<usize>,
}

fn fields(line: &str, offset: usize) -> impl Iterator<Item = Field<'_>> {
    let mut at = 0;
    line.split(',').map(move |field| {
        let text = field.trim().trim_matches('"');
        // `text` is a part of `field`, which begins at `at`.
        let start = offset + at + field.find(text).unwrap_or(0);
        at += field.len() + 1;
        Field {
            text,
            span: start..start + text.len(),
        }
    })
}

impl Field<'_> {
    fn address(&self) -> Result<IpAddr, Bad> {
        let number = || {
            u32::from_str(self.text)
                .ok()
                .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        };
        IpAddr::from_str(self.text).ok().or_else(number).ok_or_else(|| Bad {
            span: self.span.clone(),
            message: format!("`{}` is no address", self.text.escape_debug()),
            expected: "expected an IPv4 or IPv6 address, or an IPv4 address as a decimal number",
        })
    }

    fn country(&self) -> Result<Country, Bad> {
        // How the known files say that they do not know.
        if matches!(self.text, "" | "-" | "??" | "ZZ") {
            return Ok(Country::UNKNOWN);
        }
        Country::new(self.text).ok_or_else(|| Bad {
            span: self.span.clone(),
            message: format!("`{}` is no country code", self.text.escape_debug()),
            expected: "expected two letters, or `??` for unknown",
        })
    }
}

impl Lines {
    /// Two lines that say different things of one address: which of them is meant cannot be known.
    fn check_overlaps(&mut self, text: &str) {
        for pair in self.ranges.windows(2) {
            let [before, after] = pair else { continue };
            let apart = before.last < after.first || before.last.is_ipv4() != after.first.is_ipv4();
            if apart || before.country == after.country && before.last <= after.last {
                continue;
            }
            let line = text.get(..before.line).map_or(1, |head| head.matches('\n').count() + 1);
            let end = text.get(after.line..).and_then(|rest| rest.find('\n'));
            self.bad.push(Bad {
                span: after.line..end.map_or(text.len(), |end| after.line + end),
                message: format!("this range overlaps the one of line {line}"),
                expected: "expected ranges that do not overlap",
            });
        }
    }

    fn table(self) -> RangeTable<Location> {
        let mut spans = Spans::default();
        for entry in self.ranges {
            spans.push(entry.first, entry.last, Location::of(entry.country));
        }
        spans.finish()
    }

    fn into_faults(mut self, path: &Path, text: String) -> Vec<Fault> {
        self.bad.sort_by_key(|bad| bad.span.start);
        let more = self.bad.len().saturating_sub(FAULTS_SHOWN);
        let source = Source::new(path.display().to_string(), text);
        let mut faults: Vec<Fault> = self
            .bad
            .into_iter()
            .take(FAULTS_SHOWN)
            .map(|bad| Fault::error(Place::new(&source, bad.span), bad.message).expected(bad.expected))
            .collect();
        if let Some(last) = faults.pop() {
            faults.push(match more {
                0 => last,
                more => last.help(format!("{more} more lines of this file are wrong")),
            });
        }
        faults
    }
}
