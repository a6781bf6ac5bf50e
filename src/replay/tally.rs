//! Counts what became of requests, in bounded memory: whatever a log holds, no more is kept than the bounds here say.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::judge::{About, By, Judge, Judged, Kind, NotCompared, Unchanged};
use crate::policy::rule::Timestamp;

/// The different paths, clients, … that are counted at once for each kind. Rare ones make room for new ones.
const MAX_COUNTED: usize = 16_384;
/// The longest text that is counted, in bytes: paths may be long.
const MAX_TEXT: usize = 200;
/// The unreadable lines that are shown.
const MAX_UNREADABLE: usize = 5;
/// The different reasons for which requests are not compared.
const MAX_REASONS: usize = 100;
/// The values that a rule is said to need.
const MAX_NEEDS: usize = 8;

/// What became of all requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines that were read as a request.
    pub requests: u64,
    /// The first and the last time of a request.
    pub span: Option<(Timestamp, Timestamp)>,
    /// Requests whose verdict stays what it was.
    pub unchanged: BTreeMap<&'static str, u64>,
    /// What changes, and what nobody can tell.
    pub kinds: BTreeMap<Kind, Noted>,
    /// Requests that passed then, of those that are decided.
    pub passed: u64,
    /// Requests that are not compared, by why.
    pub not_compared: BTreeMap<(&'static str, String), u64>,
    /// Lines that could not be read.
    pub unreadable: u64,
    /// The first of them.
    pub unreadable_lines: Vec<UnreadableLine>,
    /// Requests without any verdict of ours then: each is taken to have passed.
    pub not_judged: u64,
    /// Requests outside of the time that was asked for.
    pub outside: u64,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableLine {
    /// `file:line`
    pub place: String,
    /// Why.
    pub why: &'static str,
    /// Its beginning.
    pub text: String,
}

/// Requests of one kind.
#[derive(Debug, Default)]
pub struct Noted {
    /// How many.
    pub count: u64,
    /// By what decides; of what is newly allowed, by what blocked it.
    pub by_rule: Top,
    /// By canonical path.
    pub by_path: Top,
    /// By the client's country.
    pub by_country: Top,
    /// By client.
    pub by_client: Top,
    /// Where those rules are written.
    pub places: BTreeMap<String, String>,
    /// What the rules need that the log does not say.
    pub needs: BTreeMap<String, BTreeSet<String>>,
    /// Examples.
    pub samples: Samples,
}

/// Counts the most frequent of any number of texts.
#[derive(Debug, Default)]
pub struct Top {
    counts: HashMap<Box<str>, u64>,
    /// How many of each may be missing: those that were counted before they made room.
    missing: u64,
}

impl Top {
    /// Counts one more.
    pub fn add(&mut self, text: &str) {
        let text = cut(text);
        if let Some(count) = self.counts.get_mut(text) {
            *count += 1;
            return;
        }
        if self.counts.len() >= MAX_COUNTED {
            self.make_room();
        }
        self.counts.insert(text.into(), 1);
    }

    /// Lets go of the rarer half.
    fn make_room(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        let least = *median;
        self.counts.retain(|_, count| *count > least);
        self.missing += least;
    }

    /// The most frequent ones.
    pub fn first(&self, number: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.counts.iter().map(|(text, count)| (&**text, *count)).collect();
        all.sort_unstable_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
        all.truncate(number);
        all
    }

    /// How many different ones there are; at least so many, if some made room.
    pub fn different(&self) -> usize {
        self.counts.len()
    }

    /// Whether counts are exact; if not, each is at least what is said.
    pub fn is_exact(&self) -> bool {
        self.missing == 0
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Examples: of as many different rules as can be.
#[derive(Debug, Default)]
pub struct Samples {
    of_new_rules: Vec<Sample>,
    others: Vec<Sample>,
    rules: BTreeSet<String>,
}

/// An example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// `file:line`
    pub place: String,
    /// Who asked for what.
    pub request: String,
    /// What decided then.
    pub then: String,
    /// What would decide.
    pub now: String,
    /// A command that explains it.
    pub explain: String,
}

impl Samples {
    /// Whether one of this rule would be shown.
    fn wants(&self, rule: &str, number: usize) -> bool {
        let is_new = !self.rules.contains(rule) && self.of_new_rules.len() < number;
        is_new || self.of_new_rules.len() + self.others.len() < number
    }

    fn add(&mut self, rule: &str, sample: Sample) {
        if self.rules.insert(rule.to_owned()) {
            self.of_new_rules.push(sample);
        } else {
            self.others.push(sample);
        }
    }

    /// The examples.
    pub fn first(&self, number: usize) -> impl Iterator<Item = &Sample> {
        self.of_new_rules.iter().chain(&self.others).take(number)
    }
}

impl Tally {
    /// Counts a request. `sample` makes an example of it, if one is wanted.
    pub fn add(
        &mut self,
        judged: &Judged<'_>,
        judge: &Judge<'_>,
        samples: usize,
        sample: impl FnOnce(&By<'_>, &About) -> Sample,
    ) {
        match judged {
            Judged::Unchanged(unchanged) => {
                *self.unchanged.entry(unchanged.as_str()).or_default() += 1;
                self.passed += u64::from(*unchanged == Unchanged::Allowed);
            }
            Judged::NotCompared(why) => {
                let (why, what) = why.in_words();
                let is_known = self.not_compared.contains_key(&(why, what.clone()));
                let what = if is_known || self.not_compared.len() < MAX_REASONS {
                    what
                } else {
                    "…".to_owned()
                };
                *self.not_compared.entry((why, what)).or_default() += 1;
            }
            Judged::Noted(kind, by) => {
                self.passed += u64::from(*kind != Kind::Undecided && by.passed == Some(true));
                let noted = self.kinds.entry(*kind).or_default();
                noted.add(*kind, by, judge, samples, sample);
            }
        }
    }

    /// Widens the time that requests came in.
    pub fn came(&mut self, at: Timestamp) {
        self.span = Some(match self.span {
            None => (at, at),
            Some((first, last)) => (first.min(at), last.max(at)),
        });
    }

    /// Counts a line that could not be read.
    pub fn unreadable(&mut self, why: &'static str, place: impl FnOnce() -> String, text: &str) {
        self.unreadable += 1;
        if self.unreadable_lines.len() < MAX_UNREADABLE {
            self.unreadable_lines.push(UnreadableLine {
                place: place(),
                why,
                text: cut(text).to_owned(),
            });
        }
    }

    /// How many requests are of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, |noted| noted.count)
    }

    /// How many verdicts stay.
    pub fn unchanged(&self) -> u64 {
        self.unchanged.values().sum()
    }
}

impl Noted {
    fn add(
        &mut self,
        kind: Kind,
        by: &By<'_>,
        judge: &Judge<'_>,
        samples: usize,
        sample: impl FnOnce(&By<'_>, &About) -> Sample,
    ) {
        self.count += 1;
        let both;
        let rule: &str = match kind {
            Kind::NewlyBlocked => &by.now,
            Kind::NewlyAllowed => &by.then,
            Kind::OtherRule => {
                both = format!("{} -> {}", by.then, by.now);
                &both
            }
            Kind::Undecided => by.rule.map_or(&by.now, |rule| rule.id.as_str()),
        };
        let about = judge.about();
        self.by_rule.add(rule);
        self.by_path.add(about.path.as_deref().unwrap_or("(unknown)"));
        self.by_country
            .add(about.country.as_ref().map_or("(unknown)", |country| country.as_str()));
        match about.client {
            Some(client) => self.by_client.add(&client.to_string()),
            None => self.by_client.add("(unknown)"),
        }
        if let Some(decides) = by.rule {
            if !self.places.contains_key(rule) && self.places.len() < MAX_COUNTED {
                self.places.insert(rule.to_owned(), decides.place.to_string());
            }
            if kind == Kind::Undecided {
                self.note_needs(rule, || judge.needs(decides));
            }
        }
        if self.samples.wants(rule, samples) {
            let sample = sample(by, about);
            self.samples.add(rule, sample);
        }
    }

    fn note_needs(&mut self, rule: &str, needs: impl FnOnce() -> BTreeSet<String>) {
        if let Some(known) = self.needs.get_mut(rule) {
            // Most requests of a log lack the same: the rest is looked at now and then.
            if known.len() < MAX_NEEDS && self.count.is_power_of_two() {
                known.extend(needs().into_iter().take(MAX_NEEDS));
            }
            return;
        }
        self.needs
            .insert(rule.to_owned(), needs().into_iter().take(MAX_NEEDS).collect());
    }
}

impl Unchanged {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Depends => "depends",
        }
    }
}

impl Kind {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::NewlyBlocked, Self::NewlyAllowed, Self::OtherRule, Self::Undecided];

    /// The key in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::NewlyBlocked => "newly_blocked",
            Self::NewlyAllowed => "newly_allowed",
            Self::OtherRule => "other_rule",
            Self::Undecided => "undecided",
        }
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewlyBlocked => "newly blocked",
            Self::NewlyAllowed => "newly allowed",
            Self::OtherRule => "other rule",
            Self::Undecided => "undecided",
        }
    }
}

