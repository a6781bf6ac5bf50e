//! What comes out of the judge: a verdict, the deciding rule, and every rule that had something to say.

use super::{
    normalize::{Host, Target},
    rule::Rule,
};

/// The outcome for one request.
#[derive(Debug)]
pub struct Decision<'a> {
    /// Forward or refuse.
    pub verdict: Verdict<'a>,
    /// Every enforced rule that matched, in order, the deciding one included.
    pub matched: &'a [&'a Rule],
    /// Every shadow rule that would have matched, in order.
    pub shadow: &'a [&'a Rule],
}

/// Forward or refuse, and because of which rule.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The request may reach its origin.
    Allow {
        /// The proof, with the judged target and host.
        permit: Permit<'a>,
        /// The enforced allow that matched first, if any did.
        rule: Option<&'a Rule>,
    },
    /// The request is refused.
    Block {
        /// The cause that the client and the log are told.
        reason: Reason,
        /// The deciding rule; `None` for a site's `default = "block"`.
        rule: Option<&'a Rule>,
    },
}

/// Proof that a request was judged and may be forwarded. Only the policy makes one, and forwarding has no other source
/// for the target and the host: what was judged is what is forwarded.
#[derive(Debug, Clone, Copy)]
pub struct Permit<'a> {
    target: &'a Target,
    host: &'a Host,
}

impl<'a> Permit<'a> {
    pub(super) fn new(target: &'a Target, host: &'a Host) -> Self {
        Self { target, host }
    }

    /// A permit that no policy gave, for tests of what forwarding makes of one.
    #[cfg(test)]
    pub(crate) fn unjudged(target: &'a Target, host: &'a Host) -> Self {
        Self { target, host }
    }

    /// The judged target.
    pub fn target(&self) -> &'a Target {
        self.target
    }

    /// The judged host.
    pub fn host(&self) -> &'a Host {
        self.host
    }
}

/// The machine-readable cause of a refusal. Closed and documented: programs match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// An address or range is blocked (`[[ip_access]]`).
    IpBlocked,
    /// An autonomous system is blocked (`[[ip_access]]`).
    AsnBlocked,
    /// A country or continent is blocked (`[[geo]]`).
    CountryBlocked,
    /// A `[[rule]]` matched.
    Rule,
    /// The URL is locked to other clients (`[[lockdown]]`).
    Lockdown,
    /// The user agent is blocked (`[[user_agent]]`).
    UserAgent,
    /// A foreign page embeds the resource (`[[hotlink]]`).
    Hotlink,
    /// No rule allowed the request and the site's default is to block.
    Default,
    /// The request breaks HTTP, or is ambiguous in a way that could walk past a rule.
    Malformed,
    /// No site has this host.
    UnknownHost,
    /// The TLS server name and the host lead to different sites (RFC 9110 §15.5.20).
    Misdirected,
    /// The head or body exceeds a limit.
    TooLarge,
    /// The head or body did not come in time.
    TooSlow,
    /// The method or expectation is not served.
    NotSupported,
    /// Too many connections or requests at once.
    Overloaded,
    /// No address of the upstream could be reached, or it broke off.
    UpstreamDown,
    /// The upstream did not answer in time.
    UpstreamTimeout,
}

impl Reason {
    /// All of them, for documentation and metrics.
    pub const ALL: [Self; 17] = [
        Self::IpBlocked,
        Self::AsnBlocked,
        Self::CountryBlocked,
        Self::Rule,
        Self::Lockdown,
        Self::UserAgent,
        Self::Hotlink,
        Self::Default,
        Self::Malformed,
        Self::UnknownHost,
        Self::Misdirected,
        Self::TooLarge,
        Self::TooSlow,
        Self::NotSupported,
        Self::Overloaded,
        Self::UpstreamDown,
        Self::UpstreamTimeout,
    ];

    /// The stable name in bodies, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpBlocked => "ip_blocked",
            Self::AsnBlocked => "asn_blocked",
            Self::CountryBlocked => "country_blocked",
            Self::Rule => "rule",
            Self::Lockdown => "lockdown",
            Self::UserAgent => "user_agent",
            Self::Hotlink => "hotlink",
            Self::Default => "default",
            Self::Malformed => "malformed",
            Self::UnknownHost => "unknown_host",
            Self::Misdirected => "misdirected",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::NotSupported => "not_supported",
            Self::Overloaded => "overloaded",
            Self::UpstreamDown => "upstream_down",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}
