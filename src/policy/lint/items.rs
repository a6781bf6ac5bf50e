//! The items of friendly tables: ones that another item covers, and ones that another rule leaves nothing to do.

use toml::de::DeValue;

use super::{
    examined::{Examined, Read},
    finding::{Check, Finding},
    index::Index,
    proof::{Cases, Known},
    reach::{Reach, Way},
};
use crate::policy::{
    fault::Place,
    lang::{Expression, quoted, quoted_regex},
    phases::Position,
    rule::{Action, Kind},
};

/// Keys that hold items, each a condition.
const KEYS: [&str; 10] = [
    "ip",
    "asn",
    "country",
    "continent",
    "equals",
    "contains",
    "matches",
    "category",
    "allow",
    "extensions",
];

/// An item, read.
struct Item {
    /// As it is written.
    text: String,
    place: Place,
    cases: Cases,
}

pub(super) fn find(
    examined: &Examined<'_>,
    reach: &Reach<'_, '_>,
    unreached: &[Position],
    findings: &mut Vec<Finding>,
) {
    let friendly = examined
        .entries()
        .filter(|read| read.rule.kind != Kind::Rule && read.is_asked());
    for read in friendly {
        for key in KEYS {
            let items = items(examined, read, key);
            if items.len() > 1 {
                covered(examined, read, &items, findings);
            }
            if items.len() > 1
                && !unreached.contains(&read.at)
                && read.rule.kind != Kind::Lockdown
                && key != "extensions"
            {
                dead(examined, reach, read, &items, findings);
            }
        }
    }
}

fn items(examined: &Examined<'_>, read: &Read<'_>, key: &'static str) -> Vec<Item> {
    let values = examined.written.items(read.rule, key);
    let environment = examined.environment();
    let items = values.into_iter().filter_map(|value| {
        let text = match value.raw() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().replace('_', ""),
            _ => return None,
        };
        let expression = Expression::compile(&condition(key, &text)?, &environment).ok()?;
        Some(Item {
            text,
            place: value.place(),
            cases: examined.reader.cases(expression.root()),
        })
    });
    items.collect()
}

/// The condition that an item stands for.
fn condition(key: &str, text: &str) -> Option<String> {
    let field = match key {
        "ip" | "allow" => "ip.src",
        "asn" => "ip.src.asnum",
        "country" => "ip.src.country",
        "continent" => "ip.src.continent",
        "equals" | "contains" | "matches" => "http.user_agent",
        "category" => "portcullis.user_agent.category",
        "extensions" => "http.request.uri.path.extension",
        _ => return None,
    };
    let lower = text.to_ascii_lowercase();
    Some(match key {
        "contains" => format!("lower({field}) contains {}", quoted(&lower)),
        "matches" => format!("{field} matches {}", quoted_regex(text)),
        "extensions" => format!("{field} eq {}", quoted(&lower)),
        _ if text.starts_with('$') => format!("{field} in {text}"),
        "ip" | "allow" => format!("{field} in {{{text}}}"),
        "asn" => format!("{field} eq {}", lower.trim_start_matches("as")),
        _ => format!("{field} eq {}", quoted(text)),
    })
}

/// Items that others of the same rule cover.
fn covered(examined: &Examined<'_>, read: &Read<'_>, items: &[Item], findings: &mut Vec<Finding>) {
    let index = Index::of(items.iter().enumerate().map(|(at, item)| (at, item.cases.0.as_slice())));
    for (at, item) in items.iter().enumerate() {
        let Some(first) = item.cases.0.first() else { continue };
        let possible = examined.reader.possible(&item.cases, Known::Always);
        let wider = index.candidates(first).into_iter().find_map(|(other, _)| {
            let wider = items.get(other).filter(|_| other != at)?;
            let covers = examined.budget.spend() && possible.is_within(&wider.cases);
            // Of two that say the same the second is told.
            (covers && (other < at || !wider.cases.is_within(&item.cases))).then_some(wider)
        });
        let Some(wider) = wider else { continue };
        let message = match wider.text == item.text {
            true => format!("{} stands twice in `{}`", shown(&item.text), read.entry_id()),
            false => format!(
                "{} adds nothing to `{}`: {} covers it",
                shown(&item.text),
                read.entry_id(),
                shown(&wider.text)
            ),
        };
        findings.push(
            Finding::new(Check::RedundantItem, item.place.clone(), message)
                .of(read.rule)
                .related(&wider.place, "covers it")
                .help("remove it"),
        );
    }
}

fn shown(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Items that another rule leaves nothing to do, of a rule whose others act.
fn dead(examined: &Examined<'_>, reach: &Reach<'_, '_>, read: &Read<'_>, items: &[Item], findings: &mut Vec<Finding>) {
    for item in items {
        let Some(cases) = read.possible.and(&examined.reader.possible(&item.cases, Known::Here)) else {
            continue;
        };
        if cases.is_never() {
            continue;
        }
        let Some(obstacle) = reach.obstacle(read, &cases) else {
            continue;
        };
        let (id, by, text) = (read.entry_id(), &obstacle.by.rule.id, shown(&item.text));
        let does = match read.rule.action {
            Action::Block => "blocks",
            Action::Allow => "allows",
            Action::Log => "logs",
            Action::Skip(_) => "skips",
        };
        let message = match obstacle.way {
            Way::AllowWins | Way::EndsPhase => format!("`{id}` never {does} {text}: `{by}` allows it"),
            Way::Blocks => format!("`{id}` never {does} {text}: `{by}` refuses it first"),
            Way::Skips => format!("`{id}` never {does} {text}: `{by}` skips it"),
        };
        let why = super::reach::because(&obstacle, read).0;
        findings.push(
            Finding::new(Check::ShadowedItem, item.place.clone(), message)
                .of(read.rule)
                .related(&obstacle.by.rule.place, why)
                .help(format!("remove it, or narrow `{by}`")),
        );
    }
}
