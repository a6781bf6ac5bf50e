//! A request of which something is changed, to be judged again.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::{
    facts::{ClientFacts, GeoFacts, RequestFacts},
    normalize::{PathOptions, Target},
    rule::Timestamp,
};

/// A request of which something is changed.
#[derive(Debug, Clone)]
pub(super) struct Altered<'a> {
    pub(super) facts: RequestFacts<'a>,
    pub(super) method: Cow<'a, str>,
    pub(super) target: Cow<'a, Target>,
    pub(super) headers: Cow<'a, HeaderMap>,
}

impl<'a> Altered<'a> {
    /// Nothing is changed yet.
    pub(super) fn new(facts: &RequestFacts<'a>) -> Self {
        Self {
            facts: *facts,
            method: Cow::Borrowed(facts.method),
            target: Cow::Borrowed(facts.target),
            headers: Cow::Borrowed(facts.headers),
        }
    }

    /// As rules see it.
    pub(super) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            ..self.facts
        }
    }

    pub(super) fn client(&self, client: ClientFacts) -> Self {
        let facts = RequestFacts { client, ..self.facts };
        Self { facts, ..self.clone() }
    }

    pub(super) fn geo(&self, geo: GeoFacts) -> Self {
        self.client(ClientFacts {
            geo,
            ..self.facts.client
        })
    }

    pub(super) fn at(&self, seconds: i64) -> Self {
        let now = Timestamp(seconds);
        let facts = RequestFacts { now, ..self.facts };
        Self { facts, ..self.clone() }
    }

    pub(super) fn method(&self, method: &str) -> Self {
        let method = Cow::Owned(method.to_owned());
        Self { method, ..self.clone() }
    }

    /// `None`: no path that is judged.
    pub(super) fn path(&self, path: &str) -> Option<Self> {
        let query = self.target.forwarded().get(self.target.path().len()..).unwrap_or("");
        self.target(&format!("{path}{query}"))
    }

    pub(super) fn target(&self, target: &str) -> Option<Self> {
        let target = Cow::Owned(Target::parse(target, PathOptions::default()).ok()?);
        Some(Self { target, ..self.clone() })
    }

    /// With one line of this header, or with none.
    pub(super) fn header(&self, name: &str, value: Option<&[u8]>) -> Option<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut headers = self.headers.clone().into_owned();
        headers.remove(&name);
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from_bytes(value).ok()?);
        }
        let headers = Cow::Owned(headers);
        Some(Self {
            headers,
            ..self.clone()
        })
    }
}
