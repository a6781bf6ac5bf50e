//! From what is written to a snapshot: reads the rules, resolves lists and paths, compiles everything that is compiled.

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use super::{
    files::{self, Files, OnDisk, display_name},
    listen::WrittenAdmin,
    reload::{self, WrittenReload},
    rule_files::rule_sources,
    settings::{ClientIpSource, GeoSource, LogTarget, NeverBlock, ReloadSettings, Server, Settings},
    site::WrittenSite,
    traffic::{Trusted, WrittenClientIp},
    upstream::WrittenUpstream,
    written::Written,
};
use crate::{
    admin,
    gateway::{
        headers::HeaderPolicy,
        refusal::SiteAnswers,
        sites::{SharedHost, SiteTable},
    },
    geo::{Geo, GeoPlaces},
    policy::{
        client::ClientIpSettings,
        fault::{Fault, Faults, Place, Source},
        lang::GeoKnown,
        list::{List, ListKind, Lists},
        network::{IpRange, IpSet},
        policy::{ListFiles, Policy, PolicyEnvironment},
        rule::Timestamp,
    },
    snapshot::{CompiledSite, Snapshot},
    tls::CertificateStore,
    upstream::origin::{Origin, OriginError},
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
    check_socket(&written.admin, faults);
    number_applications(&mut written);
    let began = Instant::now();
    let policy = policy(&written, now, previous, files, faults);
    let compiled_in = began.elapsed();
    let lists = policy.as_ref().map(Policy::lists);
    let client_ip = client_ip(&written.client_ip, lists, faults);
    let never_block = never_block(&written.reload, lists, faults);
    let geo = geo(&written, lists, previous, files, faults);
    let certificates = certificates(&written, now, previous, files, faults);
    let origins = origins(&written.upstreams, previous, files, faults);
    let sites = sites(&written.sites, &origins, files, faults);
    let site_table = SiteTable::new(written.sites.iter().map(|site| &site.site.facts)).unwrap_or_else(|shared| {
        // The checks say it with both places; here only so that no such table can ever be served from.
        let message = |host: SharedHost| Fault::without_place(format!("host `{}` is in two sites", host.host));
        if !faults.has_errors() {
            faults.extend(shared.into_iter().map(message));
        }
        SiteTable::default()
    });
    let client_ip = client_ip?;
    Some(Snapshot {
        on_disk: OnDisk::default(),
        generation: previous.map_or(1, |previous| previous.generation + 1),
        loaded: now,
        policy: policy?,
        compiled_in,
        site_table,
        no_site: SiteAnswers::shipped(),
        headers: HeaderPolicy::new(&written.headers, client_ip.header.clone()),
        client_ip: ClientIpSettings::new(client_ip.trusted_proxies.clone(), client_ip.header.clone()),
        geo: Arc::new(geo?),
        certificates: Arc::new(certificates),
        settings: Settings {
            workers: written.workers,
            listeners: written.listeners.into_iter().map(|listen| listen.listener).collect(),
            admin: written.admin.admin,
            client_ip,
            geoip: written.geoip.settings,
            upstreams: origins
                .iter()
                .map(|(name, origin)| (name.clone(), Arc::clone(origin.settings())))
                .collect(),
            sites: sites.iter().map(|site| Arc::clone(&site.settings)).collect(),
            limits: written.limits,
            headers: written.headers,
            log: written.log,
            reload: ReloadSettings {
                tests: written.reload.tests,
                never_block: never_block?,
                guard: written.reload.guard,
            },
        },
        sites,
    })
}

fn policy(
    written: &Written,
    now: Timestamp,
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> Option<Policy> {
    let sources = rule_sources(written.rules.as_deref().unwrap_or_default(), files, faults);
    let sites: Vec<_> = written.sites.iter().map(|site| site.site.facts.clone()).collect();
    let geoip = &written.geoip.settings;
    let environment = PolicyEnvironment {
        sites: &sites,
        geo: GeoKnown {
            country: geoip.country.is_some(),
            continent: geoip.country.is_some(),
            asn: geoip.asn.is_some(),
            tor: geoip.tor.is_some(),
        },
        files: &Lent(RefCell::new(files)),
        previous: previous.map(|snapshot| snapshot.policy.lists()),
        now,
    };
    Policy::compile(&sources, &environment, faults)
}

/// The files, lent to the policy for its lists.
struct Lent<'f>(RefCell<&'f mut Files>);

