//! `portcullis explain`: judges a request through the code that judges live ones, and tells every step.
//!
//! The request comes from options, a curl line, a HAR file, or from the id on a refusal page.

mod client;
mod curl;
mod curl_options;
mod har;
mod judge;
mod recorded;
mod request;
mod rules;
mod shell;
mod text;
mod why;

use std::{
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use self::{
    client::Who,
    har::{Chosen, Har},
    judge::{Question, Told},
    request::{Asked, Stated},
    rules::Shown,
};
use super::{Exit, Output, paint::Paint, rules as listed, session::Session};
use crate::{
    policy::{countries, facts::Country, rule::Timestamp},
    reload::now,
    snapshot::Snapshot,
};

const EXAMPLES: &str = "\
Examples:
  portcullis explain 0192f0c31e5a7c2e8c41d0a3b5f6e7d8        the id on a refusal page
  portcullis explain https://example.com/admin --ip 203.0.113.9
  portcullis explain /wp-login.php --country DE -H 'User-Agent: sqlmap/1.8'
  portcullis explain /x --peer 10.0.0.1 -H 'X-Forwarded-For: 203.0.113.9'
  portcullis explain \"curl 'https://example.com/' -H 'Accept: */*'\" --ip 203.0.113.9
  portcullis explain - --ip 203.0.113.9                      a curl line, HAR or record pasted into standard input
  portcullis explain --har page.har --entry 4 --ip 203.0.113.9

The path is taken as written; curl itself would first remove `..` unless told --path-as-is.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// A URL or path; a request id; a whole curl line in quotes; or - to read one of them from standard input
    #[arg(value_name = "REQUEST", conflicts_with = "url")]
    target: Option<String>,

    /// A URL or path, as an option
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// A request id: asked of the running gateway, else looked for in the access log
    #[arg(long, value_name = "ID", conflicts_with_all = ["target", "url", "har"])]
    request: Option<String>,

    /// The access log to look in instead, of JSON records, gzip or zstd too; - is standard input
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// A HAR file, as browsers save it; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "url"])]
    har: Option<PathBuf>,

    /// Which request of the HAR file, counted from 1
    #[arg(long, value_name = "N")]
    entry: Option<usize>,

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

    /// Show every rule, not only those that mattered
    #[arg(long)]
    all: bool,

    /// Show this rule alone, and why it matches or not
    #[arg(long, value_name = "ID")]
    rule: Option<String>,

    /// A curl command line, word by word
    #[arg(last = true, value_name = "CURL LINE")]
    curl: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let circumstances = match Circumstances::of(arguments) {
        Ok(circumstances) => circumstances,
        Err(message) => return could_not(session, &message),
    };
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    if let Some(id) = arguments.rule.as_deref()
        && !snapshot.policy.rules().iter().any(|rule| listed::is_named(rule, id))
    {
        return could_not(session, &listed::unknown(id, snapshot.policy.rules()));
    }
    match asked(arguments, &snapshot, session) {
        Ok(Chosen::One(asked)) => tell(*asked, &circumstances, arguments, &snapshot, session),
        Ok(Chosen::List(text, json)) => {
            match session.output {
                Output::Text => session.print(&text),
                Output::Json => session.print_json(&json),
            }
            Exit::Yes
        }
        Err(message) => could_not(session, &message),
    }
}

fn could_not(session: &Session, message: &str) -> Exit {
    session.complain(message);
    Exit::CouldNot
}

/// What was said beside the request.
struct Circumstances {
    ip: Option<IpAddr>,
    peer: Option<IpAddr>,
    country: Option<Country>,
    asn: Option<u32>,
    at: Option<Timestamp>,
}

impl Circumstances {
    fn of(arguments: &Arguments) -> Result<Self, String> {
        let country =
            |code: &String| countries::country(code).map_err(|error| format!("{}: {}", error.message, error.help));
        let at = |text: &String| {
            let at = text.parse::<jiff::Timestamp>();
            at.map(|at| Timestamp(at.as_second()))
                .map_err(|_| format!("`{text}` is no time; write it like 2027-01-31T18:00:00Z"))
        };
        Ok(Self {
            ip: arguments.ip,
            peer: arguments.peer,
            country: arguments.country.as_ref().map(country).transpose()?,
            asn: arguments.asn,
            at: arguments.at.as_ref().map(at).transpose()?,
        })
    }

