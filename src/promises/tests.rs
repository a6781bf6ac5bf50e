use std::{fs, net::IpAddr};

use proptest::prelude::*;

use super::*;
use crate::{
    config,
    policy::{
        fault::Fault,
        rule::Timestamp,
        stated::{Asker, StatedRequest, Verdict},
    },
};

/// 2026-01-01T00:00:00Z
const NOW: Timestamp = Timestamp(1_767_225_600);

const CONFIG: &str = "rules = [\"rules.toml\"]\n[[listen]]\naddress = \"127.0.0.1:8080\"\n\
    [client_ip]\ntrusted_proxies = [\"10.0.0.1\"]\n\
    [upstream.app]\nservers = [\"builtin:demo\"]\n[[site]]\nhosts = [\"example.com\"]\nupstream = \"app\"\n";

fn load(more: &str, rules: &str) -> Snapshot {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("portcullis.toml"), format!("{CONFIG}{more}")).expect("written");
    fs::write(
        folder.path().join("rules.toml"),
        format!("may_be_empty = true\n{rules}"),
    )
    .expect("written");
    let loaded = config::load(&folder.path().join("portcullis.toml"), NOW, None);
    let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    loaded.map_err(told).expect("it loads").0
}

fn broken_in(more: &str, rules: &str) -> Vec<String> {
    broken(&load(more, rules)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_that_lapsed_still_holds_in_a_test_that_says_no_time() {
    let rules = "[[rule]]\nid = \"a\"\nexpression = 'ssl'\naction = \"block\"\nexpires = 2020-01-01\n\
        [[test]]\nurl = \"https://example.com/\"\nexpect = \"block\"\nrule = \"a\"\n";
    assert_eq!(broken_in("", rules), [""; 0]);
    let at = broken_in("", &format!("{rules}now = 2020-01-02T00:00:00Z\n"));
    assert!(
        at[0].contains("it came to allow") && at[0].contains("--at 2020-01-02T00:00:00Z"),
        "{at:?}"
    );
    let allowed = broken_in(
        "",
        &rules.replace("expect = \"block\"\nrule = \"a\"", "expect = \"allow\""),
    );
    assert!(allowed[0].contains("--at 1970-01-01T00:00:00Z"), "{allowed:?}");
}

#[test]
fn the_client_of_a_peer_is_derived_as_for_a_live_request() {
    let rules = |peer: &str, expect: &str| {
        format!(
            "[[ip_access]]\nid = \"a\"\naction = \"block\"\nip = [\"203.0.113.7\"]\n[[test]]\nurl = \"/\"\npeer = \"{peer}\"\n\
             headers = {{ X-Forwarded-For = \"203.0.113.7\" }}\nexpect = \"{expect}\"\n"
        )
    };
    assert_eq!(broken_in("", &rules("10.0.0.1", "block")), [""; 0]);
    assert_eq!(broken_in("", &rules("10.0.0.2", "allow")), [""; 0]);
}

#[test]
fn what_a_message_says_of_a_request_holds_no_secret() {
    let rules = "[[test]]\nurl = \"https://example.com/?token=hidden&x=1\"\n\
        headers = { Cookie = \"hidden\", Authorization = \"hidden\", X-Api-Key = \"hidden\", Private-Token = \"hidden\", Referer = \"https://u:hidden@a.example/?hidden\" }\n\
        expect = \"block\"\n";
    let said = broken_in("", rules).join("\n");
    assert!(said.contains("x=1") && said.contains("-H 'cookie: …'"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
}

#[test]
fn without_tests_a_failing_one_is_a_warning_and_never_block_stays_an_error() {
    let rules =
        "[[rule]]\nid = \"all\"\nexpression = 'true'\naction = \"block\"\n[[test]]\nurl = \"/\"\nexpect = \"allow\"\n";
    let reload = "[reload]\ntests = false\n";
    let warned = broken_in(reload, rules);
    assert!(warned.len() == 1 && warned[0].contains("warning: test"), "{warned:?}");
    let both = broken_in(&format!("{reload}never_block = [\"192.0.2.1\"]\n"), rules);
    assert!(both[1].contains("error: 192.0.2.1 is never to be blocked"), "{both:?}");
}

/// One of a few networks in 192.0.2.0/24, as rules write them.
fn range() -> impl Strategy<Value = String> {
    prop_oneof![
        (0_u8..=255).prop_map(|last| format!("192.0.2.{last}")),
        (0_u8..=255, 1_u8..9)
            .prop_map(|(first, more)| format!("192.0.2.{first}..192.0.2.{}", first.saturating_add(more))),
        Just("192.0.2.128/25".to_owned()),
        Just("192.0.0.0/16".to_owned()),
    ]
}

/// Rules about addresses in all ways in which rules look at them.
fn rule() -> impl Strategy<Value = String> {
    let ranges = prop::collection::vec(range(), 1..3);
    let access = (ranges, prop::sample::select(vec!["allow", "block"]))
        .prop_map(|(ranges, action)| format!("[[ip_access]]\naction = \"{action}\"\nip = {ranges:?}\n"));
    let expression = prop::sample::select(vec![
        "ip.src eq 192.0.2.9",
        "not ip.src in {192.0.2.0/25} and not ip.src in $odd",
        "ip.src in $odd and http.request.uri.path eq \"/\"",
        "cidr(ip.src, 28, 64) eq 192.0.2.64",
        "ip.src.country eq \"XX\" and ip.src in $odd",
        "http.request.uri.path eq \"/elsewhere\"",
    ]);
    let custom =
        expression.prop_map(|expression| format!("[[rule]]\nexpression = '{expression}'\naction = \"block\"\n"));
    prop_oneof![access, custom]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_network_is_never_blocked_exactly_when_none_of_its_addresses_is(
        rules in prop::collection::btree_set(rule(), 0..4), element in range(),
    ) {
        let element = if element.contains("/16") { "192.0.2.0/26".to_owned() } else { element };
        let odd = "[list.odd]\nkind = \"ip\"\nitems = [\"192.0.2.7\", \"192.0.2.201\", \"192.0.2.66/31\"]\n";
        let rules: String = rules.into_iter().collect::<Vec<_>>().join("") + odd;
        let written = element.replace("..", "\", \"");
        let snapshot = load(&format!("[reload]\nnever_block = [{{ ip = [\"{written}\"] }}]\n"), &rules);
        let promise = snapshot.settings.reload.never_block[0].from.clone();
        let is_blocked = |ip: IpAddr| {
            let asked = crate::policy::described::Asked::new("http://example.com/", "GET", http::HeaderMap::new(), None);
            let request = StatedRequest {
                asked: asked.expect("a request"), from: Asker::Client(ip), country: None, asn: None, now: None,
            };
            let came = judged::with_facts(&request, NOW, &snapshot, |facts, site| outcome::decided(facts, site, &snapshot));
            came.expect("it is judged").verdict == Verdict::Block
        };
        let any = (0..=255).map(|last| IpAddr::from([192, 0, 2, last])).any(|ip| promise.contains(ip) && is_blocked(ip));
        prop_assert_eq!(!broken(&snapshot).is_empty(), any, "{}\n{}", element, rules);
    }
}
