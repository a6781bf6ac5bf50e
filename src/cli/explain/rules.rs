//! The rules of an explanation in the order in which they are asked: what mattered in full, the rest counted.

use std::{collections::BTreeMap, fmt::Write};

use super::why;
use crate::{
    cli::paint::Paint,
    config::show::printable,
    policy::{
        explain::{ExplainedPhase, ExplainedReading, ExplainedRule, Explanation, Fate},
        policy::Policy,
    },
};

/// How much is shown of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// Those that mattered.
    WhatMattered,
    /// Every one.
    All,
}

/// All readings, each with its phases.
pub(super) fn write(
    explanation: &Explanation,
    policy: &Policy,
    shown: &Shown,
    paint: Paint,
    text: &mut String,
) -> std::fmt::Result {
    let list = List {
        explanation,
        policy,
        shown,
        paint,
    };
    let Some(first) = explanation.readings.first() else {
        return Ok(());
    };
    if first.phases.is_empty() {
        return writeln!(text, "\nthere are no rules");
    }
    let several = explanation.readings.len() > 1;
    for reading in &explanation.readings {
        let read = match several {
            true => format!(", read as {}: {}", printable(&reading.path), verdict(reading)),
            false => String::new(),
        };
        writeln!(
            text,
            "\n{}{read}",
            paint.head("rules, in the order in which they are asked")
        )?;
        if fates(reading) == fates(first) && !std::ptr::eq(reading, first) {
            writeln!(text, "  as above")?;
            continue;
        }
        for phase in &reading.phases {
            list.phase(phase, text)?;
        }
    }
    if *shown == Shown::WhatMattered && explanation.readings.iter().any(|reading| hides(reading, &list)) {
        writeln!(
            text,
            "\n{}",
            paint.faint("--all shows every rule, --rule ID one of them and why it matched or not")
        )?;
    }
    Ok(())
}

fn verdict(reading: &ExplainedReading) -> &'static str {
    match reading.verdict.verdict {
        "allow" => "not blocked",
        "block" => "blocked",
        other => other,
    }
}

/// What became of each rule.
fn fates(reading: &ExplainedReading) -> Vec<Fate> {
    let rules = reading.phases.iter().flat_map(|phase| &phase.rules);
    rules.map(|rule| rule.fate).collect()
}

fn hides(reading: &ExplainedReading, list: &List<'_>) -> bool {
    let mut rules = reading.phases.iter().flat_map(|phase| &phase.rules);
    rules.any(|rule| !list.shows(rule))
}

struct List<'l> {
    explanation: &'l Explanation,
    policy: &'l Policy,
    shown: &'l Shown,
    paint: Paint,
}

