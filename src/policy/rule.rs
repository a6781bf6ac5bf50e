//! The one shape that every rule kind is lowered to: id, phase, expression, action, mode, and its why.

use std::{fmt, sync::Arc};

use super::{decision::Reason, fault::Place, lang::Expression};

/// A compiled rule. Every `[[table]]` entry lowers to one or more of these.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Unique over all files; what logs, metrics and `skip` call it.
    pub id: RuleId,
    /// The table it was written in.
    pub kind: Kind,
    /// When it is evaluated.
    pub phase: Phase,
    /// When it matches.
    pub expression: Expression,
    /// What a match does.
    pub action: Action,
    /// Whether it acts or only counts.
    pub mode: Mode,
    /// The cause that a refusal by this rule states.
    pub reason: Reason,
    /// What the client gets instead of the site's refusal.
    pub response: Option<Response>,
    /// Why it exists, in the operator's words. Logged, never shown to clients.
    pub note: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it stops matching; also part of the expression.
    pub expires: Option<Timestamp>,
    /// `false`: parsed and checked, never evaluated.
    pub enabled: bool,
    /// Where it is written.
    pub place: Place,
}

/// A rule's name: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(crate) Arc<str>);

impl RuleId {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `[[ip_access]]`
    IpAccess,
    /// `[[geo]]`
    Geo,
    /// `[[rule]]`
    Rule,
    /// `[[lockdown]]`
    Lockdown,
    /// `[[user_agent]]`
    UserAgent,
    /// `[[hotlink]]`
    Hotlink,
}

impl Kind {
    /// All of them, in the order of their phases.
    pub const ALL: [Self; 6] = [
        Self::IpAccess,
        Self::Geo,
        Self::Rule,
        Self::Lockdown,
        Self::UserAgent,
        Self::Hotlink,
    ];

    /// The table's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpAccess => "ip_access",
            Self::Geo => "geo",
            Self::Rule => "rule",
            Self::Lockdown => "lockdown",
            Self::UserAgent => "user_agent",
            Self::Hotlink => "hotlink",
        }
    }
}

/// A step of the evaluation order. The order of the variants is the order of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Who is asking, narrowest tier first.
    IpAccess(Tier),
    /// The operator's own expressions, in written order.
    Rule,
    /// Who may come in at all, by URL.
    Lockdown,
    /// Which programs may not.
    UserAgent,
    /// Whose pages may embed.
    Hotlink,
}

/// What an `ip_access` or `geo` entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Addresses and ranges.
    Address,
    /// Autonomous systems.
    Asn,
    /// Countries and continents.
    Place,
}

impl Phase {
    /// All of them, in the order of evaluation.
    pub const ALL: [Self; 7] = [
        Self::IpAccess(Tier::Address),
        Self::IpAccess(Tier::Asn),
        Self::IpAccess(Tier::Place),
        Self::Rule,
        Self::Lockdown,
        Self::UserAgent,
        Self::Hotlink,
    ];

    /// What no rule may have as its id: the steps of the evaluation order, those to come included, so that a `skip`
    /// never changes its meaning.
    pub const RESERVED: [&'static str; 12] = [
        "normalize",
        "ip_access",
        "geo",
        "rule",
        "lockdown",
        "user_agent",
        "hotlink",
        "cross_site",
        "role",
        "rate_limit",
        "managed",
        "default",
    ];

    /// The phase's name in `skip`, logs and metrics; the tiers of `ip_access` share one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IpAccess(_) => "ip_access",
            Self::Rule => "rule",
            Self::Lockdown => "lockdown",
            Self::UserAgent => "user_agent",
            Self::Hotlink => "hotlink",
        }
    }
}

/// What a match does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ends its phase and skips later ones, except the positive ones.
    Allow,
    /// Ends everything: the request is refused.
    Block,
    /// Records and goes on.
    Log,
    /// Leaves out later phases or single later rules.
    Skip(Vec<SkipTarget>),
}

impl Action {
    /// The action's name in rules, logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Log => "log",
            Self::Skip(_) => "skip",
        }
    }
}

/// What `skip` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipTarget {
    /// A whole later phase.
    Phase(Phase),
    /// One later rule.
    Rule(RuleId),
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It does what its action says.
    Enforce,
    /// It is evaluated and counted where it would be, and changes nothing.
    Shadow,
}

impl Mode {
    /// The mode's name in rules, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// RFC 3339, in UTC; beyond the calendar the bare number.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.0) {
            Ok(at) => at.fmt(f),
            Err(_) => self.0.fmt(f),
        }
    }
}

/// What a refused client gets instead of the site's answer: each part that is `None` stays the site's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// What the refusal looks like from outside.
    pub status: Option<RefusalStatus>,
    /// A fixed body instead of the negotiated one.
    pub body: Option<String>,
    /// The fixed body's media type.
    pub content_type: Option<String>,
    /// Headers added to the refusal.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// How a refusal answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalStatus {
    /// A status of 400-499 except 404 and 444, with the negotiated body.
    Status(http::StatusCode),
    /// 404: the site's `not_found`, as if nothing were there.
    Conceal,
    /// 444 (nginx): no answer; the connection closes, on HTTP/2 the stream is reset.
    Close,
}
