//! An allowed request under mixed rules and a list, by the number of rules, beside the peer.

use std::hint::black_box;

use portcullis::policy::{facts::RequestFacts, phases::Scratch, policy::Policy, site::SiteFacts};
use serde_json::Value;

use super::TURN;
use crate::{
    gate::{allows, compiled, site},
    heads::{Head, Parsed, nobody_is_trusted},
    lists::Blocklist,
    meets::blocked_by,
    peer::{Peer, PeerRequest},
    rounds::{Contestant, interleaved},
    rules,
};

/// The numbers of rules.
const COUNTS: [usize; 3] = [10, 1000, 10_000];
/// Entries of the list that stands beside the rules.
pub const LISTED: usize = 100_000;
/// Different requests.
const REQUESTS: usize = 64;

/// How many rules are tried out: each sort many times.
const TRIED: usize = 200;

/// Heads with their facts. The peer's values must outlive its filters, so they are never freed.
fn kept(heads: Vec<Head>) -> (&'static [Head], Vec<RequestFacts<'static>>) {
    let heads: &'static [Head] = Box::leak(heads.into());
    let site: &'static SiteFacts = Box::leak(Box::new(site()));
    let parsed: Vec<Parsed> = heads.iter().map(|head| head.parsed(&nobody_is_trusted())).collect();
    let parsed: &'static [Parsed] = Box::leak(parsed.into());
    let facts = parsed.iter().zip(heads).map(|(parsed, head)| parsed.facts(head, site));
    (heads, facts.collect())
}

/// Times all of it.
pub fn measure(agents: &[String], rounds: usize) -> Vec<Value> {
    let list = Blocklist::of_both(LISTED);
    let (heads, facts) = kept(Head::pages(agents, &list.neighbours(REQUESTS)));
    let peer_requests = of_peer(&facts);
    let text = list.text();
    let judges = COUNTS.map(|count| {
        (
            count,
            compiled(&rules::toml(count), &text),
            Peer::compiled(count, &text),
        )
    });
    for (_, policy, peer) in judges.iter().filter(|(count, ..)| *count >= TRIED) {
        both_refuse(policy, peer, &heads[0], &list);
    }
    let site = site();
    let mut contestants = vec![Contestant::new("facts", building_facts(heads, &site))];
    for (count, policy, peer) in &judges {
        contestants.extend([
            Contestant::new(format!("decide/{count}"), deciding(policy, &facts)),
            Contestant::new(
                format!("head_to_decision/{count}"),
                head_to_decision(policy, heads, &site),
            ),
            Contestant::new(format!("wirefilter/{count}"), peer_deciding(peer, peer_requests)),
            Contestant::new(format!("wirefilter_filling/{count}"), peer_filling(peer, peer_requests)),
        ]);
    }
    interleaved(contestants, rounds, TURN)
}

fn of_peer(facts: &[RequestFacts<'static>]) -> &'static [PeerRequest] {
    let requests: Vec<PeerRequest> = facts.iter().map(|facts| PeerRequest::new(*facts)).collect();
    Box::leak(requests.into())
}

/// What a rule or the list blocks, both must refuse.
fn both_refuse(policy: &Policy, peer: &Peer, page: &Head, list: &Blocklist) {
    let by_rule = (0..TRIED).map(|n| blocked_by(&rules::nth(n), page.clone()));
    let by_list = list
        .members(TRIED)
        .into_iter()
        .map(|address| page.clone().from(address));
    let (_, facts) = kept(by_rule.chain(by_list).collect());
    let mut scratch = Scratch::new();
    for (facts, request) in facts.iter().zip(of_peer(&facts)) {
        assert!(
            !allows(&policy.decide(facts, &mut scratch)),
            "Portcullis lets in {facts:?}"
        );
        assert!(!peer.allows(request), "the peer lets in {facts:?}");
    }
}

fn building_facts<'c>(heads: &'c [Head], site: &'c SiteFacts) -> impl FnMut() -> usize + 'c {
    let settings = nobody_is_trusted();
    move || {
        for head in heads {
            let parsed = black_box(head).parsed(&settings);
            black_box(parsed.facts(head, site));
        }
        heads.len()
    }
}

fn deciding<'c>(policy: &'c Policy, facts: &'c [RequestFacts<'static>]) -> impl FnMut() -> usize + 'c {
    let mut scratch = Scratch::new();
    move || {
        for facts in facts {
            assert!(allows(&policy.decide(black_box(facts), &mut scratch)), "{facts:?}");
        }
        facts.len()
    }
}

fn head_to_decision<'c>(policy: &'c Policy, heads: &'c [Head], site: &'c SiteFacts) -> impl FnMut() -> usize + 'c {
    let (settings, mut scratch) = (nobody_is_trusted(), Scratch::new());
    move || {
        for head in heads {
            let parsed = black_box(head).parsed(&settings);
            let facts = parsed.facts(head, site);
            assert!(allows(&policy.decide(&facts, &mut scratch)), "{facts:?}");
        }
        heads.len()
    }
}

fn peer_deciding<'c>(peer: &'c Peer, requests: &'static [PeerRequest]) -> impl FnMut() -> usize + 'c {
    move || {
        for request in requests {
            assert!(peer.allows(black_box(request)), "{request:?}");
        }
        requests.len()
    }
}

fn peer_filling<'c>(peer: &'c Peer, requests: &'static [PeerRequest]) -> impl FnMut() -> usize + 'c {
    move || {
        for request in requests {
            black_box(peer.filled(black_box(request)));
        }
        requests.len()
    }
}
