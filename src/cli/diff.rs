//! `portcullis diff A B`: what is different between two configurations, in words.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Exit, Output,
    session::{Session, plural, result_colour},
};
use crate::{
    config::{self, show::Colour},
    differences::{Change, differences},
    reload::now,
    snapshot::Snapshot,
};

const EXAMPLES: &str = "\
Examples:
  portcullis diff /etc/portcullis .           what an edited copy would change
  portcullis diff old/portcullis.toml         from an old one to the configuration found

Compared is what rules, lists and settings mean, not how they are written.
Exit codes: 0 nothing differs; 1 something does; 2 one of them does not load.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A portcullis.toml, or a folder with one
    #[arg(value_name = "A")]
    before: PathBuf,

    /// Another; without it the configuration found
    #[arg(value_name = "B")]
    after: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let after = match arguments.after.clone().map_or_else(|| session.config(), Ok) {
        Ok(after) => after,
        Err(fault) => {
            session.faults(&[fault]);
            return Exit::CouldNot;
        }
    };
    let before = load(&arguments.before, None, session);
    // Lists and geo files that are the same are compiled once.
    let after = load(&after, before.as_ref(), session);
    let (Some(before), Some(after)) = (before, after) else {
        return Exit::CouldNot;
    };
    let changes = differences(&before, &after);
    match session.output {
        Output::Text => session.print(&text(&changes, result_colour())),
        Output::Json => session.print_json(&json!({
            "same": changes.is_empty(),
            "changes": changes.iter().map(Change::json).collect::<Vec<_>>(),
        })),
    }
    match changes.is_empty() {
        true => Exit::Yes,
        false => Exit::No,
    }
}

fn load(path: &Path, previous: Option<&Snapshot>, session: &Session) -> Option<Snapshot> {
    let path = configuration(path);
    let loaded = config::load(&path, now(), previous);
    loaded
        .map_err(|faults| session.told(&faults, &format!("{} does not load", path.display())))
        .ok()
        .map(|(snapshot, _)| snapshot)
}

/// The file that is meant by a file or a folder.
fn configuration(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let places = [path.join("portcullis.toml"), path.join("config/portcullis.toml")];
    let found = places.iter().find(|place| place.exists());
    found.unwrap_or(&places[0]).clone()
}

fn text(changes: &[Change], colour: Colour) -> String {
    if changes.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        for line in change.lines() {
            text += &coloured(&line, colour);
            text.push('\n');
        }
    }
    format!("{text}\n{}\n", plural(changes.len(), "difference"))
}

fn coloured(line: &str, colour: Colour) -> String {
    let escape = match (colour, line.get(..3)) {
        (Colour::On, Some("  +")) => "\u{1b}[32m",
        (Colour::On, Some("  -")) => "\u{1b}[31m",
        (Colour::On, Some(start)) if !start.starts_with(' ') => "\u{1b}[1m",
        (Colour::On | Colour::Off, _) => return line.to_owned(),
    };
    format!("{escape}{line}\u{1b}[0m")
}
