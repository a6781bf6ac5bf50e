//! Every field there is: one table that the checker, the interpreter and the documentation read.

use std::net::IpAddr;

use bumpalo::Bump;
use http::header;

use super::{
    request::{Input, extension_of, form_decoded, is_form_encoded, is_named},
    types::{Datum, Scalar, Type},
};
use crate::policy::{
    countries,
    user_agents::{Catalogue, Category},
};

/// A fact that expressions can name.
#[derive(Debug)]
pub struct Field {
    /// As expressions write it.
    pub name: &'static str,
    /// What it is, in a sentence or two.
    pub doc: &'static str,
    /// An expression that uses it.
    pub example: &'static str,
    /// What its values look like, to find comparisons that can never hold.
    pub sort: Sort,
    /// The source that it needs.
    pub needs: Option<GeoFact>,
    /// Whether its values may be shown.
    pub secrecy: Secrecy,
    /// What of the request it depends on.
    pub reads: &'static [Fact],
    /// How it is read.
    pub read: Read,
}

/// What the values of a field look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Anything of the type.
    Any,
    /// A country code.
    Country,
    /// A continent code.
    Continent,
    /// An autonomous system's number.
    Asn,
    /// A host name in lower case.
    Host,
    /// A method in upper case.
    Method,
    /// A version of HTTP.
    Version,
    /// A canonical path, or a reading of one.
    Path,
    /// What begins with a path: the target as sent, or path and query.
    Target,
    /// Text without upper-case ASCII letters.
    Lower,
    /// Text without lower-case ASCII letters.
    Upper,
    /// An extension in lower case, without its dot.
    Extension,
    /// The name of a site.
    Site,
    /// A category of the user agent catalogue.
    Category,
}

/// What a field depends on: the parts of a request that can be known or not on their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The time.
    Now,
    /// The site, with its hosts.
    Site,
    /// Whether the client speaks TLS.
    Tls,
    /// The version of HTTP.
    Version,
    /// The method.
    Method,
    /// The host.
    Host,
    /// The port that the host is sent with. Not known where the host is not.
    Port,
    /// The path, under the reading that is judged.
    Path,
    /// The query.
    Query,
    /// Path and query as sent.
    RawTarget,
    /// The header of this lower-case name.
    Header(&'static str),
    /// All headers, or the one that a key names.
    Headers,
    /// The names of the headers.
    HeaderNames,
    /// The host that the Referer leads to. Known where the header is; logs that leave out the rest may still say it.
    RefererHost,
    /// The client's address.
    Client,
    /// The client's country.
    Country,
    /// The client's continent.
    Continent,
    /// The client's autonomous system.
    Asn,
}

/// A fact that only a configured source gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GeoFact {
    /// The country of an address.
    Country,
    /// The continent of an address.
    Continent,
    /// The autonomous system of an address.
    Asn,
}

/// Whether a field's values may appear in traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// They may.
    Open,
    /// They hold credentials.
    Secret,
    /// Those under some keys hold credentials.
    SomeKeys,
}

/// How a field is read, by type.
#[derive(Debug, Clone, Copy)]
pub enum Read {
    /// True or false.
    Bool(for<'a> fn(&Input<'a>) -> bool),
    /// An integer.
    Int(for<'a> fn(&Input<'a>) -> i64),
    /// Bytes.
    String(for<'a> fn(&Input<'a>) -> &'a [u8]),
    /// An address.
    Ip(for<'a> fn(&Input<'a>) -> IpAddr),
    /// Strings in order.
    Strings(for<'a> fn(&Input<'a>) -> Datum<'a>),
    /// Names with strings.
    Map(&'static MapField),
}

/// How a map is read.
#[derive(Debug)]
pub struct MapField {
    /// The array of strings under a name; `None` when it is missing.
    pub lookup: for<'a> fn(&Input<'a>, &str) -> Option<Datum<'a>>,
    /// The array of all strings under all names.
    pub values: for<'a> fn(&Input<'a>) -> Datum<'a>,
}

