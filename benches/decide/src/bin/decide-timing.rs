//! Times judging; writes generated rules for the gateway; loads a configuration once. Prints JSON.

use std::{error::Error, fs, path::PathBuf, time::Instant};

use clap::{Parser, Subcommand};
use portcullis::config;
use portcullis_decide_bench::{agents::Agents, gate::NOW, lists::Blocklist, measures, peer, rules};
use serde_json::json;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Times these measures: mixed, listed, agents, others.
    Time {
        /// Where real user agents and patterns are.
        #[arg(long)]
        agents: PathBuf,
        #[arg(long, default_value_t = 15)]
        rounds: usize,
        measures: Vec<String>,
    },
    /// Writes `rules.toml` with mixed rules and the list's file.
    Write {
        #[arg(long, default_value_t = 0)]
        rules: usize,
        /// Entries of the list, of each family.
        #[arg(long, default_value_t = 0)]
        v4: usize,
        #[arg(long, default_value_t = 0)]
        v6: usize,
        folder: PathBuf,
    },
    /// Names clients that the configuration's list and countries let in, and ones that the list refuses.
    Clients {
        #[arg(long)]
        v4: usize,
        #[arg(long)]
        v6: usize,
        #[arg(long)]
        count: usize,
        config: PathBuf,
    },
    /// Loads a configuration and says how long it took and how much memory the process had at its peak.
    Load { config: PathBuf },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().verb {
        Verb::Time {
            agents,
            rounds,
            measures,
        } => time(&Agents::read(&agents)?, rounds, &measures),
        Verb::Write { rules, v4, v6, folder } => write(rules, &Blocklist::generate(v4, v6), &folder),
        Verb::Clients { v4, v6, count, config } => clients(&Blocklist::generate(v4, v6), count, &config),
        Verb::Load { config } => load(&config),
    }
}

fn time(agents: &Agents, rounds: usize, names: &[String]) -> Result<(), Box<dyn Error>> {
    let mut series = Vec::new();
    for name in names {
        series.extend(match name.as_str() {
            "mixed" => measures::mixed::measure(&agents.browsers, rounds),
            "listed" => measures::listed::measure(&agents.browsers, rounds),
            "agents" => measures::agents::measure(agents, rounds),
            "others" => measures::others::measure(&agents.browsers, rounds),
            other => return Err(format!("there is no measure `{other}`").into()),
        });
    }
    println!("{}", json!({ "series": series, "adaptations": peer::ADAPTATIONS }));
    Ok(())
}

fn write(count: usize, list: &Blocklist, folder: &std::path::Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("rules.toml"), rules::toml(count))?;
    fs::write(folder.join(rules::LIST_FILE), list.text())?;
    Ok(())
}

fn clients(list: &Blocklist, count: usize, config: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let snapshot = loaded(config)?;
    let is_fine = |address: &std::net::IpAddr| !rules::blocks_country(snapshot.geo.facts(*address).country.as_str());
    // Few of the countries that rules name have many addresses: a few spare ones make up for them.
    let strangers = list
        .neighbours(count + count / 4)
        .into_iter()
        .filter(is_fine)
        .take(count);
    let strangers: Vec<_> = strangers.map(|address| address.to_string()).collect();
    let members: Vec<_> = list.members(count).iter().map(ToString::to_string).collect();
    println!("{}", json!({ "allowed": strangers, "refused": members }));
    Ok(())
}

fn load(config: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let snapshot = loaded(config)?;
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .and_then(|text| text.split_whitespace().next())
        .unwrap_or_default()
        .parse()?;
    let rules = snapshot.policy.rules().len();
    println!("{}", json!({ "seconds": seconds, "peak_kib": peak, "rules": rules }));
    Ok(())
}

fn loaded(config: &std::path::Path) -> Result<portcullis::snapshot::Snapshot, String> {
    match config::load(config, NOW, None) {
        Ok((snapshot, _)) => Ok(snapshot),
        Err(faults) => Err(format!("{} does not load: {:?}", config.display(), faults.first())),
    }
}
