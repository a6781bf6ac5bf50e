//! Parts of expressions that never hold where they stand, always hold, or say nothing beside the others.

use super::{
    examined::Examined,
    finding::{Check, Finding},
    matching::empty_list,
    proof::{Cases, Known},
    written::Expression,
};
use crate::policy::{
    lang::{
        ast::{Base, Logic, Predicate, Value},
        located::{Located, Shape},
    },
    rule::Rule,
};

/// Parts that never hold where they stand, always hold, or say nothing beside the others.
pub(super) fn parts(examined: &Examined<'_>, rule: &Rule, expression: &Expression, findings: &mut Vec<Finding>) {
    let mut walk = Walk {
        examined,
        rule,
        expression,
        findings,
    };
    if !walk.always(&expression.root) {
        walk.part(&expression.root, &Cases::always());
    }
}

/// A walk through an expression.
struct Walk<'w, 'p> {
    examined: &'w Examined<'p>,
    rule: &'w Rule,
    expression: &'w Expression,
    findings: &'w mut Vec<Finding>,
}

impl Walk<'_, '_> {
    fn finding(&self, check: Check, part: &Located, message: String) -> Finding {
        Finding::new(check, self.expression.place(&part.span), message).of(self.rule)
    }

    /// Whether a part holds for every request, which is then told. What is written `true` is meant.
    fn always(&mut self, part: &Located) -> bool {
        let reader = &self.examined.reader;
        if is_plain_truth(&part.predicate) {
            return false;
        }
        let opposite = reader.opposite(&part.predicate);
        if !reader.possible(&opposite, Known::Always).is_never() {
            return false;
        }
        let message = match part.span == self.expression.root.span {
            true => format!("`{}` matches every request", self.rule.id),
            false => format!("a part of `{}` holds for every request", self.rule.id),
        };
        let help = match &part.shape {
            Shape::Group(Logic::Or, _) => {
                "`a ne 1 or a ne 2` always holds: write `not a in {1 2}`, or join the parts with `and`"
            }
            Shape::Group(Logic::And | Logic::Xor, _) | Shape::Not(_) | Shape::Test { .. } => {
                "correct it; write `true` if every request is meant"
            }
        };
        let finding = self.finding(Check::AlwaysMatches, part, message);
        self.findings.push(finding.label("always holds").help(help));
        true
    }

    /// `context`: what holds anyway where the part stands.
    fn part(&mut self, part: &Located, context: &Cases) {
        let Shape::Group(logic, parts) = &part.shape else {
            return;
        };
        let reader = &self.examined.reader;
        let read: Vec<Read<'_>> = parts
            .iter()
            .map(|part| {
                let cases = reader.cases(&part.predicate);
                let possible = reader.possible(&cases, Known::Here);
                Read { part, cases, possible }
            })
            .collect();
        match logic {
            Logic::And => self.all(&read, context),
            Logic::Or => self.any(&read, context),
            Logic::Xor => {}
        }
    }

    fn all(&mut self, parts: &[Read<'_>], context: &Cases) {
        for (at, inner) in parts.iter().enumerate() {
            if self.always(inner.part) {
                continue;
            }
            let says_no_more = |other: &Read<'_>| other.possible.is_within(&inner.cases);
            let says_as_much = |other: &Read<'_>| inner.possible.is_within(&other.cases);
            if let Some(other) = beside(parts, at, says_no_more, says_as_much) {
                self.says_nothing(inner.part, other.part, "holds whenever the other part does");
                continue;
            }
            let mut others = parts.iter().enumerate().filter(|(other, _)| *other != at);
            let around = others.try_fold(context.clone(), |all, (_, part)| all.and(&part.possible));
            self.part(inner.part, &around.unwrap_or_else(|| context.clone()));
        }
    }

    fn any(&mut self, parts: &[Read<'_>], context: &Cases) {
        for (at, inner) in parts.iter().enumerate() {
            if inner.possible.and(context).is_some_and(|here| here.is_never()) {
                self.dead(inner);
                continue;
            }
            if self.always(inner.part) {
                continue;
            }
            let covers = |other: &Read<'_>| inner.possible.is_within(&other.cases);
            let is_covered = |other: &Read<'_>| other.possible.is_within(&inner.cases);
            match beside(parts, at, covers, is_covered) {
                Some(other) if !names_the_unknown(&inner.part.predicate) => {
                    self.says_nothing(inner.part, other.part, "whatever passes it passes the other part");
                }
                Some(_) | None => self.part(inner.part, context),
            }
        }
    }

    fn says_nothing(&mut self, part: &Located, other: &Located, why: &str) {
        let message = format!("a part of `{}` says nothing", self.rule.id);
        let finding = self.finding(Check::RedundantPart, part, message);
        let other = self.expression.place(&other.span);
        self.findings
            .push(finding.label(why).related(&other, "the other part").help("remove it"));
    }

    /// An alternative that never holds.
    fn dead(&mut self, part: &Read<'_>) {
        if let Some(list) = empty_list(&part.part.predicate) {
            let message = format!(
                "`${}` has no entries: a part of `{}` never holds",
                list.name(),
                self.rule.id
            );
            let finding = self.finding(Check::EmptyList, part.part, message);
            let finding = finding
                .label("nothing is ever in it")
                .help("fill the list, or remove the reference");
            self.findings.push(finding.hint());
            return;
        }
        let unserved =
            part.possible.is_never() && !self.examined.reader.possible(&part.cases, Known::Always).is_never();
        let label = match unserved {
            true => "no site serves such a host, or its time is over",
            false => "no request passes this, where it stands",
        };
        let message = format!("a part of `{}` can never hold", self.rule.id);
        let finding = self.finding(Check::DeadPart, part.part, message);
        self.findings
            .push(finding.label(label).help("correct it, or remove it"));
    }
}

/// A part, read.
struct Read<'e> {
    part: &'e Located,
    cases: Cases,
    possible: Cases,
}

/// Another part because of which this one says nothing. Of two that say the same the second is told.
fn beside<'r, 'e>(
    parts: &'r [Read<'e>],
    at: usize,
    makes_needless: impl Fn(&Read<'_>) -> bool,
    is_same: impl Fn(&Read<'_>) -> bool,
) -> Option<&'r Read<'e>> {
    let mut others = parts.iter().enumerate().filter(|(other, _)| *other != at);
    others
        .find(|(other, part)| makes_needless(part) && (*other < at || !is_same(part)))
        .map(|(_, part)| part)
}

/// `… or ip.src.country eq "XX"`, which says that unknown countries are meant.
fn names_the_unknown(predicate: &Predicate) -> bool {
    matches!(
        predicate.to_string().as_str(),
        r#"ip.src.country eq "XX""# | r#"ip.src.continent eq "XX""#
    )
}

/// `true`, and what is always false by its definition.
fn is_plain_truth(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Constant(_) => true,
        Predicate::Not(inner) => is_plain_truth(inner),
        Predicate::Holds(Value {
            base: Base::Field(field),
            ..
        }) => field.name == "http.request.headers.truncated",
        Predicate::Holds(_) | Predicate::Group(..) | Predicate::Compare(_) | Predicate::Quantified(..) => false,
    }
}
