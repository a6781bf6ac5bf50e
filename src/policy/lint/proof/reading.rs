//! Reads checked expressions into cases, and knows what values can be at all.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use super::{
    cases::{Case, Cases},
    domain::{Domain, Values},
    intervals::{Addresses, Intervals},
    named::{Made, Named, numbers, one_of, subject},
    pattern::{Glob, Pattern},
    texts::{OneOf, Texts},
};
use crate::policy::{
    facts::HttpVersion,
    lang::{
        Case as Letters,
        ast::{Base, Call, Comparison, Literal, Logic, Predicate, Relation, Set, Test, Value},
        types::{Scalar, Type},
    },
    network::IpRange,
    site::{HostPattern, SiteFacts},
    user_agents::Category,
};

/// What is known of all requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy::lint) enum Known {
    /// What holds of every request to any gateway.
    Always,
    /// What holds of requests to this one from now on: its hosts, its sites, the time.
    Here,
}

/// Reads expressions.
#[derive(Debug)]
pub(in crate::policy::lint) struct Reader {
    hosts: Option<OneOf>,
    sites: Option<OneOf>,
    now: i64,
    /// Lists of addresses, read once.
    lists: RefCell<HashMap<String, Addresses>>,
}

impl Reader {
    /// A reader that knows the sites and the time.
    pub(in crate::policy::lint) fn new(sites: &[SiteFacts], now: i64) -> Self {
        let patterns: Vec<&HostPattern> = sites.iter().flat_map(|site| &site.hosts).collect();
        let hosts = (!patterns.contains(&&HostPattern::Any) && !patterns.is_empty()).then(|| {
            OneOf::patterns(patterns.into_iter().filter_map(|pattern| match pattern {
                HostPattern::Exact(name) => {
                    Some(Pattern::Glob(Glob::new([name.as_str().as_bytes()], Letters::Sensitive)))
                }
                HostPattern::Below(name) => {
                    let suffix = format!(".{name}");
                    Some(Pattern::Glob(Glob::ending(suffix.as_bytes(), Letters::Sensitive)))
                }
                HostPattern::Any => None,
            }))
        });
        let names = sites.iter().map(|site| site.name.as_bytes().into());
        Self {
            hosts,
            sites: (!sites.is_empty()).then(|| OneOf::texts(names)),
            now,
            lists: RefCell::default(),
        }
    }

    /// The cases in which the condition holds.
    pub(in crate::policy::lint) fn cases(&self, predicate: &Predicate) -> Cases {
        self.read(predicate, true)
    }

    /// The cases in which the condition does not hold.
    pub(in crate::policy::lint) fn opposite(&self, predicate: &Predicate) -> Cases {
        self.read(predicate, false)
    }

    /// Those of the cases that can be, as far as is known.
    pub(in crate::policy::lint) fn possible(&self, cases: &Cases, known: Known) -> Cases {
        let cases = cases.0.iter().map(|case| {
            let narrowed = case.0.iter().map(|(subject, domain)| {
                let domain = match self.universe(subject, known) {
                    Some(universe) => domain.intersection(&universe),
                    None => domain.clone(),
                };
                (Arc::clone(subject), domain)
            });
            Case(narrowed.collect())
        });
        Cases(cases.filter(|case| !case.is_empty()).collect())
    }

    /// What a value can be at all.
    fn universe(&self, subject: &str, known: Known) -> Option<Domain> {
        let texts = |one_of| Domain::of(Values::Texts(Texts::one_of(one_of)));
        let numbers = |first, last| Domain::of(Values::Numbers(Intervals::of([(first, last)])));
        let spelled = |all: &[&str]| texts(OneOf::texts(all.iter().map(|text| text.as_bytes().into())));
        match (subject, known) {
            ("http.request.uri.path" | "http.request.uri", _) => Some(texts(OneOf::patterns([Pattern::Glob(
                Glob::starting(b"/", Letters::Sensitive),
            )]))),
            ("http.request.version", _) => {
                let versions = [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2];
                Some(spelled(&versions.map(HttpVersion::as_str)))
            }
            ("ip.src.continent", _) => Some(spelled(&["AF", "AN", "AS", "EU", "NA", "OC", "SA", "XX"])),
            ("portcullis.user_agent.category", _) => {
                let categories = Category::ALL.map(Category::as_str);
                let none = std::iter::once("");
                Some(spelled(&none.chain(categories).collect::<Vec<_>>()))
            }
            ("ip.src.asnum", _) => Some(numbers(0, i64::from(u32::MAX))),
            ("http.request.headers.truncated", _) => Some(Domain::truth(false)),
            ("http.host", Known::Here) => self.hosts.clone().map(texts),
            ("portcullis.site", Known::Here) => self.sites.clone().map(texts),
            ("portcullis.now", Known::Here) => Some(numbers(self.now, i64::MAX)),
            (_, Known::Always | Known::Here) => None,
        }
    }

