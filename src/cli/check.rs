//! `portcullis check`: reads everything as a start would, and says everything that is wrong.

mod stats;

use serde_json::json;

use super::{
    Exit, Output,
    session::{Session, plural},
};
use crate::{config, config::show, promises, reload::now};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Say what the rules were compiled to: tests, matchers, memory, and rules that every request is asked about
    #[arg(long)]
    stats: bool,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let loaded = session
        .config()
        .map_err(|fault| vec![fault])
        .and_then(|path| config::load(&path, now(), None))
        .and_then(promises::held);
    let (snapshot, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(faults) => {
            session.faults(&faults);
            return Exit::No;
        }
    };
    let rules = snapshot.policy.counts().map(|(_, count)| count).sum();
    let lists = snapshot.policy.lists().iter().count();
    let tests = snapshot.policy.tests().len();
    let folded = || snapshot.policy.lists().iter().filter(|list| list.folded() > 0);
    match session.output {
        Output::Text => {
            session.warnings(&warnings);
            session.print(&format!(
                "configuration OK ({}, {}, {})\n",
                plural(rules, "rule"),
                plural(lists, "list"),
                plural(tests, "test"),
            ));
            for line in folded().filter_map(|list| show::folded(list)) {
                session.print(&format!("  {line}\n"));
            }
            if arguments.stats {
                session.print(&stats::text(&snapshot));
            }
        }
        Output::Json => session.print_json(&json!({
            "ok": true,
            "rules": rules,
            "lists": lists,
            "tests": tests,
            "folded": folded()
                .map(|list| json!({ "list": list.name(), "entries": list.len(), "folded": list.folded() }))
                .collect::<Vec<_>>(),
            "faults": warnings.iter().map(show::json).collect::<Vec<_>>(),
            "stats": arguments.stats.then(|| stats::json(&snapshot)),
        })),
    }
    Exit::Yes
}
