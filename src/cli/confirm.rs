//! `portcullis confirm`: lets the running gateway keep a configuration that would go back otherwise.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    Exit, Output,
    reload::{ask, not_asked},
    session::Session,
};

/// A reload under way is waited for.
const TIMEOUT: Duration = Duration::from_secs(120);

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
    let answer = match ask(&socket, &json!({ "verb": "confirm" }), TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => {
            session.complain(&not_asked(&socket, &error));
            return Exit::CouldNot;
        }
    };
    let exit = match answer.get("result").and_then(Value::as_str) {
        Some("confirmed") => Exit::Yes,
        Some("nothing") => Exit::No,
        Some(_) | None => {
            let error = answer.get("error").and_then(Value::as_str);
            session.complain(&format!(
                "the gateway answered: {}",
                error.unwrap_or("it made no sense")
            ));
            return Exit::CouldNot;
        }
    };
    match session.output {
        Output::Json => session.print_json(&answer),
        Output::Text => session.print(&text(&answer, exit)),
    }
    exit
}

fn text(answer: &Value, exit: Exit) -> String {
    let generation = answer.get("generation").and_then(Value::as_u64).unwrap_or_default();
    if exit == Exit::Yes {
        return format!("confirmed: generation {generation} stays in force\n");
    }
    let mut text = format!("nothing waits to be confirmed: generation {generation} is in force\n");
    let returned = answer.get("returned").filter(|returned| !returned.is_null());
    if let Some(returned) = returned {
        let word = |key: &str| match returned.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        text += &format!(
            "generation {} was in force until {}: {}\n",
            word("from"),
            word("at"),
            word("why")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_stays_or_why_it_is_too_late() {
        let confirmed = json!({ "result": "confirmed", "generation": 5 });
        assert_eq!(text(&confirmed, Exit::Yes), "confirmed: generation 5 stays in force\n");
        let returned =
            json!({ "from": 5, "to": 4, "at": "2026-01-01T00:00:00Z", "why": "nobody confirmed it in time" });
        let late = json!({ "result": "nothing", "generation": 4, "returned": returned });
        assert_eq!(
            text(&late, Exit::No),
            "nothing waits to be confirmed: generation 4 is in force\n\
             generation 5 was in force until 2026-01-01T00:00:00Z: nobody confirmed it in time\n"
        );
    }
}
