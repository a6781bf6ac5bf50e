//! Rules, and parts of their expressions, that never match or always do.

use super::{
    entries,
    examined::{Examined, Read},
    finding::{Check, Finding},
    parts::parts,
    proof::{Case, Cases, Known},
    written::Expression,
};
use crate::policy::{
    fault::Place,
    lang::{
        ast::{Comparison, Logic, Predicate, Test},
        located::{Located, Shape},
    },
    list::List,
    rule::{Action, Kind, Rule},
};

pub(super) fn find(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    for read in examined.entries().filter(|read| read.rule.enabled) {
        let lapsed = read
            .rule
            .expires
            .is_some_and(|expires| expires.0 <= examined.around.now.0);
        if lapsed {
            findings.push(expired(examined, read.rule));
        } else if read.possible.is_never() {
            findings.extend(never(examined, read));
        } else if let Some(expression) = expression(examined, read.rule) {
            parts(examined, read.rule, &expression, findings);
        }
        soon(examined, read.rule, findings);
    }
}

pub(super) fn expression(examined: &Examined<'_>, rule: &Rule) -> Option<std::sync::Arc<Expression>> {
    (rule.kind == Kind::Rule).then(|| examined.written.expression(rule, &examined.environment()))?
}

fn expired(examined: &Examined<'_>, rule: &Rule) -> Finding {
    let place = examined
        .written
        .value(rule, "expires")
        .map_or_else(|| rule.place.clone(), |value| value.place());
    let what = if rule.action == Action::Block {
        "no longer blocks anything"
    } else {
        "will never match again"
    };
    Finding::new(Check::Expired, place, format!("`{}` has lapsed: it {what}", rule.id))
        .of(rule)
        .help("move the date, or remove the rule")
}

