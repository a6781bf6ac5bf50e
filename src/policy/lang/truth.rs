//! What an expression comes to. Live traffic knows every fact, so its truth is `bool`; a log line or a half-told request
//! leaves facts unknown, and what depends on them is unknown too.

use super::{
    ast::{Base, Step, Value},
    fields::Fact,
};

/// A truth value: `bool`, or [`Kleene`] where facts may be unknown. The interpreter and the plan are generic over it.
pub trait Truth: Copy + Eq {
    /// Whether facts may be unknown. Where they may not, asking for it is compiled out.
    const MAY_BE_UNKNOWN: bool;

    /// The truth of what is known.
    fn known(value: bool) -> Self;
    /// The truth of what nobody can tell. Never called where [`Truth::MAY_BE_UNKNOWN`] is false.
    fn unknown() -> Self;
    /// The value, if it is known.
    fn value(self) -> Option<bool>;

    /// `not`
    #[must_use]
    fn negated(self) -> Self {
        self.value().map_or(Self::unknown(), |value| Self::known(!value))
    }

    /// `xor`
    #[must_use]
    fn xor(self, other: Self) -> Self {
        match (self.value(), other.value()) {
            (Some(a), Some(b)) => Self::known(a ^ b),
            (None, _) | (_, None) => Self::unknown(),
        }
    }

    /// Whether all hold; asks no further than the first that does not.
    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut outcome = Self::known(true);
        for part in parts {
            match part.value() {
                Some(true) => {}
                Some(false) => return part,
                None => outcome = part,
            }
        }
        outcome
    }

    /// Whether one holds; asks no further than the first that does.
    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut outcome = Self::known(false);
        for part in parts {
            match part.value() {
                Some(false) => {}
                Some(true) => return part,
                None => outcome = part,
            }
        }
        outcome
    }
}

impl Truth for bool {
    const MAY_BE_UNKNOWN: bool = false;

    fn known(value: bool) -> Self {
        value
    }

    fn unknown() -> Self {
        false
    }

    fn value(self) -> Option<bool> {
        Some(self)
    }
}

/// Three-valued truth (Kleene's strong logic): unknown unless the known parts settle it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kleene {
    /// It holds, whatever the unknown facts are.
    True,
    /// It does not hold, whatever the unknown facts are.
    False,
    /// It depends on a fact that is not known.
    Unknown,
}

impl Truth for Kleene {
    const MAY_BE_UNKNOWN: bool = true;

    fn known(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }

    fn unknown() -> Self {
        Self::Unknown
    }

    fn value(self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Unknown => None,
        }
    }
}

/// The facts of a request that nobody recorded. What the request says in their place is not looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unknown<'a> {
    /// Facts other than single headers.
    pub facts: &'a [Fact],
    /// Headers.
    pub headers: UnknownHeaders<'a>,
}

/// Which headers nobody recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownHeaders<'a> {
    /// None: what is not there was not sent.
    #[default]
    None,
    /// All but these, by lower-case name.
    AllBut(&'a [&'a str]),
    /// These, by lower-case name: they were sent, with values that nobody kept. What else is not there was not sent.
    Only(&'a [&'a str]),
    /// These, by lower-case name: whether they were sent is not known either. What else is not there was not sent.
    These(&'a [&'a str]),
}

impl Unknown<'static> {
    /// Everything is known.
    pub const NOTHING: &'static Self = &Self {
        facts: &[],
        headers: UnknownHeaders::None,
    };
}

impl Unknown<'_> {
    /// Whether everything is known.
    pub fn is_nothing(&self) -> bool {
        self.facts.is_empty() && self.headers == UnknownHeaders::None
    }

    /// Whether the value depends on something that is not known.
    pub(in crate::policy) fn touches(&self, value: &Value) -> bool {
        match &value.base {
            Base::Literal(_) => false,
            Base::Call(call) => call.arguments.iter().any(|argument| self.touches(argument)),
            Base::Field(field) => {
                let key = key(value);
                field.reads.iter().any(|fact| self.holds(*fact, key))
            }
        }
    }

    /// What of the value is not known, in words: `the header x-foo`.
    pub(super) fn missing(&self, value: &Value) -> Option<String> {
        match &value.base {
            Base::Literal(_) => None,
            Base::Call(call) => call.arguments.iter().find_map(|argument| self.missing(argument)),
            Base::Field(field) => {
                let key = key(value);
                let fact = field.reads.iter().find(|fact| self.holds(**fact, key))?;
                Some(fact.in_words(key))
            }
        }
    }

    fn holds(&self, fact: Fact, key: Option<&str>) -> bool {
        match (fact, key) {
            (Fact::Header(name), _) => self.hides(name),
            (Fact::Headers, Some(name)) => self.hides(name),
            (Fact::Headers, None) => match self.headers {
                UnknownHeaders::None => self.facts.iter().any(|fact| matches!(fact, Fact::Header(_))),
                UnknownHeaders::AllBut(_) | UnknownHeaders::Only(_) | UnknownHeaders::These(_) => true,
            },
            (Fact::HeaderNames, _) => matches!(self.headers, UnknownHeaders::AllBut(_) | UnknownHeaders::These(_)),
            // A Referer whose query was taken out still tells its host.
            (Fact::RefererHost, _) => match self.headers {
                UnknownHeaders::AllBut(known) => !named(known, "referer"),
                UnknownHeaders::These(unknown) => named(unknown, "referer"),
                UnknownHeaders::None | UnknownHeaders::Only(_) => false,
            },
            (Fact::Port, _) => self.facts.contains(&Fact::Port) || self.facts.contains(&Fact::Host),
            (fact, _) => self.facts.contains(&fact),
        }
    }

    fn hides(&self, header: &str) -> bool {
        let is_named = || {
            let named = |fact: &Fact| matches!(fact, Fact::Header(name) if name.eq_ignore_ascii_case(header));
            self.facts.iter().any(named)
        };
        is_named()
            || match self.headers {
                UnknownHeaders::None => false,
                UnknownHeaders::AllBut(known) => !named(known, header),
                UnknownHeaders::Only(unknown) | UnknownHeaders::These(unknown) => named(unknown, header),
            }
    }
}

fn key(value: &Value) -> Option<&str> {
    value.steps.iter().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) | Step::Each => None,
    })
}

impl Fact {
    /// As people say it; `key` is the header's name where a map of headers is asked.
    fn in_words(self, key: Option<&str>) -> String {
        let words = match (self, key) {
            (Self::Header(name), _) | (Self::Headers, Some(name)) => return format!("the header {name}"),
            (Self::Headers, None) => "all headers",
            (Self::HeaderNames, _) => "the names of the headers",
            (Self::RefererHost, _) => "the header referer",
            (Self::Now, _) => "the time",
            (Self::Site, _) => "the site",
            (Self::Tls, _) => "whether the client speaks TLS",
            (Self::Version, _) => "the version of HTTP",
            (Self::Method, _) => "the method",
            (Self::Host, _) => "the host",
            (Self::Port, _) => "the port in Host",
            (Self::Path, _) => "the path",
            (Self::Query, _) => "the query",
            (Self::RawTarget, _) => "the target as sent",
            (Self::Client, _) => "the client's address",
            (Self::Country, _) => "the client's country",
            (Self::Continent, _) => "the client's continent",
            (Self::Asn, _) => "the client's autonomous system",
        };
        words.to_owned()
    }
}

/// Expressions may name a header in any case.
fn named(headers: &[&str], name: &str) -> bool {
    headers.iter().any(|header| header.eq_ignore_ascii_case(name))
}