    fn read(&self, predicate: &Predicate, holds: bool) -> Cases {
        match predicate {
            Predicate::Constant(value) if *value == holds => Cases::always(),
            Predicate::Constant(_) => Cases::never(),
            Predicate::Not(inner) => self.read(inner, !holds),
            Predicate::Group(Logic::Xor, parts) => {
                self.either(parts, holds).unwrap_or_else(|| itself(predicate, holds))
            }
            Predicate::Group(logic, parts) => {
                // Not all hold: one does not.
                if (*logic == Logic::And) == holds {
                    self.all(parts, holds)
                } else {
                    let read = parts.iter().map(|part| self.read(part, holds));
                    Cases::any(read).unwrap_or_else(|| itself(predicate, holds))
                }
            }
            Predicate::Compare(comparison) => self
                .comparison(comparison, holds)
                .unwrap_or_else(|| itself(predicate, holds)),
            Predicate::Holds(value) => self.condition(value, holds).unwrap_or_else(|| itself(predicate, holds)),
            Predicate::Quantified(..) => itself(predicate, holds),
        }
    }

    fn all(&self, parts: &[Predicate], holds: bool) -> Cases {
        parts.iter().fold(Cases::always(), |all, part| {
            let joined = all.and(&self.read(part, holds));
            joined.or_else(|| all.and(&itself(part, holds))).unwrap_or(all)
        })
    }

    /// Exactly one of two.
    fn either(&self, parts: &[Predicate], holds: bool) -> Option<Cases> {
        let [a, b] = parts else { return None };
        let first = self.read(a, true).and(&self.read(b, !holds))?;
        let second = self.read(a, false).and(&self.read(b, holds))?;
        Cases::any([first, second])
    }

    fn comparison(&self, comparison: &Comparison, holds: bool) -> Option<Cases> {
        let Comparison { value, test } = comparison;
        match value.ty {
            Type::One(Scalar::String) => {
                // `ne` holds of every text but one; of an absent one neither it nor `eq` does.
                let (test, inverted) = match test {
                    Test::Relation(Relation::NotEqual, text) => (&Test::Relation(Relation::Equal, text.clone()), true),
                    test => (test, false),
                };
                let named = Named::of(value);
                let (named, texts) = match one_of(test, named.made) {
                    Some(one_of) => (named, one_of),
                    None => (Named::plain(value), one_of(test, Made::AsSent)?),
                };
                Some(named.texts(texts, holds != inverted, holds))
            }
            Type::One(Scalar::Int) => {
                let numbers = numbers(test)?;
                let numbers = if holds { numbers } else { numbers.complement() };
                Some(Named::plain(value).cases(Values::Numbers(numbers), holds))
            }
            Type::One(Scalar::Ip) => {
                let addresses = self.addresses(test)?;
                let addresses = if holds { addresses } else { addresses.complement() };
                Some(Named::plain(value).cases(Values::Addresses(addresses), holds))
            }
            Type::One(Scalar::Bool) | Type::Array(_) | Type::Each(_) | Type::Map => None,
        }
    }

    fn addresses(&self, test: &Test) -> Option<Addresses> {
        let single = |address| IpRange::new(address, address);
        match test {
            Test::Relation(Relation::Equal, Literal::Ip(address)) => Some(Addresses::of(single(*address))),
            Test::Relation(Relation::NotEqual, Literal::Ip(address)) => {
                Some(Addresses::of(single(*address)).complement())
            }
            Test::In(Set::Ip { set, .. }) => Some(Addresses::of_set(set)),
            Test::InList(list) => {
                let mut lists = self.lists.borrow_mut();
                let set = list.addresses()?;
                let known = lists.entry(list.name().to_owned());
                Some(known.or_insert_with(|| Addresses::of_set(set)).clone())
            }
            Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_) => None,
        }
    }

    /// `starts_with(…)` and `ends_with(…)` are tests of a text; other conditions are true or false.
    fn condition(&self, value: &Value, holds: bool) -> Option<Cases> {
        if let Base::Call(Call { function, arguments }) = &value.base
            && let [text, end] = arguments.as_slice()
            && let Base::Literal(Literal::Text(end)) = &end.base
            && text.ty == Type::STRING
            && value.steps.is_empty()
        {
            let named = Named::of(text);
            let glob = match function.name {
                "starts_with" => Glob::starting(end, named.made.letters()),
                "ends_with" => Glob::ending(end, named.made.letters()),
                _ => return None,
            };
            let one_of = OneOf::patterns([Pattern::Glob(glob)]);
            return named.made.fits(end).then(|| named.texts(one_of, holds, holds));
        }
        None
    }
}

/// A condition that stands for itself.
fn itself(predicate: &Predicate, holds: bool) -> Cases {
    let subject = match predicate {
        // A fact by its name, so that what is known of it is found.
        Predicate::Holds(value) => subject(value),
        predicate => predicate.to_string().into(),
    };
    Cases(vec![Case::about(subject, Domain::truth(holds))])
}
