//! Rules, their order, and their tests.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Change, Detail, How, compare, differs, expression::differing};
use crate::{
    policy::{
        rule::{Action, Phase, RefusalStatus, Response, Rule, SkipTarget, Timestamp},
        stated::StatedTest,
    },
    snapshot::Snapshot,
};

/// Rules by their ids.
pub(super) fn rules(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let by_id = |snapshot| rules_of(snapshot).map(|rule| (rule.id.to_string(), rule)).collect();
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (by_id(old), by_id(new));
    let mut changes = compare("rule", &old, &new, gist, contents, details);
    let told: HashSet<(String, How)> = changes.iter().map(|change| (change.name.clone(), change.how)).collect();
    // A table that stands for several rules is told once.
    changes.retain(|change| {
        let main = change.name.strip_suffix(COMPANION);
        main.is_none_or(|main| !told.contains(&(main.to_owned(), change.how)))
    });
    changes
}

/// What the second rule of a `[[lockdown]]` has behind the id of the first.
const COMPANION: &str = ".admitted";

fn rules_of(snapshot: &Snapshot) -> impl Iterator<Item = &Rule> {
    snapshot.policy.rules().iter()
}

/// `block in shadow (lockdown, rules/40-lockdown.toml:4:1)`
fn gist(rule: &Rule) -> String {
    let shadow = if rule.mode.as_str() == "shadow" {
        " in shadow"
    } else {
        ""
    };
    let disabled = if rule.enabled { "" } else { ", disabled" };
    let kind = rule.kind.as_str();
    format!("{}{shadow}{disabled} ({kind}, {})", action(&rule.action), rule.place)
}

/// What a rule that only one side has says.
fn contents(rule: &Rule) -> Vec<Detail> {
    vec![Detail::new("", None, rule.expression.as_str().to_owned())]
}

/// All that a rule is but its place: a rule that only moved did not change.
fn details(before: &Rule, after: &Rule) -> Vec<Detail> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    let expression = (before.expression != after.expression).then(|| {
        let (before, after) = differing(before.expression.as_str(), after.expression.as_str());
        Detail::new("expression", before, after)
    });
    let details = [
        differs("kind", &before.kind, &after.kind, |kind| kind.as_str().to_owned()),
        differs("action", &before.action, &after.action, action),
        differs("mode", &before.mode, &after.mode, |mode| mode.as_str().to_owned()),
        differs("enabled", &before.enabled, &after.enabled, bool::to_string),
        expression,
        differs("reason", &before.reason, &after.reason, |reason| {
            reason.as_str().to_owned()
        }),
        differs("response", &before.response, &after.response, response),
        differs("expires", &before.expires, &after.expires, expires),
        differs("note", &before.note, &after.note, text),
        differs("owner", &before.owner, &after.owner, text),
    ];
    details.into_iter().flatten().collect()
}

const NONE: &str = "none";

fn action(action: &Action) -> String {
    let Action::Skip(targets) = action else {
        return action.as_str().to_owned();
    };
    let names = targets.iter().map(|target| match target {
        SkipTarget::Phase(phase) => phase.as_str().to_owned(),
        SkipTarget::Rule(id) => id.to_string(),
    });
    format!("skip {}", names.collect::<Vec<_>>().join(", "))
}

fn expires(at: &Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| at.to_string())
}

fn response(response: &Option<Response>) -> String {
    let Some(response) = response else {
        return "the site's".to_owned();
    };
    let status = response.status.map(|status| match status {
        RefusalStatus::Status(status) => format!("status {}", status.as_u16()),
        RefusalStatus::Conceal => "status 404".to_owned(),
        RefusalStatus::Close => "status 444".to_owned(),
    });
    let body = response.body.as_ref().map(|body| format!("body {body:?}"));
    let content_type = response.content_type.clone();
    let headers = response
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let parts: Vec<String> = status
        .into_iter()
        .chain(body)
        .chain(content_type)
        .chain(headers)
        .collect();
    parts.join(", ")
}

