//! `portcullis completions`: what shells complete, and the manual page, both made from the command line's own definition.

use std::path::PathBuf;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Exit, session::Session};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell, or `man` for the manual page
    #[arg(value_enum)]
    what: What,

    /// Only of `man`: write a page for the program and one for each verb into this folder
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Bash,
    Elvish,
    Fish,
    /// The manual page, as roff
    Man,
    Powershell,
    Zsh,
}

impl What {
    fn shell(self) -> Option<Shell> {
        match self {
            Self::Bash => Some(Shell::Bash),
            Self::Elvish => Some(Shell::Elvish),
            Self::Fish => Some(Shell::Fish),
            Self::Man => None,
            Self::Powershell => Some(Shell::PowerShell),
            Self::Zsh => Some(Shell::Zsh),
        }
    }
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let mut command = super::Arguments::command();
    match (arguments.what.shell(), &arguments.to) {
        (Some(shell), None) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "portcullis", &mut script);
            session.print(&String::from_utf8_lossy(&script));
            Exit::Yes
        }
        (Some(_), Some(_)) => {
            session.complain("`--to` goes with `man` only: redirect the output to a file");
            Exit::CouldNot
        }
        (None, None) => {
            let mut page = Vec::new();
            // Writing into memory does not fail.
            let _infallible = clap_mangen::Man::new(command).render(&mut page);
            session.print(&String::from_utf8_lossy(&page));
            Exit::Yes
        }
        (None, Some(folder)) => match clap_mangen::generate_to(command, folder) {
            Ok(()) => Exit::Yes,
            Err(error) => {
                session.complain(&format!("cannot write into `{}`: {error}", folder.display()));
                Exit::CouldNot
            }
        },
    }
}
