//! `portcullis version`

use serde_json::json;

use super::{Exit, Output, session::Session};

pub(super) fn run(session: &Session) -> Exit {
    let version = env!("CARGO_PKG_VERSION");
    match session.output {
        Output::Text => session.print(&format!("portcullis {version}\n")),
        Output::Json => session.print_json(&json!({ "name": "portcullis", "version": version })),
    }
    Exit::Yes
}