/// The rules that both sides have and ask in another order: as few as can have moved.
pub(super) fn moved(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    Phase::ALL
        .into_iter()
        .flat_map(|phase| moved_in(phase, old, new))
        .collect()
}

fn moved_in(phase: Phase, old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let ids = |snapshot| -> Vec<&str> {
        let rules = rules_of(snapshot).filter(|rule| rule.phase == phase);
        rules.map(|rule| rule.id.as_str()).collect()
    };
    let (before, after) = (ids(old), ids(new));
    let place: HashMap<&str, usize> = before.iter().enumerate().map(|(at, id)| (*id, at)).collect();
    let common: Vec<(&str, usize)> = after.iter().filter_map(|id| Some((*id, *place.get(id)?))).collect();
    let stay = longest_increasing(&common.iter().map(|(_, at)| *at).collect::<Vec<_>>());
    let behind = |ids: &[&str], id: &str| {
        let at = ids.iter().position(|known| *known == id).unwrap_or_default();
        match at.checked_sub(1).and_then(|at| ids.get(at)) {
            Some(before) => format!("after {before}"),
            None => "first".to_owned(),
        }
    };
    let moved = common.iter().enumerate().filter(|(at, _)| !stay.contains(at));
    moved
        .map(|(_, (id, _))| Change {
            what: "rule",
            name: (*id).to_owned(),
            how: How::Moved,
            gist: format!(
                "now {}, was {} ({})",
                behind(&after, id),
                behind(&before, id),
                phase.as_str()
            ),
            details: Vec::new(),
        })
        .collect()
}

/// The indices of a longest run of growing numbers, which are all different.
fn longest_increasing(numbers: &[usize]) -> HashSet<usize> {
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (at, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers.get(*end).is_some_and(|end| end < number));
        previous.push(length.checked_sub(1).and_then(|length| ends.get(length).copied()));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let last = ends.last().copied();
    std::iter::successors(last, |at| previous.get(*at).copied().flatten()).collect()
}

/// Tests by their names.
pub(super) fn tests(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let by_name = |snapshot: &'_ Snapshot| -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for test in snapshot.policy.tests() {
            *count.entry(test.name.clone()).or_default() += 1;
        }
        count
    };
    let (had, has) = (by_name(old), by_name(new));
    let change = |name: &str, how, gist: String| Change {
        what: "test",
        name: format!("\"{name}\""),
        how,
        gist,
        details: Vec::new(),
    };
    let more = |these: &BTreeMap<String, usize>, others: &BTreeMap<String, usize>, how| -> Vec<Change> {
        let more = these
            .iter()
            .filter(|(name, count)| others.get(*name).copied().unwrap_or_default() < **count);
        more.map(|(name, _)| change(name, how, String::new())).collect()
    };
    let mut changes = more(&has, &had, How::Added);
    changes.extend(more(&had, &has, How::Removed));
    let before: BTreeMap<&str, &StatedTest> = old
        .policy
        .tests()
        .iter()
        .map(|test| (test.name.as_str(), test))
        .collect();
    let changed = new.policy.tests().iter().filter_map(|test| {
        let (was, is) = (expectation(before.get(test.name.as_str())?), expectation(test));
        (was != is).then(|| change(&test.name, How::Changed, format!("it expected {was}, and expects {is}")))
    });
    changes.extend(changed);
    changes
}

fn expectation(test: &StatedTest) -> String {
    test.expected.words()
}

#[cfg(test)]
mod checks {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_that_jumps_over_many_is_the_one_that_moved() {
        let stay = longest_increasing(&[3, 0, 1, 2]);
        assert_eq!((0..4).filter(|at| !stay.contains(at)).collect::<Vec<_>>(), [0]);
        assert!(longest_increasing(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn what_stays_is_in_order(order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let mut stay: Vec<_> = longest_increasing(&order).into_iter().collect();
            stay.sort_unstable();
            prop_assert!(stay.is_sorted_by_key(|at| order[*at]));
            prop_assert!(!stay.is_empty());
        }
    }
}