    /// The whole question.
    fn about(&self, asked: Asked) -> Question {
        let record = asked.recorded.as_ref().map(|recorded| &recorded.record);
        let client = record.and_then(|record| record.client);
        let who = match (self.ip, self.peer, record, client) {
            (Some(ip), ..) => Who::Stated(ip, "--ip"),
            (None, Some(peer), ..) => Who::Connects(peer, "the connection, by --peer"),
            // Of a log line the header is not known that named the client.
            (None, None, Some(_), Some(client)) if client.by_header && asked.any_header => {
                Who::Stated(client.ip, "the record: a trusted proxy's header named it")
            }
            (None, None, Some(record), client) => match (record.source, client) {
                (Some(source), _) => Who::Connects(source, "the connection"),
                (None, Some(client)) => Who::Stated(client.ip, "the record"),
                (None, None) => Who::Assumed(LOCAL, "this machine: the record does not say who asked"),
            },
            (None, None, None, _) => match (asked.peer, asked.stated) {
                (Some(peer), _) => Who::Connects(peer, "the connection, by --interface"),
                (None, Stated::Har) => Who::Assumed(LOCAL, "this machine: a HAR does not say who asked"),
                (None, _) => Who::Assumed(LOCAL, "this machine: nobody said who asks"),
            },
        };
        Question {
            who,
            country: self.country,
            asn: self.asn,
            at: self.at.or(record.map(|record| record.at)).unwrap_or_else(now),
            is_past: self.at.is_none() && record.is_some(),
            asked,
        }
    }
}

/// Who tries it out on the same machine.
const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The request that is meant.
fn asked(arguments: &Arguments, snapshot: &Snapshot, session: &Session) -> Result<Chosen, String> {
    let one = |asked: Asked| Chosen::One(Box::new(asked));
    if let Some(id) = &arguments.request {
        return recorded::find(id, arguments.log.as_deref(), snapshot, session).map(one);
    }
    if let Some(file) = &arguments.har {
        return Har::parse(&read(file)?)?.choose(arguments.entry, snapshot);
    }
    if !arguments.curl.is_empty() {
        let words: Vec<&str> = arguments.curl.iter().map(String::as_str).collect();
        return match words.as_slice() {
            [line] if line.contains(char::is_whitespace) => pasted(line, arguments, snapshot, session),
            _ => curl::read(&arguments.curl).map(one),
        };
    }
    let target = arguments.target.as_deref().or(arguments.url.as_deref());
    let target =
        target.ok_or("say what is asked for, such as https://example.com/admin, or the id of a refusal page")?;
    match target {
        "-" => pasted(&read(Path::new("-"))?, arguments, snapshot, session),
        target => pasted(target, arguments, snapshot, session),
    }
}

/// A text that is one of several things.
fn pasted(text: &str, arguments: &Arguments, snapshot: &Snapshot, session: &Session) -> Result<Chosen, String> {
    let one = |asked: Asked| Chosen::One(Box::new(asked));
    let text = text.trim();
    if recorded::is_id(text) {
        return recorded::find(text, arguments.log.as_deref(), snapshot, session).map(one);
    }
    if text.starts_with('{') {
        return match crate::telemetry::access::read::Record::parse(text.as_bytes()) {
            Ok(record) => recorded::asked(record, Stated::Log, None).map(one),
            Err(error) if !text.contains("\"entries\"") => {
                Err(format!("this is neither an access record ({error}) nor a HAR file"))
            }
            Err(_) => Har::parse(text)?.choose(arguments.entry, snapshot),
        };
    }
    let begins_as_curl = text.strip_prefix("$ ").unwrap_or(text).starts_with("curl");
    if begins_as_curl && text.contains(char::is_whitespace) {
        let shell::Words { words, remarks } = shell::words(text)?;
        let mut asked = curl::read(&words)?;
        asked.remarks.splice(0..0, remarks);
        return Ok(one(asked));
    }
    if text.is_empty() {
        return Err("nothing was given to explain".to_owned());
    }
    Asked::from_options(text, arguments.method.as_deref(), &arguments.headers).map(one)
}

/// The longest file that is read whole.
const LONGEST_FILE: u64 = 1 << 30;

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().lock().take(LONGEST_FILE).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|file| file.take(LONGEST_FILE).read_to_string(&mut text)),
    };
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

fn tell(asked: Asked, said: &Circumstances, arguments: &Arguments, snapshot: &Snapshot, session: &Session) -> Exit {
    let told = Told::new(said.about(asked), arguments.rule.as_deref(), snapshot);
    match session.output {
        Output::Json => session.print_json(&told.json()),
        Output::Text => {
            let shown = if arguments.all { Shown::All } else { Shown::WhatMattered };
            session.print(&text::text(&told, &snapshot.policy, &shown, Paint::of_stdout()));
        }
    }
    Exit::Yes
}
