//! Messages for operators: start, reload, errors. To standard error, so that standard output is the access log's alone.

use std::{io, sync::Arc};

use tracing_subscriber::EnvFilter;

use super::{messages::Messages, metrics::Metrics};
use crate::config::settings::LogFormat;

/// The environment's filters, the first that is set wins; both before the configuration's.
const VARIABLES: [&str; 2] = ["PORTCULLIS_LOG", "RUST_LOG"];

/// Sends tracing's events to standard error from now on, through a thread that alone waits for whoever reads them. `level` is a tracing filter such as `info`; the environment's
/// `PORTCULLIS_LOG` or `RUST_LOG` replaces it.
///
/// # Errors
/// The filter is none, messages already go somewhere, or the thread cannot be started.
pub fn init(format: LogFormat, level: &str, metrics: Arc<Metrics>) -> Result<Messages, LoggingError> {
    let (source, filter) = chosen(level, |name| std::env::var(name).ok());
    let filter = parse(source, &filter)?;
    let messages = Messages::start(io::stderr(), metrics).map_err(LoggingError::Thread)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(messages.writer());
    let installed = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).with_target(false).try_init()
        }
    };
    installed.map(|()| messages).map_err(|_| LoggingError::AlreadySet)
}

/// Whether `level` is a filter that [`init`] would take.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), LoggingError> {
    parse("log.level", level).map(|_| ())
}

/// Why messages cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// A filter does not parse.
    #[error(
        "{source_name}: `{filter}` is no log filter; expected error, warn, info, debug, trace, or target=level pairs"
    )]
    Filter {
        /// Where it was written.
        source_name: String,
        /// What was written.
        filter: String,
    },
    /// A second set-up.
    #[error("log messages already go somewhere")]
    AlreadySet,
    /// No thread.
    #[error("cannot start the messages' thread: {0}")]
    Thread(io::Error),
}

fn chosen(level: &str, variable: impl Fn(&str) -> Option<String>) -> (&'static str, String) {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(|value| (name, value))
    };
    VARIABLES
        .into_iter()
        .find_map(set)
        .unwrap_or_else(|| ("log.level", level.to_owned()))
}

fn parse(source: &str, filter: &str) -> Result<EnvFilter, LoggingError> {
    let wrong = || LoggingError::Filter {
        source_name: source.to_owned(),
        filter: filter.to_owned(),
    };
    // A bare word that is no level would be taken as a target, and silence everything else.
    let is_bare_word = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric());
    let is_level = |part: &str| part.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if filter
        .split(',')
        .map(str::trim)
        .any(|part| part.is_empty() || is_bare_word(part) && !is_level(part))
    {
        return Err(wrong());
    }
    EnvFilter::try_new(filter).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_before_the_configuration() {
        let with = |pairs: &'static [(&str, &str)]| {
            move |name: &str| {
                pairs
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            }
        };
        assert_eq!(chosen("info", with(&[])), ("log.level", "info".to_owned()));
        assert_eq!(
            chosen("info", with(&[("RUST_LOG", "debug")])),
            ("RUST_LOG", "debug".to_owned())
        );
        let both = with(&[("RUST_LOG", "debug"), ("PORTCULLIS_LOG", "warn")]);
        assert_eq!(chosen("info", both), ("PORTCULLIS_LOG", "warn".to_owned()));
        assert_eq!(
            chosen("info", with(&[("PORTCULLIS_LOG", "")])),
            ("log.level", "info".to_owned())
        );
    }

    #[test]
    fn a_level_that_is_none_is_an_error() {
        assert!(check_level("info").is_ok());
        assert!(check_level("warn,portcullis::gateway=debug").is_ok());
        for wrong in ["", "verbose", "info,loud", "portcullis=loud"] {
            assert!(check_level(wrong).is_err(), "{wrong}");
        }
    }
}
