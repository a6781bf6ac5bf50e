//! Reads an access record, or an event, back: what the gateway said of a request, so that it can be judged again.
//!
//! A record does not say everything. What it leaves out is told by [`Record::unknown_facts`] and [`Record::withheld`], and is
//! never taken for empty.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::policy::{
    facts::{Continent, Country, HttpVersion},
    lang::fields::Fact,
    rule::Timestamp,
};
use crate::telemetry::events::ANY_OTHER;

/// What stands where a value was that is never logged.
const REDACTED: &str = "REDACTED";

/// A record as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When the head was read, as written.
    pub time: String,
    /// The same in seconds.
    pub at: Timestamp,
    /// The request id.
    pub id: String,
    /// `allow`, `block`, `reject` or `answer`.
    pub action: String,
    /// The cause of a refusal.
    pub reason: Option<String>,
    /// What exactly was wrong with a rejected request.
    pub detail: Option<String>,
    /// The deciding rule.
    pub rule: Option<String>,
    /// The rules that matched.
    pub matched: Vec<String>,
    /// The rules in shadow mode that would have.
    pub shadow: Vec<String>,
    /// The load that judged it.
    pub generation: Option<u64>,
    /// The status of the answer, where the record says it.
    pub status: Option<u16>,
    /// Who was asking.
    pub client: Option<RecordedClient>,
    /// The connection's address.
    pub source: Option<IpAddr>,
    /// The method.
    pub method: String,
    /// Whether rules saw `ssl`.
    pub tls: bool,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// The host without port.
    pub host: Option<String>,
    /// The target as sent, without what is never logged.
    pub target: String,
    /// The server name of the TLS handshake.
    pub server_name: Option<String>,
    /// The site that it came to.
    pub site: Option<String>,
    /// The header lines that are known.
    pub headers: Vec<(String, String)>,
    /// Which headers were sent with values that are not known.
    pub withheld: Withheld,
}

/// The client as the record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedClient {
    /// Its address.
    pub ip: IpAddr,
    /// Its country.
    pub country: Country,
    /// Its continent.
    pub continent: Continent,
    /// Its autonomous system; 0 when unknown.
    pub asn: u32,
    /// Whether a header of a trusted proxy named it.
    pub by_header: bool,
}

/// The headers whose values are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// These were sent; what is neither here nor among the known ones was not.
    These(Vec<String>),
    /// All that are not known may have been sent.
    AnyOther,
}

impl Record {
    /// Reads one line.
    ///
    /// # Errors
    /// What is missing of a record, or why it is none.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
        Self::of(&value)
    }

    /// The record that a JSON object is.
    ///
    /// # Errors
    /// What is missing of it.
    pub fn of(value: &Value) -> Result<Self, String> {
        let fields = Fields(value.as_object().ok_or("no JSON object")?);
        let time = fields.needed("@timestamp")?;
        let at = time.parse::<jiff::Timestamp>();
        let at = at.map_err(|_| format!("`@timestamp` is no time: {time}"))?;
        let version = match fields.needed("http.version")? {
            "1.0" => HttpVersion::Http10,
            "1.1" => HttpVersion::Http11,
            "2" => HttpVersion::Http2,
            other => return Err(format!("`http.version` is {other}")),
        };
        let has_all =
            fields.0.contains_key("portcullis.headers") || fields.0.contains_key("portcullis.headers_withheld");
        let (headers, withheld) = if has_all {
            fields.all_headers()
        } else {
            fields.logged_headers()
        };
        Ok(Self {
            at: Timestamp(at.as_second()),
            time: time.to_owned(),
            id: fields.needed("http.request.id")?.to_owned(),
            action: fields.needed("event.action")?.to_owned(),
            reason: fields.owned("event.reason"),
            detail: fields.owned("portcullis.detail"),
            rule: fields.owned("rule.id"),
            matched: fields.words("portcullis.matched_rules"),
            shadow: fields.words("portcullis.shadow_rules"),
            generation: fields.0.get("portcullis.generation").and_then(Value::as_u64),
            status: fields.number("http.response.status_code"),
            client: fields.client()?,
            source: fields.text("source.ip").and_then(|ip| ip.parse().ok()),
            method: fields.needed("http.request.method")?.to_owned(),
            tls: fields.text("url.scheme") == Some("https"),
            version,
            host: fields.owned("url.domain"),
            target: fields.needed("url.original")?.to_owned(),
            server_name: fields.owned("tls.client.server_name"),
            site: fields.owned("portcullis.site"),
            headers,
            withheld,
        })
    }

    /// What of it is not known, headers aside: what held a value that is never logged, or was cut.
    pub fn unknown_facts(&self) -> Vec<Fact> {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let mut unknown = Vec::new();
        if self.is_cut() || path.contains(REDACTED) {
            unknown.extend([Fact::Path, Fact::Query, Fact::RawTarget]);
        } else if query.contains(REDACTED) {
            unknown.extend([Fact::Query, Fact::RawTarget]);
        }
        // The log keeps where a Referer leads, not the whole of it.
        if self.withheld == Withheld::AnyOther && self.headers.iter().any(|(name, _)| name == "referer") {
            unknown.push(Fact::Header("referer"));
        }
        unknown
    }

    /// Whether the target was too long to be kept whole.
    pub fn is_cut(&self) -> bool {
        self.target.ends_with("_bytes)") && self.target.contains("…(")
    }
}

