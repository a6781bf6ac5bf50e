//! Lists that nothing uses, and lists without entries that something does.

use std::collections::{HashMap, HashSet};

use super::{
    examined::Examined,
    finding::{Check, Finding},
};
use crate::policy::{
    lang::ast::{Elementwise, Predicate, Test},
    rule::{Action, Kind},
};

pub(super) fn find(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    let mut used: HashSet<&str> = examined.around.lists_used.iter().map(String::as_str).collect();
    let mut disabled: HashMap<&str, &str> = HashMap::new();
    for read in &examined.rules {
        let mut names = Vec::new();
        lists_of(read.rule.expression.root(), &mut names);
        for name in names {
            if read.rule.enabled {
                used.insert(name);
            } else {
                disabled.entry(name).or_insert(read.rule.id.as_str());
            }
        }
    }
    for (name, place, table) in &examined.written.lists {
        if used.contains(name.as_str()) {
            continue;
        }
        let finding = Finding::new(
            Check::UnusedList,
            place.clone(),
            format!("nothing uses the list `{name}`"),
        )
        .in_table(table.clone());
        findings.push(match disabled.get(name.as_str()) {
            Some(rule) => finding
                .label(format!("only `{rule}` does, which is disabled"))
                .help("enable the rule, or remove both")
                .hint(),
            None => finding.help(format!("remove it, or refer to it as `${name}`")),
        });
    }
    empty(examined, findings);
}

/// Lists without entries: whom a lock admits, or an allow lets in, by one is nobody.
fn empty(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    let policy = examined.policy;
    for read in examined
        .entries()
        .filter(|read| read.is_asked() && read.rule.kind != Kind::Rule)
    {
        let mut names = Vec::new();
        lists_of(read.rule.expression.root(), &mut names);
        names.dedup();
        for name in names {
            let Some(list) = policy.list(name).filter(|list| list.is_empty()) else {
                continue;
            };
            let (what, is_hint) = match (read.rule.kind, &read.rule.action) {
                (Kind::Lockdown, _) => ("admits nobody by it", false),
                (_, Action::Allow) => ("lets in nobody by it", false),
                (_, Action::Block | Action::Log | Action::Skip(_)) => ("matches nothing by it", true),
            };
            let id = &read.rule.id;
            let finding = Finding::new(
                Check::EmptyList,
                read.rule.place.clone(),
                format!("`${}` has no entries: `{id}` {what}", list.name()),
            )
            .of(read.rule)
            .help(format!("fill `${name}`, or remove the reference"));
            findings.push(if is_hint { finding.hint() } else { finding });
        }
    }
}

/// The lists that a condition refers to.
fn lists_of<'e>(predicate: &'e Predicate, found: &mut Vec<&'e str>) {
    match predicate {
        Predicate::Constant(_) | Predicate::Holds(_) => {}
        Predicate::Not(inner) => lists_of(inner, found),
        Predicate::Group(_, parts) => parts.iter().for_each(|part| lists_of(part, found)),
        Predicate::Compare(comparison) => found.extend(list_of(&comparison.test)),
        Predicate::Quantified(_, each) => found.extend(list_of_each(each)),
    }
}

fn list_of_each(each: &Elementwise) -> Option<&str> {
    match each {
        Elementwise::Not(inner) => list_of_each(inner),
        Elementwise::Compare(comparison) => list_of(&comparison.test),
        Elementwise::Holds(_) => None,
    }
}

fn list_of(test: &Test) -> Option<&str> {
    match test {
        Test::InList(list) => Some(list.name()),
        Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_) => None,
    }
}
