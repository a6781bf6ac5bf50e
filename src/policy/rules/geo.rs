//! `[[geo]]`: who may come in by the country or continent an address is in.
//!
//! ```toml
//! [[geo]]
//! id = "embargo"
//! action = "block"                # or "allow", "log"
//! country = ["KP", "IR"]          # ISO 3166-1; "XX" is an address of unknown country, "T1" a Tor exit
//!
//! [[geo]]
//! id = "no-antarctica"
//! action = "block"
//! continent = ["AN"]
//!
//! [[geo]]
//! id = "shop-only-dach"
//! hosts = ["shop.example.com"]
//! action = "block"
//! except_country = ["DE", "AT", "CH"]
//! unknown = "match"               # addresses of unknown country (private ones too) are blocked; "skip" lets them by
//! ```
//!
//! A country is no credential: an allowed one ends the blocks of this tier, and skips nothing later.

use crate::policy::{
    decision::Reason,
    facts::Country,
    fault::{Fault, Faults},
    list::ListKind,
    rule::{Kind, Phase, Tier},
    table::{FromToml, Table, Value},
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, simple_action},
    targets::{self, Targets},
    text::Condition,
};

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::Geo, &mut table, faults);
    let action = simple_action(
        &mut table,
        &["allow", "block", "log"],
        "`skip` is an action of [[rule]]",
        faults,
    );
    let condition = condition(&mut table, env, faults);
    let known = has_sources(&table, env, faults);
    table.finish(faults);
    let part = Part {
        suffix: "",
        phase: Phase::IpAccess(Tier::Place),
        reason: Reason::CountryBlocked,
        action: action.filter(|_| known)?,
        condition: condition?,
    };
    common.entry(vec![part], env, faults)
}

/// What an `except_country` entry does with an address whose country is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Match,
    Skip,
}

impl FromToml for Unknown {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        match text.as_str() {
            "match" => Some(Self::Match),
            "skip" => Some(Self::Skip),
            _ => {
                faults.push(
                    value
                        .invalid(
                            format!("`{text}` says nothing about unknown countries"),
                            "\"match\" or \"skip\"",
                        )
                        .suggest(&text, ["match", "skip"]),
                );
                None
            }
        }
    }
}

fn condition(table: &mut Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Condition> {
    let country = Targets::read(table, "country", ListKind::Country, env, faults);
    let continents = targets::continents(table, "continent", faults);
    let except = Targets::read(table, "except_country", ListKind::Country, env, faults);
    let unknown: Option<Unknown> = table.optional("unknown", faults);
    let written = |key: &str| table.key_place(key);
    let fault = match (written("country").or(written("continent")), written("except_country"), written("unknown")) {
        (Some(_), Some(except), _) => Fault::error(except, "`except_country` beside `country` or `continent`")
            .expected("an entry names places, or all but some")
            .help("write two entries"),
        (None, None, _) => Fault::error(table.place(), "[[geo]] names no place")
            .expected("expected `country`, `continent` or `except_country`")
            .help("write `country = [\"KP\"]`"),
        (None, Some(except), None) => Fault::error(except, "`except_country` without `unknown`")
            .expected("what happens to addresses of unknown country, private ones included?")
            .help("write `unknown = \"match\"` to treat them like the countries not named, `unknown = \"skip\"` to leave them alone"),
        (Some(_), None, Some(unknown)) => Fault::error(unknown, "`unknown` without `except_country`")
            .expected("an entry that names places matches an unknown country only if it names it")
            .help("leave `unknown` out; add \"XX\" to `country` to match addresses of unknown country"),
        (Some(_), None, None) => {
            let country = country.and_then(|targets| targets.condition("ip.src.country"));
            let continent = continents.and_then(|codes| Condition::one_of("ip.src.continent", &codes));
            return Condition::any_of(country.into_iter().chain(continent));
        }
        (None, Some(place), Some(_)) => {
            let except = except?;
            if except.contains_country(Country::UNKNOWN, env) {
                Fault::error(place, "`except_country` names \"XX\", itself or in a list")
                    .expected("unknown countries are the business of `unknown`")
                    .help("leave \"XX\" out and write `unknown = \"skip\"`")
            } else {
                let spared = match unknown? {
                    Unknown::Match => except,
                    Unknown::Skip => except.with("\"XX\"".to_owned()),
                };
                return spared.condition("ip.src.country").map(Condition::not);
            }
        }
    };
    faults.push(fault);
    None
}

fn has_sources(table: &Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> bool {
    let country = table.key_place("country").or(table.key_place("except_country"));
    let countries = country.is_none_or(|place| env.knows_countries(place, faults));
    let continents = table
        .key_place("continent")
        .is_none_or(|place| env.knows_continents(place, faults));
    countries && continents
}
