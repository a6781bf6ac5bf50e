//! `portcullis replay`: puts past traffic to the configuration, and tells what changes.

mod bar;
mod gate;

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use self::{bar::Bar, gate::Most};
use super::{Exit, Output, session::Session};
use crate::{
    config,
    policy::{normalize::Host, rule::Timestamp},
    reload::now,
    replay::{
        Options, Replay,
        formats::Format,
        input::Consumed,
        judge::{Judge, Kind},
        report::Report,
        sides::Stated,
        tally::Tally,
    },
    snapshot::Snapshot,
};

const EXAMPLES: &str = "\
Examples:
  portcullis replay /var/log/portcullis/access.log*
  portcullis -c new/portcullis.toml replay --against /etc/portcullis access.log
  portcullis replay --host example.com --scheme https /var/log/nginx/access.log
  zcat access.log.*.gz | portcullis replay --max-new-blocks 0.1%

Files are plain, gzip or zstd, in any order of formats: Portcullis' own records, nginx and Apache
(combined), Caddy, Traefik, HAProxy, AWS ALB. Without a FILE, or for `-`, standard input is read.

Exit codes: 0; 1 more than --max-… allows; 2 nothing or too little could be read.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Access logs
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Compare with this configuration, a portcullis.toml or its folder, instead of what the log says
    #[arg(long, value_name = "DIR|FILE")]
    against: Option<PathBuf>,

    /// The log's format, instead of finding out by its lines
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,

    /// The host of requests whose log names none
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// What was spoken where the log does not say it: https or http
    #[arg(long, value_enum, value_name = "SCHEME")]
    scheme: Option<Scheme>,

    /// Judge all requests at this time, or as of now, instead of when each came
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "now")]
    now: Option<String>,

    /// Only requests from this time on, such as 2027-01-31T18:00:00Z or 2027-01-31
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only requests before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Exit 1 if more requests are newly blocked: a number, or a share of those that passed then, such as 0.1%
    #[arg(long, value_name = "N|N%")]
    max_new_blocks: Option<Most>,

    /// Exit 1 if more requests are newly allowed: a number, or a share of all that were compared
    #[arg(long, value_name = "N|N%")]
    max_new_allows: Option<Most>,

    /// Exit 1 if more requests are undecided: a number, or a share of all that were compared
    #[arg(long, value_name = "N|N%")]
    max_undecided: Option<Most>,

    /// Exit 2 if more lines are unreadable: a number, or a share of all lines
    #[arg(long, value_name = "N|N%", default_value = "50%")]
    max_unreadable: Most,

    /// Rows of each table
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,

    /// Examples of each kind
    #[arg(long, value_name = "N", default_value_t = 3)]
    samples: usize,
}

/// The scheme of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scheme {
    Https,
    Http,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let (options, stated) = match understood(arguments, session) {
        Ok(understood) => understood,
        Err(message) => {
            session.complain(&message);
            return Exit::CouldNot;
        }
    };
    let before = match arguments.against.as_deref().map(|path| load_against(path, session)) {
        None => None,
        Some(Ok(before)) => Some(before),
        Some(Err(exit)) => return exit,
    };
    let after = match load(session, before.as_ref().map(|(_, before)| before)) {
        Ok(after) => after,
        Err(exit) => return exit,
    };
    let options = Options {
        redact_query: after.settings.log.redact_query.clone(),
        ..options
    };
    let judge = Judge::new(&after, before.as_ref().map(|(_, before)| before), stated);
    let mut replay = Replay::new(judge, options);
    let files = files(arguments);
    if let Err(message) = read(&files, &mut replay) {
        session.complain(&message);
        return Exit::CouldNot;
    }
    let (exit, notes) = end(arguments, replay.tally());
    let report = Report {
        tally: replay.tally(),
        formats: replay.formats(),
        files: files.len(),
        after: session
            .config()
            .map_or_else(|_| String::new(), |path| path.display().to_string()),
        before: before.as_ref().map(|(path, _)| path.display().to_string()),
        assumed_host: replay.judge().assumed_host().map(|host| host.authority().to_owned()),
        unknown: replay.judge().unknown().iter().cloned().collect(),
        notes,
        top: arguments.top,
        samples: arguments.samples,
    };
    match session.output {
        Output::Text => {
            session.print(&report.text());
            session.note(&report.notes);
        }
        Output::Json => session.print_json(&report.json()),
    }
    exit
}

/// What was typed, understood.
fn understood(arguments: &Arguments, session: &Session) -> Result<(Options, Stated), String> {
    if arguments.files.is_empty() && io::stdin().is_terminal() {
        return Err("name the access logs to replay, or send one to standard input".to_owned());
    }
    let moment = |text: &Option<String>| text.as_deref().map(moment).transpose();
    let host = arguments.host.as_deref().map(|host| {
        Host::parse(host)
            .map_err(|_| format!("`{host}` is no host; write it like example.com, without scheme and path"))
    });
    let options = Options {
        format: arguments.format,
        since: moment(&arguments.since)?,
        until: moment(&arguments.until)?,
        samples: arguments.samples,
        program: program(session),
        redact_query: Vec::new(),
    };
    let stated = Stated {
        host: host.transpose()?,
        tls: arguments.scheme.map(|scheme| scheme == Scheme::Https),
        now: match arguments.now.as_deref() {
            Some("now") => Some(now()),
            Some(text) => Some(self::moment(text)?),
            None => None,
        },
    };
    Ok((options, stated))
}

