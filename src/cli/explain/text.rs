//! An explanation for people: the verdict first, then why, then what would turn it, then the request and the rules.

use std::fmt::Write;

use http::StatusCode;

use super::{
    judge::{Outcome, Told},
    rules::{self, Shown},
    why,
};
use crate::{
    cli::paint::Paint,
    config::show::printable,
    policy::{
        client::Hop,
        explain::{ExplainedRule, ExplainedVerdict, Explanation, Turn},
        policy::Policy,
        rule::RefusalStatus,
    },
};

/// Everything, as text.
pub(super) fn text(told: &Told, policy: &Policy, shown: &Shown, paint: Paint) -> String {
    let mut text = String::new();
    let page = Page {
        told,
        policy,
        shown,
        paint,
    };
    // Writing into memory does not fail.
    let _infallible = page.write(&mut text);
    text
}

struct Page<'p> {
    told: &'p Told,
    policy: &'p Policy,
    shown: &'p Shown,
    paint: Paint,
}

impl Page<'_> {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        self.verdict(text)?;
        if !self.told.rules.is_empty() {
            for rule in &self.told.rules {
                writeln!(text)?;
                rules::one(rule, self.policy, self.paint, text)?;
            }
            return Ok(());
        }
        self.then(text)?;
        if let Outcome::Judged(explanation) = &self.told.outcome {
            self.why(explanation, text)?;
            self.turns(text)?;
            if let Some(bug) = &explanation.bug {
                self.bug(bug, text)?;
            }
        }
        self.request(text)?;
        if let Outcome::Judged(explanation) = &self.told.outcome {
            rules::write(explanation, self.policy, self.shown, self.paint, text)?;
        }
        Ok(())
    }

    fn verdict(&self, text: &mut String) -> std::fmt::Result {
        match &self.told.outcome {
            Outcome::Judged(explanation) => self.judged(explanation, text)?,
            Outcome::Refused(error) => {
                let (status, reason) = (error.status.as_u16(), error.reason.as_str());
                writeln!(
                    text,
                    "{} before any rule was asked: {}",
                    self.paint.bad("REFUSED"),
                    error.detail
                )?;
                writeln!(text, "  the client gets {status}, reason {reason}")?;
            }
            Outcome::Unjudged(why) => {
                let record = self.told.asked.recorded.as_ref().map(|recorded| &recorded.record);
                let action = record.map_or("not judged", |record| record.action.as_str());
                let said = match action {
                    "block" => self.paint.bad("BLOCKED"),
                    "reject" => self.paint.bad("REFUSED"),
                    "allow" => self.paint.good("ALLOWED"),
                    "answer" => self.paint.head("ANSWERED"),
                    other => self.paint.warn(other),
                };
                writeln!(text, "{said} when it came; it cannot be judged again: {why}")?;
            }
        }
        let client = self.told.client.as_ref().map(|client| {
            let assumed = if client.is_assumed { " (assumed: say --ip)" } else { "" };
            format!(" from {}{assumed}", client.facts.ip.addr())
        });
        writeln!(text, "  {}{}", printable(&self.told.shown), client.unwrap_or_default())?;
        for remark in &self.told.asked.remarks {
            writeln!(text, "  {} {}", self.paint.warn("note:"), printable(remark))?;
        }
        Ok(())
    }

    fn judged(&self, explanation: &Explanation, text: &mut String) -> std::fmt::Result {
        let verdict = &explanation.verdict;
        let deciding = deciding(explanation);
        let by = match (deciding, verdict.reason) {
            (Some(rule), _) => format!(
                " by {} ([[{}]])   {}",
                rule.id,
                rule.kind,
                self.paint.faint(&rule.place)
            ),
            (None, Some("default")) => ": no rule allows it, and the site's default is to block".to_owned(),
            (None, _) if verdict.verdict == "allow" => ": no rule objects".to_owned(),
            (None, _) => String::new(),
        };
        match verdict.verdict {
            "allow" => writeln!(text, "{}{by}", self.paint.good("ALLOWED"))?,
            "block" => writeln!(text, "{}{by}", self.paint.bad("BLOCKED"))?,
            _ => {
                let on = explanation.depends_on.join(", ");
                let on = if on.is_empty() {
                    "what is not known".to_owned()
                } else {
                    on
                };
                writeln!(
                    text,
                    "{}: it depends on {on}, which {}",
                    self.paint.warn("UNDECIDED"),
                    self.keeper()
                )?;
            }
        }
        if !explanation.possible.is_empty() {
            let possible: Vec<String> = explanation.possible.iter().take(6).map(in_words).collect();
            writeln!(text, "  it is one of: {}", possible.join("; "))?;
        }
        if let Some(note) = deciding.and_then(|rule| rule.note.as_ref()) {
            writeln!(text, "  \"{}\"", printable(note))?;
        }
        if let Some(owner) = deciding.and_then(|rule| rule.owner.as_ref()) {
            writeln!(text, "  owner: {}", printable(owner))?;
        }
        match self.told.answer {
            Some(status) => writeln!(text, "  the client gets {}", answer(status, verdict.reason)),
            None => Ok(()),
        }
    }

    /// Who should have known.
    fn keeper(&self) -> &'static str {
        use super::request::Stated;
        match self.told.asked.stated {
            Stated::Memory => "is never kept",
            Stated::Log => "the access log does not carry",
            Stated::Har => "the HAR may have been saved without",
            Stated::Options | Stated::Curl => "is not known",
        }
    }

    /// What was said when the request came, where that is known.
    fn then(&self, text: &mut String) -> std::fmt::Result {
        let Some(recorded) = &self.told.asked.recorded else {
            return Ok(());
        };
        let record = &recorded.record;
        let by = record
            .rule
            .as_ref()
            .map(|rule| format!(" by {rule}"))
            .unwrap_or_default();
        let detail = record
            .detail
            .as_ref()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let generation = record
            .generation
            .map(|number| format!(", generation {number}"))
            .unwrap_or_default();
        let action = past(&record.action);
        let changed = match (&recorded.in_force, record.generation) {
            (Some((now, loaded)), Some(then)) if *now != then => {
                format!("; generation {now}, loaded {loaded}, is in force now")
            }
            (Some(_), Some(_)) => "; the same is in force now".to_owned(),
            (_, _) => String::new(),
        };
        writeln!(
            text,
            "  it came {}, and was {action}{by}{}{generation}{changed}",
            record.time,
            printable(&detail)
        )?;
        if self.told.is_as_recorded() == Some(false) {
            let warning = match &self.told.outcome {
                Outcome::Judged(_) if record.action == "reject" => {
                    "what was kept of it shows no such fault: judged as if it had none"
                }
                _ => "the files as they are now say otherwise: see above and below",
            };
            writeln!(text, "  {} {warning}", self.paint.warn("note:"))?;
        }
        Ok(())
    }

    fn why(&self, explanation: &Explanation, text: &mut String) -> std::fmt::Result {
        if let Some(now) = self.told.now {
            let now = if now == "allow" { "allowed" } else { "blocked" };
            writeln!(
                text,
                "  {} judged at this moment it would be {now}",
                self.paint.warn("note:")
            )?;
        }
        let Some(rule) = deciding(explanation) else {
            return Ok(());
        };
        writeln!(text, "\n{}", self.paint.head("why"))?;
        if explanation.readings.len() > 1
            && let Some(reading) = explanation.decisive()
        {
            writeln!(text, "  read as {}", printable(&reading.path))?;
        }
        why::write(rule, self.policy, "  ", self.paint, text)
    }

    fn turns(&self, text: &mut String) -> std::fmt::Result {
        let Some(first) = self.told.turns.first() else {
            return Ok(());
        };
        let verdict = match first.verdict.verdict {
            "allow" => "it would be allowed if",
            _ => "it would be blocked if",
        };
        writeln!(text, "\n{}", self.paint.head(verdict))?;
        for (at, turn) in self.told.turns.iter().enumerate() {
            let or = if at > 0 { "or " } else { "" };
            writeln!(text, "  {or}{}", printable(&turn_words(turn)))?;
        }
        Ok(())
    }

    fn bug(&self, bug: &ExplainedVerdict, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\n{} the rules below come to \"{}\", the compiled policy does not: please report this",
            self.paint.bad("a bug in Portcullis:"),
            in_words(bug)
        )
    }

    fn request(&self, text: &mut String) -> std::fmt::Result {
        if self.told.client.is_none() && self.told.site.is_none() {
            return Ok(());
        }
        writeln!(text, "\n{}", self.paint.head("request"))?;
        if let Some(client) = &self.told.client {
            let ip = client.facts.ip.addr();
            writeln!(
                text,
                "  client     {ip}   {}",
                self.paint.faint(&format!("from {}", client.from))
            )?;
            if client.way.len() > 1 {
                let way: Vec<String> = client.way.iter().rev().map(hop).collect();
                writeln!(text, "             {}", way.join(" -> "))?;
            }
            let geo = &client.facts.geo;
            let (country, continent) = (geo.country.as_str(), geo.continent.as_str());
            let place = format!("{country}, continent {continent}");
            writeln!(
                text,
                "  country    {place}   {}",
                self.paint.faint(&client.source("country"))
            )?;
            let organization = client.described.organization.as_ref();
            let system = match (geo.asn, organization) {
                (0, _) => "unknown".to_owned(),
                (asn, Some(name)) if !client.stated.contains(&"asn") => format!("AS{asn} {}", printable(name)),
                (asn, _) => format!("AS{asn}"),
            };
            writeln!(
                text,
                "  network    {system}   {}",
                self.paint.faint(&client.source("asn"))
            )?;
        }
        if let Some(site) = &self.told.site {
            let by = match site.by.as_str() {
                "*" => "by \"*\": no site names the host".to_owned(),
                by => format!("by its host \"{by}\""),
            };
            writeln!(
                text,
                "  site       {}, upstream {}   {}",
                site.name,
                site.upstream,
                self.paint.faint(&by)
            )?;
        }
        if let Some(path) = &self.told.path {
            writeln!(text, "  path       {}", path.canonical)?;
            if path.sent != path.canonical {
                let changes = path.changes.join("; ");
                writeln!(
                    text,
                    "             {}",
                    self.paint.faint(&format!("sent as {}: {changes}", path.sent))
                )?;
            }
            for other in &path.others {
                writeln!(
                    text,
                    "             an origin may read it as {}: judged as well",
                    printable(other)
                )?;
            }
        }
        Ok(())
    }
}

