//! `[[rule]]`: the expression language itself.
//!
//! ```toml
//! [[rule]]
//! id = "xmlrpc-abroad"
//! expression = 'http.request.uri.path eq "/xmlrpc.php" and not ip.src.country in {"DE" "AT"}'
//! action = "block"                # or "allow", "log", "skip"
//! response = { status = 404 }     # conceal that it exists
//!
//! [[rule]]
//! id = "partner-images"
//! expression = 'any(http.request.headers["x-partner"][*] eq "a-long-secret")'
//! action = "skip"
//! skip = ["hotlink"]              # later phases, or ids of later rules; "lockdown" only by name
//! ```
//!
//! Rules are tried in written order, file by file. The first `block` or `allow` that matches ends the phase; an `allow`
//! then skips the later phases except `lockdown`.

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults},
    rule::{Action, Kind, Phase, RuleId, SkipTarget},
    table::{FromToml, Placed, Table},
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, action},
    spans,
    text::Condition,
};

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::Rule, &mut table, faults);
    let action = action(&mut table, &["allow", "block", "log", "skip"], "", faults);
    let example = r#"expression = 'http.request.uri.path eq "/xmlrpc.php"'"#;
    let expression: Option<Placed<String>> = table.required("expression", example, faults);
    let condition = expression.and_then(|expression| condition(&expression, env, faults));
    let skips = skips(&mut table, action, faults);
    table.finish(faults);
    let action = match action? {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "skip" => Action::Skip(skips.as_ref()?.iter().map(|target| target.value.clone()).collect()),
        _ => Action::Log,
    };
    let part = Part {
        suffix: "",
        phase: Phase::Rule,
        reason: Reason::Rule,
        action,
        condition: condition?,
    };
    let entry = common.entry(vec![part], env, faults)?;
    let skips = skips.unwrap_or_default();
    Some(Entry { skips, ..entry })
}

/// What the operator wrote, compiled alone first: its faults then point into the string as it stands in the file.
fn condition(written: &Placed<String>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Condition> {
    let text = written.value.trim();
    let skipped = written.value.len() - written.value.trim_start().len();
    match env.check(text) {
        Ok(()) => Some(Condition::written(text)),
        Err(diagnostics) => {
            for diagnostic in diagnostics {
                let span = diagnostic.span.start + skipped..diagnostic.span.end + skipped;
                let place = spans::inside(&written.place, &written.value, span);
                let fault = Fault::error(place, diagnostic.message).expected(diagnostic.expected);
                faults.push(diagnostic.help.into_iter().fold(fault, Fault::help));
            }
            None
        }
    }
}

/// `skip = […]`, which goes with `action = "skip"` and with no other.
fn skips(table: &mut Table<'_>, action: Option<&str>, faults: &mut Faults) -> Option<Vec<Placed<SkipTarget>>> {
    let skips = action == Some("skip");
    let Some(value) = table.value("skip") else {
        if skips {
            faults.push(
                Fault::error(table.place(), "`action = \"skip\"` without `skip`")
                    .expected("what to skip")
                    .help("write `skip = [\"hotlink\"]`: later phases, or ids of later rules"),
            );
        }
        return None;
    };
    if action.is_some() && !skips {
        let place = table.key_place("skip").unwrap_or_else(|| value.place());
        faults.push(
            Fault::error(place, "`skip` without `action = \"skip\"`")
                .expected("only a rule with `action = \"skip\"` skips")
                .help("leave `skip` out, or write `action = \"skip\"`"),
        );
    }
    let names: Vec<Placed<String>> = FromToml::from_toml(value, faults)?;
    if names.is_empty() {
        faults.push(value.invalid("`skip` is empty", "at least one phase or rule id"));
        return None;
    }
    Some(names.into_iter().filter_map(|name| target(name, faults)).collect())
}

/// A phase by its name; anything else is a rule's id, looked for when all rules are known.
fn target(name: Placed<String>, faults: &mut Faults) -> Option<Placed<SkipTarget>> {
    let Placed { value, place } = name;
    let target = match value.as_str() {
        "lockdown" => SkipTarget::Phase(Phase::Lockdown),
        "user_agent" => SkipTarget::Phase(Phase::UserAgent),
        "hotlink" => SkipTarget::Phase(Phase::Hotlink),
        "ip_access" | "geo" | "rule" => {
            faults.push(
                Fault::error(place, format!("`{value}` is not later than [[rule]]"))
                    .expected("a skip leaves out what comes after it")
                    .help("later phases: lockdown, user_agent, hotlink"),
            );
            return None;
        }
        _ => SkipTarget::Rule(RuleId(value.into())),
    };
    Some(Placed { value: target, place })
}
