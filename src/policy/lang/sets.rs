//! Checks what follows `in`: sets written in the rule, and named lists.

use super::{
    ast::{Literal, Set, Test},
    check::Checker,
    diagnostics::Diagnostic,
    fields::Sort,
    impossible, literals,
    syntax::{At, Literal as Written, Right},
    types::Scalar,
};
use crate::policy::{facts::Country, list::ListKind};

impl Checker<'_> {
    /// What follows `in`.
    pub(super) fn membership(&mut self, right: &At<Right>, scalar: Scalar, sort: Sort) -> Option<Test> {
        match &right.node {
            Right::Set(elements) => self.set(right, elements, scalar, sort).map(Test::In),
            Right::List(name) => self.list(right, name, scalar, sort),
            Right::Literal(literal) => self.fault(
                Diagnostic::new(right.span.clone(), "`in` is followed by a set or a list")
                    .expected("expected `{` or `$`")
                    .help(match literal {
                        Written::Word(word) => format!("write `in {{{word}}}`"),
                        Written::Text { raw: false, body } => format!("write `in {{\"{body}\"}}`"),
                        Written::Text { raw: true, .. } => "write `in {…}`".to_owned(),
                    }),
            ),
            Right::Name(name) => self.fault(
                Diagnostic::new(right.span.clone(), "`in` is followed by a set or a list")
                    .expected("expected `{` or `$`")
                    .help(if self.environment.lists.named(name).is_some() {
                        format!("write `in ${name}`")
                    } else {
                        "write `in {…}` with spaces between the elements, or `in $name`".to_owned()
                    }),
            ),
        }
    }

    fn set(&mut self, right: &At<Right>, elements: &[At<Written>], scalar: Scalar, sort: Sort) -> Option<Set> {
        if elements.is_empty() {
            return self.fault(
                Diagnostic::new(right.span.clone(), "this set is empty: nothing is ever in it")
                    .expected("expected an element"),
            );
        }
        match scalar {
            Scalar::Int => {
                let ranges = self.every(elements, |checker, element| {
                    let (first, last) = checker.sound(literals::int_range(element))?;
                    checker.possible(sort, &Literal::Int(first), element)?;
                    checker.possible(sort, &Literal::Int(last), element)?;
                    Some((first, last))
                })?;
                Some(Set::int(ranges))
            }
            Scalar::Ip => {
                let ranges = self.every(elements, |checker, element| checker.sound(literals::ip_range(element)))?;
                Some(Set::ip(ranges))
            }
            Scalar::String => {
                let texts = self.every(elements, |checker, element| {
                    let value = checker.literal(element, Scalar::String)?;
                    checker.possible(sort, &value, element)?;
                    match value {
                        Literal::Text(text) => Some(text),
                        Literal::Int(_) | Literal::Ip(_) | Literal::Bool(_) => None,
                    }
                })?;
                Some(Set::text(texts))
            }
            Scalar::Bool => self.fault(Diagnostic::new(right.span.clone(), "conditions are in no set")),
        }
    }

    /// All elements checked, so that every wrong one is named.
    fn every<T>(
        &mut self,
        elements: &[At<Written>],
        check: impl Fn(&mut Self, &At<Written>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let checked: Vec<Option<T>> = elements.iter().map(|element| check(self, element)).collect();
        checked.into_iter().collect()
    }

    fn list(&mut self, right: &At<Right>, name: &str, scalar: Scalar, sort: Sort) -> Option<Test> {
        let environment = self.environment;
        let Some(list) = environment.lists.named(name) else {
            if name.starts_with("cf.") {
                return self.fault(
                    Diagnostic::new(right.span.clone(), format!("`${name}` is not available here"))
                        .expected("this is a list of Cloudflare's")
                        .help("keep a list of your own: `[list.name]` in a rules file"),
                );
            }
            let known = environment.lists.iter().map(|list| list.name());
            return self.fault(
                Diagnostic::new(right.span.clone(), format!("there is no list `${name}`"))
                    .help(format!("define it as `[list.{name}]` in a rules file"))
                    .suggest(name, known),
            );
        };
        let wanted = match (scalar, sort) {
            (Scalar::Ip, _) => ListKind::Ip,
            (Scalar::Int, Sort::Asn) => ListKind::Asn,
            (Scalar::String, Sort::Country) => ListKind::Country,
            (Scalar::String, _) => ListKind::String,
            (Scalar::Int | Scalar::Bool, _) => {
                return self.fault(
                    Diagnostic::new(right.span.clone(), "no kind of list holds such values").help("write `in {…}`"),
                );
            }
        };
        if list.kind() != wanted {
            return self.fault(
                Diagnostic::new(
                    right.span.clone(),
                    format!("`${name}` is a list of kind \"{}\"", list.kind().as_str()),
                )
                .expected(format!("expected a list of kind \"{}\"", wanted.as_str())),
            );
        }
        let mut never = list.strings().filter_map(|item| {
            let fault = impossible::value(sort, item, &right.span, environment)?;
            Some((String::from_utf8_lossy(item), fault))
        });
        // One is told: the whole list may be of another kind than the field.
        if let Some((item, fault)) = never.by_ref().min_by(|(a, _), (b, _)| a.cmp(b)) {
            let message = format!(
                "\"{}\" of `${name}` can never match: {}",
                item.escape_debug(),
                fault.message
            );
            return self.fault(Diagnostic { message, ..fault });
        }
        if list.contains_country(Country::TOR) && !environment.geo.tor {
            return self.fault(
                Diagnostic::new(
                    right.span.clone(),
                    format!("`${name}` holds `T1`, but no list of Tor exits is configured"),
                )
                .help("set `tor = \"$list\"` in [geoip]"),
            );
        }
        Some(Test::InList(list.clone()))
    }
}
