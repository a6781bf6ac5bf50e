//! `portcullis geo`: what is known of addresses, and from which source.

use std::{fmt::Write, net::IpAddr};

use serde_json::{Value, json};

use super::{Exit, Output, session::Session};
use crate::{
    geo::{Description, Geo, SourceReport},
    policy::rule::Timestamp,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// IPv4 or IPv6 addresses
    #[arg(required = true, value_name = "IP")]
    addresses: Vec<IpAddr>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    let found: Vec<Description> = arguments
        .addresses
        .iter()
        .map(|ip| snapshot.geo.describe(*ip))
        .collect();
    match session.output {
        Output::Text => session.print(&text(&snapshot.geo, &found)),
        Output::Json => session.print_json(&as_json(&snapshot.geo, &found)),
    }
    Exit::Yes
}

fn text(geo: &Geo, found: &[Description]) -> String {
    let sources = geo.sources();
    let mut text = String::new();
    for description in found {
        // Writing into memory does not fail.
        let _infallible = describe(description, &sources, &mut text);
    }
    text
}

fn describe(found: &Description, sources: &[SourceReport], text: &mut String) -> std::fmt::Result {
    let from = |key: &str| match sources.iter().find(|source| source.key == key) {
        Some(source) => format!("from {}", source_text(source)),
        None => "no source is configured".to_owned(),
    };
    writeln!(text, "{}", found.address)?;
    if found.looked_up != found.address {
        writeln!(text, "  looked up as  {}", found.looked_up)?;
    }
    if let Some(special) = found.special {
        writeln!(text, "  special       {special}: no source is asked, rules see XX")?;
    }
    let country = found.facts.country.as_str();
    match found.tor {
        true => writeln!(text, "  country       {country}  in the list of Tor exits")?,
        false => writeln!(text, "  country       {country}  {}", from("country"))?,
    }
    let continent = found.facts.continent.as_str();
    writeln!(text, "  continent     {continent}  {}", from("country"))?;
    match (found.facts.asn, &found.organization) {
        (0, _) => writeln!(text, "  as number     0  {}", from("asn")),
        (number, None) => writeln!(text, "  as number     {number}  {}", from("asn")),
        (number, Some(name)) => {
            // A name comes from a file: nothing in it may drive the terminal.
            writeln!(
                text,
                "  as number     {number}  {}  {}",
                name.escape_debug(),
                from("asn")
            )
        }
    }
}

fn source_text(source: &SourceReport) -> String {
    let label = source.label.escape_debug();
    match source.built {
        Some(built) => format!("{} ({label}, {})", source.name, date(built)),
        None => format!("{} ({label})", source.name),
    }
}

fn date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::strtime::format("%Y-%m-%d", at).unwrap_or_default()
}

fn as_json(geo: &Geo, found: &[Description]) -> Value {
    let sources = geo.sources();
    let source = |source: &SourceReport| {
        json!({
            "key": source.key,
            "name": source.name,
            "label": source.label,
            "built": source.built.map(date),
        })
    };
    let address = |found: &Description| {
        json!({
            "ip": found.address,
            "looked_up": found.looked_up,
            "country": found.facts.country.as_str(),
            "continent": found.facts.continent.as_str(),
            "asn": found.facts.asn,
            "organization": found.organization,
            "special": found.special,
            "tor": found.tor,
        })
    };
    json!({
        "sources": sources.iter().map(source).collect::<Vec<_>>(),
        "addresses": found.iter().map(address).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::settings::{GeoSettings, GeoSource},
        geo::GeoPlaces,
        policy::fault::Faults,
    };

    fn geo() -> Geo {
        let settings = GeoSettings {
            country: Some(GeoSource::Builtin),
            asn: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/geo/asn.mmdb")),
            tor: None,
        };
        Geo::load(&settings, &GeoPlaces::default(), None, None, &mut Faults::new()).expect("it loads")
    }

    fn shown(address: &str) -> String {
        let geo = geo();
        let found = geo.describe(address.parse().expect("an address"));
        let fixtures = format!("{}/tests/fixtures/geo/", env!("CARGO_MANIFEST_DIR"));
        text(&geo, &[found]).replace(&fixtures, "")
    }

    #[test]
    fn people_see_each_fact_with_its_source() {
        assert_eq!(
            shown("::ffff:8.8.8.8"),
            "::ffff:8.8.8.8\n  looked up as  8.8.8.8\n  \
             country       US  from builtin (registry-assigned country)\n  \
             continent     NA  from builtin (registry-assigned country)\n  \
             as number     0  from asn.mmdb (GeoLite2-ASN, 2026-01-01)\n"
        );
        assert!(shown("192.0.2.1").contains("as number     64496  Example Carrier  from asn.mmdb"));
    }

    #[test]
    fn people_see_why_an_address_is_nowhere() {
        assert!(
            shown("10.0.0.1")
                .contains("  special       private: no source is asked, rules see XX\n  country       XX  ")
        );
    }

    #[test]
    fn programs_see_the_same() {
        let geo = geo();
        let found = geo.describe("192.0.2.1".parse().expect("an address"));
        let json = as_json(&geo, &[found]);
        assert_eq!(json["sources"][1]["built"], "2026-01-01");
        assert_eq!(json["addresses"][0]["asn"], 64496);
        assert_eq!(json["addresses"][0]["country"], "XX");
        assert_eq!(json["addresses"][0]["organization"], "Example Carrier");
    }
}
