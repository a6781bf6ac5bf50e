//! What is said of rules is true of them: whatever lint calls useless can be taken away, and no verdict changes.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{
    Check, Proxies, Surroundings, lint,
    proof::tests::{expression, request},
};
use crate::policy::{
    decision::Verdict,
    lang::{Environment, Expression},
    phases::Scratch,
    plan::tests::{LISTS, Maker, compiled, lists},
    policy::Policy,
    rule::Timestamp,
    site::DefaultVerdict,
    testing::Request,
};

const NETWORKS: [&str; 8] = [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.1",
    "10.0.0.2..10.0.1.8",
    "0.0.0.0/0",
    "2001:db8::/32",
    "192.0.2.0/30",
    "$office",
];

/// A table over few values, so that rules stand in each other's way.
fn table(maker: &mut Maker, id: usize, count: usize) -> String {
    let action = maker.of(&["allow", "block", "block", "log"]);
    let later = maker.0.usize(id..count.max(id + 1));
    let rule = match maker.0.u8(..14) {
        0..3 => format!(
            "[[ip_access]]\naction = \"{action}\"\nip = [\"{}\", \"{}\"]",
            maker.of(&NETWORKS),
            maker.of(&NETWORKS)
        ),
        3 => format!("[[ip_access]]\naction = \"{action}\"\nasn = [{}]", maker.0.u8(1..3)),
        4 | 5 => format!(
            "[[geo]]\naction = \"{action}\"\ncountry = [\"{}\"]",
            maker.of(&["DE", "AT", "XX"])
        ),
        6 => format!(
            "[[lockdown]]\nurls = [\"{}\", \"{}\"]\nallow = [\"{}\"]",
            maker.of(&["/admin", "/a*", "/*"]),
            maker.of(&["/admin/*", "/b/*"]),
            maker.of(&NETWORKS)
        ),
        7 => format!(
            "[[user_agent]]\naction = \"block\"\ncontains = [\"{}\", \"{}\"]",
            maker.of(&["bot", "bot/1", "a"]),
            maker.of(&["ab", "abc", "x"])
        ),
        8 => "[[hotlink]]\nextensions = [\"php\", \"png\"]\nallow_empty_referer = false".to_owned(),
        9 | 10 => format!(
            "[[rule]]\naction = \"skip\"\nskip = [\"{}\"]\nexpression = '''{}'''",
            maker
                .of(&["user_agent", "hotlink", "lockdown", "LATER"])
                .replace("LATER", &format!("r{later}")),
            compilable(maker)
        ),
        _ => format!(
            "[[rule]]\naction = \"{action}\"\nexpression = '''{}'''",
            compilable(maker)
        ),
    };
    let mode = maker.of(&["enforce", "enforce", "enforce", "enforce", "shadow"]);
    format!("{rule}\nid = \"r{id}\"\nmode = \"{mode}\"\n")
}

fn compilable(maker: &mut Maker) -> String {
    let lists = lists();
    let environment = Environment::new(&lists);
    let mut tries = (0..20).map(|_| expression(maker, 1));
    let found = tries.find(|text| Expression::compile(text, &environment).is_ok());
    found.unwrap_or_else(|| "ssl".to_owned())
}

fn policy(tables: &[String]) -> Option<Policy> {
    compiled(&format!("{}{LISTS}", tables.concat())).ok()
}

/// Whether it passes, and why not.
fn told(policy: &Policy, request: &Request) -> String {
    let facts = request.facts();
    let mut scratch = Scratch::new();
    let decision = policy.decide(&facts, &mut scratch);
    match decision.verdict {
        Verdict::Allow { .. } => "allow".to_owned(),
        Verdict::Block { reason, .. } => reason.as_str().to_owned(),
    }
}

#[test]
fn what_is_useless_can_be_taken_away() {
    const USELESS: [Check; 6] = [
        Check::Contradiction,
        Check::Shadowed,
        Check::Duplicate,
        Check::Redundant,
        Check::AllowWithoutEffect,
        Check::SkipWithoutEffect,
    ];
    let around = Surroundings {
        sites: &[],
        now: Timestamp(0),
        proxies: Proxies::Trusted,
        lists_used: &[],
    };
    let mut proven = [0_usize; USELESS.len()];
    for seed in 0..400 {
        let mut maker = Maker(Rng::with_seed(seed));
        let count = maker.0.usize(2..9);
        let tables: Vec<String> = (0..count).map(|id| table(&mut maker, id, count)).collect();
        let Some(whole) = policy(&tables) else { continue };
        for finding in lint(&whole, &around, &BTreeSet::new()) {
            let (Some(kind), Some(rule)) = (USELESS.iter().position(|check| *check == finding.check), &finding.rule)
            else {
                continue;
            };
            let is_it = |table: &&String| table.contains(&format!("id = \"{rule}\""));
            let rest: Vec<String> = tables.iter().filter(|table| !is_it(table)).cloned().collect();
            // A rule that another names cannot be taken away alone.
            let Some(without) = policy(&rest) else { continue };
            proven[kind] += 1;
            for _ in 0..40 {
                let request = request(&mut maker);
                let closed = request.facts().site.default == DefaultVerdict::Block;
                if closed && finding.check == Check::AllowWithoutEffect {
                    continue;
                }
                assert_eq!(
                    told(&whole, &request),
                    told(&without, &request),
                    "{finding:?}\n{}\n{request:?}",
                    tables.concat()
                );
            }
        }
    }
    assert!(proven.iter().all(|count| *count >= 5), "{proven:?} of {USELESS:?}");
}

#[test]
fn every_check_has_a_name_of_its_own() {
    for check in Check::ALL {
        assert_eq!(Check::named(check.id()), Some(*check));
        assert!(
            check.summary().ends_with('.') || check.summary().ends_with("`."),
            "{check}"
        );
    }
    let names: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(names.len(), Check::ALL.len());
}
