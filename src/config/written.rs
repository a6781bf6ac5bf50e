//! `portcullis.toml` as written: every table read, every value with its place, nothing looked up elsewhere yet.

use std::thread;

use super::{
    limits::{limits, number},
    listen::{WrittenAdmin, WrittenListener, admin, listener},
    reload::{WrittenReload, reload},
    settings::{Headers, Limits, LogSettings},
    site::{WrittenSite, site},
    traffic::{WrittenClientIp, WrittenGeo, client_ip, geoip, headers, log},
    upstream::{WrittenUpstream, upstreams},
};
use crate::policy::{
    fault::{Fault, Faults, Place},
    table::{Placed, Table},
};

/// Everything that `portcullis.toml` says.
pub(super) struct Written {
    /// `rules`; `None` when the key is missing or faulty.
    pub(super) rules: Option<Vec<Placed<String>>>,
    pub(super) workers: usize,
    /// Without those that could not be read.
    pub(super) listeners: Vec<WrittenListener>,
    pub(super) admin: WrittenAdmin,
    pub(super) client_ip: WrittenClientIp,
    pub(super) geoip: WrittenGeo,
    pub(super) upstreams: Vec<WrittenUpstream>,
    pub(super) sites: Vec<WrittenSite>,
    pub(super) limits: Limits,
    pub(super) headers: Headers,
    pub(super) log: LogSettings,
    pub(super) reload: WrittenReload,
    /// Whether a table could not be read: what is missing may be in it.
    pub(super) incomplete: Incomplete,
    /// The beginning of the text.
    pub(super) start: Place,
}

/// Which tables could not be read, so that nobody is told of their absence as well.
pub(super) struct Incomplete {
    pub(super) listeners: bool,
    pub(super) upstreams: bool,
    pub(super) sites: bool,
}

/// Reads the whole file.
pub(super) fn written(mut table: Table<'_>, faults: &mut Faults) -> Written {
    let t = &mut table;
    let rules = rules(t, faults);
    let workers = number(t, "workers", 1..=1024, faults);
    let (listeners_written, sites_written) = (t.value("listen").is_some(), t.value("site").is_some());
    let listeners = t
        .tables("listen", faults)
        .into_iter()
        .map(|table| listener(table, faults));
    let (listeners, no_listeners) = readable(listeners.collect());
    let admin = admin(section(t, "admin", "[admin]", faults), faults);
    let client_ip = client_ip(section(t, "client_ip", "[client_ip]", faults), faults);
    let geoip = geoip(section(t, "geoip", "[geoip]", faults), faults);
    let upstreams = upstreams(section(t, "upstream", "[upstream]", faults), faults);
    let (upstreams, no_upstreams) = readable(upstreams);
    let sites = t.tables("site", faults).into_iter().map(|table| site(table, faults));
    let (sites, no_sites) = readable(sites.collect());
    let incomplete = Incomplete {
        listeners: no_listeners || (listeners_written && listeners.is_empty()),
        upstreams: no_upstreams,
        sites: no_sites || (sites_written && sites.is_empty()),
    };
    let written = Written {
        rules,
        workers: workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        listeners,
        admin,
        client_ip,
        geoip,
        upstreams,
        sites,
        limits: limits(section(t, "limits", "[limits]", faults), faults),
        headers: headers(section(t, "headers", "[headers]", faults), faults),
        log: log(section(t, "log", "[log]", faults), faults),
        reload: reload(section(t, "reload", "[reload]", faults), faults),
        incomplete,
        start: Place::new(t.source(), 0..0),
    };
    table.finish(faults);
    written
}

fn section<'s>(table: &mut Table<'s>, key: &'static str, name: &str, faults: &mut Faults) -> Option<Table<'s>> {
    table.value(key).and_then(|value| value.table(name, faults))
}

fn readable<T>(read: Vec<Option<T>>) -> (Vec<T>, bool) {
    let incomplete = read.iter().any(Option::is_none);
    (read.into_iter().flatten().collect(), incomplete)
}

/// `rules` has no default: a gate whose rules are nowhere must say so itself.
pub(super) fn rules(table: &mut Table<'_>, faults: &mut Faults) -> Option<Vec<Placed<String>>> {
    let start = Place::new(table.source(), 0..0);
    if table.value("rules").is_none() {
        faults.push(
            Fault::error(start, "`rules` is missing")
                .expected("say where the rules are")
                .help("write `rules = [\"rules/*.toml\"]` before the first table, or `rules = []` for none"),
        );
        return None;
    }
    table.optional("rules", faults)
}
