//! The request behind a request id: asked of the running gateway's memory, else looked for in the access log.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Version};
use serde_json::{Value, json};

use super::request::{Asked, Stated, header};
use crate::{
    cli::{
        reload::{ask, not_asked},
        session::Session,
    },
    config::{
        self,
        settings::{LogFormat, LogTarget},
    },
    policy::{facts::HttpVersion, normalize::HostName},
    snapshot::Snapshot,
    telemetry::access::read::{Record, Withheld},
};

/// What the gateway said of a request when it came.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) record: Record,
    /// The load in force now and when it was loaded, if the gateway was asked.
    pub(super) in_force: Option<(u64, String)>,
    /// Why it cannot be judged again.
    pub(super) unjudged: Option<String>,
}

/// The memory is asked at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest line of a log that is read; longer ones are no records of ours.
const LONGEST_LINE: u64 = 1 << 20;

/// Whether a word has the form of the ids that the gateway gives: 32 hexadecimal digits, perhaps with the dashes of a UUID.
pub(super) fn is_id(word: &str) -> bool {
    let digits = word.chars().filter(|c| *c != '-').count();
    digits == 32 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// Looks for a request.
///
/// # Errors
/// Where it was looked for, and what was found there.
pub(super) fn find(id: &str, log: Option<&Path>, snapshot: &Snapshot, session: &Session) -> Result<Asked, String> {
    let mut looked = Vec::new();
    if log.is_none() {
        match remembered(id, session) {
            Ok(asked) => return Ok(asked),
            Err(why) => looked.push(why),
        }
    }
    let file = match (log, &snapshot.settings.log.access) {
        (Some(named), _) => Some(named.to_owned()),
        (None, LogTarget::File(path)) => Some(path.clone()),
        (None, LogTarget::Stdout) => {
            looked.push("access log: it goes to standard output; name a file that keeps it with --log FILE".to_owned());
            None
        }
        (None, LogTarget::Off) => {
            looked.push("access log: it is off".to_owned());
            None
        }
    };
    if let Some(file) = file {
        match logged(id, &file) {
            Ok(Some(line)) => return from_log(&line, &file),
            Ok(None) => looked.push(format!("access log: {} does not have it", name(&file))),
            Err(error) => looked.push(format!("access log: {}: {error}", name(&file))),
        }
    }
    if log.is_none() && snapshot.settings.log.format == LogFormat::Text {
        looked.push("(records are written as text, which tells less than `format = \"json\"`)".to_owned());
    }
    Err(format!(
        "no request with the id {id} is known\n  {}",
        looked.join("\n  ")
    ))
}

fn name(file: &Path) -> String {
    match file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => file.display().to_string(),
    }
}

/// What the running gateway remembers; else why not.
fn remembered(id: &str, session: &Session) -> Result<Asked, String> {
    let path = session.config().map_err(|fault| fault.message)?;
    let admin = config::admin(&path).map_err(|_| "gateway: `[admin]` does not load".to_owned())?;
    let socket = admin
        .socket
        .ok_or("gateway: the configuration names no admin socket to ask it")?;
    let answer = ask(&socket, &json!({ "verb": "event", "id": id }), TIMEOUT);
    let answer = answer.map_err(|error| format!("gateway: {}", not_asked(&socket, &error)))?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(format!("gateway: it answered: {error}"));
    }
    let event = answer.get("event").filter(|event| !event.is_null());
    let event = event.ok_or_else(|| reach(&answer))?;
    let record = Record::of(event).map_err(|error| format!("gateway: its answer made no sense: {error}"))?;
    let generation = answer.get("generation").and_then(Value::as_u64);
    let loaded = answer.get("loaded").and_then(Value::as_str).unwrap_or_default();
    let in_force = generation.map(|generation| (generation, loaded.to_owned()));
    asked(record, Stated::Memory, in_force)
}