impl Field {
    /// The field of this name, or of the name that it had once.
    pub fn named(name: &str) -> Option<&'static Self> {
        let renamed = RENAMED.iter().find(|(old, _)| *old == name);
        let name = renamed.map_or(name, |(_, new)| new);
        ALL.iter().find(|field| field.name == name)
    }

    /// The type of its values.
    pub fn ty(&self) -> Type {
        match self.read {
            Read::Bool(_) => Type::BOOL,
            Read::Int(_) => Type::INT,
            Read::String(_) => Type::STRING,
            Read::Ip(_) => Type::IP,
            Read::Strings(_) => Type::Array(Scalar::String),
            Read::Map(_) => Type::Map,
        }
    }

    /// Its value.
    pub fn value<'a>(&self, input: &Input<'a>) -> Datum<'a> {
        match self.read {
            Read::Bool(read) => Datum::Bool(read(input)),
            Read::Int(read) => Datum::Int(read(input)),
            Read::String(read) => Datum::Text(read(input)),
            Read::Ip(read) => Datum::Ip(read(input)),
            Read::Strings(read) => read(input),
            Read::Map(map) => Datum::Map(map, input.arena.alloc(*input)),
        }
    }

    /// Whether what it says under `key` may appear in traces.
    pub fn is_secret(&self, key: Option<&str>) -> bool {
        match self.secrecy {
            Secrecy::Open => false,
            Secrecy::Secret => true,
            Secrecy::SomeKeys => key.is_none_or(is_secret_header),
        }
    }
}

/// Whether a header's value is a credential, as far as its name tells. Rather one too many: what is withheld is only not shown.
pub fn is_secret_header(name: &str) -> bool {
    const NAMES: [&str; 4] = [
        "authorization",
        "cookie",
        "proxy-authorization",
        "sec-websocket-protocol",
    ];
    const PARTS: [&str; 10] = [
        "token",
        "secret",
        "password",
        "passwd",
        "credential",
        "api-key",
        "apikey",
        "access-key",
        "jwt",
        "-auth",
    ];
    // Some servers take `_` for `-`.
    let name = name
        .to_ascii_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    NAMES.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part))
}

const HEADERS: MapField = MapField {
    lookup: |input, name| {
        let lines = input.facts.headers.get_all(name).iter();
        present(lines.map(http::HeaderValue::as_bytes), input.arena)
    },
    values: |input| {
        let lines = input.facts.headers.values();
        Datum::strings(lines.map(http::HeaderValue::as_bytes), input.arena)
    },
};

const ARGUMENTS: MapField = MapField {
    lookup: |input, name| {
        let named = input.arguments().filter(|(sent, _)| is_named(sent, name));
        present(named.map(|(_, value)| value), input.arena)
    },
    values: |input| Datum::strings(input.arguments().map(|(_, value)| value), input.arena),
};

const COOKIES: MapField = MapField {
    lookup: |input, name| {
        let named = input.cookies().filter(|(sent, _)| is_named(sent, name));
        present(named.map(|(_, value)| value), input.arena)
    },
    values: |input| Datum::strings(input.cookies().map(|(_, value)| value), input.arena),
};

/// The strings under a name that is there.
fn present<'a>(strings: impl Iterator<Item = &'a [u8]>, arena: &'a Bump) -> Option<Datum<'a>> {
    let mut strings = strings.peekable();
    strings.peek().is_some().then(|| Datum::strings(strings, arena))
}

/// Names that Cloudflare calls deprecated and still takes, each with the one that the field has now.
pub static RENAMED: &[(&str, &str)] = &[
    ("ip.geoip.asnum", "ip.src.asnum"),
    ("ip.geoip.continent", "ip.src.continent"),
    ("ip.geoip.country", "ip.src.country"),
    ("ip.geoip.is_in_european_union", "ip.src.is_in_european_union"),
];

