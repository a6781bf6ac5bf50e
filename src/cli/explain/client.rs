//! Who asks: how the client IP came about hop by hop, and what is known of where it is.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::{
    gateway::head::HeadError,
    geo::{Description, SourceReport},
    policy::{
        client::{ClientIp, Hop, SourceAddr, hops},
        facts::ClientFacts,
        normalize::Malformed,
    },
    snapshot::Snapshot,
};

/// Who asks, as far as it was said.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    /// This one, whatever the connection and its headers say.
    Stated(IpAddr, &'static str),
    /// Whoever connects from here; headers are believed as for a live request.
    Connects(IpAddr, &'static str),
    /// Nobody said who: as if from here.
    Assumed(IpAddr, &'static str),
}

impl Who {
    /// The connection's other end.
    pub(super) fn source(self) -> SourceAddr {
        let (Self::Stated(ip, _) | Self::Connects(ip, _) | Self::Assumed(ip, _)) = self;
        SourceAddr(SocketAddr::new(ip, 0))
    }
}

/// Who asks, with all that is known.
pub(super) struct Client {
    pub(super) facts: ClientFacts,
    /// What said so, in words.
    pub(super) from: String,
    pub(super) way: Vec<Hop>,
    /// Whether nobody said who asks.
    pub(super) is_assumed: bool,
    pub(super) described: Description,
    pub(super) sources: Vec<SourceReport>,
    /// Facts that the caller stated against the sources.
    pub(super) stated: Vec<&'static str>,
}

impl Client {
    pub(super) fn derive(who: Who, headers: &http::HeaderMap, snapshot: &Snapshot) -> Result<Self, HeadError> {
        let (ip, from, way) = match who {
            Who::Stated(ip, by) => (ClientIp::new(ip), by.to_owned(), Vec::new()),
            Who::Connects(_, by) | Who::Assumed(_, by) => {
                let way = hops(who.source(), headers, &snapshot.client_ip)?;
                let last = way.last().ok_or(Malformed::new("no client address"))?;
                (last.ip, came_about(&way, by, headers, snapshot), way)
            }
        };
        Ok(Self {
            facts: ClientFacts {
                ip,
                geo: snapshot.geo.facts(ip.addr()),
            },
            from,
            is_assumed: way.len() <= 1 && matches!(who, Who::Assumed(..)),
            way,
            described: snapshot.geo.describe(ip.addr()),
            sources: snapshot.geo.sources(),
            stated: Vec::new(),
        })
    }

    /// The source that gives a fact, in words.
    pub(super) fn source(&self, key: &'static str) -> String {
        if self.stated.contains(&key) {
            return "as stated".to_owned();
        }
        if let Some(special) = self.described.special {
            return format!("{special} address: no source is asked");
        }
        if key == "country" && self.described.tor {
            return "the list of Tor exits".to_owned();
        }
        match self.sources.iter().find(|source| source.key == key) {
            Some(source) => format!("{} ({})", source.name, source.label.escape_debug()),
            None => "no source is configured".to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        let geo = &self.facts.geo;
        let way = self
            .way
            .iter()
            .map(|hop| json!({ "ip": hop.ip.addr(), "trusted": hop.trusted }));
        json!({
            "ip": self.facts.ip.addr(),
            "from": self.from,
            "assumed": self.is_assumed,
            "way": way.collect::<Vec<_>>(),
            "country": geo.country.as_str(),
            "continent": geo.continent.as_str(),
            "asn": geo.asn,
            "organization": self.described.organization,
            "special": self.described.special,
            "sources": { "country": self.source("country"), "asn": self.source("asn") },
        })
    }
}

/// How the last hop of the way became the client, in words.
fn came_about(way: &[Hop], by: &str, headers: &http::HeaderMap, snapshot: &Snapshot) -> String {
    let header = snapshot.client_ip.header();
    let is_sent = headers.contains_key(header);
    match (way.len(), way.first().is_some_and(|hop| hop.trusted)) {
        (1, false) if is_sent => format!("{by}: no trusted proxy, so its {header} is not believed"),
        (1, false) => by.to_owned(),
        (1, true) if is_sent => format!("{by}: a trusted proxy whose {header} names nobody"),
        (1, true) => format!("{by}: a trusted proxy that sent no {header}"),
        (_, _) => format!("{header}, read from the right up to the first address that is no trusted proxy"),
    }
}
