//! `[reload]`: what must hold of a configuration before it is put in force, and what takes it back.

use std::time::Duration;

use http::HeaderValue;

use super::{
    limits::number,
    settings::{Guard, NeverBlock},
    traffic::Trusted,
    values::text,
};
use crate::policy::{
    fault::{Fault, Faults},
    network::{IpRange, IpSet},
    normalize::{Host, PathOptions, Target},
    table::{FromToml, Placed, Table, Value},
};

/// More elements than this are a fault: every reload judges each of them at every site.
const MOST_NEVER_BLOCK: usize = 256;

/// `[reload]` as written: its lists are looked up when the rules are read.
pub(super) struct WrittenReload {
    pub(super) tests: bool,
    pub(super) never_block: Vec<Placed<WrittenNeverBlock>>,
    pub(super) guard: Option<Guard>,
}

/// An element of `never_block`.
pub(super) struct WrittenNeverBlock {
    from: Vec<Placed<Trusted>>,
    hosts: Vec<Host>,
    path: String,
    user_agent: Option<HeaderValue>,
}

/// Reads `[reload]`. Without it tests are held to, nobody is named, and nothing watches.
pub(super) fn reload(table: Option<Table<'_>>, faults: &mut Faults) -> WrittenReload {
    let mut reload = WrittenReload {
        tests: true,
        never_block: Vec::new(),
        guard: None,
    };
    let Some(mut table) = table else { return reload };
    reload.tests = table.or("tests", true, faults);
    reload.never_block = table.or("never_block", Vec::new(), faults);
    if let Some(first) = reload.never_block.get(MOST_NEVER_BLOCK) {
        faults.push(
            Fault::error(first.place.clone(), "too many elements in `never_block`")
                .expected(format!("expected {MOST_NEVER_BLOCK} at most"))
                .help("put the addresses into a list of the rules, and name it: `never_block = [\"$ours\"]`"),
        );
    }
    reload.guard = table
        .value("guard")
        .and_then(|value| value.table("`guard`", faults))
        .and_then(|table| guard(table, faults));
    table.finish(faults);
    reload
}

fn guard(mut table: Table<'_>, faults: &mut Faults) -> Option<Guard> {
    if table.value("factor").is_none() {
        table.required::<u64>("factor", "factor = 5", faults);
    }
    let factor = number(&mut table, "factor", 2..=1000, faults);
    let guard = Guard {
        factor: factor.unwrap_or(2),
        networks: number(&mut table, "networks", 10..=100_000, faults).unwrap_or(50),
        window: table.or("window", Duration::from_secs(600), faults),
    };
    if table.value("window").is_some() && !(MIN_WINDOW..=MAX_WINDOW).contains(&guard.window) {
        let place = table.key_place("window").unwrap_or_else(|| table.place());
        faults.push(Fault::error(place, "`window` is out of range").expected("expected \"10s\" to \"1d\""));
    }
    table.finish(faults);
    factor.map(|_| guard)
}

const MIN_WINDOW: Duration = Duration::from_secs(10);
const MAX_WINDOW: Duration = Duration::from_secs(86_400);

impl FromToml for WrittenNeverBlock {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let toml::de::DeValue::Table(_) = value.raw() else {
            const EXPECTED: &str =
                "an address, a network, a $list, or a table such as { ip = [\"10.0.0.0/8\"], path = \"/healthz\" }";
            text(value, EXPECTED, faults)?;
            return Placed::<Trusted>::from_toml(value, faults).map(|from| Self {
                from: vec![from],
                hosts: Vec::new(),
                path: "/".to_owned(),
                user_agent: None,
            });
        };
        let mut table = value.table("`never_block`", faults)?;
        let from = table.required::<Vec<Placed<Trusted>>>("ip", "ip = [\"10.0.0.0/8\"]", faults);
        let hosts = table.or("hosts", Vec::<NamedHost>::new(), faults);
        let path = table.optional::<HealthPath>("path", faults);
        let user_agent = table.optional("user_agent", faults);
        table.finish(faults);
        Some(Self {
            from: from?,
            hosts: hosts.into_iter().map(|host| host.0).collect(),
            path: path.map_or_else(|| "/".to_owned(), |path| path.0),
            user_agent,
        })
    }
}

/// A host that is asked for: a whole name, since a request has one.
struct NamedHost(Host);

impl FromToml for NamedHost {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let host = Host::parse(&text).ok();
        if host.is_none() {
            faults.push(value.invalid(
                format!("`{text}` is not a host"),
                "a whole host such as \"example.com\"",
            ));
        }
        host.map(Self)
    }
}

struct HealthPath(String);

impl FromToml for HealthPath {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        if !text.starts_with('/') || Target::parse(&text, PathOptions::default()).is_err() {
            faults.push(value.invalid(format!("`{text}` is not a path"), "a path such as \"/healthz\""));
            return None;
        }
        Some(Self(text))
    }
}

/// The promises, with their lists looked up; `look_up` makes a fault of a list that is not there.
pub(super) fn never_block(
    written: &[Placed<WrittenNeverBlock>],
    mut look_up: impl FnMut(&Placed<Trusted>) -> Option<IpSet>,
) -> Option<Vec<NeverBlock>> {
    let promises: Vec<Option<NeverBlock>> = written
        .iter()
        .map(|written| {
            let sets: Vec<Option<IpSet>> = written.value.from.iter().map(&mut look_up).collect();
            let sets: Vec<IpSet> = sets.into_iter().collect::<Option<_>>()?;
            let ranges: IpSet = sets.iter().flat_map(IpSet::iter).collect();
            Some(NeverBlock {
                place: written.place.clone(),
                from: ranges,
                hosts: written.value.hosts.clone(),
                path: written.value.path.clone(),
                user_agent: written.value.user_agent.clone(),
            })
        })
        .collect();
    promises.into_iter().collect()
}

/// The addresses of a network.
pub(super) fn addresses(network: crate::policy::network::Network) -> IpSet {
    std::iter::once(IpRange::from(network)).collect()
}
