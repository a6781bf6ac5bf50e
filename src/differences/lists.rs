//! Lists: what was added to them and taken out, as they are looked up; an entry inside a wider one makes no difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Change, Detail, How, compare};
use crate::{
    config::show::grouped,
    policy::{
        list::List,
        network::{IpRange, IpSet},
    },
    snapshot::Snapshot,
};

/// So many entries are shown; the others are counted.
const SHOWN: usize = 5;

pub(super) fn lists(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    compare("list", &by_name(old), &by_name(new), gist, |_| Vec::new(), details)
}

fn by_name(snapshot: &Snapshot) -> BTreeMap<String, &List> {
    let lists = snapshot.policy.lists().iter();
    lists.map(|list| (list.name().to_owned(), &**list)).collect()
}

/// `3 entries of kind ip`
fn gist(list: &List) -> String {
    let entries = if list.len() == 1 { "entry" } else { "entries" };
    format!("{} {entries} of kind {}", grouped(list.len()), list.kind().as_str())
}

fn details(before: &List, after: &List) -> Vec<Detail> {
    // An unchanged list is the same one, and equal at a glance.
    if std::ptr::eq(before, after) || before == after {
        return Vec::new();
    }
    if before.kind() != after.kind() {
        let kind = |list: &List| list.kind().as_str().to_owned();
        return vec![Detail::new("kind", kind(before), kind(after))];
    }
    let (added, removed) = match (before.addresses(), after.addresses()) {
        (Some(before), Some(after)) => (minus(after, before), minus(before, after)),
        (_, _) => {
            let (before, after) = (before.entries(), after.entries());
            (beyond(&after, &before), beyond(&before, &after))
        }
    };
    let mut details = Vec::new();
    details.extend(some(&added, How::Added));
    details.extend(some(&removed, How::Removed));
    details
}

fn beyond(these: &BTreeSet<String>, others: &BTreeSet<String>) -> Vec<String> {
    these.difference(others).cloned().collect()
}

/// `added  3: a, b, c`
fn some(entries: &[String], how: How) -> Option<Detail> {
    if entries.is_empty() {
        return None;
    }
    let mut shown = entries.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if entries.len() > SHOWN {
        shown += &format!(", and {} more", grouped(entries.len() - SHOWN));
    }
    let (before, after) = match how {
        How::Removed => (Some(shown), None),
        How::Added | How::Changed | How::Moved => (None, Some(shown)),
    };
    Some(Detail::new(how.as_str(), before, after))
}

/// The addresses of `these` that are not in `others`, as ranges.
fn minus(these: &IpSet, others: &IpSet) -> Vec<String> {
    let others: Vec<IpRange> = others.iter().collect();
    let mut left = Vec::new();
    let mut from = 0;
    for range in these.iter() {
        let (v4, low, high) = ends(range);
        // Ranges come in order, IPv4 first.
        let is_before = |other: &&IpRange| {
            let (other_v4, _, other_high) = ends(**other);
            (!other_v4, other_high) < (!v4, low)
        };
        from += others
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(is_before)
            .count();
        let mut at = Some(low);
        for other in others.get(from..).unwrap_or_default() {
            let (other_v4, other_low, other_high) = ends(*other);
            let Some(here) = at.filter(|here| other_v4 == v4 && other_low <= high && *here <= high) else {
                break;
            };
            if other_low > here {
                left.push(shown(v4, here, other_low - 1));
            }
            at = other_high.checked_add(1).map(|after| after.max(here));
        }
        if let Some(here) = at.filter(|here| *here <= high) {
            left.push(shown(v4, here, high));
        }
    }
    left
}

fn ends(range: IpRange) -> (bool, u128, u128) {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    (range.first().is_ipv4(), number(range.first()), number(range.last()))
}

fn shown(v4: bool, first: u128, last: u128) -> String {
    let address = |number: u128| match v4 {
        // Numbers of this family came from its addresses.
        true => IpAddr::from(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        false => IpAddr::from(Ipv6Addr::from_bits(number)),
    };
    match IpRange::new(address(first), address(last)) {
        Some(range) => range.to_string(),
        None => format!("{}..{}", address(first), address(last)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> IpSet {
        texts
            .iter()
            .map(|text| IpRange::parse(text).expect("a range"))
            .collect()
    }

    #[test]
    fn what_of_a_network_is_gone_is_told_as_networks() {
        let before = set(&["10.0.0.0/24", "192.0.2.7", "2001:db8::/32"]);
        let after = set(&["10.0.0.0/25", "192.0.2.7", "2001:db8::/33", "::1"]);
        assert_eq!(minus(&before, &after), ["10.0.0.128/25", "2001:db8:8000::/33"]);
        assert_eq!(minus(&after, &before), ["::1"]);
        assert_eq!(
            minus(&set(&["0.0.0.0/0"]), &set(&["0.0.0.0/1", "::/0"])),
            ["128.0.0.0/1"]
        );
        assert_eq!(minus(&set(&["::/0"]), &set(&["::/0"])), [""; 0]);
    }

    proptest! {
        #[test]
        fn a_difference_holds_what_is_in_one_and_not_in_the_other(
            a in prop::collection::vec((0_u8..60, 0_u8..8), 0..6),
            b in prop::collection::vec((0_u8..60, 0_u8..8), 0..6),
        ) {
            let of = |ranges: &[(u8, u8)]| -> IpSet {
                let range = |(first, more): &(u8, u8)| {
                    let address = |last| IpAddr::from([192, 0, 2, last]);
                    IpRange::new(address(*first), address(first + more)).expect("in order")
                };
                ranges.iter().map(range).collect()
            };
            let (a, b) = (of(&a), of(&b));
            let left: IpSet = minus(&a, &b).iter().map(|text| IpRange::parse(text).expect("a range")).collect();
            for last in 0..80 {
                let address = IpAddr::from([192, 0, 2, last]);
                prop_assert_eq!(left.contains(address), a.contains(address) && !b.contains(address), "{}", address);
            }
        }
    }
}
