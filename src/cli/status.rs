//! `portcullis status`: asks the running gateway over its admin socket what is running.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    Exit, Output,
    reload::{ask, not_asked},
    session::Session,
};

/// A status is told at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's admin socket, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let named = arguments.socket.clone().map(Ok);
    let socket = match named.unwrap_or_else(|| session.admin_socket(Exit::CouldNot)) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let answer = match ask(&socket, &json!({ "verb": "status" }), TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => {
            session.complain(&not_asked(&socket, &error));
            return Exit::CouldNot;
        }
    };
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        session.complain(&format!("the gateway answered: {error}"));
        return Exit::CouldNot;
    }
    match session.output {
        Output::Json => session.print_json(&answer),
        Output::Text => session.print(&text(&answer)),
    }
    Exit::Yes
}

fn text(status: &Value) -> String {
    let word = |key: &str| match status.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "unknown".to_owned(),
    };
    let is = |key: &str| status.get(key).and_then(Value::as_bool);
    let listeners = status.get("listeners").and_then(Value::as_array).into_iter().flatten();
    let listener = |listener: &Value| {
        let part = |key: &str| {
            listener
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("unknown")
                .to_owned()
        };
        format!("  {:<12} {}\n", part("protocol"), part("address"))
    };
    let mut text = format!(
        "portcullis {} is {} for {} seconds (process {})\n  {:<12} {}, loaded {}\n  {:<12} {}, lists {}\n  {:<12} {}\n",
        word("version"),
        word("state"),
        word("uptime"),
        word("pid"),
        "generation",
        word("generation"),
        word("loaded"),
        "rules",
        word("rules"),
        word("lists"),
        "connections",
        word("connections"),
    );
    text.extend(listeners.map(listener));
    if is("last_reload_successful") == Some(false) {
        text.push_str("the last reload failed: the configuration in force is older than the files\n");
    }
    if is("restart_required") == Some(true) {
        text.push_str("some keys wait for a restart\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_runs_and_what_waits() {
        let status = json!({
            "version": "1.2.3", "state": "serving", "uptime": 90, "pid": 7, "generation": 4,
            "loaded": "2026-01-01T00:00:00Z", "rules": 12, "lists": 2, "connections": 3,
            "listeners": [{ "address": "127.0.0.1:8443", "protocol": "https" }],
            "last_reload_successful": false, "restart_required": true,
        });
        assert_eq!(
            text(&status),
            "portcullis 1.2.3 is serving for 90 seconds (process 7)\n  \
             generation   4, loaded 2026-01-01T00:00:00Z\n  rules        12, lists 2\n  connections  3\n  \
             https        127.0.0.1:8443\n\
             the last reload failed: the configuration in force is older than the files\n\
             some keys wait for a restart\n"
        );
    }
}