/// How far the memory reaches, in words.
fn reach(answer: &Value) -> String {
    let number = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let since = |sort: &str| {
        let since = answer.pointer(&format!("/memory/{sort}/since")).and_then(Value::as_str);
        since
            .map(|since| format!(", the oldest of {since}"))
            .unwrap_or_default()
    };
    let room = number("/memory/room");
    if room == 0 {
        return "gateway: it remembers nothing (`[log] events = 0`)".to_owned();
    }
    let (refused, passed) = (number("/memory/refused/count"), number("/memory/let_through/count"));
    format!(
        "gateway: it does not remember it. It remembers {refused} refused requests{}, and {passed} that were let through and \
         matched a rule{}; room for {room} of each (`[log] events`), since it started",
        since("refused"),
        since("let_through")
    )
}

fn from_log(line: &[u8], file: &Path) -> Result<Asked, String> {
    match Record::parse(line) {
        Ok(record) => asked(record, Stated::Log, None),
        Err(_) => Err(format!(
            "{} has it as text, which tells too little to judge it again (`[log] format = \"json\"` tells more):\n  {}",
            name(file),
            config::show::printable(&String::from_utf8_lossy(line))
        )),
    }
}

/// The last line that is the record of this request.
fn logged(id: &str, file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut reader = open(file)?;
    let members = [format!("\"http.request.id\":\"{id}\""), format!(" id={id}")];
    let finders = members.each_ref().map(memchr::memmem::Finder::new);
    let mut found = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        let trimmed = line.trim_ascii_end();
        let is_text = |at: usize| {
            !trimmed
                .get(at..)
                .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_alphanumeric))
        };
        let is_it = finders[0].find(trimmed).is_some()
            || finders[1]
                .find(trimmed)
                .is_some_and(|at| is_text(at + members[1].len()));
        if is_it {
            found = Some(trimmed.to_vec());
        }
    }
}

/// A log as it is, or as it was compressed when it was put away.
fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let mut reader = BufReader::with_capacity(1 << 20, File::open(file)?);
    let begin = reader.fill_buf()?;
    Ok(match begin {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(reader))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(BufReader::new(zstd::Decoder::with_buffer(reader)?)),
        _ => Box::new(reader),
    })
}

/// The request of a record.
pub(super) fn asked(record: Record, stated: Stated, in_force: Option<(u64, String)>) -> Result<Asked, String> {
    let version = match record.version {
        HttpVersion::Http10 => Version::HTTP_10,
        HttpVersion::Http11 => Version::HTTP_11,
        HttpVersion::Http2 => Version::HTTP_2,
    };
    let lines: Result<Vec<_>, String> = record.headers.iter().map(|(name, value)| header(name, value)).collect();
    let mut lines = lines?;
    let (withheld, any_header) = match &record.withheld {
        Withheld::These(names) => (names.clone(), false),
        Withheld::AnyOther => (Vec::new(), true),
    };
    for name in &withheld {
        // It was sent: that much is known. What stands for the value is never looked at.
        let known = lines.iter().any(|(known, _)| known.as_str() == name);
        if let (false, Ok(name)) = (known, HeaderName::try_from(name)) {
            lines.push((name, HeaderValue::from_static("?")));
        }
    }
    let unjudged = if record.is_cut() {
        Some("its target was too long to be kept whole".to_owned())
    } else if record.action == "answer" {
        Some("the gateway answered it itself: a redirect to https, or a health check. No rule was asked".to_owned())
    } else if record.host.is_none() && !lines.iter().any(|(name, _)| *name == http::header::HOST) {
        Some("it had no valid host".to_owned())
    } else {
        None
    };
    let target = if unjudged.is_some() { "/" } else { &record.target };
    let mut asked = match Asked::of(target, &record.method, lines, version) {
        Ok(asked) => asked,
        Err(error) => return Err(format!("the record of {} is of no request: {error}", record.id)),
    };
    if let Some(host) = &record.host {
        asked.host(host)?;
    }
    Ok(Asked {
        tls: record.tls,
        stated,
        server_name: record.server_name.as_deref().and_then(HostName::parse),
        unknown: record.unknown_facts(),
        withheld,
        any_header,
        recorded: Some(Recorded {
            record,
            in_force,
            unjudged,
        }),
        ..asked
    })
}
