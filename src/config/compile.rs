//! From what is written to a snapshot: reads the rules, resolves lists and paths, compiles everything that is compiled.

use std::{path::PathBuf, sync::Arc};

use super::{
    files::{self, Files, display_name, is_pattern},
    settings::{ClientIpSource, GeoSource, LogTarget, Settings},
    traffic::{Trusted, WrittenClientIp},
    written::Written,
};
use crate::{
    geo::{Geo, GeoPlaces},
    policy::{
        fault::{Fault, Faults, Place, Source},
        list::{List, ListKind, Lists},
        network::{IpRange, IpSet},
        rule::Timestamp,
        table::Placed,
    },
    snapshot::Snapshot,
    tls::CertificateStore,
};

/// Compiles. `None` only with an error among the faults.
pub(super) fn compile(
    mut written: Written,
    now: Timestamp,
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> Option<Snapshot> {
    resolve(&mut written, files);
    let _sources = rule_sources(written.rules.as_deref().unwrap_or_default(), files, faults);
    let lists = Lists::new();
    let client_ip = client_ip(&written.client_ip, &lists, faults);
    let geo = geo(&written, &lists, previous, files, faults);
    let sites: Vec<_> = written.sites.iter().map(|site| Arc::new(site.site.clone())).collect();
    for certificate in sites.iter().flat_map(|site| &site.certificates) {
        files.watch(&certificate.cert.value);
        files.watch(&certificate.key.value);
    }
    // A clock beyond the calendar is no reason to refuse; every certificate has then expired.
    let instant = jiff::Timestamp::from_second(now.0).unwrap_or(jiff::Timestamp::MAX);
    let certificates = CertificateStore::load(
        &sites,
        previous.map(|snapshot| &*snapshot.certificates),
        instant,
        faults,
    );
    let upstreams = written
        .upstreams
        .into_iter()
        .map(|up| (up.upstream.name.clone(), Arc::new(up.upstream)))
        .collect();
    Some(Snapshot {
        generation: previous.map_or(1, |previous| previous.generation + 1),
        settings: Settings {
            workers: written.workers,
            listeners: written.listeners.into_iter().map(|listen| listen.listener).collect(),
            admin: written.admin.admin,
            client_ip: client_ip?,
            geoip: written.geoip.settings,
            upstreams,
            sites,
            limits: written.limits,
            headers: written.headers,
            log: written.log,
        },
        geo: Arc::new(geo?),
        certificates: Arc::new(certificates),
    })
}

/// Makes every relative path relative to the directory of `portcullis.toml`.
fn resolve(written: &mut Written, files: &Files) {
    let resolve = |path: &mut PathBuf| *path = PathBuf::from(display_name(&files.resolve(path)));
    written.admin.admin.socket.iter_mut().for_each(resolve);
    match &mut written.geoip.settings.country {
        Some(GeoSource::MaxMind(path) | GeoSource::Ranges(path)) => resolve(path),
        Some(GeoSource::Builtin) | None => {}
    }
    written.geoip.settings.asn.iter_mut().for_each(resolve);
    for upstream in &mut written.upstreams {
        upstream.upstream.ca.iter_mut().for_each(resolve);
    }
    for site in &mut written.sites {
        for certificate in &mut site.site.certificates {
            resolve(&mut certificate.cert.value);
            resolve(&mut certificate.key.value);
        }
        site.site.html_page.iter_mut().for_each(resolve);
        site.site.json_page.iter_mut().for_each(resolve);
    }
    match &mut written.log.access {
        LogTarget::File(path) => resolve(path),
        LogTarget::Off | LogTarget::Stdout => {}
    }
}

/// The files of `rules`, each once, glob by glob and then in byte order of their names.
fn rule_sources(globs: &[Placed<String>], files: &mut Files, faults: &mut Faults) -> Vec<Arc<Source>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for glob in globs {
        match matching(glob, files) {
            Ok(found) => {
                let new: Vec<_> = found.into_iter().filter(|path| !paths.contains(path)).collect();
                paths.extend(new);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let mut read = |path: PathBuf| match files.read_text(&path) {
        Ok(source) => Some(source),
        Err(cause) => {
            let name = display_name(&files.resolve(&path));
            let named = globs.iter().find(|glob| path == PathBuf::from(&glob.value));
            let message = format!("cannot read `{name}`: {cause}");
            faults.push(match named.or_else(|| globs.first()) {
                Some(glob) => Fault::error(glob.place.clone(), message),
                None => Fault::without_place(message),
            });
            None
        }
    };
    paths.into_iter().filter_map(&mut read).collect()
}

fn matching(glob: &Placed<String>, files: &mut Files) -> Result<Vec<PathBuf>, Fault> {
    let pattern = &glob.value;
    let fault = |message: String| Fault::error(glob.place.clone(), message);
    if pattern.is_empty() {
        return Err(fault("empty path".to_owned()).expected("expected a path or a glob such as \"rules/*.toml\""));
    }
    if pattern.contains("**") {
        return Err(fault("`**` is not supported".to_owned())
            .expected("`*` never crosses a `/`")
            .help("name each folder: `rules = [\"rules/*.toml\", \"rules/*/*.toml\"]`"));
    }
    let where_to = display_name(&files.resolve(pattern.as_ref()));
    if files.resolve(pattern.as_ref()).is_dir() {
        return Err(fault(format!("`{where_to}` is a directory"))
            .expected("expected files")
            .help(format!("write `\"{}/*.toml\"`", pattern.trim_end_matches('/'))));
    }
    let found = files.glob(pattern).map_err(|error| {
        fault(format!("cannot look for `{where_to}`: {}", files::reason(&error)))
            .expected("the folder must exist and be readable")
    })?;
    if !found.is_empty() {
        return Ok(found);
    }
    let fault = if is_pattern(pattern) {
        fault(format!("no file matches `{where_to}`")).expected("an empty folder of rules would be an open gate")
    } else {
        fault(format!("no such file: `{where_to}`")).expected("paths are relative to the folder of this file")
    };
    Err(fault.help("check the path or the mount; `rules = []` says that there are no rules"))
}

fn client_ip(written: &WrittenClientIp, lists: &Lists, faults: &mut Faults) -> Option<ClientIpSource> {
    let mut ranges: Vec<IpRange> = Vec::new();
    let mut complete = true;
    for proxy in &written.trusted {
        match &proxy.value {
            Trusted::Network(network) => ranges.push(IpRange::from(*network)),
            Trusted::List(name) => match ip_list(name, &proxy.place, lists) {
                Ok(set) => ranges.extend(set.iter()),
                Err(fault) => {
                    faults.push(fault);
                    complete = false;
                }
            },
        }
    }
    complete.then(|| ClientIpSource {
        trusted_proxies: ranges.into_iter().collect(),
        header: written.header.clone(),
    })
}

fn ip_list<'l>(name: &str, place: &Place, lists: &'l Lists) -> Result<&'l IpSet, Fault> {
    let Some(list) = lists.named(name) else {
        let known: Vec<&str> = lists.iter().map(|list| list.name()).collect();
        let fault = Fault::error(place.clone(), format!("unknown list `${name}`"));
        return Err(fault
            .expected("no list has this name")
            .suggest(name, known)
            .help(format!(
                "lists stand beside the rules: `[list.{name}]` with `kind = \"ip\"`"
            )));
    };
    list.addresses().ok_or_else(|| wrong_kind(list, place))
}

fn wrong_kind(list: &List, place: &Place) -> Fault {
    let (name, kind) = (list.name(), list.kind().as_str());
    Fault::error(place.clone(), format!("`${name}` is a list of kind `{kind}`"))
        .expected(format!("expected a list of kind `{}`", ListKind::Ip.as_str()))
}

fn geo(
    written: &Written,
    lists: &Lists,
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> Option<Geo> {
    let settings = &written.geoip.settings;
    let tor = match (&settings.tor, &written.geoip.tor) {
        (Some(name), Some(place)) => match ip_list(name, place, lists) {
            Ok(set) => Some(set),
            Err(fault) => {
                faults.push(fault);
                return None;
            }
        },
        (_, _) => None,
    };
    match &settings.country {
        Some(GeoSource::MaxMind(path) | GeoSource::Ranges(path)) => files.watch(path),
        Some(GeoSource::Builtin) | None => {}
    }
    settings.asn.iter().for_each(|path| files.watch(path));
    let places = GeoPlaces {
        country: written.geoip.country.clone(),
        asn: written.geoip.asn.clone(),
    };
    Geo::load(settings, &places, tor, previous.map(|snapshot| &*snapshot.geo), faults)
}