impl ListFiles for Lent<'_> {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        let source = {
            let mut files = self.0.borrow_mut();
            let path = files.resolve(path.as_ref());
            files.read_text(&path)
        };
        source.map_err(|cause| cause.to_string())
    }
}

fn certificates(
    written: &Written,
    now: Timestamp,
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> CertificateStore {
    let sites: Vec<_> = written.sites.iter().map(|site| Arc::new(site.site.clone())).collect();
    for certificate in sites.iter().flat_map(|site| &site.certificates) {
        files.watch(&certificate.cert.value);
        files.watch(&certificate.key.value);
    }
    // A clock beyond the calendar is no reason to refuse; every certificate has then expired.
    let instant = jiff::Timestamp::from_second(now.0).unwrap_or(jiff::Timestamp::MAX);
    let previous = previous.map(|snapshot| &*snapshot.certificates);
    CertificateStore::load(&sites, previous, instant, faults)
}

/// The upstreams, compiled. One that did not change stays the same; of one that did, what is known of its servers stays.
fn origins(
    written: &[WrittenUpstream],
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> BTreeMap<String, Arc<Origin>> {
    let mut origins = BTreeMap::new();
    for up in written {
        up.upstream.ca.iter().for_each(|ca| files.watch(ca));
        let known = previous.and_then(|snapshot| {
            let mut known = snapshot.origins();
            known.find(|origin| origin.settings().name == up.upstream.name)
        });
        match Origin::load(Arc::new(up.upstream.clone())) {
            Ok(origin) => {
                let origin = match known {
                    Some(known) if **known.settings() == up.upstream && known.servers() == origin.servers() => {
                        Arc::clone(known)
                    }
                    Some(known) => Arc::new(origin.after(known)),
                    None => Arc::new(origin),
                };
                origins.insert(up.upstream.name.clone(), origin);
            }
            Err(error) => faults.push(origin_fault(&error, up)),
        }
    }
    origins
}

fn origin_fault(error: &OriginError, up: &WrittenUpstream) -> Fault {
    let at = |place: &Option<Place>| place.clone().unwrap_or_else(|| up.place.clone());
    match error {
        OriginError::UnreadableRoots { path, source } => {
            let message = format!("cannot read `{}`: {}", path.display(), files::reason(source));
            Fault::error(at(&up.ca), message)
                .expected("expected a PEM file of the roots that signed the servers' certificates")
        }
        OriginError::BadRoots { .. } => Fault::error(at(&up.ca), error.to_string())
            .expected("expected PEM certificates (`-----BEGIN CERTIFICATE-----`)"),
        OriginError::BadName { .. } => Fault::error(at(&up.tls_name), error.to_string())
            .expected("expected the host name in the servers' certificates")
            .help("set `tls_name` to that name"),
        OriginError::Tls(cause) => Fault::error(up.place.clone(), format!("{error}: {cause}")),
    }
}

fn sites(
    written: &[WrittenSite],
    origins: &BTreeMap<String, Arc<Origin>>,
    files: &mut Files,
    faults: &mut Faults,
) -> Vec<Arc<CompiledSite>> {
    let mut sites = Vec::with_capacity(written.len());
    for site in written {
        let answers = answers(site, files, faults);
        // An unknown upstream is already a fault, and so is one that does not compile.
        let origin = origins.get(&site.site.facts.upstream);
        if let (Some((answers, pages)), Some(origin)) = (answers, origin) {
            sites.push(Arc::new(CompiledSite {
                settings: Arc::new(site.site.clone()),
                origin: Arc::clone(origin),
                answers,
                pages,
            }));
        }
    }
    sites
}

type Pages = [Option<Arc<Source>>; 2];

fn answers(site: &WrittenSite, files: &mut Files, faults: &mut Faults) -> Option<(SiteAnswers, Pages)> {
    let mut page = |path: &Option<PathBuf>, place: &Option<Place>| -> Result<Option<Arc<Source>>, ()> {
        let (Some(path), Some(place)) = (path, place) else {
            return Ok(None);
        };
        let cannot = |cause| Fault::error(place.clone(), format!("cannot read `{}`: {cause}", path.display()));
        files.read_text(path).map(Some).map_err(|cause| {
            faults.push(cannot(cause).expected("expected a template of the refusal"));
        })
    };
    let html = page(&site.site.html_page, &site.html_page);
    let json = page(&site.site.json_page, &site.json_page);
    let (html, json) = (html.ok()?, json.ok()?);
    SiteAnswers::compile(&site.site, html.as_ref(), json.as_ref())
        .map_err(|found| faults.extend(found))
        .ok()
        .map(|answers| (answers, [html, json]))
}

/// What the system refuses when the gateway starts is a fault of the configuration.
fn check_socket(written: &WrittenAdmin, faults: &mut Faults) {
    let (Some(path), Some(place)) = (&written.admin.socket, &written.socket) else {
        return;
    };
    if let Err(too_long) = admin::check_length(path) {
        let fault = Fault::error(place.clone(), "the path is too long for a unix socket")
            .expected(too_long.to_string())
            .help(format!("it stands for `{}`", path.display()))
            .help("choose a shorter folder, such as `/run/portcullis/admin.sock`");
        faults.push(fault);
    }
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

/// Tells the sites' applications apart: upstreams with a server in common lead to the same one, whatever they are called.
fn number_applications(written: &mut Written) {
    let mut numbers: Vec<usize> = (0..written.upstreams.len()).collect();
    let mut first: BTreeMap<Option<(String, u16)>, usize> = BTreeMap::new();
    for (at, up) in written.upstreams.iter().enumerate() {
        for server in &up.upstream.servers {
            let address = match server {
                // Whoever listens on a port is one application, whether TLS is spoken with it or not.
                Server::Http { host, port } | Server::Https { host, port } => Some((host.to_ascii_lowercase(), *port)),
                Server::Demo => None,
            };
            let other = *first.entry(address).or_insert(at);
            if let (Some(&own), Some(&same)) = (numbers.get(at), numbers.get(other)) {
                let merged = numbers.iter_mut().filter(|number| **number == own);
                merged.for_each(|number| *number = same);
            }
        }
    }
    let names: Vec<&str> = written.upstreams.iter().map(|up| up.upstream.name.as_str()).collect();
    for (at, site) in written.sites.iter_mut().enumerate() {
        let facts = &mut site.site.facts;
        let upstream = names.iter().position(|name| *name == facts.upstream);
        // An unknown upstream is a fault of its own, and no other site's application.
        let alone = names.len() + at;
        facts.application = upstream.and_then(|at| numbers.get(at)).copied().unwrap_or(alone);
    }
}

/// `lists` is `None` when the rules do not load: what is unknown then may be no fault of its own.
fn client_ip(written: &WrittenClientIp, lists: Option<&Lists>, faults: &mut Faults) -> Option<ClientIpSource> {
    let mut ranges: Vec<IpRange> = Vec::new();
    let mut complete = true;
    for proxy in &written.trusted {
        match &proxy.value {
            Trusted::Network(network) => ranges.push(IpRange::from(*network)),
            Trusted::List(name) => match ip_list(name, &proxy.place, lists?) {
                Ok(set) => ranges.extend(set.iter()),
                Err(fault) => {
                    faults.push(fault);
                    complete = false;
                }
            },
        }
    }
    let lists = written.trusted.iter().filter_map(|proxy| match &proxy.value {
        Trusted::Network(_) => None,
        Trusted::List(name) => Some(name.clone()),
    });
    complete.then(|| ClientIpSource {
        lists: lists.collect(),
        trusted_proxies: ranges.into_iter().collect(),
        header: written.header.clone(),
    })
}

/// As [`client_ip`].
fn never_block(written: &WrittenReload, lists: Option<&Lists>, faults: &mut Faults) -> Option<Vec<NeverBlock>> {
    reload::never_block(&written.never_block, |from| match &from.value {
        Trusted::Network(network) => Some(reload::addresses(*network)),
        Trusted::List(name) => ip_list(name, &from.place, lists?)
            .map_err(|fault| faults.push(fault))
            .ok()
            .cloned(),
    })
}

fn ip_list<'l>(name: &str, place: &Place, lists: &'l Lists) -> Result<&'l IpSet, Fault> {
    let Some(list) = lists.named(name) else {
        let known: Vec<&str> = lists.iter().map(|list| list.name()).collect();
        let fault = Fault::error(place.clone(), format!("there is no list `${name}`"));
        return Err(fault
            .expected("expected the name of a list")
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
    lists: Option<&Lists>,
    previous: Option<&Snapshot>,
    files: &mut Files,
    faults: &mut Faults,
) -> Option<Geo> {
    let settings = &written.geoip.settings;
    let tor = match (&settings.tor, &written.geoip.tor) {
        (Some(name), Some(place)) => match ip_list(name, place, lists?) {
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
