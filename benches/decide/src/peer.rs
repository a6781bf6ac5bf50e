//! The peer: the published crate `wirefilter-engine`, one compiled filter a rule, asked one after the other.
//!
//! What it lacks is adapted in its favour; [`ADAPTATIONS`] says how.

use std::collections::BTreeMap;

use http::{HeaderName, header};
use portcullis::policy::facts::RequestFacts;
use wirefilter::{ExecutionContext, Filter, Scheme, Type};

use crate::rules::{self, Map};

/// What is not the same for both, for whoever reads the figures.
pub const ADAPTATIONS: [&str; 7] = [
    "wirefilter: each rule is a compiled filter; all are run, since the request is allowed",
    "wirefilter: no maps; each header, cookie and argument that a rule asks for is a bytes field, of its first value",
    "wirefilter: no wildcards; they are written as `matches`, letter case aside",
    "wirefilter: no lower(); it is given the lower-cased user agent ready-made, which is not counted",
    "wirefilter: no lists; the list is one filter over a set of its networks",
    "wirefilter: no phases, actions, readings of paths, ids, log of what matched: none of it is asked of it",
    "both start from the same parsed facts; filling wirefilter's execution context is counted",
];

/// Where a field's value comes from.
#[derive(Debug)]
enum Origin {
    Address,
    Country,
    Asn,
    Host,
    Path,
    Agent,
    AgentInLowerCase,
    Header(HeaderName),
    Cookie(&'static str),
    Arg(&'static str),
}

/// Filters with their fields. All borrow from the scheme, so it is never freed.
pub struct Peer {
    scheme: &'static Scheme,
    fields: Vec<(String, Origin)>,
    filters: Vec<Filter<'static>>,
}

/// Facts whose values outlive the filters, as the peer's lifetimes demand.
#[derive(Debug)]
pub struct PeerRequest {
    facts: RequestFacts<'static>,
    agent: &'static str,
    agent_in_lower_case: &'static str,
}

impl PeerRequest {
    /// What is given ready-made.
    pub fn new(facts: RequestFacts<'static>) -> Self {
        let agent = value_of(&facts, &header::USER_AGENT);
        Self {
            facts,
            agent,
            agent_in_lower_case: Box::leak(agent.to_ascii_lowercase().into_boxed_str()),
        }
    }
}

impl Peer {
    /// The rules with these numbers, and one over a list.
    ///
    /// # Panics
    /// When a translation does not parse.
    pub fn compiled(count: usize, list: &str) -> Self {
        let fields = fields(count);
        let mut scheme = Scheme::with_capacity(fields.len());
        for (name, origin) in &fields {
            scheme.add_field(name.clone(), origin.kind()).expect("named once");
        }
        let scheme: &'static Scheme = Box::leak(Box::new(scheme));
        let listed = format!("ip.src in {{{}}}", list.replace('\n', " "));
        let expressions = (0..count).map(|n| rules::nth(n).peer()).chain([listed]);
        let filters = expressions.map(|expression| filter(scheme, &expression)).collect();
        Self {
            scheme,
            fields,
            filters,
        }
    }

    /// Fills a context.
    ///
    /// # Panics
    /// Never: the fields have the types that they were declared with.
    pub fn filled(&self, request: &'static PeerRequest) -> ExecutionContext<'static> {
        let mut context = ExecutionContext::new(self.scheme);
        for (name, origin) in &self.fields {
            origin.fill(name, request, &mut context);
        }
        context
    }

    /// Whether no rule blocks; the first that does ends it.
    ///
    /// # Panics
    /// Never: all filters have the context's scheme.
    pub fn allows(&self, request: &'static PeerRequest) -> bool {
        let context = self.filled(request);
        let blocks = |filter: &Filter<'static>| filter.execute(&context).expect("one scheme");
        !self.filters.iter().any(blocks)
    }
}

fn filter(scheme: &'static Scheme, expression: &str) -> Filter<'static> {
    match scheme.parse(expression) {
        Ok(parsed) => parsed.compile(),
        Err(error) => panic!("{expression:.200}: {error:.200}"),
    }
}

/// The fields that the rules ask for, and no other.
fn fields(count: usize) -> Vec<(String, Origin)> {
    let fixed = [
        ("ip.src", Origin::Address),
        ("ip.src.country", Origin::Country),
        ("ip.src.asnum", Origin::Asn),
        ("http.host", Origin::Host),
        ("http.request.uri.path", Origin::Path),
        ("http.user_agent", Origin::Agent),
        ("http.user_agent.lower", Origin::AgentInLowerCase),
    ];
    let mut fields: BTreeMap<String, Origin> = fixed
        .into_iter()
        .map(|(name, origin)| (name.to_owned(), origin))
        .collect();
    for n in 0..count {
        let rules::Blocks::Value(map, name, _) = rules::nth(n) else {
            continue;
        };
        let origin = match map {
            Map::Headers => Origin::Header(HeaderName::from_static(name)),
            Map::Cookies => Origin::Cookie(name),
            Map::Args => Origin::Arg(name),
        };
        fields.insert(rules::peer_field(map, name), origin);
    }
    fields.into_iter().collect()
}

impl Origin {
    fn kind(&self) -> Type {
        match self {
            Self::Address => Type::Ip,
            Self::Asn => Type::Int,
            Self::Country
            | Self::Host
            | Self::Path
            | Self::Agent
            | Self::AgentInLowerCase
            | Self::Header(_)
            | Self::Cookie(_)
            | Self::Arg(_) => Type::Bytes,
        }
    }

    fn fill(&self, name: &str, request: &'static PeerRequest, context: &mut ExecutionContext<'static>) {
        let facts = &request.facts;
        let filled = match self {
            Self::Address => context.set_field_value(name, facts.client.ip.addr()),
            Self::Country => context.set_field_value(name, facts.client.geo.country.as_str()),
            Self::Asn => context.set_field_value(name, facts.client.geo.asn as i32),
            Self::Host => context.set_field_value(name, facts.host.name.as_str()),
            Self::Path => context.set_field_value(name, facts.target.path()),
            Self::Agent => context.set_field_value(name, request.agent),
            Self::AgentInLowerCase => context.set_field_value(name, request.agent_in_lower_case),
            Self::Header(header) => context.set_field_value(name, value_of(facts, header)),
            Self::Cookie(cookie) => context.set_field_value(name, pair(value_of(facts, &header::COOKIE), "; ", cookie)),
            Self::Arg(arg) => context.set_field_value(name, pair(facts.target.query(), "&", arg)),
        };
        filled.expect("the declared type");
    }
}

fn value_of(facts: &RequestFacts<'static>, name: &HeaderName) -> &'static str {
    let value = facts.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// The value of `name` among `name=value` pairs.
fn pair(text: &'static str, separator: &str, name: &str) -> &'static str {
    let mut pairs = text.split(separator).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}
