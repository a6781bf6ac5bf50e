//! What every verb needs: the configuration that is meant, and where to print.

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Exit, Output};
use crate::{
    config::{
        self,
        show::{self, Colour},
    },
    policy::fault::{Fault, Severity},
    reload::now,
    snapshot::Snapshot,
};

/// Where the configuration is looked for when nobody names it, in order.
const PLACES: [&str; 2] = ["config/portcullis.toml", "/etc/portcullis/portcullis.toml"];
const VARIABLE: &str = "PORTCULLIS_CONFIG";

/// One call of the program.
#[derive(Debug)]
pub(super) struct Session {
    config: Option<PathBuf>,
    pub(super) output: Output,
}

impl Session {
    pub(super) fn new(config: Option<PathBuf>, output: Output) -> Self {
        Self { config, output }
    }

    /// The configuration that is meant; that it is there is not said.
    ///
    /// # Errors
    /// Nobody names one and none is found.
    pub(super) fn config(&self) -> Result<PathBuf, Fault> {
        let named = env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let found = || PLACES.iter().map(PathBuf::from).find(|path| path.exists());
        self.config.clone().or(named).or_else(found).ok_or_else(|| {
            Fault::without_place("no configuration found")
                .help(format!("looked for {} and {}", PLACES[0], PLACES[1]))
                .help(format!("name it with `-c FILE` or {VARIABLE}"))
        })
    }

    /// Loads it. What is wrong is printed; `failure` is how the verb then ends.
    ///
    /// # Errors
    /// `failure`, after printing why.
    pub(super) fn load(&self, failure: Exit) -> Result<Snapshot, Exit> {
        let loaded = self
            .config()
            .map_err(|fault| vec![fault])
            .and_then(|path| config::load(&path, now(), None));
        match loaded {
            Ok((snapshot, _)) => Ok(snapshot),
            Err(faults) => {
                self.faults(&faults);
                Err(failure)
            }
        }
    }

    /// Prints faults: to people on standard error with a count, to programs on standard output.
    pub(super) fn faults(&self, faults: &[Fault]) {
        self.told(faults, "the configuration does not load");
    }

    /// Prints faults as [`Self::faults`] does, with what they come to.
    pub(super) fn told(&self, faults: &[Fault], outcome: &str) {
        match self.output {
            Output::Json => self.print_json(&json!({
                "ok": false,
                "faults": faults.iter().map(show::json).collect::<Vec<_>>(),
            })),
            Output::Text => {
                let (errors, warnings) = count(faults);
                let shown = show::text(faults, error_colour());
                let counted = match warnings {
                    0 => plural(errors, "error"),
                    _ => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
                };
                complain(&format!("{shown}\n{outcome}: {counted}\n"));
            }
        }
    }

    /// Prints warnings, if there are any, as [`Self::faults`] does.
    pub(super) fn warnings(&self, warnings: &[Fault]) {
        if warnings.is_empty() {
            return;
        }
        match self.output {
            Output::Text => complain(&format!("{}\n", show::text(warnings, error_colour()))),
            Output::Json => self.print_json(&json!({
                "ok": true,
                "faults": warnings.iter().map(show::json).collect::<Vec<_>>(),
            })),
        }
    }

    /// The configuration that was named on the command line.
    pub(super) fn named_config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Says to people, on standard error, what a result comes to; programs find it in the result.
    pub(super) fn note(&self, lines: &[String]) {
        if !lines.is_empty() {
            complain(&format!("\nportcullis: {}\n", lines.join("\nportcullis: ")));
        }
    }

    /// Prints a result.
    pub(super) fn print(&self, text: &str) {
        // Who closed the pipe has read enough.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    /// Prints a result for programs.
    pub(super) fn print_json(&self, value: &Value) {
        self.print(&format!("{value:#}\n"));
    }

    /// Says why something could not be done.
    pub(super) fn complain(&self, message: &str) {
        match self.output {
            Output::Json => self.print_json(&json!({ "ok": false, "error": message })),
            Output::Text => complain(&format!("portcullis: {message}\n")),
        }
    }

    /// The admin socket that the configuration names, also of one that does not load. What is wrong is printed; `failure`
    /// is how the verb ends when that is `[admin]` itself.
    ///
    /// # Errors
    /// How to end, after printing why.
    pub(super) fn admin_socket(&self, failure: Exit) -> Result<PathBuf, Exit> {
        let read = self
            .config()
            .map_err(|fault| vec![fault])
            .and_then(|path| config::admin(&path).map(|admin| (path, admin)));
        match read {
            Ok((path, admin)) => admin.socket.ok_or_else(|| {
                self.complain(&no_socket(&path));
                Exit::CouldNot
            }),
            Err(faults) => {
                self.faults(&faults);
                Err(failure)
            }
        }
    }
}

fn no_socket(path: &Path) -> String {
    format!(
        "`{}` names no admin socket: write `socket = \"run/admin.sock\"` under `[admin]` and start the gateway again, or \
         send it SIGHUP",
        path.display()
    )
}

/// Whether results are coloured.
pub(super) fn result_colour() -> Colour {
    colour(io::stdout().is_terminal())
}

/// How many are errors, how many warnings.
pub(super) fn count(faults: &[Fault]) -> (usize, usize) {
    let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
    (errors, faults.len() - errors)
}

/// `1 rule`, `2 rules`.
pub(super) fn plural(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn error_colour() -> Colour {
    colour(io::stderr().is_terminal())
}

fn colour(is_terminal: bool) -> Colour {
    let asked_not_to = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_terminal && !asked_not_to {
        Colour::On
    } else {
        Colour::Off
    }
}
