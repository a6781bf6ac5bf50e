//! `[client_ip]`, `[geoip]`, `[headers]` and `[log]`: what is believed, known, sent on and written down.

use std::path::{Path, PathBuf};

use http::HeaderName;
use tracing_subscriber::EnvFilter;

use super::{
    limits::number,
    settings::{GeoSettings, GeoSource, Headers, LogFormat, LogSettings, LogTarget},
    values::{HeaderTable, frames, framing_fault, text, word},
};
use crate::policy::{
    fault::{Fault, Faults, Place, nearest},
    network::Network,
    table::{FromToml, Placed, Table, Value},
};

/// `[client_ip]` as written: its lists are looked up when the rules are read.
pub(super) struct WrittenClientIp {
    pub(super) trusted: Vec<Placed<Trusted>>,
    pub(super) header: HeaderName,
}

/// Whose header is believed.
pub(super) enum Trusted {
    /// A network.
    Network(Network),
    /// The entries of a list.
    List(String),
}

impl FromToml for Trusted {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let written = text(
            value,
            "a network such as \"10.0.0.0/8\", or a list such as \"$proxies\"",
            faults,
        )?;
        match written.strip_prefix('$') {
            Some(name) => Some(Self::List(name.to_owned())),
            None => Network::from_toml(value, faults).map(Self::Network),
        }
    }
}

/// Reads `[client_ip]`. Without it no header is believed.
pub(super) fn client_ip(table: Option<Table<'_>>, faults: &mut Faults) -> WrittenClientIp {
    let header = HeaderName::from_static("x-forwarded-for");
    let Some(mut table) = table else {
        return WrittenClientIp {
            trusted: Vec::new(),
            header,
        };
    };
    let trusted = table.or("trusted_proxies", Vec::<Placed<Trusted>>::new(), faults);
    let everyone = |trusted: &Trusted| matches!(trusted, Trusted::Network(network) if network.prefix() == 0);
    for proxy in trusted.iter().filter(|proxy| everyone(&proxy.value)) {
        faults.push(
            Fault::warning(proxy.place.clone(), "every client is a trusted proxy")
                .expected("anyone may then claim any address, also one that a rule allows")
                .help("name the addresses of your proxies alone"),
        );
    }
    let client_ip = WrittenClientIp {
        trusted,
        header: placed_header(&mut table, "header", "cannot say who the client is", faults).unwrap_or(header),
    };
    table.finish(faults);
    client_ip
}

/// A key that holds a header's name, for which `cannot` says what is wrong with one that frames messages.
fn placed_header(table: &mut Table<'_>, key: &'static str, cannot: &str, faults: &mut Faults) -> Option<HeaderName> {
    let header: Placed<HeaderName> = table.optional(key, faults)?;
    if frames(&header.value) {
        faults.push(framing_fault(header.place, format!("`{}` {cannot}", header.value)));
    }
    Some(header.value)
}

/// `[geoip]` as written.
pub(super) struct WrittenGeo {
    pub(super) settings: GeoSettings,
    pub(super) country: Option<Place>,
    pub(super) asn: Option<Place>,
    pub(super) tor: Option<Place>,
}

/// Reads `[geoip]`. Without it countries come from the built-in source.
pub(super) fn geoip(table: Option<Table<'_>>, faults: &mut Faults) -> WrittenGeo {
    let mut geo = WrittenGeo {
        settings: GeoSettings {
            country: Some(GeoSource::Builtin),
            asn: None,
            tor: None,
        },
        country: None,
        asn: None,
        tor: None,
    };
    let Some(mut table) = table else {
        return geo;
    };
    if let Some(country) = table.optional::<Placed<CountrySource>>("country", faults) {
        geo.settings.country = country.value.0;
        geo.country = Some(country.place);
    }
    if let Some(asn) = table.optional::<Placed<PathBuf>>("asn", faults) {
        geo.settings.asn = Some(asn.value);
        geo.asn = Some(asn.place);
    }
    if let Some(tor) = table.optional::<Placed<String>>("tor", faults) {
        match tor.value.strip_prefix('$') {
            Some(name) => geo.settings.tor = Some(name.to_owned()),
            None => faults.push(
                Fault::error(tor.place.clone(), format!("`{}` is not a list", tor.value))
                    .expected("expected the name of a list, such as \"$tor_exits\"")
                    .help(format!(
                        "write `\"${}\"`, and `[list.{}]` beside the rules",
                        tor.value, tor.value
                    )),
            ),
        }
        geo.tor = Some(tor.place);
    }
    table.finish(faults);
    geo
}

