//! Times replaying our own JSON log at 1,000 rules beside parsing the same lines with serde_json, in turns, on one core.
//! Prints the CPU's nanoseconds a line, the median of the rounds, and the ratio to parsing.

#[expect(
    dead_code,
    unreachable_pub,
    reason = "what the other benchmark, a library, makes of it"
)]
#[path = "../../decide/src/rules.rs"]
mod rules;

#[path = "../../decide/src/random.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "what the other benchmark, a library, makes of it"
)]
mod random;

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    hint::black_box,
    path::{Path, PathBuf},
};

use portcullis::{
    config,
    policy::rule::Timestamp,
    replay::{Options, Replay, input::Consumed, judge::Judge, sides::Stated},
    snapshot::Snapshot,
};

use self::{
    random::Random,
    rules::{Blocks, Map},
};

const RULES: usize = 1000;
const LINES: usize = 20_000;
const ROUNDS: usize = 11;

/// Parses every line, and gives how many there were.
type Pass<'c> = Box<dyn FnMut() -> Result<u64, Box<dyn Error>> + 'c>;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("access.log");
    let text = log_lines();
    fs::write(&log, &text)?;
    let all = loaded(&folder.path().join("all"), |_| true)?;
    let known = loaded(&folder.path().join("known"), |rule| {
        !matches!(rule, Blocks::Value(Map::Headers | Map::Cookies, ..))
    })?;
    let (all, known, log) = (&all, &known, &log);
    let mut contestants: Vec<(&str, Pass<'_>, Vec<f64>)> = vec![
        ("serde_json::from_str::<Value>", Box::new(|| parse(&text)), Vec::new()),
        (
            "replay, rules over what the log says",
            Box::new(move || replay(known, None, log)),
            Vec::new(),
        ),
        (
            "replay, one rule in sixteen over headers it does not say",
            Box::new(move || replay(all, None, log)),
            Vec::new(),
        ),
        (
            "replay --against the same",
            Box::new(move || replay(known, Some(known), log)),
            Vec::new(),
        ),
    ];
    for round in 0..=ROUNDS {
        for (_, pass, series) in &mut contestants {
            let start = on_cpu()?;
            let lines = pass()?;
            // The first round warms up.
            if round > 0 {
                series.push((on_cpu()? - start) / lines as f64);
            }
        }
    }
    let parsing = contestants.first_mut().map_or(1.0, |(_, _, series)| median(series));
    println!(
        "{LINES} lines of {} bytes, {RULES} rules, median of {ROUNDS} rounds",
        text.len() / LINES
    );
    for (name, _, series) in &mut contestants {
        let nanoseconds = median(series);
        println!(
            "{name:<58} {nanoseconds:>6.0} ns a line, {:>9.0} lines a second of CPU, {:.2} times parsing",
            1e9 / nanoseconds,
            nanoseconds / parsing
        );
    }
    Ok(())
}

/// The nanoseconds that this thread was on a CPU: what else runs on the machine does not count.
fn on_cpu() -> Result<f64, Box<dyn Error>> {
    let told = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(told.split(' ').next().unwrap_or_default().parse()?)
}

fn median(series: &mut [f64]) -> f64 {
    series.sort_by(f64::total_cmp);
    series.get(series.len() / 2).copied().unwrap_or(f64::NAN)
}

fn parse(text: &str) -> Result<u64, Box<dyn Error>> {
    let mut lines = 0;
    for line in text.lines() {
        black_box(serde_json::from_str::<serde_json::Value>(line)?);
        lines += 1;
    }
    Ok(lines)
}

fn replay(after: &Snapshot, before: Option<&Snapshot>, log: &Path) -> Result<u64, Box<dyn Error>> {
    let options = Options {
        samples: 3,
        ..Options::default()
    };
    let mut replay = Replay::new(Judge::new(after, before, Stated::default()), options);
    replay.file(log, &Consumed::default(), &mut || {})?;
    Ok(black_box(replay.tally().requests))
}

/// A configuration with the rules that are wanted of the first thousand.
fn loaded(folder: &Path, wanted: impl Fn(&Blocks) -> bool) -> Result<Snapshot, Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let asn = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/geo/asn.mmdb");
    let numbers = (0..).filter(|n| wanted(&rules::nth(*n))).take(RULES);
    fs::write(folder.join("rules.toml"), rules::toml_of(numbers))?;
    let path = folder.join("portcullis.toml");
    fs::write(
        &path,
        format!(
            "rules = [\"rules.toml\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\n[geoip]\ncountry = \"builtin\"\nasn = {asn:?}\n\
             [upstream.app]\nservers = [\"builtin:demo\"]\n[[site]]\nname = \"main\"\nhosts = [\"*.example.com\"]\n\
             upstream = \"app\"\n"
        ),
    )?;
    match config::load(&path, Timestamp(1_767_225_600), None) {
        Ok((snapshot, _)) => Ok(snapshot),
        Err(faults) => Err(format!("the generated rules do not load: {:?}", faults.first()).into()),
    }
}

/// Lines as Portcullis writes them of a browser's requests.
fn log_lines() -> String {
    const AGENTS: [&str; 3] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
    ];
    let mut random = Random::seeded(7);
    let mut text = String::new();
    for n in 0..LINES {
        let (lamp, page, agent) = (random.below(10_000), random.below(50), random.pick(&AGENTS));
        let client = format!(
            "{}.{}.{}.{}",
            20 + random.below(180),
            random.below(256),
            random.below(256),
            random.below(256)
        );
        let (second, millisecond) = (n / 400 % 60, n % 1000);
        let (port, duration) = (1024 + random.below(60_000), random.below(90_000_000));
        // Writing into memory does not fail.
        let _ = writeln!(
            text,
            "{{\"@timestamp\":\"2026-01-01T00:00:{second:02}.{millisecond:03}Z\",\"event.action\":\"allow\",\"client.ip\":\"{client}\",\
             \"client.geo.country_iso_code\":\"DE\",\"client.geo.continent_code\":\"EU\",\"portcullis.client_ip_source\":\"source\",\
             \"source.ip\":\"{client}\",\"source.port\":{port},\"http.request.method\":\"GET\",\"url.scheme\":\"https\",\
             \"url.domain\":\"www.example.com\",\"url.path\":\"/products/lamps/desk-lamp-{lamp}\",\
             \"url.query\":\"color=black&size=m&page={page}\",\
             \"url.original\":\"/products/lamps/desk-lamp-{lamp}?color=black&size=m&page={page}\",\"http.version\":\"2\",\
             \"http.request.id\":\"019b76da00003c5e{n:016x}\",\"user_agent.original\":\"{agent}\",\
             \"http.request.referrer\":\"https://www.example.com/products\",\"tls.version\":\"1.3\",\
             \"tls.client.server_name\":\"www.example.com\",\"portcullis.site\":\"main\",\"portcullis.generation\":1,\
             \"http.response.status_code\":200,\"event.outcome\":\"success\",\"http.request.body.bytes\":0,\
             \"http.response.body.bytes\":18231,\"portcullis.upstream\":\"app\",\
             \"portcullis.upstream_server\":\"http://127.0.0.1:3000\",\"portcullis.upstream_duration\":{duration},\
             \"event.duration\":{duration}}}"
        );
    }
    text
}
