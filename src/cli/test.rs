//! `portcullis test`: judges the request of every `[[test]]`, and tells which came out otherwise than expected.

use std::fmt::Write;

use serde_json::json;

use super::{
    Exit, Output,
    session::{Session, plural, result_colour},
};
use crate::{
    config::show::{self, Colour},
    promises::{Outcome, outcome},
    snapshot::Snapshot,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only tests with this text in their name, their file's name, or the id of the rule that they expect
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    let all = snapshot.policy.tests().len();
    let tests = snapshot.policy.tests().iter().map(|test| outcome(test, &snapshot));
    let outcomes: Vec<Outcome<'_>> = tests.filter(|outcome| is_meant(outcome, arguments)).collect();
    if let Some(filter) = arguments.filter.as_deref().filter(|_| outcomes.is_empty()) {
        session.complain(&format!(
            "none of {} has `{filter}` in its name, file or rule",
            plural(all, "test")
        ));
        return Exit::CouldNot;
    }
    match session.output {
        Output::Text => session.print(&text(&outcomes, &snapshot, result_colour())),
        Output::Json => session.print_json(&json!({
            "ok": outcomes.iter().all(|outcome| outcome.holds),
            "passed": outcomes.iter().filter(|outcome| outcome.holds).count(),
            "failed": outcomes.iter().filter(|outcome| !outcome.holds).count(),
            "tests": outcomes.iter().map(|outcome| outcome.json(&snapshot)).collect::<Vec<_>>(),
        })),
    }
    match outcomes.iter().all(|outcome| outcome.holds) {
        true => Exit::Yes,
        false => Exit::No,
    }
}

fn is_meant(outcome: &Outcome<'_>, arguments: &Arguments) -> bool {
    let Some(filter) = &arguments.filter else { return true };
    let (test, filter) = (outcome.test, filter.to_lowercase());
    let rule = test.expected.rule.as_ref().map(|rule| rule.value.as_str());
    let texts = [Some(test.name.as_str()), Some(&test.place.source.name), rule];
    texts
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&filter))
}

/// Beyond this width a name pushes what follows it to the right.
const WIDEST_NAME: usize = 56;

fn text(outcomes: &[Outcome<'_>], snapshot: &Snapshot, colour: Colour) -> String {
    let mut text = String::new();
    let widths = outcomes.iter().map(|outcome| outcome.test.name.chars().count());
    let width = widths.filter(|width| *width <= WIDEST_NAME).max().unwrap_or(0);
    let mut file = "";
    for outcome in outcomes {
        let own = outcome.test.place.source.name.as_str();
        if own != file {
            let gap = if file.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{own}");
            file = own;
        }
        let name = show::printable(&outcome.test.name);
        let came = match outcome.came.is_plain_allow() {
            true => "allow".to_owned(),
            false => outcome.came.words(),
        };
        let _ = writeln!(text, "  {}  {name:width$}  {came}", mark(outcome.holds, colour));
    }
    let faults: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.fault(snapshot)).collect();
    if !faults.is_empty() {
        let _ = write!(text, "\n{}", show::text(&faults, colour));
    }
    let gap = if outcomes.is_empty() { "" } else { "\n" };
    let _ = writeln!(text, "{gap}{}", summary(outcomes.len(), faults.len()));
    text
}

fn mark(holds: bool, colour: Colour) -> &'static str {
    match (holds, colour) {
        (true, Colour::Off) => "ok    ",
        (false, Colour::Off) => "FAILED",
        (true, Colour::On) => "\u{1b}[32mok\u{1b}[0m    ",
        (false, Colour::On) => "\u{1b}[1;31mFAILED\u{1b}[0m",
    }
}

fn summary(all: usize, failed: usize) -> String {
    match (all, failed) {
        (0, _) => "there are no tests: write [[test]] tables beside the rules".to_owned(),
        (1, 0) => "1 test, and it holds".to_owned(),
        (all, 0) => format!("{all} tests, and all hold"),
        (all, failed) => format!("{}, {failed} failed", plural(all, "test")),
    }
}
