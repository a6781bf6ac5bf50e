//! Blocklists as they are found in the wild, but generated: clusters of networks of all lengths, many single addresses, no
//! two entries that overlap or touch, so that every entry costs what an entry costs.

use std::{
    collections::HashSet,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::random::Random;

/// Entries of both families.
#[derive(Debug)]
pub struct Blocklist {
    v4: Vec<(u32, u8)>,
    v6: Vec<(u128, u8)>,
}

/// How far apart the entries of a cluster are, at most: from a botnet's home to a quiet provider.
const GAPS: [u64; 4] = [16, 64, 256, 1024];

impl Blocklist {
    /// This many entries of each family.
    pub fn generate(v4: usize, v6: usize) -> Self {
        Self {
            v4: v4_entries(v4),
            v6: v6_entries(v6),
        }
    }

    /// Half and half.
    pub fn of_both(count: usize) -> Self {
        Self::generate(count / 2, count - count / 2)
    }

    /// One entry a line.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (address, prefix) in &self.v4 {
            // Writing into a String cannot fail.
            let _ = write_entry(&mut text, Ipv4Addr::from(*address), *prefix, 32);
        }
        for (address, prefix) in &self.v6 {
            let _ = write_entry(&mut text, Ipv6Addr::from(*address), *prefix, 128);
        }
        text
    }

    /// This many addresses in it, all different, half of them IPv6, in random order.
    pub fn members(&self, count: usize) -> Vec<IpAddr> {
        let mut random = Random::seeded(count as u64);
        let mut found = HashSet::new();
        while found.len() < count / 2 {
            let (start, prefix) = random.pick(&self.v4);
            found.insert(IpAddr::from(Ipv4Addr::from(
                start | random.bits() as u32 & low4(prefix),
            )));
        }
        while found.len() < count {
            let (start, prefix) = random.pick(&self.v6);
            found.insert(IpAddr::from(Ipv6Addr::from(start | wide(&mut random) & low6(prefix))));
        }
        let mut members: Vec<_> = found.into_iter().collect();
        // A set has its own order in every process.
        members.sort_unstable();
        random.shuffle(&mut members);
        members
    }

    /// This many addresses that are not in it but near, one in ten of them IPv6: strangers that are judged, and not by
    /// an empty corner of the table.
    pub fn neighbours(&self, count: usize) -> Vec<IpAddr> {
        let mut random = Random::seeded(count as u64);
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let six = found.len() % 10 == 9;
            found.extend(if six {
                self.near_v6(&mut random)
            } else {
                self.near_v4(&mut random)
            });
        }
        found
    }

    fn near_v4(&self, random: &mut Random) -> Option<IpAddr> {
        let (start, _) = random.pick(&self.v4);
        let address = start & !0xffff | random.bits() as u32 & 0xffff;
        let at = self.v4.partition_point(|(start, _)| *start <= address);
        let before = at.checked_sub(1).map(|at| self.v4[at]);
        let inside = before.is_some_and(|(start, prefix)| address <= start | low4(prefix));
        (!inside).then(|| Ipv4Addr::from(address).into())
    }

    fn near_v6(&self, random: &mut Random) -> Option<IpAddr> {
        let (start, _) = random.pick(&self.v6);
        let address = start & !low6(48) | wide(random) & low6(48);
        let at = self.v6.partition_point(|(start, _)| *start <= address);
        let before = at.checked_sub(1).map(|at| self.v6[at]);
        let inside = before.is_some_and(|(start, prefix)| address <= start | low6(prefix));
        (!inside).then(|| Ipv6Addr::from(address).into())
    }
}

fn write_entry(text: &mut String, address: impl std::fmt::Display, prefix: u8, whole: u8) -> std::fmt::Result {
    if prefix == whole {
        writeln!(text, "{address}")
    } else {
        writeln!(text, "{address}/{prefix}")
    }
}