/// The members of a record.
struct Fields<'f>(&'f Map<String, Value>);

impl<'f> Fields<'f> {
    fn text(&self, key: &str) -> Option<&'f str> {
        self.0.get(key).and_then(Value::as_str)
    }

    fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    fn needed(&self, key: &str) -> Result<&'f str, String> {
        self.text(key).ok_or_else(|| format!("`{key}` is missing"))
    }

    fn number<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        self.0
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|number| T::try_from(number).ok())
    }

    fn words(&self, key: &str) -> Vec<String> {
        let words = self.0.get(key).and_then(Value::as_array);
        words
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    fn client(&self) -> Result<Option<RecordedClient>, String> {
        let Some(ip) = self.text("client.ip") else {
            return Ok(None);
        };
        Ok(Some(RecordedClient {
            ip: ip.parse().map_err(|_| format!("`client.ip` is no address: {ip}"))?,
            country: self
                .text("client.geo.country_iso_code")
                .and_then(Country::new)
                .unwrap_or(Country::UNKNOWN),
            continent: self
                .text("client.geo.continent_code")
                .and_then(Continent::new)
                .unwrap_or(Continent::UNKNOWN),
            asn: self.number("client.as.number").unwrap_or(0),
            by_header: self.text("portcullis.client_ip_source") == Some("header"),
        }))
    }

    /// Of an event, which has them all.
    fn all_headers(&self) -> (Vec<(String, String)>, Withheld) {
        let lines = self.words("portcullis.headers");
        let pairs = lines.iter().filter_map(|line| line.split_once(": "));
        let mut headers: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let names = self.words("portcullis.headers_withheld");
        // Its host is told in any case.
        let referer = self
            .text("http.request.referrer")
            .filter(|_| names.iter().any(|name| name == "referer"));
        headers.extend(referer.map(|referer| ("referer".to_owned(), referer.to_owned())));
        match names.iter().any(|name| name == ANY_OTHER) {
            true => (headers, Withheld::AnyOther),
            false => (headers, Withheld::These(names)),
        }
    }

    /// Of a log line, which has two.
    fn logged_headers(&self) -> (Vec<(String, String)>, Withheld) {
        let logged = [
            ("user-agent", "user_agent.original"),
            ("referer", "http.request.referrer"),
        ];
        let headers = logged
            .into_iter()
            .filter_map(|(name, key)| Some((name.to_owned(), self.owned(key)?)));
        (headers.collect(), Withheld::AnyOther)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"@timestamp":"2026-01-01T00:00:00.123Z","event.action":"block","event.reason":"rule","rule.id":"a","client.ip":"203.0.113.9","client.geo.country_iso_code":"DE","client.geo.continent_code":"EU","client.as.number":64496,"portcullis.client_ip_source":"header","source.ip":"10.0.0.1","http.request.method":"GET","url.scheme":"https","url.domain":"a.test","url.path":"/a","url.original":"/%61?token=REDACTED","http.version":"2","http.request.id":"01","user_agent.original":"x","http.request.referrer":"https://b.test/","portcullis.generation":3"#;

    fn record(rest: &str) -> Record {
        Record::parse(format!("{LINE}{rest}}}").as_bytes()).expect("a record")
    }

    #[test]
    fn a_log_line_knows_two_headers_and_the_host_of_the_referer() {
        let record = record("");
        assert_eq!((record.at, record.generation), (Timestamp(1_767_225_600), Some(3)));
        let client = record.client.expect("a client");
        assert_eq!(
            (client.country.as_str(), client.asn, client.by_header),
            ("DE", 64496, true)
        );
        assert_eq!(record.withheld, Withheld::AnyOther);
        let names: Vec<_> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["user-agent", "referer"]);
        assert_eq!(
            record.unknown_facts(),
            [Fact::Query, Fact::RawTarget, Fact::Header("referer")]
        );
    }

    #[test]
    fn an_event_knows_all_headers_but_those_it_names() {
        let record =
            record(r#","portcullis.headers":["accept: */*","a: b: c"],"portcullis.headers_withheld":["cookie"]"#);
        let known = [("accept", "*/*"), ("a", "b: c")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(record.headers, known);
        assert_eq!(record.withheld, Withheld::These(vec!["cookie".to_owned()]));
    }

    #[test]
    fn what_is_no_record_says_what_is_missing() {
        assert_eq!(Record::parse(b"{}").expect_err("none"), "`@timestamp` is missing");
        assert!(Record::parse(b"2026 allow").expect_err("none").starts_with("no JSON"));
    }
}
