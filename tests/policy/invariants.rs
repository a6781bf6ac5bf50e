//! What must hold of every policy and every request, tried on random ones.

use std::net::IpAddr;

use proptest::prelude::*;

use portcullis::policy::{
    decision::{Decision, Reason, Verdict},
    explain::{Places, Telling},
    facts::{Continent, Country, GeoFacts, RequestFacts},
    fault::{Faults, Source},
    lang::{GeoKnown, Unknown, UnknownHeaders},
    phases::Scratch,
    policy::{Policy, PolicyEnvironment},
    rule::{Action, Mode},
    testing::Request,
};

use crate::support::{NOW, TextFiles, any_site, compile};

/// Few addresses, paths and agents, so that random rules and random requests meet.
const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "XX"];
const SYSTEMS: [u32; 2] = [64496, 64497];
const AGENTS: [&str; 3] = ["curl/8", "Firefox", "sqlmap"];
const PATHS: [&str; 12] = [
    "/",
    "/admin",
    "/admin/x",
    "/a.png",
    "/admin/a.png",
    "/%2561dmin",
    "/admin;x/y",
    "/a/..;/admin",
    "//admin/x",
    "/ADMIN/x",
    "/admin%3Bx/y",
    "/admin%253bx/y",
];

/// A table without its id and mode.
fn table() -> impl Strategy<Value = String> {
    let action = || prop::sample::select(vec!["allow", "block", "log"]);
    let ip = prop::sample::subsequence(ADDRESSES.to_vec(), 1..=2);
    let url = || prop::sample::select(vec!["/admin", "/admin/*", "/admin*", "/*", "/a.png"]);
    let path = prop::sample::select(vec!["/", "/admin", "/admin/x", "/a.png"]);
    prop_oneof![
        (action(), ip.clone()).prop_map(|(action, ip)| format!("[[ip_access]]\naction = \"{action}\"\nip = {ip:?}")),
        (action(), prop::sample::select(SYSTEMS.to_vec()))
            .prop_map(|(action, asn)| format!("[[ip_access]]\naction = \"{action}\"\nasn = [{asn}]")),
        (action(), prop::sample::select(COUNTRIES.to_vec()))
            .prop_map(|(action, code)| format!("[[geo]]\naction = \"{action}\"\ncountry = [{code:?}]")),
        (action(), path.clone()).prop_map(|(action, path)| format!(
            "[[rule]]\naction = \"{action}\"\nexpression = 'http.request.uri.path eq \"{path}\"'"
        )),
        (prop::sample::select(vec!["user_agent", "hotlink"]), path).prop_map(|(phase, path)| format!(
            "[[rule]]\naction = \"skip\"\nskip = [{phase:?}]\nexpression = 'not http.request.uri.path eq \"{path}\"'"
        )),
        (url(), url(), ip).prop_map(|(url, except, ip)| format!(
            "[[lockdown]]\nurls = [{url:?}]\nexcept = [\"/open{except}\"]\nallow = {ip:?}"
        )),
        (
            prop::sample::select(vec!["block", "log"]),
            prop::sample::select(vec!["curl", "sqlmap"])
        )
            .prop_map(|(action, text)| format!("[[user_agent]]\naction = \"{action}\"\ncontains = [{text:?}]")),
        Just("[[hotlink]]\nextensions = [\"png\"]\nallow_empty_referer = false".to_owned()),
    ]
}

/// A table that allows.
fn allow() -> impl Strategy<Value = String> {
    table().prop_filter("an allow", |table| table.contains("action = \"allow\""))
}

/// A spelling of a path that some origin reads as `/admin` or below.
fn admin_path() -> impl Strategy<Value = &'static str> {
    let paths = PATHS
        .into_iter()
        .filter(|path| path.to_ascii_lowercase().contains("dmin"));
    prop::sample::select(paths.collect::<Vec<_>>())
}

/// Tables with ids of their own, some in shadow.
fn rules() -> impl Strategy<Value = Vec<String>> {
    let mode = prop::sample::select(vec!["enforce", "enforce", "enforce", "shadow"]);
    prop::collection::vec((table(), mode), 0..10).prop_map(|tables| {
        let numbered = tables.into_iter().enumerate();
        numbered
            .map(|(n, (table, mode))| format!("{table}\nid = \"r{n}\"\nmode = \"{mode}\"\n"))
            .collect()
    })
}

