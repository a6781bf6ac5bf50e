//! Reads case files, with the reader that reads rule files.

use std::{collections::BTreeMap, sync::Arc};

use portcullis::policy::{
    fault::{Faults, Source},
    lang::GeoKnown,
    policy::{ListFiles, Policy, PolicyEnvironment},
    rule::Timestamp,
    site::{DefaultVerdict, HostPattern, SiteFacts},
    table::{self, Table},
    testing::Request,
};

/// 2026-01-01T00:00:00Z, as in [`Request`].
pub(crate) const NOW: Timestamp = Timestamp(1_767_225_600);

/// A file of cases.
pub(crate) struct CaseFile {
    pub(crate) name: String,
    pub(crate) rules: String,
    pub(crate) files: TextFiles,
    pub(crate) geo: GeoKnown,
    pub(crate) sites: Vec<SiteFacts>,
    pub(crate) cases: Vec<Case>,
}

/// A request and what must come of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: Request,
    pub(crate) expected: Expected,
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) verdict: String,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) shadow: Vec<String>,
    pub(crate) matched: Option<Vec<String>>,
}

/// List files that are texts.
#[derive(Default)]
pub(crate) struct TextFiles(pub(crate) BTreeMap<String, String>);

impl ListFiles for TextFiles {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        let text = self.0.get(path).ok_or("no such file")?;
        Ok(Source::new(path, text.clone()))
    }
}

/// The default site.
pub(crate) fn any_site() -> SiteFacts {
    SiteFacts {
        name: "main".to_owned(),
        hosts: vec![HostPattern::Any],
        upstream: "app".to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    }
}

/// Compiles one text of rules; the faults, warnings included, as lines.
pub(crate) fn compile(
    file: &str,
    rules: &str,
    files: &dyn ListFiles,
    geo: GeoKnown,
    sites: &[SiteFacts],
) -> (Option<Policy>, Vec<String>) {
    let mut faults = Faults::new();
    let environment = PolicyEnvironment {
        sites,
        geo,
        files,
        previous: None,
        now: NOW,
    };
    let policy = Policy::compile(&[Source::new(file, rules)], &environment, &mut faults);
    (policy, faults.into_sorted().iter().map(ToString::to_string).collect())
}

impl CaseFile {
    /// Reads a file; panics with its faults.
    pub(crate) fn read(name: &str, text: &str) -> Self {
        let source = Source::new(name, text);
        let mut faults = Faults::new();
        let document = table::parse(&source, &mut faults);
        let mut file = Table::new(&source, "a case file", document.span(), document.get_ref());
        let read = Self {
            name: name.to_owned(),
            rules: file.or("rules", String::new(), &mut faults),
            files: TextFiles(texts(&mut file, "files", &mut faults)),
            geo: geo(&mut file, &mut faults),
            sites: sites(&mut file, &mut faults),
            cases: Vec::new(),
        };
        let tables = file.tables("case", &mut faults);
        let cases = tables
            .into_iter()
            .map(|case| case_of(case, &read.sites, &mut faults))
            .collect();
        file.finish(&mut faults);
        assert_eq!(faults, Faults::new(), "{name} is no case file");
        Self { cases, ..read }
    }

    /// The rules, compiled; panics with their faults.
    pub(crate) fn policy(&self) -> Policy {
        let (policy, faults) = compile(&self.name, &self.rules, &self.files, self.geo, &self.sites);
        policy.unwrap_or_else(|| panic!("the rules of {} do not load:\n{}", self.name, faults.join("\n")))
    }
}

