//! `portcullis status`: asks the running gateway over its admin socket what is running.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    Exit, Output,
    reload::{ask, not_asked, spelled},
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
    let word = |key: &str| word(status, key);
    let is = |key: &str| status.get(key).and_then(Value::as_bool);
    let listeners = array(status, "listeners");
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
    text.extend(array(status, "upstreams").map(upstream));
    if let Some(waits) = status.get("unconfirmed").filter(|waits| !waits.is_null()) {
        let left = waits.get("seconds").and_then(Value::as_u64).unwrap_or_default();
        text.push_str(&format!(
            "generation {} waits for `portcullis confirm`: generation {} comes back in {}\n",
            self::word(waits, "generation"),
            self::word(waits, "returns_to"),
            spelled(left)
        ));
    }
    if let Some(back) = status.get("returned").filter(|back| !back.is_null()) {
        let said = |key: &str| self::word(back, key);
        text.push_str(&format!(
            "went back from generation {} to {} at {}: {}\n",
            said("from"),
            said("to"),
            said("at"),
            said("why")
        ));
    }
    if is("differs_from_disk") == Some(true) {
        text.push_str("the files on disk are not what is in force: a reload or a restart would load them\n");
    }
    if is("last_reload_successful") == Some(false) {
        text.push_str("the last reload failed: the configuration in force is older than the files\n");
    }
    if is("restart_required") == Some(true) {
        text.push_str("some keys wait for a restart\n");
    }
    text
}

fn word(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "unknown".to_owned(),
    }
}

fn array<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn upstream(upstream: &Value) -> String {
    let mut text = format!(
        "upstream {} ({}), {} retries, {} over budget\n",
        word(upstream, "name"),
        word(upstream, "balance"),
        word(upstream, "retries"),
        word(upstream, "retries_over_budget"),
    );
    text.extend(array(upstream, "servers").map(server));
    text
}

/// A line for the server, and one for each address that it does not say itself.
fn server(server: &Value) -> String {
    let name = word(server, "server");
    let counts = format!(
        "{} in flight, {} requests, {} failures, {} ejections",
        word(server, "in_flight"),
        word(server, "requests"),
        word(server, "failures"),
        word(server, "ejections"),
    );
    let addresses: Vec<_> = array(server, "addresses").collect();
    let its_own = |address: &Value| {
        let address = address.get("address").and_then(Value::as_str);
        address.is_none_or(|address| name.ends_with(&format!("//{address}")))
    };
    match addresses.as_slice() {
        [] => format!("  {name}  no address yet, {counts}\n"),
        [only] if its_own(only) => format!("  {name}  {}, {counts}\n", state(only)),
        several => {
            let mut text = format!("  {name}  {counts}\n");
            for address in several {
                let (at, in_flight) = (word(address, "address"), word(address, "in_flight"));
                text.push_str(&format!("    {at}  {}, {in_flight} in flight\n", state(address)));
            }
            text
        }
    }
}

/// How an address is: `healthy`, `healthy after 2 failures`, `ejected until 2026-01-01T00:00:00Z`.
fn state(address: &Value) -> String {
    let state = word(address, "state").replace('_', " ");
    let failures = address.get("failures_in_row").and_then(Value::as_u64).unwrap_or(0);
    match (address.get("until").and_then(Value::as_str), failures) {
        (Some(until), _) => format!("{state} until {until}"),
        (None, 0) => state,
        (None, failures) => format!("{state} after {failures} failures in a row"),
    }
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
            "upstreams": [{
                "name": "app", "balance": "round_robin", "retries": 5, "retries_over_budget": 1,
                "servers": [
                    {
                        "server": "http://10.0.0.1:80", "in_flight": 2, "requests": 30, "failures": 4, "ejections": 1,
                        "addresses": [{
                            "address": "10.0.0.1:80", "state": "ejected", "until": "2026-01-01T00:00:10Z",
                            "failures_in_row": 3, "in_flight": 2,
                        }],
                    },
                    {
                        "server": "http://app:80", "in_flight": 1, "requests": 31, "failures": 1, "ejections": 0,
                        "addresses": [
                            { "address": "10.0.0.2:80", "state": "healthy", "failures_in_row": 1, "in_flight": 1 },
                            { "address": "10.0.0.3:80", "state": "failing_check", "failures_in_row": 0, "in_flight": 0 },
                        ],
                    },
                    {
                        "server": "http://later:80", "in_flight": 0, "requests": 0, "failures": 0, "ejections": 0,
                        "addresses": [],
                    },
                ],
            }],
        });
        assert_eq!(
            text(&status),
            "portcullis 1.2.3 is serving for 90 seconds (process 7)\n  \
             generation   4, loaded 2026-01-01T00:00:00Z\n  rules        12, lists 2\n  connections  3\n  \
             https        127.0.0.1:8443\n\
             upstream app (round_robin), 5 retries, 1 over budget\n  \
             http://10.0.0.1:80  ejected until 2026-01-01T00:00:10Z, 2 in flight, 30 requests, 4 failures, 1 ejections\n  \
             http://app:80  1 in flight, 31 requests, 1 failures, 0 ejections\n    \
             10.0.0.2:80  healthy after 1 failures in a row, 1 in flight\n    \
             10.0.0.3:80  failing check, 0 in flight\n  \
             http://later:80  no address yet, 0 in flight, 0 requests, 0 failures, 0 ejections\n\
             the last reload failed: the configuration in force is older than the files\n\
             some keys wait for a restart\n"
        );
    }
}
