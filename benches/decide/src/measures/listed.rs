//! Refused by a list of addresses, by its length.

use std::{hint::black_box, net::IpAddr};

use portcullis::policy::{
    client::ClientIp,
    facts::{ClientFacts, RequestFacts},
    phases::Scratch,
    policy::Policy,
};
use serde_json::Value;

use super::TURN;
use crate::{
    gate::{allows, compiled, site},
    heads::{Head, nobody_is_trusted},
    lists::Blocklist,
    rounds::{Contestant, interleaved},
    rules,
};

const LENGTHS: [usize; 2] = [1000, 1_000_000];
const ASKED: usize = 100_000;

/// Times all of it.
pub fn measure(agents: &[String], rounds: usize) -> Vec<Value> {
    let site = site();
    let head = Head::page(&agents[0], IpAddr::from([192, 0, 2, 1]));
    let parsed = head.parsed(&nobody_is_trusted());
    let facts = parsed.facts(&head, &site);
    let judges = LENGTHS.map(|length| {
        let list = Blocklist::of_both(length);
        (
            length,
            compiled(&rules::listed_toml(), &list.text()),
            list.members(ASKED),
        )
    });
    let contestants = judges
        .iter()
        .map(|(length, policy, members)| Contestant::new(format!("listed/{length}"), refusing(policy, facts, members)));
    interleaved(contestants.collect(), rounds, TURN)
}

fn refusing<'c>(policy: &'c Policy, facts: RequestFacts<'c>, members: &'c [IpAddr]) -> impl FnMut() -> usize + 'c {
    let mut scratch = Scratch::new();
    move || {
        for address in members {
            let client = ClientFacts {
                ip: ClientIp::new(*address),
                ..facts.client
            };
            let facts = RequestFacts { client, ..facts };
            assert!(!allows(&policy.decide(black_box(&facts), &mut scratch)), "{address}");
        }
        members.len()
    }
}
