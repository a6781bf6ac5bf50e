//! Finds what is wrong with rules that load: ones that never act, that say something else than was meant, that leave a way
//! around.
//!
//! Reads the compiled policy, and the rules files only for the places of what it says. What is a warning is proven (`proof`),
//! or a way around that can be shown; what may well be meant is a note. Everything that the order of evaluation decides is
//! asked of the one order there is ([`super::phases`]).

mod anchors;
mod claims;
mod comments;
mod effects;
mod entries;
mod examined;
mod finding;
mod habits;
mod hosts;
mod index;
mod items;
mod leaves;
mod lists;
mod matching;
mod parts;
mod proof;
mod reach;
mod upkeep;
mod written;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use finding::{Check, Finding, Related, Severity};

use self::{
    examined::Examined,
    reach::Reach,
    written::{Documents, Written},
};
use super::{policy::Policy, rule::Timestamp, site::SiteFacts};

/// What of the configuration around the rules has to do with them.
#[derive(Debug, Clone)]
pub struct Surroundings<'a> {
    /// The sites.
    pub sites: &'a [SiteFacts],
    /// The time: what has lapsed by now.
    pub now: Timestamp,
    /// Whether proxies in front are told from clients.
    pub proxies: Proxies<'a>,
    /// The lists that the configuration refers to outside the rules.
    pub lists_used: &'a [String],
}

/// Whether proxies in front are told from clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxies<'a> {
    /// Some proxies are trusted, or send the PROXY protocol.
    Trusted,
    /// None is.
    None {
        /// A header that the configuration names for clients' addresses, other than the default.
        header: Option<&'a str>,
        /// Whether every listener speaks plain HTTP to this machine alone.
        only_local: bool,
    },
}

/// Everything that is found, by file and place. What comments silence is marked, not left out; checks that are opt-in are
/// looked for when `with` names them.
pub fn lint(policy: &Policy, around: &Surroundings<'_>, with: &BTreeSet<Check>) -> Vec<Finding> {
    let documents = Documents::parse(&policy.sources);
    let written = Written::new(&documents);
    let examined = Examined::new(policy, around, &written);
    let reach = Reach::new(&examined);
    let mut findings = Vec::new();
    matching::find(&examined, &mut findings);
    let unreached = reach::find(&examined, &reach, &mut findings);
    reach::inside_wider(&examined, &unreached, &mut findings);
    reach::twice(&examined, &mut findings);
    items::find(&examined, &reach, &unreached, &mut findings);
    effects::find(&examined, &unreached, &mut findings);
    entries::find(&examined, &mut findings);
    habits::find(&examined, &mut findings);
    lists::find(&examined, &mut findings);
    upkeep::find(&examined, &mut findings);
    if examined.budget.is_spent() {
        let message = "there are too many rules alike to compare each with every other";
        findings.push(
            Finding::new(Check::NotCompared, None, message).help("what is told is true; something may be missing"),
        );
    }
    findings.retain(|finding| !finding.check.is_opt_in() || with.contains(&finding.check));
    comments::apply(&policy.sources, &mut findings);
    findings.sort_by(|a, b| key(a).cmp(&key(b)));
    findings.dedup();
    findings
}

fn key(finding: &Finding) -> (&str, usize, Check, &str) {
    match &finding.place {
        Some(place) => (&place.source.name, place.span.start, finding.check, &finding.message),
        None => ("", 0, finding.check, &finding.message),
    }
}
