//! Puts past traffic to a configuration: what would be newly blocked, newly allowed, decided by another rule, and what
//! cannot be told since the log does not say it.
//!
//! ```text
//! files -> lines -> a record -> facts, and what is unknown -> views of the policies -> a comparison -> counts   -> report
//!          input    formats     sides                         policy::view              judge         tally        report
//! ```
//!
//! Owns the formats of logs, the comparison and its report. Refuses to decide: verdicts are [`policy::view`](crate::policy::view)'s,
//! over the one compiled policy. Memory is bounded, whatever a log holds.

pub mod formats;
pub mod input;
pub mod judge;
pub mod record;
pub mod report;
pub mod sides;
pub mod tally;
pub mod unknown;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use self::{
    formats::Format,
    input::{Consumed, Lines},
    judge::{About, By, Judge},
    record::Record,
    tally::{Sample, Tally},
};
use crate::{policy::rule::Timestamp, telemetry::redact::Redaction};

/// The lines by which a file's format is found.
const FIRST_LINES: usize = 50;

/// What is replayed, and how much of it is shown.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The format of every file; `None`: each is told by its lines.
    pub format: Option<Format>,
    /// Only requests from then on.
    pub since: Option<Timestamp>,
    /// Only requests before then.
    pub until: Option<Timestamp>,
    /// Examples of each kind.
    pub samples: usize,
    /// What stands before `explain` in a command that explains an example.
    pub program: String,
    /// Parameters whose values are not shown.
    pub redact_query: Vec<String>,
}

/// Past traffic under way through a judge.
pub struct Replay<'s> {
    judge: Judge<'s>,
    options: Options,
    redaction: Redaction,
    tally: Tally,
    formats: BTreeMap<Format, u64>,
    format: Option<Format>,
}

/// A file that could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {error}", file.display())]
pub struct ReadError {
    /// Which.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub error: io::Error,
}

impl<'s> Replay<'s> {
    /// Begins.
    pub fn new(judge: Judge<'s>, options: Options) -> Self {
        Self {
            judge,
            redaction: Redaction::new(&options.redact_query),
            options,
            tally: Tally::default(),
            formats: BTreeMap::new(),
            format: None,
        }
    }

    /// What was counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The judge.
    pub fn judge(&self) -> &Judge<'s> {
        &self.judge
    }

    /// The formats that lines were read in, with how many were.
    pub fn formats(&self) -> &BTreeMap<Format, u64> {
        &self.formats
    }

    /// Takes a file through. `progress` is told now and then that some of it was read.
    ///
    /// # Errors
    /// It cannot be read to its end.
    pub fn file(&mut self, path: &Path, consumed: &Consumed, progress: &mut dyn FnMut()) -> Result<(), ReadError> {
        let failed = |error| ReadError {
            file: path.to_owned(),
            error,
        };
        let name = match path.as_os_str() == "-" {
            true => Cow::Borrowed("(standard input)"),
            false => path.to_string_lossy(),
        };
        let mut lines = Lines::open(path, consumed).map_err(failed)?;
        self.format = self.options.format;
        let mut first: Vec<(u64, String)> = Vec::new();
        while let Some(line) = lines.next_line().map_err(failed)? {
            if line.number.is_multiple_of(4096) {
                progress();
            }
            let Ok(bytes) = line.text else {
                self.tally
                    .unreadable("longer than a log line can be", || place(&name, line.number), "");
                continue;
            };
            let text = String::from_utf8_lossy(bytes);
            if text.trim().is_empty() {
                continue;
            }
            if self.format.is_some() {
                self.line(&name, line.number, &text);
                continue;
            }
            first.push((line.number, text.into_owned()));
            if first.len() >= FIRST_LINES {
                self.first_lines(&name, &mut first);
            }
        }
        self.first_lines(&name, &mut first);
        progress();
        Ok(())
    }

    /// Finds the format by a file's first lines, and takes them through. If none reads any, the next ones are tried.
    fn first_lines(&mut self, name: &str, lines: &mut Vec<(u64, String)>) {
        self.format = self
            .format
            .or_else(|| Format::detect(lines.iter().map(|(_, text)| text.as_str())));
        for (number, text) in lines.drain(..) {
            self.line(name, number, &text);
        }
    }

    fn line(&mut self, name: &str, number: u64, text: &str) {
        let place = || place(name, number);
        let Some(format) = self.format else {
            return self.tally.unreadable("no log format that is known here", place, text);
        };
        let read = format.read(text).map(|record| (format, record));
        // A file may hold more than one format; one that was asked for stays.
        let read = read.or_else(|unreadable| match self.options.format {
            Some(_) => Err(unreadable),
            None => match Format::detect(std::iter::once(text)) {
                Some(other) => other.read(text).map(|record| (other, record)),
                None => Err(unreadable),
            },
        });
        match read {
            Ok((format, record)) => {
                *self.formats.entry(format).or_default() += 1;
                self.record(&record, place);
            }
            Err(unreadable) => self.tally.unreadable(unreadable.0, place, text),
        }
    }

    fn record(&mut self, record: &Record<'_>, place: impl FnOnce() -> String) {
        if let Some(time) = record.time {
            let is_before = self.options.since.is_some_and(|since| time < since);
            if is_before || self.options.until.is_some_and(|until| time >= until) {
                self.tally.outside += 1;
                return;
            }
            self.tally.came(time);
        }
        self.tally.requests += 1;
        if record.then == record::Then::NotJudged {
            self.tally.not_judged += 1;
        }
        let judged = self.judge.judge(record);
        let (redaction, program) = (&self.redaction, self.options.program.as_str());
        self.tally.add(&judged, &self.judge, self.options.samples, |by, about| {
            sample(record, by, about, &place(), redaction, program)
        });
    }
}

fn place(name: &str, number: u64) -> String {
    format!("{name}:{number}")
}

/// An example, with a command that explains it. Values of parameters that are never logged are not shown here either.
fn sample(
    record: &Record<'_>,
    by: &By<'_>,
    about: &About,
    place: &str,
    redaction: &Redaction,
    program: &str,
) -> Sample {
    let request = record.request.as_ref().ok();
    let target = request.map_or("/", |request| &request.target.raw);
    let target = String::from_utf8_lossy(&redaction.target(target.as_bytes())).into_owned();
    let url = match &about.host {
        Some(host) => format!("{}://{host}{target}", if about.tls { "https" } else { "http" }),
        None => target,
    };
    let method = request.map_or("GET", |request| &request.method);
    let client = about.client.map(|client| client.to_string());
    Sample {
        place: place.to_owned(),
        request: format!("{} {method} {url}", client.as_deref().unwrap_or("-")),
        then: by.then.clone().into_owned(),
        now: by.now.clone().into_owned(),
        explain: report::explain(program, &url, request, about, redaction),
    }
}
