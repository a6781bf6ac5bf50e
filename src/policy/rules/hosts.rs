//! The condition that `hosts` stands for.

use crate::policy::site::HostPattern;

use super::text::{Condition, quoted};

/// The condition that the request's host is one of these. `None`: any is.
pub(super) fn condition(hosts: &[HostPattern]) -> Option<Condition> {
    if hosts.contains(&HostPattern::Any) {
        return None;
    }
    let exact: Vec<String> = hosts
        .iter()
        .filter_map(|pattern| match pattern {
            HostPattern::Exact(name) => Some(quoted(name.as_str())),
            HostPattern::Below(_) | HostPattern::Any => None,
        })
        .collect();
    let below = hosts.iter().filter_map(|pattern| match pattern {
        HostPattern::Below(name) => Some(Condition::single(format!(
            "ends_with(http.host, {})",
            quoted(&format!(".{name}"))
        ))),
        HostPattern::Exact(_) | HostPattern::Any => None,
    });
    Condition::any_of(Condition::one_of("http.host", &exact).into_iter().chain(below))
}