/// All fields, by name.
pub static ALL: &[Field] = &[
    Field {
        doc: "The Cookie header as sent; several lines are joined with `; `. `\"\"` when it is missing.",
        example: r#"http.cookie contains "beta=1""#,
        secrecy: Secrecy::Secret,
        ..string("http.cookie", &[Fact::Header("cookie")], |input| {
            input.joined_header(header::COOKIE, "; ")
        })
    },
    Field {
        doc: "The host, lower-cased, without port or trailing dot.",
        example: r#"http.host in {"example.com" "www.example.com"}"#,
        sort: Sort::Host,
        ..string("http.host", &[Fact::Host], |input| text(input.facts.host.name.as_str()))
    },
    Field {
        doc: "The Referer header as sent, the first one if there are several; `\"\"` when it is missing. \
              To compare its host, use `portcullis.referer.host`.",
        example: r#"http.referer eq """#,
        ..string("http.referer", &[Fact::Header("referer")], |input| {
            input.first_header(header::REFERER)
        })
    },
    Field {
        doc: "The language tags of the Accept-Language header, by descending weight; without `*` and what has the weight 0.",
        example: r#"starts_with(http.request.accepted_languages[0], "de")"#,
        ..strings(
            "http.request.accepted_languages",
            &[Fact::Header("accept-language")],
            |input| input.languages(),
        )
    },
    Field {
        doc: "The cookies by name, with their values as sent. A name is compared as sent and percent-decoded.",
        example: r#"any(http.request.cookies["session"][*] eq "test")"#,
        secrecy: Secrecy::Secret,
        ..map("http.request.cookies", &[Fact::Header("cookie")], &COOKIES)
    },
    Field {
        doc: "The whole URL: scheme, host without port, path and query.",
        example: r#"http.request.full_uri wildcard "https://*.example.com/private/*""#,
        ..string(
            "http.request.full_uri",
            &[Fact::Tls, Fact::Host, Fact::Path, Fact::Query],
            |input| {
                let (scheme, host, uri) = (input.scheme(), &input.facts.host.name, input.uri());
                made(input, format_args!("{scheme}://{host}{uri}"))
            },
        )
    },
    Field {
        doc: "The headers by lower-case name, each with the values of its lines. Hop-by-hop headers are none.",
        example: r#"any(http.request.headers["x-requested-with"][*] eq "XMLHttpRequest")"#,
        secrecy: Secrecy::SomeKeys,
        ..map("http.request.headers", &[Fact::Headers], &HEADERS)
    },
    Field {
        doc: "The names of the headers, in lower case; a name that occurs twice is there once.",
        example: r#"any(http.request.headers.names[*] eq "x-debug")"#,
        sort: Sort::Lower,
        ..strings("http.request.headers.names", &[Fact::HeaderNames], |input| {
            let names = input.facts.headers.keys();
            Datum::strings(names.map(|name| name.as_str().as_bytes()), input.arena)
        })
    },
    Field {
        doc: "Always false: a request with too many headers, or too large ones, is refused before any rule.",
        example: "not http.request.headers.truncated",
        ..bool("http.request.headers.truncated", &[], |_| false)
    },
    Field {
        doc: "The values of all headers.",
        example: r#"any(http.request.headers.values[*] contains "${jndi:")"#,
        secrecy: Secrecy::Secret,
        ..strings("http.request.headers.values", &[Fact::Headers], HEADERS.values)
    },
    Field {
        doc: "The method, in upper case; others are refused.",
        example: r#"http.request.method in {"PUT" "DELETE"}"#,
        sort: Sort::Method,
        ..string("http.request.method", &[Fact::Method], |input| text(input.facts.method))
    },
    Field {
        doc: "When the request came, in seconds since 1970; the same as `portcullis.now`.",
        example: "http.request.timestamp.sec gt 1798761600",
        ..int("http.request.timestamp.sec", &[Fact::Now], |input| input.facts.now.0)
    },
    Field {
        doc: "Path and query: the canonical path, the query as sent.",
        example: r#"http.request.uri contains "/download?file=""#,
        sort: Sort::Target,
        ..string("http.request.uri", &[Fact::Path, Fact::Query], |input| {
            text(input.uri())
        })
    },
    Field {
        doc: "The query's arguments by name, with their values as sent (see `url_decode`). A name is compared as sent and \
              decoded, since the application decodes it too.",
        example: r#"any(http.request.uri.args["debug"][*] eq "1")"#,
        ..map("http.request.uri.args", &[Fact::Query], &ARGUMENTS)
    },
    Field {
        doc: "The names of the query's arguments, decoded.",
        example: r#"any(http.request.uri.args.names[*] eq "debug")"#,
        ..strings("http.request.uri.args.names", &[Fact::Query], |input| {
            let names = input.arguments();
            Datum::strings(names.map(|(name, _)| decoded_name(name, input.arena)), input.arena)
        })
    },
    Field {
        doc: "The values of the query's arguments, as sent (see `url_decode`).",
        example: r#"any(url_decode(http.request.uri.args.values[*])[*] contains "<script")"#,
        ..strings("http.request.uri.args.values", &[Fact::Query], ARGUMENTS.values)
    },
    Field {
        doc: "The canonical path: unreserved characters decoded, `//` merged, dot segments removed. A path that an origin \
              could read in another way is judged under every reading.",
        example: r#"starts_with(http.request.uri.path, "/admin/")"#,
        sort: Sort::Path,
        ..string("http.request.uri.path", &[Fact::Path], |input| text(input.path))
    },
    Field {
        doc: "What follows the last dot of the path's last segment, in lower case; `\"\"` when there is no dot, or only one at \
              its beginning (`/.env`).",
        example: r#"http.request.uri.path.extension in {"php" "asp"}"#,
        sort: Sort::Extension,
        ..string("http.request.uri.path.extension", &[Fact::Path], |input| {
            let extension = input.extension();
            lowered(extension.as_bytes(), input.arena)
        })
    },
    Field {
        doc: "The query as sent, without its `?`.",
        example: r#"http.request.uri.query contains "union+select""#,
        ..string("http.request.uri.query", &[Fact::Query], |input| {
            text(input.facts.target.query())
        })
    },
    Field {
        doc: "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.",
        example: r#"http.request.version eq "HTTP/1.0""#,
        sort: Sort::Version,
        ..string("http.request.version", &[Fact::Version], |input| {
            text(input.facts.version.as_str())
        })
    },
    Field {
        doc: "The User-Agent header as sent, the first one if there are several; `\"\"` when it is missing.",
        example: r#"lower(http.user_agent) contains "curl/""#,
        ..string("http.user_agent", &[Fact::Header("user-agent")], |input| {
            input.first_header(header::USER_AGENT)
        })
    },
    Field {
        doc: "The X-Forwarded-For header; several lines are joined with `, `. `\"\"` when it is missing. \
              Anyone can send it: who is really asking is `ip.src`.",
        example: r#"http.x_forwarded_for ne """#,
        ..string("http.x_forwarded_for", &[Fact::Header("x-forwarded-for")], |input| {
            input.joined_header(header::HeaderName::from_static("x-forwarded-for"), ", ")
        })
    },
    Field {
        doc: "Who is asking: the client's address, after trusted proxies. An IPv4-mapped address is the IPv4 address.",
        example: "ip.src in {203.0.113.0/24 2001:db8::/32}",
        ..ip("ip.src", &[Fact::Client], |input| input.facts.client.ip.addr())
    },
    Field {
        doc: "The number of the client's autonomous system; 0 when it is unknown.",
        example: "ip.src.asnum in {64496 64500..64510}",
        sort: Sort::Asn,
        needs: Some(GeoFact::Asn),
        ..int("ip.src.asnum", &[Fact::Asn], |input| {
            i64::from(input.facts.client.geo.asn)
        })
    },
    Field {
        doc: "The client's continent: `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`; `XX` when it is unknown.",
        example: r#"ip.src.continent eq "EU""#,
        sort: Sort::Continent,
        needs: Some(GeoFact::Continent),
        ..string("ip.src.continent", &[Fact::Continent], |input| {
            text(input.facts.client.geo.continent.as_str())
        })
    },
    Field {
        doc: "The client's country (ISO 3166-1 alpha-2); `XX` when it is unknown, private addresses included; `T1` for Tor.",
        example: r#"not ip.src.country in {"DE" "AT" "CH"}"#,
        sort: Sort::Country,
        needs: Some(GeoFact::Country),
        ..string("ip.src.country", &[Fact::Country], |input| {
            text(input.facts.client.geo.country.as_str())
        })
    },
    Field {
        doc: "Whether the client's country is a member of the European Union; false when it is unknown.",
        example: "ip.src.is_in_european_union",
        needs: Some(GeoFact::Country),
        ..bool("ip.src.is_in_european_union", &[Fact::Country], |input| {
            countries::is_in_european_union(input.facts.client.geo.country)
        })
    },
    Field {
        doc: "When the request came, in seconds since 1970.",
        example: "portcullis.now lt 1798761600",
        ..int("portcullis.now", &[Fact::Now], |input| input.facts.now.0)
    },
    Field {
        doc: "The host that the Referer leads to, parsed as browsers do, in lower case; `\"\"` when there is none.",
        example: r#"portcullis.referer.host eq "partner.example""#,
        sort: Sort::Host,
        ..string("portcullis.referer.host", &[Fact::RefererHost], |input| {
            input.referer_host().map_or(b"", str::as_bytes)
        })
    },
    Field {
        doc: "Whether the Referer leads to the request's own host or to one that the site names.",
        example: r#"http.referer ne "" and not portcullis.referer.is_own"#,
        ..bool(
            "portcullis.referer.is_own",
            &[Fact::RefererHost, Fact::Host, Fact::Site],
            |input| input.referer_is_own(),
        )
    },
    Field {
        doc: "The name of the site that the host leads to.",
        example: r#"portcullis.site eq "main""#,
        sort: Sort::Site,
        ..string("portcullis.site", &[Fact::Site], |input| text(&input.facts.site.name))
    },
    Field {
        doc: "What the catalogue of user agents says of `http.user_agent`; `\"\"` when it says nothing.",
        example: r#"portcullis.user_agent.category eq "ai_crawler""#,
        sort: Sort::Category,
        ..string(
            "portcullis.user_agent.category",
            &[Fact::Header("user-agent")],
            |input| {
                let category = Catalogue::shipped().category(input.first_header(header::USER_AGENT), input.arena);
                text(category.map_or("", Category::as_str))
            },
        )
    },
    Field {
        doc: "The whole URL: path and query as sent, the host with its port.",
        example: r#"raw.http.request.full_uri contains "%2e""#,
        ..string(
            "raw.http.request.full_uri",
            &[Fact::Tls, Fact::Host, Fact::Port, Fact::RawTarget],
            |input| {
                let facts = input.facts;
                let (scheme, host, uri) = (input.scheme(), facts.host.authority(), facts.target.raw());
                made(input, format_args!("{scheme}://{host}{uri}"))
            },
        )
    },
    Field {
        doc: "Path and query as sent.",
        example: r#"raw.http.request.uri contains "/./""#,
        sort: Sort::Target,
        ..string("raw.http.request.uri", &[Fact::RawTarget], |input| {
            text(input.facts.target.raw())
        })
    },
    Field {
        doc: "The same as `http.request.uri.args`: queries are never rewritten.",
        example: r#"any(raw.http.request.uri.args["debug"][*] eq "1")"#,
        ..map("raw.http.request.uri.args", &[Fact::Query], &ARGUMENTS)
    },
    Field {
        doc: "The names of the query's arguments, as sent.",
        example: r#"any(raw.http.request.uri.args.names[*] contains "%5B")"#,
        ..strings("raw.http.request.uri.args.names", &[Fact::Query], |input| {
            Datum::strings(input.arguments().map(|(name, _)| name), input.arena)
        })
    },
    Field {
        doc: "The same as `http.request.uri.args.values`.",
        example: r#"any(raw.http.request.uri.args.values[*] contains "%00")"#,
        ..strings("raw.http.request.uri.args.values", &[Fact::Query], ARGUMENTS.values)
    },
    Field {
        doc: "The path as sent. What is forwarded is the canonical path: locks belong on `http.request.uri.path`.",
        example: r#"raw.http.request.uri.path contains "//""#,
        sort: Sort::Target,
        ..string("raw.http.request.uri.path", &[Fact::RawTarget], |input| {
            text(input.facts.target.raw_path())
        })
    },
    Field {
        doc: "The extension of the path as sent, in lower case; see `http.request.uri.path.extension`.",
        example: r#"raw.http.request.uri.path.extension eq "php""#,
        sort: Sort::Extension,
        ..string("raw.http.request.uri.path.extension", &[Fact::RawTarget], |input| {
            lowered(extension_of(input.facts.target.raw_path()).as_bytes(), input.arena)
        })
    },
    Field {
        doc: "The query as sent, without its `?`; queries are never rewritten.",
        example: r#"raw.http.request.uri.query contains "%00""#,
        ..string("raw.http.request.uri.query", &[Fact::RawTarget], |input| {
            text(input.raw_query())
        })
    },
    Field {
        doc: "Whether the client speaks TLS: to us, or to a trusted proxy that says so.",
        example: "not ssl",
        ..bool("ssl", &[Fact::Tls], |input| input.facts.tls)
    },
];