/// The rule that decided, under the reading where it did.
fn deciding(explanation: &Explanation) -> Option<&ExplainedRule> {
    let id = explanation.verdict.rule.as_ref()?;
    let mut rules = explanation.decisive()?.phases.iter().flat_map(|phase| &phase.rules);
    rules.find(|rule| rule.id == *id)
}

fn in_words(verdict: &ExplainedVerdict) -> String {
    let by = verdict.rule.as_ref().map(|rule| format!(" by {rule}"));
    match (verdict.verdict, by) {
        ("allow", by) => format!("allowed{}", by.unwrap_or_default()),
        (_, None) => "blocked by the site's default".to_owned(),
        (_, Some(by)) => format!("blocked{by}"),
    }
}

fn past(action: &str) -> &str {
    match action {
        "allow" => "allowed",
        "block" => "blocked",
        "reject" => "refused before any rule",
        "answer" => "answered by the gateway itself",
        other => other,
    }
}

fn answer(status: RefusalStatus, reason: Option<&str>) -> String {
    let reason = reason.map(|reason| format!(", reason {reason}")).unwrap_or_default();
    match status {
        RefusalStatus::Status(status) => format!("{}{reason}", status_words(status)),
        RefusalStatus::Conceal => "404, as if nothing were there".to_owned(),
        RefusalStatus::Close => "no answer: the connection is closed".to_owned(),
    }
}

fn status_words(status: StatusCode) -> String {
    status.as_u16().to_string()
}

/// What would have to differ, and what then lets the request in or keeps it out.
fn turn_words(turn: &Turn) -> String {
    let changes: Vec<String> = turn
        .changes
        .iter()
        .map(
            |change| match change.tried.is_empty() || change.words.contains(&change.tried) || is_time(change.fact) {
                true => change.words.clone(),
                false => format!("{} (such as {})", change.words, change.tried),
            },
        )
        .collect();
    let by = turn.verdict.rule.as_ref();
    let by = by.map(|rule| match turn.verdict.verdict {
        "allow" => format!("; {rule} then allows it"),
        _ => format!("; {rule} then blocks it"),
    });
    format!("{}{}", changes.join(", and "), by.unwrap_or_default())
}

/// Whether the fact is when the request came: any other time is as good as the one that was tried.
fn is_time(fact: &str) -> bool {
    matches!(fact, "portcullis.now" | "http.request.timestamp.sec")
}

fn hop(hop: &Hop) -> String {
    match hop.trusted {
        true => format!("{} (trusted proxy)", hop.ip.addr()),
        false => hop.ip.addr().to_string(),
    }
}
