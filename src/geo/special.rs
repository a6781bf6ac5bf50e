//! Addresses that are nowhere: no source is asked about them, and rules see `XX`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of special address this is; `None` for all that may stand on the Internet. Networks reserved for
/// documentation are not special: examples and tests use them.
pub(super) fn name(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => name_v4(v4),
        IpAddr::V6(v6) => name_v6(v6),
    }
}

fn name_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("carrier-grade NAT"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn name_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfc00..=0xfdff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        _ => None,
    }
}