fn text(text: &str) -> &[u8] {
    text.as_bytes()
}

fn made<'a>(input: &Input<'a>, parts: std::fmt::Arguments<'_>) -> &'a [u8] {
    bumpalo::format!(in input.arena, "{}", parts).into_bump_str().as_bytes()
}

fn decoded_name<'a>(name: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    if is_form_encoded(name) {
        bumpalo::collections::Vec::from_iter_in(form_decoded(name), arena).into_bump_slice()
    } else {
        name
    }
}

/// The text with its ASCII letters in lower case, copied only if that changes it.
pub(super) fn lowered<'a>(text: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    if !text.iter().any(u8::is_ascii_uppercase) {
        return text;
    }
    let copy = arena.alloc_slice_copy(text);
    copy.make_ascii_lowercase();
    copy
}

const fn field(name: &'static str, reads: &'static [Fact], read: Read) -> Field {
    Field {
        name,
        doc: "",
        example: "",
        sort: Sort::Any,
        needs: None,
        secrecy: Secrecy::Open,
        reads,
        read,
    }
}

const fn string(name: &'static str, reads: &'static [Fact], read: for<'a> fn(&Input<'a>) -> &'a [u8]) -> Field {
    field(name, reads, Read::String(read))
}

const fn strings(name: &'static str, reads: &'static [Fact], read: for<'a> fn(&Input<'a>) -> Datum<'a>) -> Field {
    field(name, reads, Read::Strings(read))
}

const fn int(name: &'static str, reads: &'static [Fact], read: for<'a> fn(&Input<'a>) -> i64) -> Field {
    field(name, reads, Read::Int(read))
}

const fn bool(name: &'static str, reads: &'static [Fact], read: for<'a> fn(&Input<'a>) -> bool) -> Field {
    field(name, reads, Read::Bool(read))
}

const fn ip(name: &'static str, reads: &'static [Fact], read: for<'a> fn(&Input<'a>) -> IpAddr) -> Field {
    field(name, reads, Read::Ip(read))
}

const fn map(name: &'static str, reads: &'static [Fact], read: &'static MapField) -> Field {
    field(name, reads, Read::Map(read))
}
