//! What a replay found, for people and for programs.

mod json;

use std::{collections::BTreeMap, fmt::Write};

use super::{
    formats::Format,
    judge::{About, Kind},
    record::{Request, Said},
    tally::{Noted, Tally, Top},
};
use crate::{
    config::show::printable,
    policy::rule::Timestamp,
    telemetry::redact::{self, Redaction},
};

/// A finished replay.
#[derive(Debug)]
pub struct Report<'r> {
    /// What was counted.
    pub tally: &'r Tally,
    /// The formats that lines were read in.
    pub formats: &'r BTreeMap<Format, u64>,
    /// How many files were read.
    pub files: usize,
    /// The configuration that judged.
    pub after: String,
    /// The one that it is compared with; `None`: what the log says.
    pub before: Option<String>,
    /// The host that requests are taken to have whose log names none.
    pub assumed_host: Option<String>,
    /// What requests did not say.
    pub unknown: Vec<String>,
    /// What the numbers come to, for programs; people are told it apart.
    pub notes: Vec<String>,
    /// How many rows a table has.
    pub top: usize,
    /// How many examples each kind has.
    pub samples: usize,
}

impl Report<'_> {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into memory does not fail.
        let _infallible = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        self.write_subject(text)?;
        self.write_numbers(text)?;
        for kind in Kind::ALL {
            if let Some(noted) = self.tally.kinds.get(&kind) {
                self.write_kind(text, kind, noted)?;
            }
        }
        self.write_not_compared(text)?;
        self.write_unreadable(text)?;
        self.write_unknown(text)
    }

    fn write_subject(&self, text: &mut String) -> std::fmt::Result {
        let tally = self.tally;
        write!(
            text,
            "{} from {}",
            requests(tally.requests),
            counted(self.files as u64, "file")
        )?;
        if let Some((first, last)) = tally.span {
            write!(text, ", {} to {}", time(first), time(last))?;
        }
        let formats: Vec<&str> = self.formats.keys().map(|format| format.as_str()).collect();
        if !formats.is_empty() {
            write!(text, "\nread as   {}", formats.join(", "))?;
        }
        write!(text, "\njudged by {}", self.after)?;
        match &self.before {
            Some(before) => writeln!(text, "\nagainst   {before}"),
            None if tally.not_judged == tally.requests && tally.requests > 0 => {
                writeln!(
                    text,
                    "\nagainst   no gateway: every request counts as one that passed then, whatever its status"
                )
            }
            None if tally.not_judged > 0 => writeln!(
                text,
                "\nagainst   what Portcullis decided then; {} of other servers count as passed then",
                requests(tally.not_judged)
            ),
            None => writeln!(text, "\nagainst   what Portcullis decided then, as the log says"),
        }
    }

    fn write_numbers(&self, text: &mut String) -> std::fmt::Result {
        let tally = self.tally;
        let blocked = tally.count(Kind::NewlyBlocked);
        let share = format!("{} of what passed then", percent(blocked, tally.passed));
        let not_compared: u64 = tally.not_compared.values().sum();
        let unchanged = self.unchanged_in_words();
        let rows = [
            ("newly blocked", blocked, share.as_str()),
            ("newly allowed", tally.count(Kind::NewlyAllowed), ""),
            (
                "other rule",
                tally.count(Kind::OtherRule),
                "same verdict, decided by another rule",
            ),
            (
                "undecided",
                tally.count(Kind::Undecided),
                "it depends on what the log does not say",
            ),
            ("unchanged", tally.unchanged(), unchanged.as_str()),
            ("not compared", not_compared, "no rule is asked, see below"),
            ("unreadable", tally.unreadable, "lines, see below"),
            ("left out", tally.outside, "not between --since and --until"),
        ];
        let width = rows
            .iter()
            .map(|(_, number, _)| grouped(*number).len())
            .max()
            .unwrap_or(0);
        text.push('\n');
        for (at, (name, number, what)) in rows.into_iter().enumerate() {
            // The first five are the answer, zero or not.
            if at < 5 || number > 0 {
                let what = if number == 0 { "" } else { what };
                let line = format!("{name:<14}{:>width$}   {what}", grouped(number));
                writeln!(text, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }

    fn unchanged_in_words(&self) -> String {
        let of = |name: &str| self.tally.unchanged.get(name).copied().unwrap_or(0);
        let mut words = format!("{} allowed, {} blocked", grouped(of("allowed")), grouped(of("blocked")));
        if of("depends") > 0 {
            let _infallible = write!(words, ", {} depends, in the same way as before", grouped(of("depends")));
        }
        words
    }

    fn write_kind(&self, text: &mut String, kind: Kind, noted: &Noted) -> std::fmt::Result {
        let clients = noted.by_client.different() as u64;
        let least = if noted.by_client.is_exact() { "" } else { "at least " };
        writeln!(
            text,
            "\n{}: {} by {least}{}",
            kind.as_str().to_uppercase(),
            requests(noted.count),
            counted(clients, "client")
        )?;
        self.write_rules(text, kind, noted)?;
        self.write_top(text, "path", &noted.by_path)?;
        self.write_countries(text, &noted.by_country)?;
        self.write_top(text, "client", &noted.by_client)?;
        let samples: Vec<_> = noted.samples.first(self.samples).collect();
        if !samples.is_empty() {
            writeln!(text, "  for example")?;
        }
        for sample in samples {
            writeln!(text, "    {}", printable(&sample.place))?;
            writeln!(text, "      {}", printable(&sample.request))?;
            match kind {
                Kind::Undecided => writeln!(text, "      depends on {}", printable(&sample.now))?,
                Kind::NewlyBlocked | Kind::NewlyAllowed | Kind::OtherRule => {
                    writeln!(
                        text,
                        "      then {}, now {}",
                        printable(&sample.then),
                        printable(&sample.now)
                    )?;
                }
            }
            writeln!(text, "      {}", printable(&sample.explain))?;
        }
        Ok(())
    }

    fn write_rules(&self, text: &mut String, kind: Kind, noted: &Noted) -> std::fmt::Result {
        let rows = noted.by_rule.first(self.top);
        let width = rows.iter().map(|(_, count)| grouped(*count).len()).max().unwrap_or(0);
        let longest = rows.iter().map(|(rule, _)| rule.chars().count()).max().unwrap_or(0);
        writeln!(text, "  by rule{}", self.more(&noted.by_rule))?;
        for (rule, count) in rows {
            let place = noted.places.get(rule).map_or("", String::as_str);
            let line = format!("    {:>width$}  {:<longest$}  {place}", grouped(count), printable(rule));
            writeln!(text, "{}", line.trim_end())?;
            if let Some(needs) = noted
                .needs
                .get(rule)
                .filter(|needs| kind == Kind::Undecided && !needs.is_empty())
            {
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                let indent = width + 6;
                writeln!(text, "{:indent$}needs {}", "", printable(&needs.join(", ")))?;
            }
        }
        Ok(())
    }

    fn write_top(&self, text: &mut String, what: &str, top: &Top) -> std::fmt::Result {
        let rows = top.first(self.top);
        let width = rows.iter().map(|(_, count)| grouped(*count).len()).max().unwrap_or(0);
        writeln!(text, "  by {what}{}", self.more(top))?;
        for (row, count) in rows {
            writeln!(text, "    {:>width$}  {}", grouped(count), printable(row))?;
        }
        Ok(())
    }

    /// Countries are short enough for a line.
    fn write_countries(&self, text: &mut String, top: &Top) -> std::fmt::Result {
        let rows = top.first(self.top).into_iter();
        let rows: Vec<String> = rows
            .map(|(country, count)| format!("{country} {}", grouped(count)))
            .collect();
        writeln!(text, "  by country{}\n    {}", self.more(top), rows.join("   "))
    }

    /// What is said beside a table that does not show all.
    fn more(&self, top: &Top) -> String {
        match (top.different() > self.top, top.is_exact()) {
            (false, true) => String::new(),
            (true, true) => format!(" (the first {} of {})", self.top, grouped(top.different() as u64)),
            // Rare ones made room for others.
            (_, false) => format!(" (the first {} of very many; each at least so often)", self.top),
        }
    }

    fn write_not_compared(&self, text: &mut String) -> std::fmt::Result {
        if self.tally.not_compared.is_empty() {
            return Ok(());
        }
        writeln!(text, "\nNOT COMPARED")?;
        let rows = &self.tally.not_compared;
        let width = rows.values().map(|count| grouped(*count).len()).max().unwrap_or(0);
        for ((why, what), count) in rows {
            let what = if what.is_empty() {
                String::new()
            } else {
                format!(" ({})", printable(what))
            };
            writeln!(text, "  {:>width$}  {why}{what}", grouped(*count))?;
        }
        Ok(())
    }

    fn write_unreadable(&self, text: &mut String) -> std::fmt::Result {
        let lines = &self.tally.unreadable_lines;
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(
            text,
            "\nUNREADABLE: {}{}",
            counted(self.tally.unreadable, "line"),
            match lines.len() as u64 {
                shown if shown < self.tally.unreadable => format!(", the first {shown} are"),
                _ => String::new(),
            }
        )?;
        for line in lines {
            writeln!(text, "  {}: {}", printable(&line.place), line.why)?;
            let beginning: String = line.text.chars().take(90).collect();
            let dots = if beginning.len() < line.text.len() { "…" } else { "" };
            writeln!(text, "    {}{dots}", printable(&beginning))?;
        }
        Ok(())
    }

    fn write_unknown(&self, text: &mut String) -> std::fmt::Result {
        if let Some(host) = &self.assumed_host {
            writeln!(
                text,
                "\nwhere the log names no host, it is taken to be {}",
                printable(host)
            )?;
        }
        if self.unknown.is_empty() {
            return Ok(());
        }
        writeln!(text, "\nnot in the log, and taken as unknown (never as empty):")?;
        for what in &self.unknown {
            writeln!(text, "  {}", printable(what))?;
        }
        let is_of_the_log = self.before.is_none() && self.tally.not_judged < self.tally.requests;
        if is_of_the_log && self.tally.count(Kind::Undecided) > 0 {
            writeln!(
                text,
                "with --against, the configuration of then, what depends on rules that stay is told apart"
            )?;
        }
        Ok(())
    }
}

/// A command that explains a request, ready for a shell. Values of parameters that are never logged are not in it.
pub(super) fn explain(
    program: &str,
    url: &str,
    request: Option<&Request<'_>>,
    about: &About,
    redaction: &Redaction,
) -> String {
    let mut words = vec!["explain".to_owned(), url.to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(client) = about.client {
        option("--ip", client.to_string());
    }
    if let Some(request) = request {
        if request.method != "GET" {
            option("-X", request.method.clone().into_owned());
        }
        if let Said::Whole(agent) = &request.user_agent {
            option("-H", format!("User-Agent: {agent}"));
        }
        if let Said::Whole(referer) | Said::Place(referer) = &request.referer {
            let place = redact::referer(referer.as_bytes());
            let place = redaction.path(&place);
            option("-H", format!("Referer: {}", String::from_utf8_lossy(&place)));
        }
    }
    if about.now > 0 {
        option("--at", time(Timestamp(about.now)));
    }
    let quoted = words.iter().map(|word| match shlex::try_quote(word) {
        Ok(quoted) => quoted.into_owned(),
        // Only a NUL cannot be quoted, and no request has one.
        Err(_) => String::from("''"),
    });
    format!("{program} {}", quoted.collect::<Vec<_>>().join(" "))
}

/// `1 request`, `1,234 requests`.
fn requests(number: u64) -> String {
    counted(number, "request")
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A share with as many digits as say something.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match share {
        _ if part == 0 => "0 %".to_owned(),
        share if share < 0.01 => "less than 0.01 %".to_owned(),
        share if share < 1.0 => format!("{share:.2} %"),
        share => format!("{share:.1} %"),
    }
}

/// `2026-11-26T04:12:00Z`
fn time(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_second(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        for (number, shown) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), shown);
        }
        for ((part, whole), shown) in [
            ((0, 0), "0 %"),
            ((0, 5), "0 %"),
            ((1, 1_000_000), "less than 0.01 %"),
            ((1, 400), "0.25 %"),
            ((1, 3), "33.3 %"),
        ] {
            assert_eq!(percent(part, whole), shown);
        }
    }
}
