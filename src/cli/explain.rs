//! `portcullis explain`: judges a made-up request offline, through the code that judges live ones, and tells every step.

mod request;

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use serde_json::{Value, json};

use self::request::Asked;
use super::{Exit, Output, session::Session};
use crate::{
    gateway::{
        head::{self, HeadError},
        headers::Trust,
    },
    geo,
    policy::{
        client::{ClientIp, Hop, SourceAddr, client_tls, hops},
        countries,
        explain::{ExplainedReading, ExplainedRule, Explanation, Fate},
        facts::{ClientFacts, Country, RequestFacts},
        normalize::Malformed,
        rule::Timestamp,
    },
    reload::now,
    snapshot::{CompiledSite, Snapshot},
};

const EXAMPLES: &str = "\
Examples:
  portcullis explain https://example.com/admin --ip 203.0.113.9
  portcullis explain /wp-login.php --country DE -H 'User-Agent: sqlmap/1.8'
  portcullis explain /x --peer 10.0.0.1 -H 'X-Forwarded-For: 203.0.113.9'
  portcullis explain -- curl -A sqlmap -e https://evil.example/ https://example.com/logo.png

The path is taken as written; curl itself would first remove `..` unless told --path-as-is.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// What is asked for: https://host/path?query, or a path alone for localhost
    #[arg(value_name = "URL", conflicts_with = "url")]
    target: Option<String>,

    /// The same, as an option
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The method
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// A header line; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// Who is asking, whatever the connection and its headers say
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,

    /// Who connects: the client IP is then derived as for a live request
    #[arg(long, value_name = "ADDRESS", conflicts_with = "ip")]
    peer: Option<IpAddr>,

    /// The client's country, whatever the sources say
    #[arg(long, value_name = "CODE")]
    country: Option<String>,

    /// The client's autonomous system, whatever the source says
    #[arg(long, value_name = "NUMBER")]
    asn: Option<u32>,

    /// When, such as 2027-01-31T18:00:00Z, for rules that expire
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// A curl command line instead of all of these but the last five
    #[arg(last = true, value_name = "CURL LINE")]
    curl: Vec<String>,
}

/// What the request's words come to.
struct Stated {
    asked: Asked,
    peer: IpAddr,
    ip: Option<IpAddr>,
    country: Option<Country>,
    asn: Option<u32>,
    at: Timestamp,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let stated = match stated(arguments) {
        Ok(stated) => stated,
        Err(message) => {
            session.complain(&message);
            return Exit::CouldNot;
        }
    };
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    let told = told(stated, &snapshot);
    match session.output {
        Output::Text => session.print(&told.text()),
        Output::Json => session.print_json(&told.json()),
    }
    Exit::Yes
}

fn stated(arguments: &Arguments) -> Result<Stated, String> {
    let asked = if arguments.curl.is_empty() {
        let url = arguments.target.as_deref().or(arguments.url.as_deref());
        Asked::from_options(
            url.ok_or("say what is asked for, such as https://example.com/admin")?,
            arguments.method.as_deref(),
            &arguments.headers,
        )?
    } else {
        Asked::from_curl(&arguments.curl)?
    };
    let country = arguments.country.as_deref().map(country).transpose()?;
    let at = match &arguments.at {
        None => now(),
        Some(text) => text
            .parse::<jiff::Timestamp>()
            .map(|at| Timestamp(at.as_second()))
            .map_err(|_| format!("`{text}` is no time; write it like 2027-01-31T18:00:00Z"))?,
    };
    Ok(Stated {
        asked,
        // Who tries it out on the same machine.
        peer: arguments.peer.unwrap_or(IpAddr::from([127, 0, 0, 1])),
        ip: arguments.ip,
        country,
        asn: arguments.asn,
        at,
    })
}

fn country(code: &str) -> Result<Country, String> {
    countries::country(code).map_err(|error| format!("{}: {}", error.message, error.help))
}

/// Everything there is to tell.
struct Told {
    asked: String,
    /// How the client IP came about; after what stopped it, nothing.
    client: Option<ToldClient>,
    site: Option<(String, String)>,
    path: Option<(String, Vec<String>)>,
    outcome: Result<Explanation, HeadError>,
}

struct ToldClient {
    facts: ClientFacts,
    from: String,
    way: Vec<Hop>,
}