fn request() -> impl Strategy<Value = Request> {
    (
        prop::sample::select(ADDRESSES.to_vec()),
        prop::sample::select(COUNTRIES.to_vec()),
        prop::sample::select(SYSTEMS.to_vec()),
        prop::sample::select(AGENTS.to_vec()),
        prop::sample::select(PATHS.to_vec()),
        any::<bool>(),
    )
        .prop_map(|(ip, country, asn, agent, path, closed)| {
            let request = Request::get(path)
                .ip(ip)
                .country(country)
                .asn(asn)
                .header("user-agent", agent);
            if closed { request.block_by_default() } else { request }
        })
}

fn policy(rules: &[String]) -> Policy {
    let text = format!("may_be_empty = true\n{}", rules.join("\n"));
    let (policy, faults) = compile(
        "random.toml",
        &text,
        &TextFiles::default(),
        GeoKnown::ALL,
        &[any_site()],
    );
    policy.unwrap_or_else(|| panic!("{}\n{text}", faults.join("\n")))
}

/// The policy of several files, in this order.
fn policy_of_files(files: &[(&str, String)]) -> Policy {
    let sources: Vec<_> = files
        .iter()
        .map(|(name, text)| Source::new(*name, format!("may_be_empty = true\n{text}")))
        .collect();
    let environment = PolicyEnvironment {
        sites: &[any_site()],
        geo: GeoKnown::ALL,
        files: &TextFiles::default(),
        previous: None,
        now: NOW,
    };
    let mut faults = Faults::new();
    let policy = Policy::compile(&sources, &environment, &mut faults);
    policy.unwrap_or_else(|| panic!("{:?}", faults.into_sorted()))
}

/// No address is anywhere.
struct Nowhere;

impl Places for Nowhere {
    fn of(&self, _address: IpAddr) -> GeoFacts {
        GeoFacts::UNKNOWN
    }

    fn continent(&self, _country: Country) -> Continent {
        Continent::UNKNOWN
    }
}

/// The verdict, deciding rule and cause.
fn told(decision: &Decision<'_>) -> (bool, Option<Reason>, Option<String>) {
    match &decision.verdict {
        Verdict::Allow { rule, .. } => (true, None, rule.map(|rule| rule.id.to_string())),
        Verdict::Block { reason, rule } => (false, Some(*reason), rule.map(|rule| rule.id.to_string())),
    }
}

