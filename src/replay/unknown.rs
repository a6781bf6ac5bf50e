//! What of a request its log line does not say, and the headers that it says.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::record::{OtherHeaders, Request, Said};
use crate::{
    gateway::head::HeadError,
    policy::{
        lang::{Unknown, UnknownHeaders, fields::Fact},
        normalize::Malformed,
    },
};

/// Which facts of a request are unknown.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Ignorance {
    pub(super) facts: Vec<Fact>,
    /// By lower-case name: the headers that are known, or those that are not.
    headers: Vec<Cow<'static, str>>,
    /// Whether `headers` are the ones that are not known.
    lists_unknown: bool,
}

impl Clone for Ignorance {
    fn clone(&self) -> Self {
        Self {
            facts: self.facts.clone(),
            headers: self.headers.clone(),
            lists_unknown: self.lists_unknown,
        }
    }

    /// Into the memory that is there: once a line.
    fn clone_from(&mut self, other: &Self) {
        self.facts.clone_from(&other.facts);
        self.headers.clone_from(&other.headers);
        self.lists_unknown = other.lists_unknown;
    }
}

impl Ignorance {
    /// Calls `with` with what is unknown as policies take it.
    pub fn unknown<T>(&self, with: impl FnOnce(&Unknown<'_>) -> T) -> T {
        let names: Vec<&str> = self.headers.iter().map(AsRef::as_ref).collect();
        let headers = match self.lists_unknown {
            true => UnknownHeaders::These(&names),
            false => UnknownHeaders::AllBut(&names),
        };
        with(&Unknown {
            facts: &self.facts,
            headers,
        })
    }
}

impl Ignorance {
    /// Whether the path is known.
    pub fn knows_path(&self) -> bool {
        !self.facts.contains(&Fact::Path)
    }

    /// What is unknown, in words.
    pub fn in_words(&self) -> Vec<String> {
        let facts = self
            .facts
            .iter()
            .filter_map(|fact| fact_in_words(*fact))
            .map(str::to_owned);
        let names: Vec<&str> = self.headers.iter().map(AsRef::as_ref).collect();
        let headers = match (self.lists_unknown, names.as_slice()) {
            (true, []) => None,
            (true, unknown) => Some(format!("the headers {}", unknown.join(", "))),
            (false, []) => Some("all headers".to_owned()),
            (false, known) => Some(format!("all headers but {}", known.join(", "))),
        };
        facts.chain(headers).collect()
    }
}

/// What a fact is called where it is missing; those that are missing with another one are not told.
fn fact_in_words(fact: Fact) -> Option<&'static str> {
    match fact {
        Fact::Now => Some("the time"),
        Fact::Site | Fact::Host => Some("the host (--host says it)"),
        Fact::Port => Some("the port in Host"),
        Fact::Tls => Some("whether TLS was spoken (--scheme says it)"),
        Fact::Version => Some("the HTTP version"),
        Fact::Method => Some("the method"),
        Fact::Path => Some("targets that are cut or redacted"),
        Fact::Query => Some("queries that are redacted"),
        Fact::Client => Some("the client behind a trusted proxy"),
        // Of no other header a part is said.
        Fact::Header(_) => Some("what follows the host in Referer"),
        Fact::RawTarget
        | Fact::Headers
        | Fact::HeaderNames
        | Fact::RefererHost
        | Fact::Country
        | Fact::Continent
        | Fact::Asn => None,
    }
}

/// The headers of a record, and which of them are not known.
#[derive(Debug, Default)]
pub struct Headers {
    /// The known ones.
    pub map: HeaderMap,
    pub(super) known: Ignorance,
}

impl Headers {
    /// Takes those of a record. `is_read`: whether any policy looks at the header of a name.
    ///
    /// # Errors
    /// A value is none that a request can have.
    pub fn take(&mut self, request: &Request<'_>, is_read: impl Fn(&str) -> bool) -> Result<(), HeadError> {
        self.map.clear();
        self.known.facts.clear();
        self.known.headers.clear();
        self.known.lists_unknown = matches!(request.other_headers, OtherHeaders::NotSent { .. });
        self.one(header::USER_AGENT, "user-agent", &request.user_agent)?;
        self.one(header::REFERER, "referer", &request.referer)?;
        for (name, text) in &request.headers {
            let Ok(name) = HeaderName::try_from(&**name) else {
                continue;
            };
            if !is_read(name.as_str()) {
                continue;
            }
            if !self.known.lists_unknown && !self.known.headers.iter().any(|known| *known == name.as_str()) {
                self.known.headers.push(Cow::Owned(name.as_str().to_owned()));
            }
            self.map.append(name, value(text)?);
        }
        if let OtherHeaders::NotSent { but } = &request.other_headers {
            let redacted = but.iter().map(|name| Cow::Owned(name.clone().into_owned()));
            self.known.headers.extend(redacted);
        }
        Ok(())
    }

    fn one(&mut self, name: HeaderName, known: &'static str, said: &Said<'_>) -> Result<(), HeadError> {
        let lists_unknown = self.known.lists_unknown;
        let Ignorance { facts, headers, .. } = &mut self.known;
        match said {
            Said::Unknown if lists_unknown => headers.push(Cow::Borrowed(known)),
            Said::Unknown => {}
            Said::Nothing if lists_unknown => {}
            Said::Nothing => headers.push(Cow::Borrowed(known)),
            Said::Whole(text) => {
                if !lists_unknown {
                    headers.push(Cow::Borrowed(known));
                }
                self.map.insert(name, value(text)?);
            }
            Said::Place(text) => {
                if !lists_unknown {
                    headers.push(Cow::Borrowed(known));
                }
                facts.push(Fact::Header(known));
                self.map.insert(name, value(text)?);
            }
        }
        Ok(())
    }

    /// Whether it is known what was sent under a name, if anything.
    pub(super) fn knows(&self, name: &HeaderName) -> bool {
        self.known.lists_unknown != self.known.headers.iter().any(|header| *header == name.as_str())
    }
}

/// A value that no parser of HTTP lets through was refused before any rule.
fn value(text: &str) -> Result<HeaderValue, HeadError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| malformed("a header value with control characters"))
}

pub(super) fn malformed(detail: &'static str) -> HeadError {
    HeadError::from(Malformed::new(detail))
}
