//! Portcullis as contestant: policies compiled from text, without a file.

use std::sync::Arc;

use portcullis::policy::{
    decision::{Decision, Verdict},
    fault::{Faults, Source},
    lang::GeoKnown,
    policy::{ListFiles, Policy, PolicyEnvironment},
    rule::Timestamp,
    site::{DefaultVerdict, HostPattern, SiteFacts},
};

use crate::rules;

/// 2026-01-01T00:00:00Z
pub const NOW: Timestamp = Timestamp(1_767_225_600);

/// The site of every request.
pub fn site() -> SiteFacts {
    SiteFacts {
        name: "main".to_owned(),
        hosts: vec![HostPattern::Any],
        upstream: "app".to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    }
}

/// Compiles a rule file whose list has these entries.
///
/// # Panics
/// When the generated rules do not load.
pub fn compiled(rules: &str, list: &str) -> Policy {
    let mut faults = Faults::new();
    let environment = PolicyEnvironment {
        sites: &[site()],
        geo: GeoKnown::ALL,
        files: &OneFile(Source::new(rules::LIST_FILE, list)),
        now: NOW,
        previous: None,
    };
    let policy = Policy::compile(&[Source::new("generated.toml", rules)], &environment, &mut faults);
    policy.unwrap_or_else(|| panic!("generated rules do not load: {:?}", faults.into_sorted()))
}

/// The file of the generated list.
struct OneFile(Arc<Source>);

impl ListFiles for OneFile {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        match path == self.0.name {
            true => Ok(Arc::clone(&self.0)),
            false => Err("no such file".to_owned()),
        }
    }
}

/// Whether the request may pass.
pub fn allows(decision: &Decision<'_>) -> bool {
    match decision.verdict {
        Verdict::Allow { .. } => true,
        Verdict::Block { .. } => false,
    }
}
