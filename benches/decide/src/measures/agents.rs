//! User agents against patterns of crawlers.

use std::{
    hint::black_box,
    net::IpAddr,
    time::{Duration, Instant},
};

use portcullis::policy::{phases::Scratch, policy::Policy};
use serde_json::{Value, json};

use super::TURN;
use crate::{
    agents::Agents,
    gate::{allows, compiled, site},
    heads::{Head, nobody_is_trusted},
    rounds::{Contestant, interleaved},
};

/// A string's own turn: hundreds of them must fit into a round.
const SHORT_TURN: Duration = Duration::from_micros(100);

/// Times all of it.
pub fn measure(agents: &Agents, rounds: usize) -> Vec<Value> {
    let (with, without) = (compiled(&agents.rules, ""), compiled("may_be_empty = true\n", ""));
    let (browsers, real) = (heads(&agents.browsers), heads(&agents.real));
    let contestants = vec![
        Contestant::new("agents/browsers/with", deciding(&with, &browsers)),
        Contestant::new("agents/browsers/without", deciding(&without, &browsers)),
        Contestant::new("agents/real_in_turn/with", deciding(&with, &real)),
        Contestant::new("agents/real_in_turn/without", deciding(&without, &real)),
    ];
    let mut series = interleaved(contestants, rounds, TURN);
    let blocked = real.iter().filter(|head| !passes(&with, head)).count();
    assert!(
        browsers.iter().all(|head| passes(&with, head)),
        "a pattern matches a browser"
    );
    series.push(json!({ "name": "agents/real_blocked", "unit": "strings", "rounds": [blocked] }));
    series.push(json!({ "name": "agents/each", "unit": "ns", "rounds": each(&with, &real, rounds) }));
    series
}

fn heads(agents: &[String]) -> Vec<Head> {
    let head = |agent: &String| Head::page(agent, IpAddr::from([192, 0, 2, 1]));
    agents.iter().map(head).collect()
}

fn passes(policy: &Policy, head: &Head) -> bool {
    let (site, mut scratch) = (site(), Scratch::new());
    let parsed = head.parsed(&nobody_is_trusted());
    allows(&policy.decide(&parsed.facts(head, &site), &mut scratch))
}

/// The string changes from decision to decision.
fn deciding<'c>(policy: &'c Policy, heads: &'c [Head]) -> impl FnMut() -> usize + 'c {
    let (site, mut scratch) = (site(), Scratch::new());
    let parsed: Vec<_> = heads.iter().map(|head| head.parsed(&nobody_is_trusted())).collect();
    move || {
        for (head, parsed) in heads.iter().zip(&parsed) {
            let facts = parsed.facts(head, &site);
            black_box(allows(&policy.decide(black_box(&facts), &mut scratch)));
        }
        heads.len()
    }
}

/// For each round the nanoseconds of each string.
fn each(policy: &Policy, heads: &[Head], rounds: usize) -> Vec<Vec<f64>> {
    let mut passes: Vec<_> = heads
        .iter()
        .map(|head| deciding(policy, std::slice::from_ref(head)))
        .collect();
    (0..rounds).map(|_| passes.iter_mut().map(one_turn).collect()).collect()
}

fn one_turn(pass: &mut impl FnMut() -> usize) -> f64 {
    let warming = Instant::now();
    pass();
    // Looking at the clock costs some tens of nanoseconds: not after every decision, unless one fills the turn.
    let batch = if warming.elapsed() < SHORT_TURN / 8 { 32 } else { 1 };
    let start = Instant::now();
    let mut decisions = 0;
    while start.elapsed() < SHORT_TURN {
        decisions += (0..batch).map(|_| pass()).sum::<usize>();
    }
    start.elapsed().as_nanos() as f64 / decisions as f64
}
