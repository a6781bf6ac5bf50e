//! `[[user_agent]]`: which programs may not come in, by the name they give themselves.
//!
//! ```toml
//! [[user_agent]]
//! id = "scanners"
//! action = "block"                # or "log"; never "allow": anyone can send any name
//! category = ["scanner"]          # from the shipped catalogue
//! contains = ["sqlmap", "nikto"]  # letter case aside
//! equals = ["BadBot/1.0"]         # the whole header, as sent
//! matches = ['^python-requests/[01]\.']
//! empty = true                    # no User-Agent, or an empty one
//! ```
//!
//! One match of any key is enough.

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults},
    list::ListKind,
    rule::{Kind, Phase},
    table::{FromToml, Placed, Table, Value},
    user_agents::Category,
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, simple_action},
    targets::Targets,
    text::{Condition, quoted, quoted_regex},
};

const KEYS: [&str; 5] = ["equals", "contains", "matches", "category", "empty"];

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::UserAgent, &mut table, faults);
    let action = simple_action(
        &mut table,
        &["block", "log"],
        "a user agent is what the client says it is: it can be refused, never trusted",
        faults,
    );
    let names_something = KEYS.iter().any(|key| table.key_place(key).is_some());
    let conditions = conditions(&mut table, env, faults);
    if !names_something {
        faults.push(
            Fault::error(table.place(), "[[user_agent]] names no program")
                .expected("expected `equals`, `contains`, `matches`, `category` or `empty`")
                .help("write `contains = [\"sqlmap\"]`"),
        );
    }
    table.finish(faults);
    let part = Part {
        suffix: "",
        phase: Phase::UserAgent,
        reason: Reason::UserAgent,
        action: action?,
        condition: Condition::any_of(conditions)?,
    };
    common.entry(vec![part], env, faults)
}

fn conditions(table: &mut Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Vec<Condition> {
    let mut conditions = Vec::new();
    let equals = Targets::read(table, "equals", ListKind::String, env, faults);
    conditions.extend(equals.and_then(|targets| targets.condition("http.user_agent")));
    let contains: Vec<Placed<String>> = items(table, "contains", faults);
    contains.iter().for_each(|text| reject_list(text, "contains", faults));
    conditions.extend(contains.iter().map(|text| {
        let lower = text.value.to_ascii_lowercase();
        Condition::single(format!("lower(http.user_agent) contains {}", quoted(&lower)))
    }));
    if reject_empty(table, "equals", faults) | reject_empty(table, "contains", faults) {
        conditions.clear();
    }
    conditions.extend(regexes(table, env, faults));
    let categories: Vec<Category> = items(table, "category", faults);
    let categories: Vec<String> = categories
        .into_iter()
        .map(|category| quoted(category.as_str()))
        .collect();
    conditions.extend(Condition::one_of("portcullis.user_agent.category", &categories));
    conditions.extend(empty(table, faults));
    conditions
}

/// The elements of `key`, none when it is not written; an empty array is a fault.
fn items<T: FromToml>(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> Vec<T> {
    let Some(value) = table.value(key) else {
        return Vec::new();
    };
    let items: Option<Vec<T>> = FromToml::from_toml(value, faults);
    if items.as_ref().is_some_and(Vec::is_empty) {
        faults.push(
            value
                .invalid(format!("`{key}` is empty"), "at least one element")
                .help(format!("leave `{key}` out")),
        );
    }
    items.unwrap_or_default()
}

/// `$name` stands for a list in `equals` alone; elsewhere it would be looked for as that very text.
fn reject_list(item: &Placed<String>, key: &str, faults: &mut Faults) {
    let name = item.value.strip_prefix('$').unwrap_or_default();
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name {
        faults.push(
            Fault::error(item.place.clone(), format!("the list `${name}` in `{key}`"))
                .expected("only `equals` takes lists")
                .help(format!(
                    "write the texts themselves, or `equals = [\"${name}\"]` for whole headers"
                )),
        );
    }
}

/// An empty text is contained in every user agent, and equal to a missing one. Returns whether there is one.
fn reject_empty(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> bool {
    let Some(items) = table.value(key).and_then(|value| value.array(&mut Faults::new())) else {
        return false;
    };
    let mut found = false;
    let mut ignored = Faults::new();
    for item in items {
        if String::from_toml(item, &mut ignored).is_some_and(|text| text.is_empty()) {
            found = true;
            faults.push(
                item.invalid(format!("an empty text in `{key}`"), "a part of a user agent")
                    .help("write `empty = true` for requests without a user agent"),
            );
        }
    }
    found
}

/// Each regex is compiled alone first, so that its faults stand at its own place.
fn regexes(table: &mut Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Vec<Condition> {
    let patterns: Vec<Placed<String>> = items(table, "matches", faults);
    patterns
        .iter()
        .for_each(|pattern| reject_list(pattern, "matches", faults));
    let conditions = patterns.into_iter().filter_map(|pattern| {
        let condition = Condition::single(format!("http.user_agent matches {}", quoted_regex(&pattern.value)));
        env.compile(&condition, &pattern.place, faults).map(|_| condition)
    });
    conditions.collect()
}

fn empty(table: &mut Table<'_>, faults: &mut Faults) -> Option<Condition> {
    let empty: Placed<bool> = table.optional("empty", faults)?;
    if !empty.value {
        faults.push(
            Fault::error(empty.place, "`empty = false` says nothing")
                .expected("only `true`: requests without a user agent")
                .help("leave `empty` out"),
        );
        return None;
    }
    Some(Condition::single("http.user_agent eq \"\""))
}

impl FromToml for Category {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let known = Self::ALL.map(Self::as_str);
        let category = Self::parse(&text);
        if category.is_none() {
            faults.push(
                value
                    .invalid(
                        format!("`{text}` is no category of user agents"),
                        "a category of the catalogue",
                    )
                    .suggest(&text, known)
                    .help(format!("categories: {}", known.join(", "))),
            );
        }
        category
    }
}
