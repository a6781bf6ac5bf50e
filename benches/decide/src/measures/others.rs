//! Figures without a target: what reading a head costs in other cases, and what the checkout's own rules cost.

use std::{hint::black_box, net::IpAddr, path::Path};

use portcullis::{
    config,
    policy::{phases::Scratch, policy::Policy},
};
use serde_json::Value;

use super::TURN;
use crate::{
    gate::{NOW, allows, compiled, site},
    heads::{Head, nobody_is_trusted, proxy_is_trusted},
    rounds::{Contestant, interleaved},
};

const CATALOGUE: &str = "[[user_agent]]\naction = \"block\"\ncategory = [\"ai_crawler\", \"scanner\", \"seo\"]\n";
/// Any of a sort that the catalogue knows.
const CRAWLER: &str =
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)";
const SOURCE: [u8; 4] = [198, 51, 100, 23];
const PROXY: &str = "198.51.100.23";

/// Times all of it.
pub fn measure(agents: &[String], rounds: usize) -> Vec<Value> {
    let page = Head::page(&agents[0], IpAddr::from(SOURCE));
    let forwarded = http::HeaderName::from_static("x-forwarded-for");
    let proxied = page
        .clone()
        .header(forwarded, &format!("203.0.113.9, 192.0.2.7, {PROXY}"));
    let readings = page.clone().target("/products/lamps%20%26%20lights/desk;v=2/a%2520b");
    let crawler = page.clone().header(http::header::USER_AGENT, CRAWLER);
    let (none, shipped, catalogue) = (
        compiled("may_be_empty = true\n", ""),
        shipped(),
        compiled(CATALOGUE, ""),
    );
    let contestants = vec![
        Contestant::new("facts/behind_proxy", reading(&proxied, Some(PROXY))),
        Contestant::new("facts/many_readings", reading(&readings, None)),
        Contestant::new("decide/no_rules", deciding(&none, &page, true)),
        Contestant::new("decide/shipped_rules", deciding(&shipped, &page, true)),
        Contestant::new("decide/catalogue/browser", deciding(&catalogue, &page, true)),
        Contestant::new("decide/catalogue/crawler", deciding(&catalogue, &crawler, false)),
    ];
    interleaved(contestants, rounds, TURN)
}

/// The rules of the checkout's own configuration.
fn shipped() -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/portcullis.toml");
    match config::load(&path, NOW, None) {
        Ok((snapshot, _)) => snapshot.policy,
        Err(faults) => panic!("the shipped configuration does not load: {faults:?}"),
    }
}

fn reading<'c>(head: &'c Head, proxy: Option<&str>) -> impl FnMut() -> usize + 'c {
    let settings = proxy.map_or_else(nobody_is_trusted, proxy_is_trusted);
    let site = site();
    move || {
        let parsed = black_box(head).parsed(&settings);
        black_box(parsed.facts(head, &site));
        1
    }
}

fn deciding<'c>(policy: &'c Policy, head: &'c Head, expected: bool) -> impl FnMut() -> usize + 'c {
    let (site, mut scratch) = (site(), Scratch::new());
    let parsed = head.parsed(&nobody_is_trusted());
    move || {
        let facts = parsed.facts(head, &site);
        let allowed = allows(&policy.decide(black_box(&facts), &mut scratch));
        assert_eq!(allowed, expected, "{facts:?}");
        1
    }
}