struct CountrySource(Option<GeoSource>);

impl FromToml for CountrySource {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let written = text(value, "\"builtin\", \"off\" or a file", faults)?;
        Some(Self(match written {
            "builtin" => Some(GeoSource::Builtin),
            "off" => None,
            "" => {
                faults.push(value.invalid("empty path", "\"builtin\", \"off\" or a file"));
                return None;
            }
            path => {
                let path = PathBuf::from(path);
                let maxmind = path
                    .extension()
                    .is_some_and(|extension| extension.eq_ignore_ascii_case("mmdb"));
                Some(if maxmind {
                    GeoSource::MaxMind(path)
                } else {
                    GeoSource::Ranges(path)
                })
            }
        }))
    }
}

/// Reads `[headers]`.
pub(super) fn headers(table: Option<Table<'_>>, faults: &mut Faults) -> Headers {
    let mut headers = Headers {
        // Frameworks take these for the path or host that was asked for, and so serve what was not judged. CGI programs
        // take `Proxy` for the proxy that their own requests go through (httpoxy).
        remove: [
            "x-original-url",
            "x-rewrite-url",
            "x-override-url",
            "x-http-destinationurl",
            "x-original-host",
            "x-host",
            "proxy",
        ]
        .map(HeaderName::from_static)
        .to_vec(),
        forwarded: false,
        country: None,
        request_id: true,
        response: Vec::new(),
    };
    let Some(mut table) = table else {
        return headers;
    };
    if let Some(remove) = table.optional::<Vec<Placed<HeaderName>>>("remove", faults) {
        for name in remove.iter().filter(|name| frames(&name.value)) {
            let message = format!("`{}` cannot be removed", name.value);
            faults.push(framing_fault(name.place.clone(), message));
        }
        headers.remove = remove.into_iter().map(|name| name.value).collect();
    }
    headers.forwarded = table.or("forwarded", headers.forwarded, faults);
    headers.country = placed_header(&mut table, "country", "cannot carry the country", faults);
    headers.request_id = table.or("request_id", headers.request_id, faults);
    headers.response = table.or("response", HeaderTable(Vec::new()), faults).0;
    table.finish(faults);
    headers
}

/// Reads `[log]`.
pub(super) fn log(table: Option<Table<'_>>, faults: &mut Faults) -> LogSettings {
    let mut log = LogSettings {
        format: LogFormat::Json,
        access: LogTarget::Stdout,
        level: "info".to_owned(),
        queue: 8192,
        redact_query: [
            "access_token",
            "api_key",
            "code",
            "key",
            "password",
            "secret",
            "sig",
            "signature",
            "token",
        ]
        .map(str::to_owned)
        .to_vec(),
        events: 1000,
    };
    let Some(mut table) = table else {
        return log;
    };
    const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    if let Some(value) = table.value("format") {
        log.format = word(value, &FORMATS, faults).unwrap_or(log.format);
    }
    log.access = table.or("access", log.access, faults);
    if let Some(level) = table.optional::<Placed<String>>("level", faults) {
        faults.extend(level_fault(&level));
        log.level = level.value;
    }
    log.queue = number(&mut table, "queue", 1..=10_000_000, faults).unwrap_or(log.queue);
    log.redact_query = table.or("redact_query", log.redact_query, faults);
    log.events = number(&mut table, "events", 0..=1_000_000, faults).unwrap_or(log.events);
    table.finish(faults);
    log
}

impl FromToml for LogTarget {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let written = text(value, "\"stdout\", \"off\" or a file", faults)?;
        match written {
            "stdout" => Some(Self::Stdout),
            "off" => Some(Self::Off),
            "" | "stderr" | "syslog" => {
                faults.push(value.invalid(format!("`{written}` is not a target"), "\"stdout\", \"off\" or a file"));
                None
            }
            path => Some(Self::File(Path::new(path).to_owned())),
        }
    }
}

/// A word alone must be a level: tracing would take any other for the name of a module, and be silent.
fn level_fault(level: &Placed<String>) -> Option<Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let typed = level.value.as_str();
    let expected = "expected off, error, warn, info, debug or trace, or a filter such as \"info,hyper=debug\"";
    if LEVELS.contains(&typed) {
        return None;
    }
    let word = typed.bytes().all(|b| b.is_ascii_alphanumeric());
    if !word && EnvFilter::builder().parse(typed).is_ok() {
        return None;
    }
    let fault = Fault::error(level.place.clone(), format!("`{typed}` is not a log level")).expected(expected);
    Some(match nearest(typed, LEVELS) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    })
}