/// A block that lapses opens the gate, whatever it is for.
fn soon(examined: &Examined<'_>, rule: &Rule, findings: &mut Vec<Finding>) {
    const DAY: i64 = 24 * 60 * 60;
    let Some(expires) = rule.expires else { return };
    let left = expires.0.saturating_sub(examined.around.now.0);
    if rule.action != Action::Block || left <= 0 || left > 7 * DAY {
        return;
    }
    let place = examined
        .written
        .value(rule, "expires")
        .map_or_else(|| rule.place.clone(), |value| value.place());
    let when = match left / DAY {
        0 => "within a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    };
    findings.push(
        Finding::new(Check::ExpiresSoon, place, format!("`{}` lapses {when}", rule.id))
            .of(rule)
            .label("what it keeps out may come in then")
            .help("move the date, or remove the rule when it is no longer needed"),
    );
}

/// Why a rule never matches; nothing, if one of its hosts is told for it.
fn never(examined: &Examined<'_>, read: &Read<'_>) -> Option<Finding> {
    let rule = read.rule;
    let reader = &examined.reader;
    if let Some(list) = empty_list(rule.expression.root()) {
        let message = format!("`{}` never matches: `${}` has no entries", rule.id, list.name());
        let finding = Finding::new(Check::EmptyList, rule.place.clone(), message)
            .of(rule)
            .help(format!("fill `${}`, or remove the reference", list.name()));
        // Whom an allow lets in by it is nobody; a list of blocked addresses may well be empty for a time.
        return Some(if rule.action == Action::Allow {
            finding
        } else {
            finding.hint()
        });
    }
    if !reader.possible(&read.cases, Known::Always).is_never() {
        if !entries::unserved(examined, read).is_empty() {
            return None;
        }
        let of_host = |case: &Case| case.0.contains_key("http.host") || case.0.contains_key("portcullis.site");
        if !read.cases.0.iter().any(of_host) {
            let message = format!("`{}` will never match again: the time that it names is over", rule.id);
            return Some(
                Finding::new(Check::Expired, rule.place.clone(), message)
                    .of(rule)
                    .help("correct the time, or remove the rule"),
            );
        }
        let message = format!("`{}` never matches: no site serves a host that it is for", rule.id);
        let finding = Finding::new(Check::UnservedHost, rule.place.clone(), message)
            .of(rule)
            .help("check the spelling against the `hosts` of the sites");
        return Some(
            match expression(examined, rule).and_then(|expression| culprit(examined, &expression)) {
                Some(place) => Finding {
                    place: Some(place),
                    ..finding
                },
                None => finding,
            },
        );
    }
    if rule.kind == Kind::Lockdown {
        return Some(
            Finding::new(
                Check::Contradiction,
                rule.place.clone(),
                format!("`{}` locks nothing", rule.id),
            )
            .of(rule)
            .label("`except` takes out every URL of it, or `allow` admits everyone")
            .help("leave in `except` only what is to stay open, and in `allow` only those who may come in"),
        );
    }
    let finding = Finding::new(
        Check::Contradiction,
        rule.place.clone(),
        format!("`{}` can never match", rule.id),
    )
    .of(rule);
    Some(match expression(examined, rule) {
        Some(expression) => contradiction(examined, &expression, finding),
        None => finding.label("its parts exclude each other"),
    })
}

/// The part because of which no request passes, if it is one alone.
fn culprit(examined: &Examined<'_>, expression: &Expression) -> Option<Place> {
    let impossible = |part: &&Located| {
        let cases = examined.reader.cases(&part.predicate);
        examined.reader.possible(&cases, Known::Here).is_never()
    };
    let found = conjuncts(&expression.root).into_iter().find(impossible)?;
    Some(expression.place(&found.span))
}

/// The parts that must all hold.
fn conjuncts(root: &Located) -> Vec<&Located> {
    match &root.shape {
        Shape::Group(Logic::And, parts) => parts.iter().flat_map(conjuncts).collect(),
        Shape::Group(Logic::Or | Logic::Xor, _) | Shape::Not(_) | Shape::Test { .. } => vec![root],
    }
}

fn contradiction(examined: &Examined<'_>, expression: &Expression, finding: Finding) -> Finding {
    let reader = &examined.reader;
    let parts = conjuncts(&expression.root);
    let read: Vec<Cases> = parts
        .iter()
        .map(|part| reader.possible(&reader.cases(&part.predicate), Known::Here))
        .collect();
    let at = |finding: Finding, part: &Located, label: &str| Finding {
        place: Some(expression.place(&part.span)),
        ..finding.label(label)
    };
    if let Some((part, _)) = parts.iter().zip(&read).find(|(_, cases)| cases.is_never()) {
        return at(finding, part, "no request passes this").help("correct it, or remove the rule");
    }
    for (second, b) in read.iter().enumerate() {
        for (first, a) in read.iter().enumerate().take(second) {
            if a.excludes(b)
                && let (Some(one), Some(other)) = (parts.get(first), parts.get(second))
            {
                let finding = at(finding, other, "no request passes this and the other part");
                return finding
                    .related(&expression.place(&one.span), "the other part")
                    .help("join them with `or`, if either is enough; or correct one of them");
            }
        }
    }
    let alone = reader.possible(&reader.cases(&expression.root.predicate), Known::Here);
    let label = match alone.is_never() {
        true => "no request passes all of its parts",
        false => "no request passes this and the rule's `hosts`",
    };
    at(finding, &expression.root, label).help("correct it, or remove the rule")
}

/// A list without entries because of which a condition never holds.
pub(super) fn empty_list(predicate: &Predicate) -> Option<&List> {
    match predicate {
        Predicate::Compare(Comparison {
            test: Test::InList(list),
            ..
        }) if list.is_empty() => Some(list),
        Predicate::Group(Logic::And | Logic::Or, parts) => parts.iter().find_map(empty_list),
        Predicate::Constant(_)
        | Predicate::Not(_)
        | Predicate::Group(Logic::Xor, _)
        | Predicate::Compare(_)
        | Predicate::Holds(_)
        | Predicate::Quantified(..) => None,
    }
}
