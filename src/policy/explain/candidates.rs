//! What of a request may be changed so that one part of an expression comes out the other way.

use std::net::IpAddr;

use bumpalo::Bump;

use super::{
    altered::Altered,
    change::{Change, Origin, Places},
    subject::{Subject, examples, paths, test, texts},
};
use crate::policy::{
    client::ClientIp,
    facts::{ClientFacts, Continent, Country, GeoFacts, HttpVersion, RequestFacts},
    lang::{
        Input,
        ast::{Literal, Predicate, Relation, Set, Test},
        interpreter::holds,
        quoted,
    },
    network::IpRange,
    rule::Rule,
};

/// Something that may be changed.
pub(super) struct Candidate<'a> {
    pub(super) rank: Rank,
    pub(super) change: Change,
    /// The value and the request with it; several where any other value is meant.
    pub(super) tries: Vec<(String, Altered<'a>)>,
    /// Whether any value but the one it has is meant.
    pub(super) is_any: bool,
}

/// What an operator would rather do: the lower the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Address,
    Place,
    Network,
    Time,
    Connection,
    Referer,
    Agent,
    OtherWho,
    Header,
    Method,
    Path,
    Query,
    OtherWhat,
}

/// What may be changed so that `part`, which is not joined of others, holds (or does not hold).
pub(super) fn of<'a>(
    part: &Predicate,
    holds: bool,
    origin: Origin,
    rule: &Rule,
    from: &Altered<'a>,
    places: &dyn Places,
) -> Vec<Candidate<'a>> {
    let Some(subject) = Subject::of(part) else {
        return Vec::new();
    };
    let asked = Asked {
        part,
        holds,
        from,
        places,
        subject,
    };
    let found = asked.alterations();
    let candidate = |alteration: Alteration<'a>| Candidate {
        rank: rank(alteration.rank, origin),
        change: Change {
            fact: asked.subject.field.name,
            words: alteration.words,
            tried: String::new(),
            rule: rule.id.to_string(),
        },
        tries: alteration.tries,
        is_any: alteration.is_any,
    };
    let has_tries = |alteration: &Alteration<'a>| !alteration.tries.is_empty();
    found.into_iter().filter(has_tries).map(candidate).collect()
}

/// What belongs to another rule is worth a thought only where it says who asks.
fn rank(rank: Rank, origin: Origin) -> Rank {
    match (origin, rank) {
        (Origin::Deciding, rank) => rank,
        (Origin::Other, Rank::Address | Rank::Place | Rank::Network | Rank::Time) => Rank::OtherWho,
        (Origin::Other, _) => Rank::OtherWhat,
    }
}

/// A change before it has a place in the order.
struct Alteration<'a> {
    rank: Rank,
    words: String,
    tries: Vec<(String, Altered<'a>)>,
    is_any: bool,
}

/// One part that is to come out the other way.
struct Asked<'p, 'a> {
    part: &'p Predicate,
    holds: bool,
    from: &'p Altered<'a>,
    places: &'p dyn Places,
    subject: Subject<'p>,
}

