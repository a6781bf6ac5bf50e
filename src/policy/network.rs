//! Networks and address ranges as people write them. Sets of them, which are asked about on every request, are [`IpSet`]s.
//!
//! Everything is in canonical form: an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is the IPv4 address, so that no
//! spelling of an address falls out of a range written in the other.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub use super::ip_set::IpSet;

/// Addresses with a common prefix: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The first prefix bits that make an IPv6 address an IPv4-mapped one.
const MAPPED_PREFIX: u8 = 96;

impl Network {
    /// Parses an address or `address/prefix`.
    ///
    /// # Errors
    /// What is wrong with the text, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let Some((address, prefix)) = text.split_once('/') else {
            return parse_address(text).map(Self::from);
        };
        let address: IpAddr = parse_unfolded(address)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = parse_prefix(text, prefix, max)?;
        let network = Self { address, prefix }.folded();
        let masked = network.masked();
        if masked.address != network.address {
            return Err(NetworkError::HostBits {
                written: text.to_owned(),
                address: network.address,
                masked,
            });
        }
        Ok(network)
    }

    /// The address, with the bits below the prefix cleared, and the prefix length.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let max = if address.is_ipv4() { 32 } else { 128 };
        Self {
            address,
            prefix: prefix.min(max),
        }
        .folded()
        .masked()
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether it holds one address only.
    pub fn is_single(self) -> bool {
        self.prefix == if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether the address, in either form, lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        IpRange::from(self).contains(address)
    }

    fn folded(self) -> Self {
        match self.address {
            IpAddr::V6(v6) if self.prefix >= MAPPED_PREFIX => match v6.to_ipv4_mapped() {
                Some(v4) => Self {
                    address: IpAddr::V4(v4),
                    prefix: self.prefix - MAPPED_PREFIX,
                },
                None => self,
            },
            IpAddr::V4(_) | IpAddr::V6(_) => self,
        }
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        };
        Self { address, ..self }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self::new(address, 128)
    }
}

/// `10.0.0.0/8`; a single address without its prefix.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix)
        }
    }
}

/// Consecutive addresses of one family, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    /// Parses an address, `address/prefix` or `first..last`.
    ///
    /// # Errors
    /// What is wrong with the text, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, NetworkError> {
        let Some((first, last)) = text.split_once("..") else {
            return Network::parse(text).map(Self::from);
        };
        Self::new(parse_address(first)?, parse_address(last)?).ok_or_else(|| NetworkError::Range {
            written: text.to_owned(),
        })
    }

    /// The range between two addresses. `None`: the families differ or the last is before the first.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let (first, last) = (first.to_canonical(), last.to_canonical());
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// The IPv4 addresses between two, which are in order.
    pub(super) fn v4([first, last]: [u32; 2]) -> Self {
        Self {
            first: Ipv4Addr::from(first).into(),
            last: Ipv4Addr::from(last).into(),
        }
    }

    /// The IPv6 addresses between two, which are in order. The mapped ones among them are left as they are: a range may
    /// begin before them and end with them.
    pub(super) fn v6([first, last]: [u128; 2]) -> Self {
        Self {
            first: Ipv6Addr::from(first).into(),
            last: Ipv6Addr::from(last).into(),
        }
    }

    /// The first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        self.last
    }

    /// Whether the address, in either form, lies in it.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }
}

impl From<Network> for IpRange {
    fn from(network: Network) -> Self {
        let last = match network.address {
            IpAddr::V4(v4) => {
                let below = u32::MAX.checked_shr(u32::from(network.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) | below))
            }
            IpAddr::V6(v6) => {
                let below = u128::MAX.checked_shr(u32::from(network.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) | below))
            }
        };
        Self {
            first: network.address,
            last,
        }
    }
}

/// As a CIDR where it is one, else `first..last`.
impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cidr = (0..=128).map(|prefix| Network::new(self.first, prefix));
        match cidr.into_iter().find(|network| Self::from(*network) == *self) {
            Some(network) => network.fmt(f),
            None => write!(f, "{}..{}", self.first, self.last),
        }
    }
}

/// What is wrong with a written network, and what was probably meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No address at all.
    #[error("\"{written}\" is not an IP address")]
    NotAnAddress {
        /// The text.
        written: String,
    },
    /// An octet such as `010`, which some programs read as octal.
    #[error("\"{written}\" has an octet with a leading zero, which some programs read as octal: leave the zeros out")]
    LeadingZero {
        /// The text.
        written: String,
    },
    /// Two or three octets.
    #[error("\"{written}\" has fewer than four octets: write all four")]
    FewOctets {
        /// The text.
        written: String,
    },
    /// The part after the slash is no prefix length of the family.
    #[error("\"{written}\": the prefix length after the slash must be a number from 0 to {max}")]
    Prefix {
        /// The text.
        written: String,
        /// The family's longest prefix.
        max: u8,
    },
    /// Bits are set below the prefix: a typo in the address or in the prefix.
    #[error("{written} has bits set below /{}: write {masked} or {address}", .written.rsplit('/').next().unwrap_or(""))]
    HostBits {
        /// The text.
        written: String,
        /// The address alone.
        address: IpAddr,
        /// The network that the address is in.
        masked: Network,
    },
    /// The ends of a range do not go together.
    #[error("\"{written}\" is not a range: both ends must be addresses of one family, the lower one first")]
    Range {
        /// The text.
        written: String,
    },
}

