//! `portcullis reload`: asks the running gateway over its admin socket, waits, and says how it went.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Exit, Output, session::Session};
use crate::config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's admin socket, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,

    /// Go back to what was in force unless `portcullis confirm` comes within this time: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    confirm: Option<u64>,
}

/// A time as the configuration writes it, from a second to a day.
fn whole_seconds(text: &str) -> Result<u64, String> {
    let time = config::duration(text)?;
    match time.as_secs() {
        seconds @ 1..=86_400 if time.subsec_nanos() == 0 => Ok(seconds),
        _ => Err("expected whole seconds, from 1s to 1d".to_owned()),
    }
}

/// No report is longer; a socket that never stops talking is not ours.
const LONGEST_ANSWER: u64 = 16 << 20;

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let named = arguments.socket.clone().map(Ok);
    let socket = match named.unwrap_or_else(|| session.admin_socket(Exit::No)) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let timeout = Duration::from_secs(arguments.timeout.max(1));
    match ask(
        &socket,
        &json!({ "verb": "reload", "confirm": arguments.confirm }),
        timeout,
    ) {
        Ok(answer) => told(&answer, session),
        Err(error) => {
            let mut message = not_asked(&socket, &error);
            if error.kind() == io::ErrorKind::NotFound && arguments.socket.is_none() {
                message.push_str("\n  if `admin.socket` was just changed, name the one in use with `--socket OLD`");
            }
            session.complain(&message);
            Exit::CouldNot
        }
    }
}

/// One question, one answer, a line of JSON each.
pub(super) fn ask(socket: &Path, question: &Value, timeout: Duration) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

pub(super) fn not_asked(socket: &Path, error: &io::Error) -> String {
    let at = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("no gateway listens on {at}: there is no such socket. Is it running?"),
        io::ErrorKind::ConnectionRefused => format!("no gateway listens on {at}: it was left behind by one that ended"),
        io::ErrorKind::PermissionDenied => {
            format!("{at} may not be used by this user: run this as the user of the gateway, or as root")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("the gateway on {at} did not answer in time; its log may say why")
        }
        _ => format!("cannot ask the gateway on {at}: {error}"),
    }
}

fn told(answer: &Value, session: &Session) -> Exit {
    let exit = match answer.get("result").and_then(Value::as_str) {
        Some("loaded") => Exit::Yes,
        Some("kept") => Exit::No,
        Some(_) | None => {
            let error = answer
                .get("error")
                .and_then(Value::as_str)
                .unwrap_or("it made no sense");
            session.complain(&format!("the gateway answered: {error}"));
            return Exit::CouldNot;
        }
    };
    match session.output {
        Output::Json => session.print_json(answer),
        Output::Text => tell(answer, exit, session),
    }
    exit
}

fn tell(answer: &Value, exit: Exit, session: &Session) {
    let generation = answer.get("generation").and_then(Value::as_u64).unwrap_or(0);
    let shown = answer.get("shown").and_then(Value::as_str).unwrap_or("");
    if !shown.is_empty() {
        session.print(&format!("{shown}\n"));
    }
    if exit != Exit::Yes {
        session.print(&format!(
            "not reloaded: nothing changed, generation {generation} stays in force\n"
        ));
        if let Some(line) = unconfirmed(answer) {
            session.print(&line);
        }
        return;
    }
    session.print(&format!("reloaded: generation {generation} is in force\n"));
    let (changed, in_full) = (words(answer, "changed"), words(answer, "told"));
    if changed.is_empty() {
        session.print("  nothing is different\n");
    }
    // Too many to read are told by name.
    let shown = if in_full.len() > MOST_LINES { changed } else { in_full };
    for line in shown {
        session.print(&format!("  {line}\n"));
    }
    for line in words(answer, "changed")
        .iter()
        .filter(|line| line.starts_with("list ") && line.contains(": "))
    {
        session.print(&format!("  {line}\n"));
    }
    let waiting = words(answer, "restart_required");
    if !waiting.is_empty() {
        let keys = waiting.join(", ");
        session.print(&format!("restart the gateway to put these in force as well: {keys}\n"));
    }
    if let Some(line) = unconfirmed(answer) {
        session.print(&line);
    }
}

/// More lines of changes than this are told in short.
const MOST_LINES: usize = 60;

/// When it goes back, and how to keep that from happening.
fn unconfirmed(answer: &Value) -> Option<String> {
    let waits = answer.get("unconfirmed").filter(|waits| !waits.is_null())?;
    let number = |key: &str| waits.get(key).and_then(Value::as_u64).unwrap_or_default();
    let (to, left) = (number("returns_to"), spelled(number("seconds")));
    Some(format!(
        "generation {to} comes back in {left}, unless you run: portcullis confirm\n"
    ))
}

/// `5m`, `1h30m`, `45s`
pub(super) fn spelled(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let text: String = parts.map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn words<'a>(answer: &'a Value, key: &str) -> Vec<&'a str> {
    let words = answer.get(key).and_then(Value::as_array);
    words.into_iter().flatten().filter_map(Value::as_str).collect()
}
