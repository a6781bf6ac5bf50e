//! `[[ip_access]]`: who may come in by address, or by the autonomous system (network operator) an address belongs to.
//!
//! ```toml
//! [[ip_access]]
//! id = "office"
//! action = "allow"                # or "block", "log"
//! ip = ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7", "$partners"]
//! note = "the office and its partners"
//!
//! [[ip_access]]
//! id = "bad-hoster"
//! action = "block"
//! asn = [64496, 64497]
//!
//! [list.partners]
//! kind = "ip"
//! items = ["192.0.2.0/24"]
//! ```
//!
//! An entry names addresses or autonomous systems, not both: they are different tiers of the evaluation order. An allowed
//! address also skips the later phases except `lockdown`; an allowed autonomous system skips nothing.

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults},
    list::ListKind,
    rule::{Kind, Phase, Tier},
    table::Table,
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, simple_action},
    targets::Targets,
};

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::IpAccess, &mut table, faults);
    let action = simple_action(
        &mut table,
        &["allow", "block", "log"],
        "`skip` is an action of [[rule]]",
        faults,
    );
    let ip = Targets::read(&mut table, "ip", ListKind::Ip, env, faults);
    let asn = Targets::read(&mut table, "asn", ListKind::Asn, env, faults);
    let one_tier = is_one_tier(&mut table, faults);
    let known = table
        .key_place("asn")
        .is_none_or(|place| env.knows_systems(place, faults));
    table.finish(faults);
    let (tier, reason, condition) = match (ip, asn) {
        (Some(ip), None) => (Tier::Address, Reason::IpBlocked, ip.condition("ip.src")?),
        (None, Some(asn)) => (Tier::Asn, Reason::AsnBlocked, asn.condition("ip.src.asnum")?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let part = Part {
        suffix: "",
        phase: Phase::IpAccess(tier),
        reason,
        action: action.filter(|_| one_tier && known)?,
        condition,
    };
    common.entry(vec![part], env, faults)
}

/// An entry names targets of exactly one tier.
fn is_one_tier(table: &mut Table<'_>, faults: &mut Faults) -> bool {
    let mut one_tier = true;
    for key in ["country", "continent"] {
        if let Some(place) = table.key_place(key) {
            table.value(key);
            one_tier = false;
            faults.push(
                Fault::error(place, format!("[[ip_access]] has no `{key}`"))
                    .expected("places are another tier")
                    .help(format!("write a [[geo]] entry with this `{key}`")),
            );
        }
    }
    match (table.key_place("ip"), table.key_place("asn")) {
        (Some(_), Some(asn)) => {
            one_tier = false;
            faults.push(
                Fault::error(asn, "`ip` and `asn` in one entry")
                    .expected("addresses and autonomous systems are different tiers")
                    .help("write two entries"),
            );
        }
        (None, None) if one_tier => {
            one_tier = false;
            faults.push(
                Fault::error(table.place(), "[[ip_access]] names nobody")
                    .expected("expected `ip` or `asn`")
                    .help("write `ip = [\"203.0.113.0/24\"]` or `asn = [64496]`"),
            );
        }
        (Some(_), None) | (None, Some(_)) | (None, None) => {}
    }
    one_tier
}