/// Addresses of documentation networks, private ones and well-known ones: for "any other address".
const ADDRESSES: [[u8; 4]; 8] = [
    [192, 0, 2, 77],
    [198, 51, 100, 77],
    [203, 0, 113, 77],
    [8, 8, 8, 8],
    [93, 184, 215, 14],
    [100, 100, 77, 7],
    [10, 77, 77, 7],
    [172, 30, 77, 7],
];
/// A country of each continent.
const COUNTRIES: [&str; 8] = ["DE", "US", "BR", "JP", "ZA", "AU", "IN", "CA"];
/// Systems, reserved for documentation and for private use.
const SYSTEMS: [u32; 3] = [64_511, 65_551, 4_200_000_001];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
const PATHS: [&str; 3] = ["/", "/elsewhere", "/another/page"];
/// What browsers call themselves.
const AGENTS: [&str; 2] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
];
impl<'a> Asked<'_, 'a> {
    fn alterations(&self) -> Vec<Alteration<'a>> {
        match self.subject.field.name {
            "ip.src" => self.address(),
            "ip.src.country" | "ip.src.is_in_european_union" => self.country(),
            "ip.src.continent" => self.continent(),
            "ip.src.asnum" => self.system(),
            "portcullis.now" | "http.request.timestamp.sec" => self.time(),
            "ssl" => vec![self.tls()],
            "http.request.version" => self.version(),
            "http.request.method" => self.method(),
            "http.request.uri.path" => self.path(),
            "http.request.uri.path.extension" => self.extension(),
            "http.user_agent" | "portcullis.user_agent.category" => self.agent(),
            "http.referer" | "portcullis.referer.host" | "portcullis.referer.is_own" => self.referer(),
            "http.request.headers" => self.header(),
            name if name.starts_with("http.request.uri.query") || name.starts_with("http.request.uri.args") => {
                self.query()
            }
            // Credentials are nothing to guess, and another host is another site.
            _ => Vec::new(),
        }
    }

    /// Whether the part comes out as it is to.
    fn is_met(&self, altered: &Altered<'_>) -> bool {
        let facts = altered.facts();
        let arena = Bump::new();
        let input = Input::new(&facts, facts.target.path(), &arena);
        holds::<bool>(self.part, &input) == self.holds
    }

    /// Of these, those that bring the part out as it is to.
    fn met<T>(&self, values: impl Iterator<Item = (T, Altered<'a>)>) -> Vec<(T, Altered<'a>)> {
        values.filter(|(_, altered)| self.is_met(altered)).collect()
    }

    /// The first of these that brings the part out as it is to.
    fn first<T>(&self, values: impl Iterator<Item = (T, Altered<'a>)>) -> Option<(T, Altered<'a>)> {
        values.into_iter().find(|(_, altered)| self.is_met(altered))
    }

    /// The part's right side, in words: `in $office`, `one of DE, AT`.
    fn named(&self, texts: &[String]) -> String {
        const SHOWN: usize = 4;
        let shown: Vec<&str> = texts.iter().take(SHOWN).map(String::as_str).collect();
        let more = texts.len().saturating_sub(SHOWN);
        match (shown.as_slice(), more) {
            ([only], 0) => (*only).to_owned(),
            (all, 0) => format!("one of {}", all.join(", ")),
            (all, more) => format!("one of {} and {more} more", all.join(", ")),
        }
    }

    fn verb(&self) -> &'static str {
        if self.holds { "were" } else { "were not" }
    }

    fn address(&self) -> Vec<Alteration<'a>> {
        let Some(test) = test(self.part) else {
            return Vec::new();
        };
        let (ranges, name): (Vec<IpRange>, String) = match test {
            Test::In(Set::Ip { written, .. }) => {
                let texts: Vec<String> = written.iter().map(IpRange::to_string).collect();
                let within = if texts.len() == 1 && !texts.iter().any(|text| text.contains('/')) {
                    ""
                } else {
                    "in "
                };
                (written.clone(), format!("{within}{}", self.named(&texts)))
            }
            Test::InList(list) => {
                let ranges = list.addresses().map(|set| set.iter().take(64).collect());
                (ranges.unwrap_or_default(), format!("in ${}", list.name()))
            }
            Test::Relation(_, Literal::Ip(address)) => (
                IpRange::new(*address, *address).into_iter().collect(),
                address.to_string(),
            ),
            _ => return Vec::new(),
        };
        // `ne` turns it round.
        let inside = self.holds != matches!(test, Test::Relation(Relation::NotEqual, _));
        let tries: Vec<(IpAddr, Altered<'a>)> = if inside {
            // An address that is given is where it is.
            let known = ranges.into_iter().map(a_host_of);
            let placed =
                known.map(|address| (address, self.from.client(self.client(address, self.places.of(address)))));
            self.first(placed).into_iter().collect()
        } else {
            // Any other address: where it is stays as it was.
            let geo = self.from.facts.client.geo;
            let others = ADDRESSES.into_iter().map(IpAddr::from);
            let placed = others.map(|address| (address, self.from.client(self.client(address, geo))));
            self.met(placed)
        };
        let verb = if inside { "were" } else { "were not" };
        let tries = tries
            .into_iter()
            .map(|(address, altered)| (address.to_string(), altered))
            .collect();
        vec![self.alteration(Rank::Address, format!("the client {verb} {name}"), tries)]
    }

    fn client(&self, address: IpAddr, geo: GeoFacts) -> ClientFacts {
        ClientFacts {
            ip: ClientIp::new(address),
            geo,
        }
    }

    fn country(&self) -> Vec<Alteration<'a>> {
        let placed = |code: &str| {
            let country = Country::new(code)?;
            let geo = GeoFacts {
                country,
                continent: self.places.continent(country),
                ..self.from.facts.client.geo
            };
            Some((country.as_str().to_owned(), self.from.geo(geo)))
        };
        let (codes, name) = match test(self.part) {
            None => (vec!["DE".to_owned()], "in the European Union".to_owned()),
            Some(Test::InList(list)) => (
                COUNTRIES.map(str::to_owned).to_vec(),
                format!("in a country of ${}", list.name()),
            ),
            Some(test) => {
                let texts = texts(test);
                let name = format!("in {}", self.named(&texts));
                (texts, name)
            }
        };
        let positive = self.holds != matches!(test(self.part), Some(Test::Relation(Relation::NotEqual, _)));
        let verb = if positive { "were" } else { "were not" };
        let others = COUNTRIES.into_iter().filter_map(placed);
        let tries: Vec<_> = match positive {
            true => self
                .first(codes.iter().filter_map(|code| placed(code)))
                .into_iter()
                .collect(),
            false => self.met(others),
        };
        vec![self.alteration(Rank::Place, format!("the client {verb} {name}"), tries)]
    }

    fn continent(&self) -> Vec<Alteration<'a>> {
        let placed = |code: &str| {
            let continent = Continent::new(code)?;
            let geo = GeoFacts {
                continent,
                ..self.from.facts.client.geo
            };
            Some((continent.as_str().to_owned(), self.from.geo(geo)))
        };
        let texts = test(self.part).map(texts).unwrap_or_default();
        let all = ["EU", "NA", "AS", "AF", "SA", "OC"];
        let tries = self.first(all.into_iter().filter_map(placed)).into_iter().collect();
        let words = format!("the client {} in {}", self.verb(), self.named(&texts));
        vec![self.alteration(Rank::Place, words, tries)]
    }

    fn system(&self) -> Vec<Alteration<'a>> {
        let placed = |asn: u32| {
            let geo = GeoFacts {
                asn,
                ..self.from.facts.client.geo
            };
            (format!("AS{asn}"), self.from.geo(geo))
        };
        let (written, name): (Vec<u32>, String) = match test(self.part) {
            Some(Test::In(Set::Int { written, .. })) => {
                let number = |asn: i64| u32::try_from(asn).ok();
                let text = |(first, last): &(i64, i64)| match first == last {
                    true => format!("AS{first}"),
                    false => format!("AS{first} to AS{last}"),
                };
                let texts: Vec<String> = written.iter().map(text).collect();
                (
                    written.iter().filter_map(|(first, _)| number(*first)).collect(),
                    self.named(&texts),
                )
            }
            Some(Test::Relation(Relation::Equal, Literal::Int(asn))) => {
                (u32::try_from(*asn).into_iter().collect(), format!("AS{asn}"))
            }
            Some(Test::InList(list)) if !self.holds => (Vec::new(), format!("one of ${}", list.name())),
            _ => return Vec::new(),
        };
        let tries = match self.holds {
            true => self.first(written.into_iter().map(placed)).into_iter().collect(),
            false => self.met(SYSTEMS.into_iter().map(placed)),
        };
        vec![self.alteration(
            Rank::Network,
            format!("the client's network {} {name}", self.verb()),
            tries,
        )]
    }

    fn time(&self) -> Vec<Alteration<'a>> {
        let Some(Test::Relation(Relation::Less, Literal::Int(end))) = test(self.part) else {
            return Vec::new();
        };
        let day = |seconds: i64| {
            let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            at.to_string()
        };
        // A rule that has expired, or one that will.
        let (words, at) = match self.holds {
            true => (
                format!("it had come before {}, when the rule expired", day(*end)),
                end.saturating_sub(1),
            ),
            false => (format!("it came after {}, when the rule expires", day(*end)), *end),
        };
        let tries = vec![(day(at), self.from.at(at))];
        vec![self.alteration(Rank::Time, words, tries)]
    }

    fn tls(&self) -> Alteration<'a> {
        let facts = RequestFacts {
            tls: self.holds,
            ..self.from.facts
        };
        let altered = Altered {
            facts,
            ..self.from.clone()
        };
        let name = if self.holds { "https" } else { "http" };
        let words = match self.holds {
            true => "it came over https".to_owned(),
            false => "it came over http".to_owned(),
        };
        self.alteration(Rank::Connection, words, vec![(name.to_owned(), altered)])
    }

    fn version(&self) -> Vec<Alteration<'a>> {
        let versions = [HttpVersion::Http2, HttpVersion::Http11, HttpVersion::Http10];
        let altered = |version: HttpVersion| {
            let facts = RequestFacts {
                version,
                ..self.from.facts
            };
            (
                version.as_str().to_owned(),
                Altered {
                    facts,
                    ..self.from.clone()
                },
            )
        };
        let Some(found) = self.first(versions.into_iter().map(altered)) else {
            return Vec::new();
        };
        let words = format!("it came over {}", found.0);
        vec![self.alteration(Rank::Connection, words, vec![found])]
    }

    fn method(&self) -> Vec<Alteration<'a>> {
        let altered = |method: &str| (method.to_owned(), self.from.method(method));
        let met = self.met(METHODS.into_iter().map(altered));
        let names: Vec<String> = match self.holds {
            true => met.iter().map(|(method, _)| method.clone()).collect(),
            false => test(self.part).map(texts).unwrap_or_default(),
        };
        let words = format!("the method {} {}", self.verb(), self.named(&names));
        vec![self.alteration(Rank::Method, words, met)]
    }

    fn path(&self) -> Vec<Alteration<'a>> {
        if !self.holds {
            let tries = self.other_paths();
            return vec![self.alteration(Rank::Path, "another path were asked for".to_owned(), tries)];
        }
        let patterns = paths(examples(self.part));
        let altered = |path: &String| Some((path.clone(), self.from.path(path)?));
        let Some(found) = self.first(patterns.iter().filter_map(altered)) else {
            return Vec::new();
        };
        let words = format!("the path were {}", found.0);
        vec![self.alteration(Rank::Path, words, vec![found])]
    }

    fn other_paths(&self) -> Vec<(String, Altered<'a>)> {
        self.met(
            PATHS
                .into_iter()
                .filter_map(|path| Some((path.to_owned(), self.from.path(path)?))),
        )
    }

    fn extension(&self) -> Vec<Alteration<'a>> {
        if self.holds {
            return Vec::new();
        }
        let tries = self.other_paths();
        vec![self.alteration(Rank::Path, "another kind of file were asked for".to_owned(), tries)]
    }

    fn agent(&self) -> Vec<Alteration<'a>> {
        let sent = |agent: &str| Some((quoted(agent), self.from.header("user-agent", Some(agent.as_bytes()))?));
        let met = self.met(AGENTS.into_iter().filter_map(sent));
        if !self.holds || !met.is_empty() {
            return vec![self.alteration(Rank::Agent, "the user agent were a browser's".to_owned(), met)];
        }
        let examples = examples(self.part);
        let Some(found) = self.first(examples.iter().filter_map(|agent| sent(agent))) else {
            return Vec::new();
        };
        let words = format!("the user agent were {}", found.0);
        vec![self.alteration(Rank::Header, words, vec![found])]
    }

    fn referer(&self) -> Vec<Alteration<'a>> {
        let sent = |referer: Option<String>| {
            let altered = self.from.header("referer", referer.as_ref().map(String::as_bytes))?;
            Some((referer.map_or("none".to_owned(), |referer| quoted(&referer)), altered))
        };
        let own = format!("https://{}/", self.from.facts.host.name.as_str());
        let mut found = Vec::new();
        if let Some(tried) = self.first(sent(Some(own)).into_iter()) {
            found.push(self.alteration(
                Rank::Referer,
                "a page of this site embedded or linked it".to_owned(),
                vec![tried],
            ));
        } else if self.holds {
            let hosts = test(self.part).map(texts).unwrap_or_default();
            let foreign = hosts.into_iter().filter(|host| !host.is_empty());
            let tries = foreign.filter_map(|host| sent(Some(format!("https://{host}/"))));
            if let Some(tried) = self.first(tries) {
                let words = format!("the Referer were {}", tried.0);
                found.push(self.alteration(Rank::Header, words, vec![tried]));
            }
        }
        found
    }

    fn header(&self) -> Vec<Alteration<'a>> {
        let Some(name) = self.subject.key.filter(|key| !self.subject.field.is_secret(Some(key))) else {
            return Vec::new();
        };
        if !self.holds {
            let gone = self.from.header(name, None).map(|altered| ("none".to_owned(), altered));
            let Some(tried) = self.first(gone.into_iter()) else {
                return Vec::new();
            };
            return vec![self.alteration(Rank::Header, format!("there were no header {name}"), vec![tried])];
        }
        let sent = |value: &String| Some((quoted(value), self.from.header(name, Some(value.as_bytes()))?));
        let Some(found) = self.first(examples(self.part).iter().filter_map(sent)) else {
            return Vec::new();
        };
        let words = format!("the header {name} were {}", found.0);
        vec![self.alteration(Rank::Header, words, vec![found])]
    }

    fn query(&self) -> Vec<Alteration<'a>> {
        let bare = self
            .from
            .target(self.from.target.path())
            .map(|altered| ("none".to_owned(), altered));
        let Some(tried) = self.first(bare.into_iter()) else {
            return Vec::new();
        };
        vec![self.alteration(Rank::Query, "there were no query".to_owned(), vec![tried])]
    }

    fn alteration(&self, rank: Rank, words: String, tries: Vec<(String, Altered<'a>)>) -> Alteration<'a> {
        let is_any = tries.len() > 1;
        Alteration {
            rank,
            words,
            tries,
            is_any,
        }
    }
}

/// An address of a range that looks like a host's: a network's first address is rarely one.
fn a_host_of(range: IpRange) -> IpAddr {
    if range.first() == range.last() {
        return range.first();
    }
    match range.first() {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).saturating_add(1).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).saturating_add(1).into()),
    }
}
