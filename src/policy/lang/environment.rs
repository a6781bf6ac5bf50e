//! What an expression may refer to beyond the request: named lists, sites, and the facts that geo sources give.

use super::fields::GeoFact;
use crate::policy::list::Lists;

/// What the checker knows of the configuration around an expression.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'a> {
    /// The lists that `$name` finds.
    pub lists: &'a Lists,
    /// The facts that some configured source gives.
    pub geo: GeoKnown,
    /// The names of the sites; `None` when they are not known here, and then any name may be written.
    pub sites: Option<&'a [String]>,
}

impl<'a> Environment<'a> {
    /// These lists, every geo fact and any site.
    pub fn new(lists: &'a Lists) -> Self {
        Self {
            lists,
            geo: GeoKnown::ALL,
            sites: None,
        }
    }
}

/// Which geo facts the configured sources give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeoKnown {
    /// Countries.
    pub country: bool,
    /// Continents.
    pub continent: bool,
    /// Autonomous systems.
    pub asn: bool,
    /// Tor exits, as the country `T1`.
    pub tor: bool,
}

impl GeoKnown {
    /// Every fact there is.
    pub const ALL: Self = Self {
        country: true,
        continent: true,
        asn: true,
        tor: true,
    };
    /// No source is configured.
    pub const NONE: Self = Self {
        country: false,
        continent: false,
        asn: false,
        tor: false,
    };

    pub(super) fn gives(self, fact: GeoFact) -> bool {
        match fact {
            GeoFact::Country => self.country,
            GeoFact::Continent => self.continent,
            GeoFact::Asn => self.asn,
        }
    }
}

impl GeoFact {
    /// What is missing when no source gives it, and the key that sets one.
    pub(super) fn missing(self) -> (&'static str, &'static str) {
        match self {
            Self::Country => (
                "no configured source knows countries",
                "set `country = \"builtin\"`, or a file, in [geoip]",
            ),
            Self::Continent => (
                "no configured source knows continents",
                "set `country` in [geoip] to a source with continents, such as GeoLite2-Country.mmdb",
            ),
            Self::Asn => (
                "no configured source knows autonomous systems",
                "set `asn` in [geoip] to a file such as GeoLite2-ASN.mmdb",
            ),
        }
    }
}