/// A date is its first second.
fn moment(text: &str) -> Result<Timestamp, String> {
    let full = if text.len() == "2027-01-31".len() {
        format!("{text}T00:00:00Z")
    } else {
        text.to_owned()
    };
    full.parse::<jiff::Timestamp>()
        .map(|at| Timestamp(at.as_second()))
        .map_err(|_| format!("`{text}` is no time; write it like 2027-01-31T18:00:00Z or 2027-01-31"))
}

/// How the program is called to explain an example: with the same configuration.
fn program(session: &Session) -> String {
    match session.named_config().map(|path| path.to_string_lossy().into_owned()) {
        None => "portcullis".to_owned(),
        Some(path) => match shlex::try_quote(&path) {
            Ok(path) => format!("portcullis -c {path}"),
            Err(_) => "portcullis".to_owned(),
        },
    }
}

fn load(session: &Session, before: Option<&Snapshot>) -> Result<Snapshot, Exit> {
    let path = session.config().map_err(|fault| {
        session.faults(&[fault]);
        Exit::CouldNot
    })?;
    loaded(&path, before, session)
}

fn loaded(path: &Path, before: Option<&Snapshot>, session: &Session) -> Result<Snapshot, Exit> {
    match config::load(path, now(), before) {
        Ok((snapshot, _)) => Ok(snapshot),
        Err(faults) => {
            session.faults(&faults);
            Err(Exit::CouldNot)
        }
    }
}

/// The other configuration: a file, or the folder that it is in.
fn load_against(path: &Path, session: &Session) -> Result<(PathBuf, Snapshot), Exit> {
    const INSIDE: [&str; 2] = ["portcullis.toml", "config/portcullis.toml"];
    let file = match path.is_dir() {
        false => path.to_owned(),
        true => match INSIDE.iter().map(|name| path.join(name)).find(|file| file.exists()) {
            Some(file) => file,
            None => {
                session.complain(&format!(
                    "`{}` holds neither portcullis.toml nor config/portcullis.toml",
                    path.display()
                ));
                return Err(Exit::CouldNot);
            }
        },
    };
    loaded(&file, None, session).map(|snapshot| (file, snapshot))
}

fn files(arguments: &Arguments) -> Vec<PathBuf> {
    match arguments.files.as_slice() {
        [] => vec![PathBuf::from("-")],
        files => files.to_vec(),
    }
}

fn read(files: &[PathBuf], replay: &mut Replay<'_>) -> Result<(), String> {
    let consumed = Consumed::default();
    let bar = Bar::new(files);
    for file in files {
        let progress = &mut || bar.at(consumed.bytes());
        replay
            .file(file, &consumed, progress)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// How to end, and what is to be said of it: what is more than is allowed.
fn end(arguments: &Arguments, tally: &Tally) -> (Exit, Vec<String>) {
    let compared = tally.unchanged() + Kind::ALL.into_iter().map(|kind| tally.count(kind)).sum::<u64>();
    let lines = tally.requests + tally.outside + tally.unreadable;
    let mut exit = Exit::Yes;
    let gates = [
        (
            "newly blocked",
            "--max-new-blocks",
            arguments.max_new_blocks,
            tally.count(Kind::NewlyBlocked),
            tally.passed,
        ),
        (
            "newly allowed",
            "--max-new-allows",
            arguments.max_new_allows,
            tally.count(Kind::NewlyAllowed),
            compared,
        ),
        (
            "undecided",
            "--max-undecided",
            arguments.max_undecided,
            tally.count(Kind::Undecided),
            compared,
        ),
    ];
    let mut said = Vec::new();
    for (what, option, most, number, whole) in gates {
        let Some(most) = most else { continue };
        if most.is_exceeded(number, whole) {
            exit = Exit::No;
            said.push(format!(
                "{number} of {whole} requests are {what}: {option} allows {most}"
            ));
        }
    }
    let undecided = tally.count(Kind::Undecided);
    if arguments.max_new_blocks.is_some() && arguments.max_undecided.is_none() && undecided > 0 {
        said.push(format!(
            "undecided requests ({undecided}) may be blocked too, and count as neither: bound them with --max-undecided"
        ));
    }
    if arguments.max_unreadable.is_exceeded(tally.unreadable, lines) {
        exit = Exit::CouldNot;
        said.push(format!(
            "{} of {lines} lines are unreadable: --max-unreadable allows {}; is the --format right?",
            tally.unreadable, arguments.max_unreadable
        ));
    } else if compared == 0 {
        // A gate that nothing was put to has not held.
        exit = Exit::CouldNot;
        said.push("no request was compared, so nothing can be said".to_owned());
    }
    (exit, said)
}