impl List<'_> {
    fn phase(&self, phase: &ExplainedPhase, text: &mut String) -> std::fmt::Result {
        let name = match phase.tier {
            Some("address") => "ip_access: addresses",
            Some("asn") => "ip_access: networks",
            Some(_) => "ip_access: places",
            None => phase.phase,
        };
        let folded = self.folded(phase);
        match folded.is_empty() {
            true => writeln!(text, "  {name}")?,
            false => writeln!(text, "  {name:<22} {}", self.paint.faint(&folded.join(", ")))?,
        }
        let shown: Vec<&ExplainedRule> = phase.rules.iter().filter(|rule| self.shows(rule)).collect();
        let width = shown.iter().map(|rule| rule.id.chars().count()).max().unwrap_or(0);
        for rule in shown {
            self.rule(rule, width, text)?;
        }
        for (why, number) in self.left_out(phase) {
            writeln!(text, "       {}", self.paint.faint(&format!("{number} skipped: {why}")))?;
        }
        Ok(())
    }

    /// Whether a rule has a line of its own.
    fn shows(&self, rule: &ExplainedRule) -> bool {
        match (self.shown, rule.fate) {
            (Shown::All, _) | (_, Fate::Matched | Fate::Undecided) => true,
            (Shown::WhatMattered, Fate::NotMatched | Fate::Skipped | Fate::NotReached | Fate::Disabled) => false,
        }
    }

    /// What became of the rules without a line, counted.
    fn folded(&self, phase: &ExplainedPhase) -> Vec<String> {
        let hidden: Vec<&ExplainedRule> = phase.rules.iter().filter(|rule| !self.shows(rule)).collect();
        let count = |fate: Fate| hidden.iter().filter(|rule| rule.fate == fate).count();
        let counted = [
            (count(Fate::NotMatched), "did not match"),
            (count(Fate::NotReached), "not reached"),
            (count(Fate::Disabled), "disabled"),
        ];
        let told = counted.into_iter().filter(|(number, _)| *number > 0);
        told.map(|(number, words)| format!("{number} {words}")).collect()
    }

    /// The skipped rules without a line, by why they were.
    fn left_out(&self, phase: &ExplainedPhase) -> BTreeMap<String, usize> {
        let mut by_why = BTreeMap::new();
        for rule in phase
            .rules
            .iter()
            .filter(|rule| !self.shows(rule) && rule.fate == Fate::Skipped)
        {
            *by_why.entry(rule.why.clone().unwrap_or_default()).or_default() += 1;
        }
        by_why
    }

    fn rule(&self, rule: &ExplainedRule, width: usize, text: &mut String) -> std::fmt::Result {
        let decides = self.explanation.verdict.rule.as_deref() == Some(rule.id.as_str()) && rule.fate == Fate::Matched;
        let mark = if decides { "=>" } else { "  " };
        let does = match (rule.mode, rule.action) {
            ("shadow", action) => format!("{action}, in shadow"),
            (_, "skip") => format!("skip {}", rule.skips.join(", ")),
            (_, action) => action.to_owned(),
        };
        let fate = match (rule.fate, rule.mode) {
            (Fate::Matched, "shadow") => self.paint.warn("would match; changes nothing"),
            (Fate::Matched, _) if decides => self.paint.head("matched: it decides"),
            (Fate::Matched, _) => self.paint.head("matched"),
            (fate, _) => fate.as_str().to_owned(),
        };
        let id = &rule.id;
        writeln!(
            text,
            "    {mark} {id:<width$}   {does}   {fate}   {}",
            self.paint.faint(&rule.place)
        )?;
        if let Some(why) = &rule.why {
            writeln!(text, "         {why}")?;
        }
        // The deciding one was told at length already.
        let short = rule
            .trace
            .as_ref()
            .filter(|_| !decides)
            .and_then(|trace| why::in_short(trace, self.policy));
        match short {
            Some(short) => writeln!(text, "         {}", self.paint.faint(&short)),
            None => Ok(()),
        }
    }
}

/// One rule at length, whether it was asked or not.
pub(super) fn one(explained: &ExplainedRule, policy: &Policy, paint: Paint, text: &mut String) -> std::fmt::Result {
    let does = match explained.action {
        "skip" => format!("skip {}", explained.skips.join(", ")),
        action => action.to_owned(),
    };
    let shadow = if explained.mode == "shadow" {
        ", in shadow: it never acts"
    } else {
        ""
    };
    let id = paint.head(&explained.id);
    writeln!(
        text,
        "{id} ([[{}]], {does}{shadow})   {}",
        explained.kind,
        paint.faint(&explained.place)
    )?;
    if let Some(note) = &explained.note {
        writeln!(text, "  \"{}\"", printable(note))?;
    }
    let matches = match explained.trace.as_ref().and_then(|trace| trace.outcome) {
        Some(true) => paint.good("it matches this request"),
        Some(false) => paint.bad("it does not match this request"),
        None => paint.warn("whether it matches is not known"),
    };
    let asked = match explained.fate {
        Fate::Matched | Fate::NotMatched | Fate::Undecided => String::new(),
        Fate::Skipped => format!(", and was not asked: {}", explained.why.as_deref().unwrap_or("skipped")),
        Fate::NotReached => ", and was not asked: the decision was taken before".to_owned(),
        Fate::Disabled => ", and is never asked: it is disabled".to_owned(),
    };
    writeln!(text, "  {matches}{asked}")?;
    why::write(explained, policy, "  ", paint, text)
}