/// The way of a live request, told step by step.
fn told(stated: Stated, snapshot: &Snapshot) -> Told {
    let mut told = Told {
        asked: stated.asked.to_string(),
        client: None,
        site: None,
        path: None,
        outcome: Err(NEVER),
    };
    told.outcome = judge(stated, snapshot, &mut told.client, &mut told.site, &mut told.path);
    told
}

/// Stands until the outcome is known.
const NEVER: HeadError = HeadError {
    reason: crate::policy::decision::Reason::Malformed,
    status: http::StatusCode::BAD_REQUEST,
    detail: "not judged",
};

fn judge(
    stated: Stated,
    snapshot: &Snapshot,
    client: &mut Option<ToldClient>,
    site: &mut Option<(String, String)>,
    path: &mut Option<(String, Vec<String>)>,
) -> Result<Explanation, HeadError> {
    let mut parts = stated.asked.parts;
    let source = SourceAddr(SocketAddr::new(stated.ip.unwrap_or(stated.peer), 0));
    let told_client = client.insert(derive(&stated.ip, source, &parts.headers, snapshot)?);
    if let Some(country) = stated.country {
        told_client.facts.geo.country = country;
        told_client.facts.geo.continent = geo::continent_of(country);
    }
    if let Some(asn) = stated.asn {
        told_client.facts.geo.asn = asn;
    }
    let head = head::check(&parts, &snapshot.headers)?;
    let chosen = snapshot.site_table.choose(&head.host.name, None)?;
    let Some(compiled) = snapshot.sites.get(chosen) else {
        return Err(NEVER);
    };
    *site = Some(site_names(compiled));
    let target = head::target(&parts, compiled.settings.paths)?;
    *path = Some((target.path().to_owned(), target.other_readings().to_vec()));
    let tls = client_tls(stated.asked.tls, source, &parts.headers, &snapshot.client_ip)?;
    let trust = match snapshot.client_ip.trusts(source) {
        true => Trust::Trusted,
        false => Trust::Untrusted,
    };
    snapshot.headers.prepare_for_rules(&mut parts.headers, trust);
    Ok(snapshot.policy.explain(&RequestFacts {
        now: stated.at,
        site: &compiled.settings.facts,
        tls,
        version: head.version,
        method: parts.method.as_str(),
        host: &head.host,
        target: &target,
        headers: &parts.headers,
        client: told_client.facts,
    }))
}

fn site_names(site: &CompiledSite) -> (String, String) {
    let facts = &site.settings.facts;
    (facts.name.clone(), facts.upstream.clone())
}

fn derive(
    ip: &Option<IpAddr>,
    source: SourceAddr,
    headers: &http::HeaderMap,
    snapshot: &Snapshot,
) -> Result<ToldClient, HeadError> {
    let facts = |ip: ClientIp| ClientFacts {
        ip,
        geo: snapshot.geo.facts(ip.addr()),
    };
    if let Some(ip) = ip {
        return Ok(ToldClient {
            facts: facts(ClientIp::new(*ip)),
            from: "--ip".to_owned(),
            way: Vec::new(),
        });
    }
    let way = hops(source, headers, &snapshot.client_ip)?;
    let last = way.last().ok_or(Malformed::new("no client address"))?;
    let header = snapshot.client_ip.header();
    let from = match (way.len(), way.first().is_some_and(|hop| hop.trusted)) {
        (1, false) if headers.contains_key(header) => {
            format!("the connection; it is no trusted proxy, so its {header} is not believed")
        }
        (1, false) => "the connection".to_owned(),
        (1, true) => format!("the connection: a trusted proxy that sent no {header}"),
        (_, _) => format!("{header} of a trusted proxy"),
    };
    Ok(ToldClient {
        facts: facts(last.ip),
        from,
        way,
    })
}

impl Told {
    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}", self.asked);
        if let Some(client) = &self.client {
            client.write(&mut text);
        }
        if let Some((site, upstream)) = &self.site {
            let _ = writeln!(text, "site     {site}, leads to upstream {upstream}");
        }
        if let Some((path, others)) = &self.path {
            let _ = writeln!(text, "path     {path}");
            for other in others {
                let _ = writeln!(text, "         an origin may read it as {other}: judged as well");
            }
        }
        match &self.outcome {
            Err(error) => {
                let (status, reason) = (error.status.as_u16(), error.reason.as_str());
                let _ = writeln!(text, "\nrefused before any rule: {status} {reason}: {}", error.detail);
            }
            Ok(explanation) => write_explanation(explanation, &mut text),
        }
        text
    }

    fn json(&self) -> Value {
        let (explanation, refused) = match &self.outcome {
            Ok(explanation) => (Some(explanation), None),
            Err(error) => (
                None,
                Some(json!({
                    "status": error.status.as_u16(),
                    "reason": error.reason.as_str(),
                    "detail": error.detail,
                })),
            ),
        };
        json!({
            "request": self.asked,
            "client": self.client.as_ref().map(ToldClient::json),
            "site": self.site.as_ref().map(|(site, _)| site),
            "upstream": self.site.as_ref().map(|(_, upstream)| upstream),
            "path": self.path.as_ref().map(|(path, _)| path),
            "refused_before_rules": refused,
            "decision": explanation,
        })
    }
}

