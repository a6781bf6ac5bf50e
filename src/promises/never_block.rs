//! `[reload] never_block`: clients that a load must not block, at a site's root or the path that they ask for.
//!
//! A network holds for each of its addresses. It is cut into parts whose addresses no rule tells apart (by the networks and
//! lists of the rules, and by what the geo sources say), and one address of each part is judged: so what is found is exact,
//! and what would be too much to make sure of is a fault, never a sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::{HeaderMap, HeaderValue, header};

use super::{
    judged::with_facts,
    outcome::{Came, decided, every_step},
};
use crate::{
    config::settings::{NeverBlock, Protocol},
    geo::Geo,
    policy::{
        described::Asked,
        fault::Fault,
        lang::reads::AddressRead,
        network::IpRange,
        normalize::HostName,
        policy::Policy,
        site::HostPattern,
        stated::{Asker, StatedRequest, Verdict},
    },
    snapshot::{CompiledSite, Snapshot},
};

/// Into more parts than this no element may fall, over all sites together: a reload waits until each was judged.
const MOST_JUDGED: usize = 200_000;
/// So many IPv4 addresses, and IPv6 /64s, are looked up one by one where countries or systems matter: a /12, a /44.
const MOST_LOOKED_UP: u128 = 1 << 20;
/// So many addresses are judged one by one where a rule computes with them.
const MOST_COMPUTED: u128 = 1 << 12;

/// The program that asks unless one is named.
const BROWSER: HeaderValue =
    HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");

/// Every element that somebody of it would be blocked by.
pub(super) fn broken(snapshot: &Snapshot) -> Vec<Fault> {
    let promises = &snapshot.settings.reload.never_block;
    if promises.is_empty() {
        return Vec::new();
    }
    let reads = Reads::of(&snapshot.policy);
    promises
        .iter()
        .flat_map(|promise| match parts(promise, &reads, &snapshot.geo) {
            Ok(parts) => judged(promise, &parts, snapshot),
            Err(TooMuch { message, help }) => {
                vec![Fault::error(promise.place.clone(), message).help(help)]
            }
        })
        .collect()
}

/// What the rules look at of addresses.
#[derive(Default)]
struct Reads {
    /// The networks that they name, in lists too.
    ranges: Vec<IpRange>,
    /// Whether they ask where an address is.
    places: bool,
    /// Whether they compute with addresses.
    computed: bool,
}

impl Reads {
    fn of(policy: &Policy) -> Self {
        let mut reads = Self::default();
        let mut lists = BTreeSet::new();
        for rule in policy.rules().iter().filter(|rule| rule.enabled) {
            rule.expression.root().addresses(&mut |read| match read {
                AddressRead::Range(range) => reads.ranges.push(range),
                AddressRead::List(list) => {
                    lists.insert(list.name().to_owned());
                }
                AddressRead::Place => reads.places = true,
                AddressRead::Computed => reads.computed = true,
            });
        }
        let named = lists.iter().filter_map(|name| policy.list(name));
        let addresses = named.filter_map(|list| list.addresses());
        reads.ranges.extend(addresses.flat_map(|addresses| addresses.iter()));
        reads
    }
}

/// Why an element cannot be made sure of.
struct TooMuch {
    message: String,
    help: String,
}

/// The first address of each part of an element.
fn parts(promise: &NeverBlock, reads: &Reads, geo: &Geo) -> Result<Vec<IpAddr>, TooMuch> {
    let mut first = Vec::new();
    for range in promise.from.iter() {
        let mut cuts = BTreeSet::from([number(range.first())]);
        let (low, high) = (number(range.first()), number(range.last()));
        let same_family = |other: &&IpRange| other.first().is_ipv4() == range.first().is_ipv4();
        for other in reads.ranges.iter().filter(same_family) {
            let begins = [Some(number(other.first())), number(other.last()).checked_add(1)];
            cuts.extend(begins.into_iter().flatten().filter(|cut| (low..=high).contains(cut)));
        }
        if reads.places && !is_nowhere(range) {
            cuts.extend(moves(range, geo)?);
        }
        if reads.computed {
            cuts.extend(each(range)?);
        }
        first.extend(cuts.into_iter().map(|cut| address(cut, range)));
    }
    Ok(first)
}

/// Where the answers of the geo sources change within a range.
fn moves(range: IpRange, geo: &Geo) -> Result<Vec<u128>, TooMuch> {
    let unit: u128 = if range.first().is_ipv4() { 1 } else { 1 << 64 };
    let (low, high) = (number(range.first()), number(range.last()));
    if (high - low) / unit >= MOST_LOOKED_UP {
        return Err(TooMuch {
            message: format!("{range} is too large to make sure of: rules ask for countries or systems"),
            help: "name networks of up to an IPv4 /12 or an IPv6 /44; private ones may be larger".to_owned(),
        });
    }
    let mut found = Vec::new();
    let mut facts = geo.facts(range.first());
    let mut at = low;
    while let Some(next) = (at / unit).checked_add(1).and_then(|next| next.checked_mul(unit)) {
        if next > high {
            break;
        }
        let there = geo.facts(address(next, range));
        if there != facts {
            found.push(next);
            facts = there;
        }
        at = next;
    }
    Ok(found)
}

fn each(range: IpRange) -> Result<std::ops::RangeInclusive<u128>, TooMuch> {
    let (low, high) = (number(range.first()), number(range.last()));
    if high - low >= MOST_COMPUTED {
        return Err(TooMuch {
            message: format!("{range} is too large to make sure of: a rule computes with addresses"),
            help: format!(
                "name networks of up to {MOST_COMPUTED} addresses, or compare `ip.src` with networks and lists"
            ),
        });
    }
    Ok(low..=high)
}

