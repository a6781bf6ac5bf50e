//! What lint finds in rules with known mistakes, and that it finds nothing in rules without.
//!
//! `tests/cases/lint/*.toml` are rules files. A line that ends in `#! check, check` must be found by these checks, and nothing
//! else may be found. `#! key: value` at the top says what stands around the rules.

use std::{collections::BTreeSet, fs, path::Path};

use portcullis::{
    config,
    policy::{
        fault::{Faults, Source},
        lang::GeoKnown,
        lint::{Check, Finding, Proxies, Surroundings, lint},
        policy::{Policy, PolicyEnvironment},
        rule::Timestamp,
        site::{DefaultVerdict, HostPattern, SiteFacts},
    },
};

use crate::support::{NOW, TextFiles, any_site};

/// A rules file with what is expected of it.
struct Marked {
    name: String,
    text: String,
    sites: Vec<SiteFacts>,
    with: BTreeSet<Check>,
    now: Timestamp,
    header: Option<String>,
    /// Line and check, in order.
    expected: Vec<(usize, String)>,
}

impl Marked {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a readable case");
        let mut marked = Self {
            name: path.file_name().expect("a name").to_string_lossy().into_owned(),
            sites: vec![any_site()],
            with: BTreeSet::new(),
            now: NOW,
            header: None,
            expected: Vec::new(),
            text,
        };
        for (number, line) in marked.text.clone().lines().enumerate() {
            let Some((code, mark)) = line.split_once("#! ") else {
                continue;
            };
            match mark.split_once(": ") {
                Some((key, value)) if code.is_empty() => marked.set(key, value),
                _ => marked.expected.extend(mark.split(", ").map(|check| {
                    assert!(Check::named(check).is_some(), "{}:{}: {check}", marked.name, number + 1);
                    (number + 1, check.to_owned())
                })),
            }
        }
        marked.expected.sort();
        marked
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "sites" => {
                let host = |host| HostPattern::parse(host).expect("a host");
                self.sites[0].hosts = value.split(' ').map(host).collect();
            }
            "default" => self.sites[0].default = DefaultVerdict::Block,
            "with" => self.with = value.split(", ").map(|id| Check::named(id).expect("a check")).collect(),
            "now" => {
                let date: jiff::civil::Date = value.parse().expect("a date");
                let day = date.to_zoned(jiff::tz::TimeZone::UTC).expect("a day");
                self.now = Timestamp(day.timestamp().as_second());
            }
            "proxy-header" => self.header = Some(value.to_owned()),
            key => panic!("{}: {key} is no key", self.name),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let environment = PolicyEnvironment {
            sites: &self.sites,
            geo: GeoKnown::ALL,
            files: &TextFiles::default(),
            previous: None,
            now: self.now,
        };
        let mut faults = Faults::new();
        let source = Source::new(self.name.clone(), self.text.clone());
        let policy = Policy::compile(&[source], &environment, &mut faults);
        let policy = policy.unwrap_or_else(|| panic!("{:#?}", faults.into_sorted()));
        let around = Surroundings {
            sites: &self.sites,
            now: self.now,
            proxies: match &self.header {
                Some(header) => Proxies::None {
                    header: Some(header),
                    only_local: false,
                },
                None => Proxies::Trusted,
            },
            lists_used: &[],
        };
        lint(&policy, &around, &self.with)
    }
}

fn cases() -> Vec<Marked> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lint");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| Marked::read(path)).collect()
}

#[test]
fn what_is_marked_is_found_and_nothing_else() {
    let mut wrong = Vec::new();
    for case in cases() {
        let told = case.findings().into_iter().filter(|finding| finding.allowed.is_none());
        let mut found: Vec<(usize, String)> = told
            .map(|finding| {
                let line = finding.place.as_ref().map_or(0, |place| place.line_column().0);
                (line, finding.check.id().to_owned())
            })
            .collect();
        found.sort();
        let missing = case.expected.iter().filter(|expected| !found.contains(expected));
        wrong.extend(missing.map(|(line, check)| format!("{}:{line}: {check} is not found", case.name)));
        let more = found.iter().filter(|found| !case.expected.contains(found));
        wrong.extend(more.map(|(line, check)| format!("{}:{line}: {check} is found", case.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_is_tried() {
    let marked: BTreeSet<String> = cases()
        .into_iter()
        .flat_map(|case| case.expected)
        .map(|(_, check)| check)
        .collect();
    // Thousands of rules alike would be too long a case.
    let missing: Vec<&str> = Check::ALL
        .iter()
        .filter(|check| **check != Check::NotCompared)
        .map(|check| check.id())
        .filter(|id| !marked.contains(*id))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_comment_silences_with_its_reason() {
    let case = cases()
        .into_iter()
        .find(|case| case.name == "comments.toml")
        .expect("the case");
    let reasons: Vec<String> = case
        .findings()
        .into_iter()
        .filter_map(|finding| finding.allowed)
        .collect();
    assert_eq!(
        reasons,
        [
            "the allow goes at the end of the month",
            "meant",
            "an old client, exactly so"
        ]
    );
}

#[test]
fn nothing_is_found_in_the_shipped_rules() {
    for path in ["config/portcullis.toml", "deploy/portcullis/portcullis.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let (snapshot, _) = config::load(&path, NOW, None).expect("it loads");
        let sites: Vec<SiteFacts> = snapshot.settings.sites.iter().map(|site| site.facts.clone()).collect();
        let around = Surroundings {
            sites: &sites,
            now: NOW,
            proxies: Proxies::None {
                header: None,
                only_local: false,
            },
            lists_used: &[],
        };
        assert_eq!(lint(&snapshot.policy, &around, &BTreeSet::new()), []);
    }
}
