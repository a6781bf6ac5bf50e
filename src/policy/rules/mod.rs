//! The rule tables: each kind in its own file, from parsed TOML with its places to rules.
//!
//! Every kind is sugar for an expression, an action and a phase. A kind parses what its table says, so that faults stand at
//! the very element, writes the expression that the table stands for, and has it compiled like any other. What
//! `portcullis rules` prints is that text.

mod common;
mod custom;
mod expires;
mod geo;
mod hosts;
mod hotlink;
mod ip_access;
pub(super) mod lists;
pub(super) mod lockdown;
mod response;
pub(super) mod spans;
mod targets;
pub(super) mod text;
pub(super) mod urls;
mod user_agent;

use super::{
    facts::Country,
    fault::{Fault, Faults, Place, Severity},
    lang::{Diagnostic, Environment, Expression, GeoKnown},
    list::{ListKind, Lists},
    rule::{Kind, Rule, RuleId, SkipTarget, Timestamp},
    site::{HostPattern, SiteFacts},
    table::{Placed, Table},
};

use text::Condition;

/// What an entry may refer to, and what it is checked against.
pub(super) struct RuleEnvironment<'e> {
    pub(super) lists: &'e Lists,
    pub(super) sites: &'e [SiteFacts],
    pub(super) site_names: &'e [String],
    pub(super) geo: GeoKnown,
    pub(super) now: Timestamp,
}

/// One table of a rule file, lowered.
pub(super) struct Entry {
    pub(super) id: RuleId,
    /// Where the id is written, or the table begins.
    pub(super) id_place: Place,
    /// `false`: the id was derived from the table.
    pub(super) id_is_written: bool,
    /// What a `skip` names, to be found once all rules are known.
    pub(super) skips: Vec<Placed<SkipTarget>>,
    pub(super) rules: Vec<Rule>,
}

/// Reads one entry. `None`: it has faults.
pub(super) fn read(kind: Kind, table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let (name, place) = (table.name().to_owned(), table.place());
    let before = faults.iter().count();
    let entry = read_kind(kind, table, env, faults);
    let has_said_why = |faults: &Faults| {
        let mut new = faults.iter().skip(before);
        new.any(|fault| fault.severity == Severity::Error)
    };
    // A block that vanishes without a word opens the gate.
    if entry.is_none() && !has_said_why(faults) {
        faults.push(
            Fault::error(place, format!("this {name} comes to no rule"))
                .expected("it names nothing that could match")
                .help("remove it, or say what it is about"),
        );
    }
    entry
}

fn read_kind(kind: Kind, table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    match kind {
        Kind::IpAccess => ip_access::read(table, env, faults),
        Kind::Geo => geo::read(table, env, faults),
        Kind::Rule => custom::read(table, env, faults),
        Kind::Lockdown => lockdown::read(table, env, faults),
        Kind::UserAgent => user_agent::read(table, env, faults),
        Kind::Hotlink => hotlink::read(table, env, faults),
    }
}

impl RuleEnvironment<'_> {
    fn language(&self) -> Environment<'_> {
        Environment {
            lists: self.lists,
            geo: self.geo,
            sites: Some(self.site_names),
        }
    }

    /// Whether a text is an expression.
    fn check(&self, text: &str) -> Result<(), Vec<Diagnostic>> {
        Expression::compile(text, &self.language()).map(|_| ())
    }

    /// Compiles what an entry stands for; what is wrong with it is wrong with the entry at `place`.
    fn compile(&self, condition: &Condition, place: &Place, faults: &mut Faults) -> Option<Expression> {
        match Expression::compile(condition.as_str(), &self.language()) {
            Ok(expression) => Some(expression),
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    let fault = Fault::error(place.clone(), diagnostic.message).expected(diagnostic.expected);
                    faults.push(diagnostic.help.into_iter().fold(fault, Fault::help));
                }
                None
            }
        }
    }

    /// The list that `$name` names, if it holds the right kind.
    fn list(&self, name: &str, kind: ListKind, place: &Place, faults: &mut Faults) -> Option<String> {
        match self.lists.named(name) {
            Some(list) if list.contains_country(Country::TOR) && !self.geo.tor => {
                faults.push(
                    Fault::error(
                        place.clone(),
                        format!("`${name}` holds `T1` (Tor), which no configured source gives"),
                    )
                    .expected("expected a source of Tor exits")
                    .help("write `tor = \"$tor_exits\"` under `[geoip]`, and the list"),
                );
                None
            }
            Some(list) if list.kind() == kind => Some(name.to_owned()),
            Some(list) => {
                faults.push(
                    Fault::error(
                        place.clone(),
                        format!("`${name}` is a list of kind \"{}\"", list.kind().as_str()),
                    )
                    .expected(format!("expected a list of kind \"{}\"", kind.as_str())),
                );
                None
            }
            None => {
                let known = self
                    .lists
                    .iter()
                    .filter(|list| list.kind() == kind)
                    .map(|list| list.name());
                faults.push(
                    Fault::error(place.clone(), format!("there is no list `${name}`"))
                        .expected("no list has this name")
                        .suggest(name, known)
                        .help(format!("define it: [list.{name}] with `kind = \"{}\"`", kind.as_str())),
                );
                None
            }
        }
    }

    /// Whether some site may serve a host of the pattern.
    fn is_served(&self, host: &HostPattern) -> bool {
        self.sites
            .iter()
            .flat_map(|site| &site.hosts)
            .any(|served| served.overlaps(host))
    }

    /// Whether requests for one of these hosts come to the site by `served`, one of its patterns: a request goes to the
    /// narrowest pattern of all sites.
    fn reaches(&self, hosts: &[HostPattern], served: &HostPattern) -> bool {
        let all = || self.sites.iter().flat_map(|site| &site.hosts);
        let is_taken = |asked: &HostPattern| {
            let mut narrower = all().filter(|other| *other != served && served.covers(other));
            narrower.any(|other| other.covers(asked))
        };
        hosts
            .iter()
            .filter(|host| host.overlaps(served))
            .any(|host| !is_taken(if served.covers(host) { host } else { served }))
    }

    /// Whether countries are known; a fault if not.
    fn knows_countries(&self, place: Place, faults: &mut Faults) -> bool {
        if !self.geo.country {
            faults.push(
                Fault::error(place, "no configured source knows countries")
                    .expected("this rule could never match")
                    .help("set `country = \"builtin\"`, or a file, in [geoip]"),
            );
        }
        self.geo.country
    }

    /// Whether continents are known; a fault if not.
    fn knows_continents(&self, place: Place, faults: &mut Faults) -> bool {
        if !self.geo.continent {
            faults.push(
                Fault::error(place, "no configured source knows continents")
                    .expected("this rule could never match")
                    .help("set `country = \"builtin\"`, or a file with continents, in [geoip]"),
            );
        }
        self.geo.continent
    }

    /// Whether autonomous systems are known; a fault if not.
    fn knows_systems(&self, place: Place, faults: &mut Faults) -> bool {
        if !self.geo.asn {
            faults.push(
                Fault::error(place, "no configured source knows autonomous systems")
                    .expected("this rule could never match")
                    .help("set `asn` in [geoip] to a file such as GeoLite2-ASN.mmdb"),
            );
        }
        self.geo.asn
    }
}