/// Whether no geo source is asked about any address of the range: all of it is in one network of this kind.
fn is_nowhere(range: IpRange) -> bool {
    const NOWHERE: [&str; 9] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1",
        "fc00::/7",
        "fe80::/10",
    ];
    let around = |network: &IpRange| network.contains(range.first()) && network.contains(range.last());
    let mut networks = NOWHERE.iter().filter_map(|network| IpRange::parse(network).ok());
    networks.any(|network| around(&network))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of a number, of the range's family.
fn address(number: u128, range: IpRange) -> IpAddr {
    match range.first() {
        // Numbers of this family came from its addresses.
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

/// What would be blocked: a fault for each rule that does, with the first case of it.
fn judged(promise: &NeverBlock, parts: &[IpAddr], snapshot: &Snapshot) -> Vec<Fault> {
    let urls = urls(promise, snapshot);
    if parts.len().saturating_mul(urls.len()) > MOST_JUDGED {
        let (parts, urls) = (parts.len(), urls.len());
        let message = format!("the rules tell {parts} parts of it apart, at {urls} URLs");
        return vec![
            Fault::error(promise.place.clone(), message)
                .expected(format!("expected {MOST_JUDGED} cases at most"))
                .help("name smaller networks, or `hosts`"),
        ];
    }
    let mut broken: BTreeMap<Option<(String, String)>, (StatedRequest, Came, usize)> = BTreeMap::new();
    for url in &urls {
        for ip in parts {
            let request = url.from(*ip);
            let came = with_facts(&request, snapshot.loaded, snapshot, |facts, site| {
                decided(facts, site, snapshot)
            });
            let came = came.unwrap_or_else(Came::from);
            if came.verdict == Verdict::Block {
                broken
                    .entry(came.rule.clone())
                    .and_modify(|(_, _, more)| *more += 1)
                    .or_insert((request, came, 0));
            }
        }
    }
    let faults = broken.into_values();
    faults
        .map(|(request, came, more)| fault(promise, &request, &came, more, snapshot))
        .collect()
}

fn fault(promise: &NeverBlock, request: &StatedRequest, came: &Came, more: usize, snapshot: &Snapshot) -> Fault {
    let (Asker::Client(ip) | Asker::Peer(ip)) = request.from;
    let message = format!("{ip} is never to be blocked, and would be at {}", request.asked.url());
    let mut fault = Fault::error(promise.place.clone(), message).expected(came.words());
    if let Some((id, place)) = &came.rule {
        fault = fault.help(format!("`{id}` stands at {place}"));
    }
    if more > 0 {
        let cases = if more == 1 { "case" } else { "cases" };
        fault = fault.help(format!("and so in {more} more {cases}"));
    }
    fault.help(every_step(request, snapshot))
}

/// What somebody asks for.
struct Url(Asked);

impl Url {
    fn from(&self, ip: IpAddr) -> StatedRequest {
        StatedRequest {
            asked: self.0.clone(),
            from: Asker::Client(ip),
            country: None,
            asn: None,
            now: None,
        }
    }
}

/// The element's path at each host that it names, or else at every host of every site, as listeners serve it.
fn urls(promise: &NeverBlock, snapshot: &Snapshot) -> Vec<Url> {
    let hosts: Vec<String> = match promise.hosts.is_empty() {
        false => promise.hosts.iter().map(|host| host.authority().to_owned()).collect(),
        true => snapshot.sites.iter().flat_map(|site| hosts(site, snapshot)).collect(),
    };
    let agent = promise.user_agent.clone().unwrap_or(BROWSER);
    let headers: HeaderMap = [(header::USER_AGENT, agent)].into_iter().collect();
    let schemes = schemes(snapshot);
    let urls = hosts.iter().flat_map(|host| {
        let path = &promise.path;
        schemes.iter().map(move |scheme| format!("{scheme}://{host}{path}"))
    });
    // Hosts and paths were parsed when they were read.
    urls.filter_map(|url| Asked::new(&url, "GET", headers.clone(), None).ok().map(Url))
        .collect()
}

fn schemes(snapshot: &Snapshot) -> Vec<&'static str> {
    let speaks = |tls: bool| {
        let mut protocols = snapshot.settings.listeners.iter().map(|listener| listener.protocol);
        protocols.any(|protocol| match protocol {
            Protocol::Tls { .. } => tls,
            Protocol::Plain => !tls,
            Protocol::Redirect { .. } => false,
        })
    };
    let both = [("https", true), ("http", false)];
    both.into_iter()
        .filter(|(_, tls)| speaks(*tls))
        .map(|(scheme, _)| scheme)
        .collect()
}

/// The site's hosts; of a pattern one that it matches, and that leads there.
fn hosts(site: &CompiledSite, snapshot: &Snapshot) -> Vec<String> {
    let leads_here = |name: &String| {
        let found = HostName::parse(name).and_then(|name| snapshot.site_table.find(&name));
        let found = found.and_then(|at| snapshot.sites.get(at));
        found.is_some_and(|found| found.settings.facts.name == site.settings.facts.name)
    };
    let of_pattern = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => Some(name.to_string()),
        HostPattern::Below(name) => ["www", "any"]
            .map(|label| format!("{label}.{name}"))
            .into_iter()
            .find(leads_here),
        HostPattern::Any => ["localhost", "any.invalid"]
            .map(str::to_owned)
            .into_iter()
            .find(leads_here),
    };
    site.settings.facts.hosts.iter().filter_map(of_pattern).collect()
}