fn parse_address(text: &str) -> Result<IpAddr, NetworkError> {
    parse_unfolded(text).map(|address| address.to_canonical())
}

fn parse_unfolded(text: &str) -> Result<IpAddr, NetworkError> {
    text.parse().map_err(|_| {
        let written = text.to_owned();
        let octets: Vec<&str> = text.split('.').collect();
        let decimal = octets
            .iter()
            .all(|octet| !octet.is_empty() && octet.len() <= 4 && octet.bytes().all(|b| b.is_ascii_digit()));
        match octets.len() {
            2 | 3 if decimal => NetworkError::FewOctets { written },
            4 if decimal && octets.iter().any(|octet| octet.len() > 1 && octet.starts_with('0')) => {
                NetworkError::LeadingZero { written }
            }
            _ => NetworkError::NotAnAddress { written },
        }
    })
}

fn parse_prefix(written: &str, prefix: &str, max: u8) -> Result<u8, NetworkError> {
    let plain = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
    match prefix.parse::<u8>() {
        Ok(length) if plain && length <= max => Ok(length),
        Ok(_) | Err(_) => Err(NetworkError::Prefix {
            written: written.to_owned(),
            max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> String {
        IpRange::parse(text).map_or_else(|e| e.to_string(), |range| range.to_string())
    }

    #[test]
    fn networks_print_as_they_are_written() {
        for text in [
            "10.0.0.0/8",
            "192.0.2.1",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "::1",
            "10.0.0.3..10.0.0.9",
        ] {
            assert_eq!(parsed(text), text);
        }
    }

    #[test]
    fn a_mapped_network_is_the_ipv4_network() {
        assert_eq!(parsed("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(parsed("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(parsed("::ffff:0:0/96"), "0.0.0.0/0");
        assert_eq!(parsed("::ffff:10.0.0.1..10.0.0.9"), "10.0.0.1..10.0.0.9");
    }

    #[test]
    fn host_bits_are_a_fault_that_says_what_was_meant() {
        assert_eq!(
            parsed("10.0.0.1/8"),
            "10.0.0.1/8 has bits set below /8: write 10.0.0.0/8 or 10.0.0.1"
        );
        assert_eq!(
            parsed("2001:db8::1/32"),
            "2001:db8::1/32 has bits set below /32: write 2001:db8::/32 or 2001:db8::1"
        );
    }

    #[test]
    fn misspelt_networks_are_faults() {
        assert!(parsed("010.0.0.1").contains("leading zero"));
        assert!(parsed("10.0/8").contains("fewer than four octets"));
        assert!(parsed("10.0.0.0/33").contains("from 0 to 32"));
        assert!(parsed("10.0.0.0/08").contains("from 0 to 32"));
        assert!(parsed("10.0.0.0/+8").contains("from 0 to 32"));
        assert!(parsed("::/129").contains("from 0 to 128"));
        assert!(parsed("fe80::1%eth0").contains("not an IP address"));
        assert!(parsed("10.0.0.9..10.0.0.1").contains("lower one first"));
        assert!(parsed("10.0.0.1..::1").contains("one family"));
        assert!(parsed("").contains("not an IP address"));
        assert!(parsed("10.0.0.0/8/8").contains("from 0 to 32"));
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few high bits, so that ranges overlap and touch.
        prop_oneof![
            (0..600u32).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n + 0xffff_fda8))),
            (0..600u32).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from(n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from(u128::MAX - n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from((0xffff_u128 << 32) + n))),
        ]
    }

    proptest! {
        #[test]
        fn a_printed_range_parses_back(a in address(), b in address()) {
            if let Some(range) = IpRange::new(a, b) {
                prop_assert_eq!(IpRange::parse(&range.to_string()), Ok(range));
            }
        }

        #[test]
        fn a_network_holds_the_addresses_that_share_its_prefix(bits: u32, other: u32, prefix in 0..=32u8) {
            let network = Network::new(IpAddr::V4(Ipv4Addr::from(bits)), prefix);
            let shared = (bits ^ other).leading_zeros() >= u32::from(prefix);
            prop_assert_eq!(network.contains(IpAddr::V4(Ipv4Addr::from(other))), shared);
        }
    }
}