fn decide(rules: &[String], request: &Request) -> (bool, Option<Reason>, Option<String>) {
    told(&policy(rules).decide(&request.facts(), &mut Scratch::new()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_explanation_agrees_with_the_decision(rules in rules(), request in request()) {
        let explanation = policy(&rules).explain(&request.facts());
        prop_assert_eq!(explanation.bug, None);
        let explained = explanation.verdict;
        let (allowed, reason, rule) = decide(&rules, &request);
        prop_assert_eq!(explained.verdict, if allowed { "allow" } else { "block" });
        prop_assert_eq!(explained.reason, reason.map(Reason::as_str));
        prop_assert_eq!(explained.rule, rule);
    }

    #[test]
    fn compiled_and_interpreted_rules_decide_alike(rules in rules(), request in request()) {
        let policy = policy(&rules);
        let facts = request.facts();
        let compiled = told(&policy.decide(&facts, &mut Scratch::new()));
        prop_assert_eq!(told(&policy.interpret(&facts, &mut Scratch::new())), compiled);
    }

    #[test]
    fn what_is_told_of_a_request_that_is_not_wholly_known_holds_whatever_the_rest_is(
        rules in rules(), request in request(), agents in prop::collection::vec(prop::sample::select(AGENTS.to_vec()), 4),
    ) {
        let policy = policy(&rules);
        let unknown = Unknown { facts: &[], headers: UnknownHeaders::Only(&["user-agent"]) };
        let telling = Telling { unknown: &unknown, secret: Unknown::NOTHING };
        let explained = policy.explain_what_is_known(&request.facts(), telling);
        for agent in agents {
            let facts = request.facts();
            let mut headers = facts.headers.clone();
            headers.insert("user-agent", agent.parse().expect("a value"));
            let mut scratch = Scratch::new();
            let (allowed, _, rule) = told(&policy.decide(&RequestFacts { headers: &headers, ..facts }, &mut scratch));
            let verdict = if allowed { "allow" } else { "block" };
            match explained.verdict.verdict {
                "undecided" => prop_assert!(explained.possible.iter().any(|one| one.verdict == verdict && one.rule == rule)),
                decided => {
                    prop_assert_eq!(decided, verdict);
                    let sure = explained.possible.is_empty();
                    prop_assert!(!sure || explained.verdict.rule == rule);
                }
            }
        }
    }

    #[test]
    fn an_allowed_address_is_blocked_by_a_lockdown_or_by_nothing(
        rules in rules(), request in request(), allowed in prop::sample::subsequence(ADDRESSES.to_vec(), 4),
    ) {
        let mut rules = rules;
        rules.push(format!("[[ip_access]]\nid = \"vip\"\naction = \"allow\"\nip = {allowed:?}\n"));
        let (_, reason, _) = decide(&rules, &request);
        prop_assert!(matches!(reason, None | Some(Reason::Lockdown)), "{reason:?}");
    }

    #[test]
    fn an_allowed_system_or_place_is_blocked_by_none_of_its_tier_or_of_broader_ones(
        rules in rules(), request in request(), by_system: bool, at in 0..10_usize,
    ) {
        let (allow, ended) = if by_system {
            (format!("[[ip_access]]\nid = \"vip\"\naction = \"allow\"\nasn = {SYSTEMS:?}\n"), vec![Reason::AsnBlocked, Reason::CountryBlocked])
        } else {
            (format!("[[geo]]\nid = \"vip\"\naction = \"allow\"\ncountry = {COUNTRIES:?}\n"), vec![Reason::CountryBlocked])
        };
        let before = decide(&rules, &request);
        let mut with = rules;
        with.insert(at.min(with.len()), allow);
        let (allowed, reason, rule) = decide(&with, &request);
        prop_assert!(!reason.is_some_and(|reason| ended.contains(&reason)), "{reason:?}");
        // It ends these blocks and the default, and nothing else.
        let is_ended = before.1.is_some_and(|reason| ended.contains(&reason) || reason == Reason::Default);
        prop_assert!(is_ended || before.0 || (allowed, reason, rule) == before, "{before:?}");
    }

    #[test]
    fn an_allow_opens_nothing_that_a_lockdown_refused(
        rules in rules(), request in request(), extra in allow(), at in 0..10_usize,
    ) {
        let before = decide(&rules, &request);
        let mut with = rules;
        with.insert(at.min(with.len()), format!("{extra}\nid = \"extra\"\n"));
        let (allowed, _, _) = decide(&with, &request);
        prop_assert!(before.1 != Some(Reason::Lockdown) || !allowed);
    }

    #[test]
    fn a_skip_opens_nothing_but_what_it_names(
        rules in rules(), request in request(), target in 0..10_usize, by_phase in prop::option::of(0..3_usize),
    ) {
        const PHASES: [(&str, Reason); 3] = [
            ("lockdown", Reason::Lockdown), ("user_agent", Reason::UserAgent), ("hotlink", Reason::Hotlink),
        ];
        let before = decide(&rules, &request);
        let later = |table: &String| !table.starts_with("[[ip_access]]") && !table.starts_with("[[geo]]");
        let (skipped, is_named) = match by_phase {
            Some(phase) => (PHASES[phase].0.to_owned(), before.1 == Some(PHASES[phase].1)),
            None => {
                prop_assume!(rules.get(target).is_some_and(later));
                let id = format!("r{target}");
                (id.clone(), before.2 == Some(id))
            }
        };
        let mut with = vec![format!("[[rule]]\nid = \"extra\"\naction = \"skip\"\nskip = [{skipped:?}]\nexpression = 'true'\n")];
        with.extend(rules);
        let (allowed, _, _) = decide(&with, &request);
        prop_assert!(before.0 || is_named || !allowed, "{before:?}");
    }

    #[test]
    fn the_names_of_files_decide_nothing_but_the_order_of_rules(
        rules in rules(), request in request(), places in prop::collection::vec(any::<bool>(), 10),
    ) {
        // All of `[[rule]]` stays together; the other tables go into either file.
        let is_first = |(table, place): (&String, &bool)| table.starts_with("[[rule]]") || *place;
        let placed = || rules.iter().zip(&places);
        let text = |first: bool| -> String {
            placed().filter(|pair| is_first(*pair) == first).map(|(table, _)| format!("{table}\n")).collect()
        };
        let verdict = |order: [(&str, String); 2]| {
            let policy = policy_of_files(&order);
            let (allowed, reason, _) = told(&policy.decide(&request.facts(), &mut Scratch::new()));
            (allowed, reason)
        };
        let one = verdict([("10.toml", text(true)), ("20.toml", text(false))]);
        let other = verdict([("10.toml", text(false)), ("20.toml", text(true))]);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_shadow_rule_changes_no_verdict(rules in rules(), request in request(), extra in table(), at in 0..10_usize) {
        let before = decide(&rules, &request);
        let mut with = rules;
        with.insert(at.min(with.len()), format!("{extra}\nid = \"extra\"\nmode = \"shadow\"\n"));
        prop_assert_eq!(decide(&with, &request), before);
    }

    #[test]
    fn an_allow_opens_no_locked_path(rules in rules(), request in request(), extra in allow(), at in 0..10_usize) {
        let mut with = rules;
        with.push("[[lockdown]]\nid = \"lock\"\nurls = [\"/*\"]\nallow = [\"203.0.113.1\"]\n".to_owned());
        with.insert(at.min(with.len()), format!("{extra}\nid = \"extra\"\n"));
        let (allowed, _, _) = decide(&with, &request);
        prop_assert!(!allowed);
    }

    #[test]
    fn no_spelling_of_a_locked_path_opens_it(rules in rules(), request in request(), path in admin_path()) {
        let mut rules = rules;
        rules.push("[[lockdown]]\nid = \"lock\"\nurls = [\"/admin\", \"/admin/*\"]\nallow = [\"203.0.113.1\"]\n".to_owned());
        let (allowed, _, _) = decide(&rules, &request.url(path));
        prop_assert!(!allowed);
    }

    #[test]
    fn what_a_decision_says_matched_holds_together(rules in rules(), request in request()) {
        let policy = policy(&rules);
        let facts = request.facts();
        let mut scratch = Scratch::new();
        let decision = policy.decide(&facts, &mut scratch);
        prop_assert!(decision.matched.iter().all(|rule| rule.mode == Mode::Enforce));
        prop_assert!(decision.shadow.iter().all(|rule| rule.mode == Mode::Shadow));
        match &decision.verdict {
            Verdict::Allow { rule, .. } => {
                prop_assert!(decision.matched.iter().all(|rule| rule.action != Action::Block));
                prop_assert!(rule.is_none_or(|rule| rule.action == Action::Allow));
            }
            Verdict::Block { rule: Some(rule), .. } => {
                prop_assert_eq!(decision.matched.last().map(|last| &last.id), Some(&rule.id));
                prop_assert_eq!(&rule.action, &Action::Block);
            }
            Verdict::Block { rule: None, .. } => {}
        }
    }

    #[test]
    fn a_scratch_that_was_used_decides_alike(rules in rules(), first in request(), second in request()) {
        let policy = policy(&rules);
        let mut scratch = Scratch::new();
        let (first, second) = (first.facts(), second.facts());
        policy.decide(&first, &mut scratch);
        let reused = told(&policy.decide(&second, &mut scratch));
        prop_assert_eq!(reused, told(&policy.decide(&second, &mut Scratch::new())));
    }
}

proptest! {
    // Each case judges hundreds of requests.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_would_turn_a_verdict_turns_it(rules in rules(), request in request()) {
        let policy = policy(&rules);
        let facts = request.facts();
        for turn in policy.turning(&facts, Unknown::NOTHING, &Nowhere) {
            prop_assert_ne!(turn.verdict.verdict, policy.explain(&facts).verdict.verdict);
            prop_assert!((1..=2).contains(&turn.changes.len()));
        }
    }
}
