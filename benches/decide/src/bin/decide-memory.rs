//! Counts what judging and loading allocate. Prints JSON.

use std::{error::Error, hint::black_box, net::IpAddr, path::PathBuf};

use allocation_counter::measure;
use clap::{Parser, Subcommand};
use http::{HeaderName, header};
use portcullis::{
    config,
    policy::{phases::Scratch, policy::Policy},
};
use portcullis_decide_bench::{
    agents::Agents,
    gate::{NOW, allows, compiled, site},
    heads::{Head, nobody_is_trusted},
    lists::Blocklist,
    measures::mixed::LISTED,
    rules,
};
use serde_json::json;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Allocations of deciding, by the kind of request.
    Decide {
        #[arg(long)]
        agents: PathBuf,
    },
    /// Bytes that a loaded configuration keeps.
    Load { config: PathBuf },
}

/// The hotlink rule that an image passes, and the allow that lets an office in; over mixed rules.
const MORE_RULES: &str = r#"
[[hotlink]]
id = "images"
extensions = ["jpg", "png"]

[[ip_access]]
id = "office"
action = "allow"
ip = ["203.0.113.0/24"]
"#;
const OFFICE: [u8; 4] = [203, 0, 113, 9];
const CLIENT: [u8; 4] = [198, 51, 100, 23];

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().verb {
        Verb::Decide { agents } => decide(&Agents::read(&agents)?),
        Verb::Load { config } => load(&config),
    }
}

fn decide(agents: &Agents) -> Result<(), Box<dyn Error>> {
    let list = Blocklist::of_both(LISTED);
    let policy = compiled(&(rules::toml(10_000) + MORE_RULES), &list.text());
    let counts = kinds(&agents.browsers[0]).map(|(kind, head)| json!({ "kind": kind, "most": most(&policy, &head) }));
    println!("{}", json!({ "allocations": counts }));
    Ok(())
}

/// Kinds of requests that pass.
fn kinds(agent: &str) -> [(&'static str, Head); 5] {
    let page = Head::page(agent, IpAddr::from(CLIENT));
    let image = page
        .clone()
        .target("/media/lamps/42.jpg")
        .header(HeaderName::from_static("sec-fetch-dest"), "image");
    let api = page
        .clone()
        .method("POST")
        .target("/api/v2/cart?expand=items")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ORIGIN, "https://www.example.com");
    let readings = page.clone().target("/products/lamps%20%26%20lights/desk;v=2/a%2520b");
    [
        ("plain page", page),
        ("image, same-site referer", image),
        ("API call, JSON", api),
        ("path with several readings", readings),
        ("an allow rule matches", Head::page(agent, IpAddr::from(OFFICE))),
    ]
}

/// The most that one of many decisions allocates, once the scratch has grown.
fn most(policy: &Policy, head: &Head) -> u64 {
    let (site, mut scratch) = (site(), Scratch::new());
    let parsed = head.parsed(&nobody_is_trusted());
    let facts = parsed.facts(head, &site);
    assert!(allows(&policy.decide(&facts, &mut scratch)), "{facts:?}");
    let once = |_| {
        measure(|| {
            black_box(allows(&policy.decide(black_box(&facts), &mut scratch)));
        })
        .count_total
    };
    (0..100).map(once).max().unwrap_or_default()
}

fn load(config: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let mut loaded = None;
    let info = measure(|| loaded = Some(config::load(config, NOW, None)));
    match loaded {
        Some(Ok((snapshot, warnings))) => {
            drop(warnings);
            black_box(snapshot);
            println!("{}", json!({ "bytes": info.bytes_current }));
            Ok(())
        }
        Some(Err(faults)) => Err(format!("{} does not load: {:?}", config.display(), faults.first()).into()),
        None => Err("nothing was loaded".into()),
    }
}
