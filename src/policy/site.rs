//! What the judge knows of a site: its name, its hosts and what happens when no rule decides.

use super::normalize::HostName;

/// A host pattern as sites and rules write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `example.com`
    Exact(HostName),
    /// `*.example.com`: every name below it, at any depth, not the name itself.
    Below(HostName),
    /// `*`: any host.
    Any,
}

/// A site, as far as rules may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its configured name.
    pub name: String,
    /// Its host patterns.
    pub hosts: Vec<HostPattern>,
    /// The name of the upstream it forwards to.
    pub upstream: String,
    /// What happens when no rule decides.
    pub default: DefaultVerdict,
}

/// What happens to a request that no rule allows or blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultVerdict {
    /// It is forwarded.
    Forward,
    /// It is refused with the reason `default`.
    Block,
}