fn texts(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> BTreeMap<String, String> {
    let Some(mut texts) = table.value(key).and_then(|value| value.table(key, faults)) else {
        return BTreeMap::new();
    };
    let named = texts.named();
    named
        .into_iter()
        .filter_map(|(name, value)| {
            Some((
                name.value,
                portcullis::policy::table::FromToml::from_toml(value, faults)?,
            ))
        })
        .collect()
}

fn geo(table: &mut Table<'_>, faults: &mut Faults) -> GeoKnown {
    let Some(known): Option<Vec<String>> = table.optional("geo", faults) else {
        return GeoKnown::ALL;
    };
    let has = |fact: &str| known.iter().any(|known| known == fact);
    GeoKnown {
        country: has("country"),
        continent: has("continent"),
        asn: has("asn"),
        tor: has("tor"),
    }
}

fn sites(file: &mut Table<'_>, faults: &mut Faults) -> Vec<SiteFacts> {
    let tables = file.tables("site", faults);
    if tables.is_empty() {
        return vec![any_site()];
    }
    numbered(tables.into_iter().map(|table| site(table, faults)).collect())
}

/// The sites, with one application per upstream name.
pub(crate) fn numbered(mut sites: Vec<SiteFacts>) -> Vec<SiteFacts> {
    let upstreams: Vec<String> = sites.iter().map(|site| site.upstream.clone()).collect();
    for site in &mut sites {
        let first = upstreams.iter().position(|upstream| *upstream == site.upstream);
        site.application = first.expect("its own upstream is among them");
    }
    sites
}

fn site(mut table: Table<'_>, faults: &mut Faults) -> SiteFacts {
    let default: Option<String> = table.optional("default", faults);
    let site = SiteFacts {
        name: table.or("name", "main".to_owned(), faults),
        hosts: table.or("hosts", vec![HostPattern::Any], faults),
        upstream: table.or("upstream", "app".to_owned(), faults),
        application: 0,
        default: match default.as_deref() {
            Some("block") => DefaultVerdict::Block,
            _ => DefaultVerdict::Forward,
        },
    };
    table.finish(faults);
    site
}

fn case_of(mut table: Table<'_>, sites: &[SiteFacts], faults: &mut Faults) -> Case {
    let case = Case {
        name: table
            .required("name", "name = \"what it shows\"", faults)
            .unwrap_or_default(),
        request: request(&mut table, sites, faults),
        expected: Expected {
            verdict: table
                .required("verdict", "verdict = \"block\"", faults)
                .unwrap_or_default(),
            rule: table.optional("rule", faults),
            reason: table.optional("reason", faults),
            shadow: table.or("shadow", Vec::new(), faults),
            matched: table.optional("matched", faults),
        },
    };
    table.finish(faults);
    case
}

fn request(table: &mut Table<'_>, sites: &[SiteFacts], faults: &mut Faults) -> Request {
    let url: String = table.or("url", "https://example.com/".to_owned(), faults);
    let mut request = Request::get(&url);
    let mut with = |key, apply: &dyn Fn(Request, &str) -> Request| {
        if let Some(value) = table.optional::<String>(key, faults) {
            request = apply(request.clone(), &value);
        }
    };
    with("ip", &|request, ip| request.ip(ip));
    with("country", &|request, code| request.country(code));
    with("continent", &|request, code| request.continent(code));
    with("method", &|request, method| request.method(method));
    with("user_agent", &|request, text| request.header("user-agent", text));
    with("referer", &|request, text| request.header("referer", text));
    for (name, value) in texts(table, "headers", faults) {
        request = request.header(&name, value);
    }
    if let Some(asn) = table.optional("asn", faults) {
        request = request.asn(asn);
    }
    if let Some(now) = table.optional::<u64>("now", faults) {
        request = request.now(i64::try_from(now).expect("a time of this age"));
    }
    let chosen: Option<String> = table.optional("site", faults);
    let site = match chosen {
        Some(name) => sites
            .iter()
            .find(|site| site.name == name)
            .expect("a site of this name"),
        None => &sites[0],
    };
    let hosts: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    request = request.site(&site.name, &hosts);
    match site.default {
        DefaultVerdict::Block => request.block_by_default(),
        DefaultVerdict::Forward => request,
    }
}
