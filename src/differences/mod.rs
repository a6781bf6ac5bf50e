//! What is different between two snapshots, in words: rule by rule, list by list, and what of the settings bears on judgement.
//!
//! Compared is what things mean: formatting, comments, the file and the line where a rule stands make no difference.

mod expression;
mod lists;
mod rules;
mod settings;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{config::show, policy::list::List, snapshot::Snapshot};

/// One thing that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is: `rule`, `list`, `site`, …
    pub what: &'static str,
    /// Its name; empty of what there is one of.
    pub name: String,
    /// How it is different.
    pub how: How,
    /// What it is or was, in a few words.
    pub gist: String,
    /// What of it is different.
    pub details: Vec<Detail>,
}

/// How a thing is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// Only the new one has it.
    Added,
    /// Only the old one has it.
    Removed,
    /// Both have it, and it says something else.
    Changed,
    /// It says the same, and is asked at another place in the order.
    Moved,
}

impl How {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Moved => "moved",
        }
    }
}

/// What of a thing is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    /// The key, or what else it is called.
    pub key: String,
    /// What it was.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

impl Detail {
    fn new(key: impl Into<String>, before: impl Into<Option<String>>, after: impl Into<Option<String>>) -> Self {
        Self {
            key: key.into(),
            before: before.into(),
            after: after.into(),
        }
    }
}

impl Change {
    /// `rule admin changed`
    pub fn heading(&self) -> String {
        let name = if self.name.is_empty() { "" } else { " " };
        format!("{}{name}{} {}", self.what, self.name, self.how.as_str())
    }

    /// For people: a heading, and below it what is different.
    pub fn lines(&self) -> Vec<String> {
        let gist = if self.gist.is_empty() {
            String::new()
        } else {
            format!(": {}", self.gist)
        };
        let mut lines = vec![format!("{}{gist}", self.heading())];
        let widths = self.details.iter().map(|detail| detail.key.len());
        let width = widths.max().unwrap_or_default();
        for Detail { key, before, after } in &self.details {
            let room = LINE.saturating_sub(width + 10);
            match (before, after) {
                (Some(before), Some(after)) if before.len() + after.len() <= room => {
                    lines.push(format!("    {key:width$}  {before} -> {after}"));
                }
                (Some(only), None) if only.len() <= room => lines.push(format!("  - {key:width$}  {only}")),
                (None, Some(only)) if only.len() <= room => lines.push(format!("  + {key:width$}  {only}")),
                (before, after) => {
                    lines.push(format!("    {key}"));
                    lines.extend(before.iter().flat_map(|before| wrapped('-', before)));
                    lines.extend(after.iter().flat_map(|after| wrapped('+', after)));
                }
            }
        }
        // A rule's own text must not reach the terminal as control characters, nor as lines of ours.
        lines
            .iter()
            .map(|line| show::printable(&line.replace('\n', "\\n")).trim_end().to_owned())
            .collect()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "name": self.name,
            "how": self.how.as_str(),
            "gist": self.gist,
            "details": self.details.iter().map(Detail::json).collect::<Vec<_>>(),
        })
    }
}

impl Detail {
    fn json(&self) -> Value {
        json!({ "key": self.key, "before": self.before, "after": self.after })
    }
}

/// A long text over several lines, each with its sign.
fn wrapped(sign: char, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("  {sign}     {word}")),
            None => lines.push(format!("  {sign}   {word}")),
        }
    }
    lines
}

/// How wide a line may be before its two sides stand below each other.
const LINE: usize = 100;

/// Everything that is different in `new`.
pub fn differences(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut changes = rules::rules(old, new);
    changes.extend(rules::moved(old, new));
    changes.extend(lists::lists(old, new));
    changes.extend(settings::settings(old, new));
    changes.extend(rules::tests(old, new));
    changes
}

/// How many names of one sort are told before the rest is counted.
const MOST_NAMES: usize = 20;

/// The same, a few words each; of many of one sort only some by name.
pub fn told(changes: &[Change], old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let mut groups: Vec<((&str, How), Vec<&Change>)> = Vec::new();
    for change in changes {
        let sort = (change.what, change.how);
        match groups.iter_mut().find(|(known, _)| *known == sort) {
            Some((_, group)) => group.push(change),
            None => groups.push((sort, vec![change])),
        }
    }
    let mut told = Vec::new();
    for ((what, how), group) in groups {
        let more = group.len().saturating_sub(MOST_NAMES);
        told.extend(group.iter().take(MOST_NAMES).map(|change| change.heading()));
        if more > 0 {
            told.push(format!("{more} more {what}s {}", how.as_str()));
        }
        if what == "list" {
            told.extend(folded(old, new, how));
        }
    }
    told
}

/// Of the lists that are new or different, those with entries that add nothing.
fn folded(old: &Snapshot, new: &Snapshot, how: How) -> Vec<String> {
    let before = |list: &Arc<List>| old.policy.list(list.name()).map(|before| before == list);
    let is_meant = |list: &&Arc<List>| match how {
        How::Added => before(list).is_none(),
        How::Changed => before(list) == Some(false),
        How::Removed | How::Moved => false,
    };
    new.policy
        .lists()
        .iter()
        .filter(is_meant)
        .filter_map(|list| show::folded(list))
        .collect()
}

/// Things of one sort by name: those added, those removed, and those for which `compare` finds something.
fn compare<'t, T>(
    what: &'static str,
    old: &BTreeMap<String, &'t T>,
    new: &BTreeMap<String, &'t T>,
    gist: impl Fn(&T) -> String,
    contents: impl Fn(&T) -> Vec<Detail>,
    details: impl Fn(&T, &T) -> Vec<Detail>,
) -> Vec<Change> {
    let change = |name: &str, how, gist, details| Change {
        what,
        name: name.to_owned(),
        how,
        gist,
        details,
    };
    let only = |these: &BTreeMap<String, &'t T>, others: &BTreeMap<String, &'t T>, how| -> Vec<Change> {
        let these = these.iter().filter(|(name, _)| !others.contains_key(*name));
        these
            .map(|(name, thing)| change(name, how, gist(thing), contents(thing)))
            .collect()
    };
    let mut changes = only(new, old, How::Added);
    changes.extend(only(old, new, How::Removed));
    let both = new.iter().filter_map(|(name, now)| Some((name, *old.get(name)?, *now)));
    changes.extend(both.filter_map(|(name, before, now)| {
        let details = details(before, now);
        (!details.is_empty()).then(|| change(name, How::Changed, String::new(), details))
    }));
    changes
}

/// A detail where the two sides differ.
fn differs<T: PartialEq>(key: &'static str, before: &T, after: &T, words: impl Fn(&T) -> String) -> Option<Detail> {
    (before != after).then(|| Detail::new(key, words(before), words(after)))
}
