//! Runs every file of `tests/cases/policy`: rules, and requests with what must come of them.
//!
//! Add a file, and you added tests. Keys: `rules` (the text of a rule file), `files` (texts that lists name), `geo` (the
//! facts that sources give; all by default), `[[site]]` (`name`, `hosts`, `upstream`, `default`; one site `main` of every
//! host by default), and `[[case]]`:
//!
//! - the request: `url`, `ip`, `country`, `continent`, `asn`, `method`, `headers`, `now`, `site`, `block_by_default`;
//! - what must come of it: `verdict` (`allow` or `block`), `rule` (the deciding one), `reason`, `shadow`, `matched`.
//!
//! `rule`, `reason` and `shadow` that are not written must be none; `matched` is compared only when it is written.

use std::{fs, path::Path};

use portcullis::policy::{
    decision::{Decision, Verdict},
    lang::{Environment, Expression},
    phases::Scratch,
    policy::Policy,
    rule::Rule,
    testing::Request,
};

use crate::support::{CaseFile, Expected};

fn case_files(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder of cases");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a readable file"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

fn ids(rules: &[&Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.id.to_string()).collect()
}

/// The outcome as a case states it.
fn outcome(decision: &Decision<'_>) -> Expected {
    let (verdict, rule, reason) = match &decision.verdict {
        Verdict::Allow { rule, .. } => ("allow", rule, None),
        Verdict::Block { rule, reason } => ("block", rule, Some(reason.as_str().to_owned())),
    };
    Expected {
        verdict: verdict.to_owned(),
        rule: rule.map(|rule| rule.id.to_string()),
        reason,
        shadow: ids(decision.shadow),
        matched: Some(ids(decision.matched)),
    }
}

#[test]
fn every_case_is_decided_as_it_says() {
    let mut failures = Vec::new();
    let mut count = 0;
    for (name, text) in case_files("policy") {
        let file = CaseFile::read(&name, &text);
        let policy = file.policy();
        for case in &file.cases {
            count += 1;
            let found = decided(&policy, &case.request);
            let found = Expected {
                matched: case.expected.matched.as_ref().and(found.matched),
                ..found
            };
            if found != case.expected {
                failures.push(format!(
                    "{name}: {}\n  expected {:?}\n  found    {found:?}",
                    case.name, case.expected
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn decided(policy: &Policy, request: &Request) -> Expected {
    outcome(&policy.decide(&request.facts(), &mut Scratch::new()))
}

#[test]
fn an_explanation_comes_to_the_same_decision() {
    for (name, text) in case_files("policy") {
        let file = CaseFile::read(&name, &text);
        let policy = file.policy();
        for case in &file.cases {
            let decided = decided(&policy, &case.request);
            let explained = policy.explain(&case.request.facts()).verdict;
            let told = (explained.verdict, explained.rule, explained.reason.map(str::to_owned));
            assert_eq!(
                told,
                (decided.verdict.as_str(), decided.rule, decided.reason),
                "{name}: {}",
                case.name
            );
        }
    }
}

#[test]
fn every_rule_prints_an_expression_that_parses_back_to_itself() {
    for (name, text) in case_files("policy") {
        let policy = CaseFile::read(&name, &text).policy();
        for rule in policy.rules() {
            let printed = rule.expression.as_str();
            let again = Expression::compile(printed, &Environment::new(policy.lists()));
            assert_eq!(again.as_ref(), Ok(&rule.expression), "{name}: {printed}");
        }
    }
}
