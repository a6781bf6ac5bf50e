//! A HAR file, as browsers save it: which requests are in it, and one of them as it went over the wire.

use std::fmt::Write;

use http::Version;
use serde_json::{Value, json};

use super::request::{Asked, Stated, header, split};
use crate::{policy::normalize::Host, snapshot::Snapshot};

/// A HAR file.
pub(super) struct Har {
    entries: Vec<Value>,
    /// Whether no entry has a cookie or an Authorization: browsers leave them out unless told otherwise.
    is_sanitized: bool,
}

/// One request of it, in short.
struct Line {
    number: usize,
    method: String,
    status: u64,
    url: String,
}

/// What is to be explained.
pub(super) enum Chosen {
    /// This one.
    One(Box<Asked>),
    /// There are several: for people, and for programs.
    List(String, Value),
}

impl Har {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is no HAR.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| format!("this is no HAR file, which is JSON: {error}"))?;
        let entries = file.pointer("/log/entries").and_then(Value::as_array);
        let entries = entries.ok_or("this is no HAR file: it has no `log.entries`")?;
        let has_credential = |entry: &Value| {
            let lines = entry.pointer("/request/headers").and_then(Value::as_array);
            let mut names = lines
                .into_iter()
                .flatten()
                .filter_map(|line| line.get("name")?.as_str());
            names.any(|name| name.eq_ignore_ascii_case("cookie") || name.eq_ignore_ascii_case("authorization"))
        };
        Ok(Self {
            entries: entries.clone(),
            is_sanitized: !entries.iter().any(has_credential),
        })
    }

    /// The request of this number, counted from 1; or the only one that comes here, or the list of those.
    ///
    /// # Errors
    /// There is no such request, or it is none that could be sent.
    pub(super) fn choose(&self, number: Option<usize>, snapshot: &Snapshot) -> Result<Chosen, String> {
        if let Some(number) = number {
            let entry = number.checked_sub(1).and_then(|at| self.entries.get(at));
            let entry =
                entry.ok_or_else(|| format!("there is no entry {number}: the file has {}", self.entries.len()))?;
            return self.request(entry).map(|asked| Chosen::One(Box::new(asked)));
        }
        let all: Vec<Line> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| line(at, entry))
            .collect();
        let ours: Vec<&Line> = all.iter().filter(|line| is_served(&line.url, snapshot)).collect();
        match (ours.as_slice(), all.as_slice()) {
            (_, []) => Err("there is no request in this HAR file".to_owned()),
            ([only], _) => self.choose(Some(only.number), snapshot),
            ([], [only]) => self.choose(Some(only.number), snapshot),
            ([], all) => Ok(listed(&all.iter().collect::<Vec<_>>(), 0)),
            (ours, all) => Ok(listed(ours, all.len() - ours.len())),
        }
    }

    fn request(&self, entry: &Value) -> Result<Asked, String> {
        let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str);
        let url = text("/request/url").ok_or("the entry has no `request.url`")?;
        let method = text("/request/method").ok_or("the entry has no `request.method`")?;
        let (tls, authority, target) = split(url)?;
        let lines = entry.pointer("/request/headers").and_then(Value::as_array);
        let mut headers = Vec::new();
        for line in lines.into_iter().flatten() {
            let part = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
            // HTTP/2's `:authority` and its like say what the URL says.
            if !part("name").starts_with(':') {
                headers.push(header(part("name"), part("value"))?);
            }
        }
        let mut asked = Asked::of(&target, method, headers, version(text("/request/httpVersion"), tls))?;
        asked.host(authority)?;
        let mut remarks = Vec::new();
        if text("/request/httpVersion").is_some_and(|version| version.contains('3')) {
            remarks.push("HTTP/3 is not served: judged as HTTP/2".to_owned());
        }
        if self.is_sanitized {
            remarks
                .push("the HAR holds no cookies and no Authorization: it may have been saved without them".to_owned());
        }
        Ok(Asked {
            tls,
            stated: Stated::Har,
            remarks,
            withheld: match self.is_sanitized {
                true => vec!["cookie".to_owned(), "authorization".to_owned()],
                false => Vec::new(),
            },
            ..asked
        })
    }
}

/// `h2`, `http/2.0`, `HTTP/2`, `h3`, `HTTP/1.1`: every browser has its own word.
fn version(said: Option<&str>, tls: bool) -> Version {
    match said.unwrap_or_default().to_ascii_lowercase().as_str() {
        "http/1.0" => Version::HTTP_10,
        "http/1.1" => Version::HTTP_11,
        said if said.contains(['2', '3']) => Version::HTTP_2,
        _ if tls => Version::HTTP_2,
        _ => Version::HTTP_11,
    }
}

fn line(at: usize, entry: &Value) -> Option<Line> {
    Some(Line {
        number: at + 1,
        method: entry.pointer("/request/method")?.as_str()?.to_owned(),
        status: entry.pointer("/response/status").and_then(Value::as_u64).unwrap_or(0),
        url: entry.pointer("/request/url")?.as_str()?.to_owned(),
    })
}

/// Whether the URL's host is one of a site's.
fn is_served(url: &str, snapshot: &Snapshot) -> bool {
    let host = split(url)
        .ok()
        .and_then(|(_, authority, _)| Host::parse(authority).ok());
    host.is_some_and(|host| snapshot.site_table.find(&host.name).is_some())
}

/// The list of what may be asked about; what did not go well is marked.
fn listed(lines: &[&Line], elsewhere: usize) -> Chosen {
    const LONGEST: usize = 80;
    let mut text = format!("{} requests: choose one with --entry N\n", lines.len());
    for line in lines {
        let mark = if is_refused(line.status) { '*' } else { ' ' };
        let status = match line.status {
            0 => "none".to_owned(),
            status => status.to_string(),
        };
        let url: String = without_query(&line.url).chars().take(LONGEST).collect();
        let _ = writeln!(
            text,
            "{mark} {:>4}  {status:<4}  {:<7}  {url}",
            line.number, line.method
        );
    }
    if elsewhere > 0 {
        let _ = writeln!(text, "and {elsewhere} to hosts that are not served here");
    }
    if lines.iter().any(|line| is_refused(line.status)) {
        text.push_str("* was refused, or got no answer\n");
    }
    let entry = |line: &&Line| json!({ "entry": line.number, "method": line.method, "status": line.status, "url": without_query(&line.url) });
    let entries: Vec<Value> = lines.iter().map(entry).collect();
    Chosen::List(text, json!({ "entries": entries, "elsewhere": elsewhere }))
}

fn is_refused(status: u64) -> bool {
    status == 0 || (400..500).contains(&status)
}

/// Queries are long, and may hold secrets.
fn without_query(url: &str) -> String {
    match url.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => url.to_owned(),
    }
}
