//! `portcullis upgrade`: asks the running gateway over its admin socket to start a successor and hand over to it, waits, and
//! says how it went.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    Exit, Output,
    reload::{ask, not_asked},
    session::Session,
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's admin socket, instead of the configuration's
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// How long to wait for the answer, in seconds; the gateway itself gives its successor 120
    #[arg(long, value_name = "SECONDS", default_value_t = 150)]
    timeout: u64,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let named = arguments.socket.clone().map(Ok);
    let socket = match named.unwrap_or_else(|| session.admin_socket(Exit::No)) {
        Ok(socket) => socket,
        Err(exit) => return exit,
    };
    let timeout = Duration::from_secs(arguments.timeout.max(1));
    match ask(&socket, &json!({ "verb": "upgrade" }), timeout) {
        Ok(answer) => told(&answer, session),
        Err(error) => {
            session.complain(&not_asked(&socket, &error));
            Exit::CouldNot
        }
    }
}

fn told(answer: &Value, session: &Session) -> Exit {
    let exit = match answer.get("result").and_then(Value::as_str) {
        Some("upgraded") => Exit::Yes,
        Some("kept") => Exit::No,
        Some(_) | None => {
            let error = answer.get("error").and_then(Value::as_str);
            let error = error.unwrap_or("it made no sense");
            session.complain(&format!("the gateway answered: {error}"));
            return Exit::CouldNot;
        }
    };
    match session.output {
        Output::Json => session.print_json(answer),
        Output::Text => session.print(&text(answer, exit)),
    }
    exit
}

fn text(answer: &Value, exit: Exit) -> String {
    let process = |key: &str| {
        let part = |part: &str| match answer.get(key).and_then(|process| process.get(part)) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "unknown".to_owned(),
        };
        (part("version"), part("pid"))
    };
    match exit {
        Exit::Yes => {
            let ((new, serves), (old, ends)) = (process("successor"), process("predecessor"));
            format!(
                "upgraded: portcullis {new} serves as process {serves}\n  {old}, process {ends}, finishes what is under way and ends\n"
            )
        }
        Exit::No | Exit::CouldNot => {
            let reason = answer
                .get("reason")
                .and_then(Value::as_str)
                .unwrap_or("it did not say why");
            let (version, pid) = process("running");
            format!("{reason}\nnot upgraded: portcullis {version}, process {pid}, goes on as it was\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_who_serves_and_why_not() {
        let upgraded = json!({
            "result": "upgraded",
            "successor": { "pid": 8, "version": "0.2.0" },
            "predecessor": { "pid": 7, "version": "0.1.0" },
        });
        assert_eq!(
            text(&upgraded, Exit::Yes),
            "upgraded: portcullis 0.2.0 serves as process 8\n  0.1.0, process 7, finishes what is under way and ends\n"
        );
        let kept = json!({ "result": "kept", "reason": "no such file", "running": { "pid": 7, "version": "0.1.0" } });
        assert_eq!(
            text(&kept, Exit::No),
            "no such file\nnot upgraded: portcullis 0.1.0, process 7, goes on as it was\n"
        );
    }
}