impl NotCompared {
    fn in_words(&self) -> (&'static str, String) {
        match self {
            Self::RefusedThen(reason) => ("refused before any rule then", reason.clone()),
            Self::Answered => ("answered by the gateway itself", String::new()),
            Self::Refused(reason, detail) => (
                "refused before any rule, whatever the rules are",
                format!("{}: {detail}", reason.as_str()),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_are_found_among_any_number_in_bounded_memory() {
        let mut top = Top::default();
        for n in 0..100_000_u32 {
            top.add(&format!("/random/{n}"));
            if n % 3 == 0 {
                top.add("/often");
            }
            if n > 50_000 && n % 10 == 0 {
                top.add("/later");
            }
        }
        assert!(top.different() <= MAX_COUNTED && !top.is_exact());
        let first = top.first(2);
        assert_eq!((first[0].0, first[1].0), ("/often", "/later"));
        assert!(first[0].1 > 33_000 && first[0].1 <= 33_334, "{first:?}");
    }

    #[test]
    fn few_are_counted_exactly_and_equal_ones_stand_in_order() {
        let mut top = Top::default();
        for text in ["b", "a", "c", "c", "é".repeat(200).as_str()] {
            top.add(text);
        }
        assert!(top.is_exact());
        assert_eq!(top.first(3), [("c", 2), ("a", 1), ("b", 1)]);
    }
}