/// The bits below an IPv4 prefix.
fn low4(prefix: u8) -> u32 {
    u32::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

/// The bits below an IPv6 prefix.
fn low6(prefix: u8) -> u128 {
    u128::MAX.checked_shr(prefix.into()).unwrap_or(0)
}

fn wide(random: &mut Random) -> u128 {
    u128::from(random.bits()) << 64 | u128::from(random.bits())
}

/// Sixteen-bit neighbourhoods in random order, each filled to its end.
fn v4_entries(count: usize) -> Vec<(u32, u8)> {
    let mut random = Random::seeded(4);
    // Without those that hold private, shared, documentation and benchmark addresses, which rules and requests use.
    let public = (1..224).filter(|octet| ![10, 100, 127, 169, 172, 192, 198, 203].contains(octet));
    let mut homes: Vec<u32> = public.flat_map(|a| (0..256).map(move |b| a << 24 | b << 16)).collect();
    random.shuffle(&mut homes);
    let mut entries = Vec::with_capacity(count);
    for home in homes {
        let gap = random.pick(&GAPS);
        let mut next = u64::from(home) + 1 + random.below(gap);
        while entries.len() < count {
            let prefix = v4_prefix(&mut random);
            let size = 1_u64 << (32 - prefix);
            let start = next.next_multiple_of(size);
            if start + size > u64::from(home) + 0x1_0000 {
                break;
            }
            entries.push((start as u32, prefix));
            next = start + size + 1 + random.below(gap);
        }
    }
    assert_eq!(entries.len(), count, "the address space is large enough");
    entries.sort_unstable();
    entries
}

/// Most entries are single addresses, every fifth is a /24, few are large.
fn v4_prefix(random: &mut Random) -> u8 {
    match random.below(1000) {
        0..5 => 17 + random.below(3) as u8,
        5..50 => 20 + random.below(4) as u8,
        50..270 => 24,
        270..380 => 25 + random.below(7) as u8,
        _ => 32,
    }
}

/// As IPv4's, in providers' /32s; places in them are counted in /64s.
fn v6_entries(count: usize) -> Vec<(u128, u8)> {
    let mut random = Random::seeded(6);
    let mut entries = Vec::with_capacity(count);
    let mut homes = HashSet::new();
    while entries.len() < count {
        let home = u128::from(0x2400_0000 + random.below(0x0800_0000)) << 32;
        let members = 100 + random.below(3000) as usize;
        if !homes.insert(home) {
            continue;
        }
        let gap = random.pick(&GAPS) * 4;
        let mut next = home + 1 + u128::from(random.below(gap));
        for _ in 0..members.min(count - entries.len()) {
            let prefix = v6_prefix(&mut random);
            let size = 1_u128 << (64 - prefix.min(64));
            let start = next.next_multiple_of(size);
            if start + size > home + (1 << 32) {
                break;
            }
            let host = if prefix == 128 { u128::from(random.bits()) } else { 0 };
            entries.push((start << 64 | host, prefix));
            next = start + size + 1 + u128::from(random.below(gap));
        }
    }
    entries.sort_unstable();
    entries
}

/// Most entries are one customer's /64, many a site's /48 or /56, some a single host.
fn v6_prefix(random: &mut Random) -> u8 {
    match random.below(100) {
        0..2 => 40 + random.below(7) as u8,
        2..20 => 48,
        20..32 => 56,
        32..45 => 128,
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use portcullis::policy::network::{IpRange, IpSet};

    use super::*;

    #[test]
    fn members_are_inside_and_neighbours_outside() {
        let list = Blocklist::of_both(2000);
        let ranges: Result<IpSet, _> = list.text().lines().map(IpRange::parse).collect();
        let set = ranges.expect("every entry is one");
        assert!(list.members(5000).iter().all(|address| set.contains(*address)));
        assert!(!list.neighbours(5000).iter().any(|address| set.contains(*address)));
    }
}