impl ToldClient {
    fn write(&self, text: &mut String) {
        let geo = &self.facts.geo;
        let _ = writeln!(text, "client   {}, from {}", self.facts.ip.addr(), self.from);
        if self.way.len() > 1 {
            let way: Vec<String> = self.way.iter().map(hop).collect();
            let _ = writeln!(text, "         {}", way.join(" <- "));
        }
        let _ = write!(
            text,
            "         country {}, continent {}",
            geo.country.as_str(),
            geo.continent.as_str()
        );
        let _ = match geo.asn {
            0 => writeln!(text, ", AS unknown"),
            asn => writeln!(text, ", AS{asn}"),
        };
    }

    fn json(&self) -> Value {
        let geo = &self.facts.geo;
        let way = self.way.iter();
        json!({
            "ip": self.facts.ip.addr(),
            "from": self.from,
            "way": way.map(|hop| json!({ "ip": hop.ip.addr(), "trusted": hop.trusted })).collect::<Vec<_>>(),
            "country": geo.country.as_str(),
            "continent": geo.continent.as_str(),
            "asn": geo.asn,
        })
    }
}

fn hop(hop: &Hop) -> String {
    match hop.trusted {
        true => format!("{} (trusted)", hop.ip.addr()),
        false => hop.ip.addr().to_string(),
    }
}

fn write_explanation(explanation: &Explanation, text: &mut String) {
    let decided = explanation.verdict.rule.as_deref();
    let several = explanation.readings.len() > 1;
    let Some(first) = explanation.readings.first() else {
        return;
    };
    for reading in &explanation.readings {
        if several {
            let _ = writeln!(text, "\nread as {}: {}", reading.path, reading.verdict.verdict);
        }
        if fates(reading) == fates(first) && !std::ptr::eq(reading, first) {
            let _ = writeln!(text, "  every rule as above");
            continue;
        }
        for phase in &reading.phases {
            let tier = phase.tier.map(|tier| format!(" ({tier})")).unwrap_or_default();
            let _ = writeln!(text, "\n{}{tier}", phase.phase);
            for rule in &phase.rules {
                write_rule(rule, decided, text);
            }
        }
    }
    let by = decided.map(|rule| format!(" by {rule}")).unwrap_or_default();
    if let Some(bug) = &explanation.bug {
        let rule = bug.rule.as_deref().unwrap_or("no rule");
        let _ = writeln!(
            text,
            "\nthe rules above come to \"{}\" by {rule}, the compiled policy does not: please report this as a bug",
            bug.verdict
        );
    }
    let _ = match explanation.verdict.reason {
        Some(reason) => writeln!(text, "\nblocked{by}: {reason}"),
        None if by.is_empty() => writeln!(text, "\nallowed: no rule objects"),
        None => writeln!(text, "\nallowed{by}"),
    };
}

/// What became of each rule.
fn fates(reading: &ExplainedReading) -> Vec<Fate> {
    let rules = reading.phases.iter().flat_map(|phase| &phase.rules);
    rules.map(|rule| rule.fate).collect()
}

fn write_rule(rule: &ExplainedRule, decided: Option<&str>, text: &mut String) {
    let mark = match decided == Some(rule.id.as_str()) && rule.fate == Fate::Matched {
        true => "=>",
        false => "  ",
    };
    let shadow = if rule.mode == "shadow" { " in shadow" } else { "" };
    let why = rule.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let (id, action, fate) = (&rule.id, rule.action, rule.fate.as_str());
    let _ = writeln!(text, "{mark} {id} ({action}{shadow}): {fate}{why}   {}", rule.place);
    if rule.fate == Fate::Matched {
        let _ = writeln!(text, "      {}", rule.expression);
    }
}
