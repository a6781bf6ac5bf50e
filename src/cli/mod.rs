//! The command line: what was typed, what it means, and one file a verb.
//!
//! Owns arguments, where the configuration is looked for, what is printed where, and exit codes: 0 is yes, 1 is no
//! (findings, or a configuration that does not load), 2 is a wrong command line or something that could not be asked.

mod check;
mod completions;
mod confirm;
mod diff;
mod explain;
mod fmt;
mod geo;
mod healthcheck;
mod line_diff;
mod lint;
mod paint;
mod reload;
mod replay;
mod rules;
mod run;
mod session;
mod status;
mod test;
mod upgrade;
mod version;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use session::Session;

/// A self-hosted access gateway: decides who may reach a web application, and says why.
///
/// Without a verb it runs the gateway.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    /// The configuration; without it PORTCULLIS_CONFIG, ./config/portcullis.toml or /etc/portcullis/portcullis.toml
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// For people, or for programs
    #[arg(short, long, global = true, value_name = "FORM", value_enum, default_value_t)]
    output: Form,

    /// Check the configuration and stop: short for `check`
    #[arg(short = 't', long = "test")]
    check: bool,

    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  portcullis                                  run with the configuration found
  portcullis -c /etc/portcullis/portcullis.toml check
  portcullis rules                            every rule with the expression it stands for
  portcullis explain https://example.com/admin --ip 203.0.113.9
  portcullis lint                             what is wrong with rules that load
  portcullis replay access.log.gz             what the rules would have done to past traffic
  portcullis fmt --check                      whether the rules files are laid out as they should be
  portcullis test                             hold the rules to the requests that stand beside them
  portcullis diff /etc/portcullis .           what is different, rule by rule
  portcullis reload                           put edits in force, whole or not at all
  portcullis reload --confirm 5m              the same, and take them back unless `portcullis confirm` follows in time
  portcullis upgrade                          put a new version, or keys that need a restart, in force without a gap

Exit codes: 0 yes; 1 no (findings, a configuration that does not load); 2 wrong usage or could not run.
Colours are left out when NO_COLOR is set.";

/// How results are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    #[default]
    Text,
    /// JSON on standard output.
    Json,
    /// SARIF 2.1.0 on standard output: `lint` only, for editors and code hosts.
    Sarif,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// For people.
    Text,
    /// JSON on standard output.
    Json,
}

impl From<Form> for Output {
    /// Errors of a verb whose result is SARIF are for people: they go to standard error.
    fn from(form: Form) -> Self {
        match form {
            Form::Text | Form::Sarif => Self::Text,
            Form::Json => Self::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve, until a signal ends it: what happens without a verb, too
    Run(run::Arguments),
    /// Read everything, say everything that is wrong; no network is needed
    Check(check::Arguments),
    /// Print every rule: where it stands, when it is asked, what it does, and the expression it stands for
    Rules(rules::Arguments),
    /// Find rules that never act, that say something else than was meant, or that leave a way around
    Lint(lint::Arguments),
    /// Say why a request is let in or refused: a made-up one, a pasted curl line, a HAR, or the one with the id of a refusal page
    Explain(Box<explain::Arguments>),
    /// Judge the requests that stand beside the rules (`[[test]]`), and say which came out otherwise than expected
    Test(test::Arguments),
    /// Lay out rules files or an expression, comments kept; the meaning stays
    Fmt(fmt::Arguments),
    /// Put past traffic to the configuration: what would be newly blocked, newly allowed, or cannot be told
    Replay(replay::Arguments),
    /// Have the running gateway read its configuration again; says what changed, or why nothing did
    Reload(reload::Arguments),
    /// Let a reload stay that is to be confirmed (reload --confirm)
    Confirm(confirm::Arguments),
    /// Say what is different between two configurations: rule by rule, list by list
    Diff(diff::Arguments),
    /// Have the running gateway start the installed program anew and hand its sockets over to it: no connection is refused
    Upgrade(upgrade::Arguments),
    /// Say what is known of addresses, and from which source
    Geo(geo::Arguments),
    /// Have the running gateway say what runs
    Status(status::Arguments),
    /// Ask the running gateway whether it is ready: exit 0 or 1
    Healthcheck(healthcheck::Arguments),
    /// Print completions for a shell, or the manual page
    Completions(completions::Arguments),
    /// Print the version
    Version,
}

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// The answer is yes.
    Yes,
    /// The answer is no.
    No,
    /// There is no answer.
    CouldNot,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Yes => Self::from(0),
            Exit::No => Self::from(1),
            Exit::CouldNot => Self::from(2),
        }
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    // clap prints usage errors and leaves with 2, help and version with 0.
    let arguments = Arguments::parse();
    let session = Session::new(arguments.config, arguments.output.into());
    let verb = match (arguments.check, arguments.verb) {
        (true, None) => Some(Verb::Check(check::Arguments::default())),
        (true, check @ Some(Verb::Check(_))) => check,
        (true, Some(_)) => {
            session.complain("-t checks the configuration and takes no other verb");
            return Exit::CouldNot.into();
        }
        (false, verb) => verb,
    };
    if arguments.output == Form::Sarif && !matches!(verb, Some(Verb::Lint(_))) {
        session.complain("only `portcullis lint` prints SARIF: use `-o text` or `-o json`");
        return Exit::CouldNot.into();
    }
    let exit = match verb {
        Some(Verb::Check(arguments)) => check::run(&arguments, &session),
        Some(Verb::Rules(arguments)) => rules::run(&arguments, &session),
        Some(Verb::Explain(arguments)) => explain::run(&arguments, &session),
        Some(Verb::Lint(verb)) => lint::run(&verb, arguments.output, &session),
        Some(Verb::Test(arguments)) => test::run(&arguments, &session),
        Some(Verb::Fmt(arguments)) => fmt::run(&arguments, &session),
        Some(Verb::Replay(arguments)) => replay::run(&arguments, &session),
        Some(Verb::Reload(arguments)) => reload::run(&arguments, &session),
        Some(Verb::Confirm(arguments)) => confirm::run(&arguments, &session),
        Some(Verb::Diff(arguments)) => diff::run(&arguments, &session),
        Some(Verb::Upgrade(arguments)) => upgrade::run(&arguments, &session),
        Some(Verb::Geo(arguments)) => geo::run(&arguments, &session),
        Some(Verb::Status(arguments)) => status::run(&arguments, &session),
        Some(Verb::Healthcheck(arguments)) => healthcheck::run(&arguments, &session),
        Some(Verb::Completions(arguments)) => completions::run(&arguments, &session),
        Some(Verb::Version) => version::run(&session),
        Some(Verb::Run(arguments)) => run::run(&arguments, &session),
        None => run::run(&run::Arguments::default(), &session),
    };
    exit.into()
}
