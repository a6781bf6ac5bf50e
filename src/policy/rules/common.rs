//! What every rule table has: `id`, `mode`, `hosts`, `note`, `owner`, `expires`, `enabled`, `response`, and how an entry
//! becomes rules.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults, Place},
    rule::{Action, Kind, Mode, Phase, Response, Rule, RuleId},
    site::HostPattern,
    table::{FromToml, Placed, Table, Value},
};

use super::{Entry, RuleEnvironment, expires::Expiry, hosts, text::Condition};

/// The keys that all kinds share, read.
pub(super) struct Common {
    kind: Kind,
    id: RuleId,
    id_place: Place,
    id_is_written: bool,
    mode: Mode,
    hosts: Vec<Placed<HostPattern>>,
    note: Option<String>,
    owner: Option<String>,
    expires: Option<Placed<Expiry>>,
    enabled: bool,
    response: Option<Placed<Response>>,
    place: Place,
}

/// One rule of an entry, before the common keys are added.
pub(super) struct Part {
    /// Appended to the entry's id, after a dot; empty for the entry's main rule.
    pub(super) suffix: &'static str,
    pub(super) phase: Phase,
    pub(super) reason: Reason,
    pub(super) action: Action,
    pub(super) condition: Condition,
}

impl Common {
    /// Reads the keys that all kinds share. A fault in one of them stops the load; the entry is read on all the same.
    pub(super) fn read(kind: Kind, table: &mut Table<'_>, faults: &mut Faults) -> Self {
        let written: Option<Placed<RuleId>> = table.optional("id", faults);
        let id_is_written = written.is_some();
        let id = written.unwrap_or_else(|| Placed {
            value: derived_id(kind, table.entries()),
            place: table.place(),
        });
        Self {
            kind,
            id: id.value,
            id_place: id.place,
            id_is_written,
            mode: table.or("mode", Mode::Enforce, faults),
            hosts: host_patterns(table, faults),
            note: table.optional("note", faults),
            owner: table.optional("owner", faults),
            expires: table.optional("expires", faults),
            enabled: table.or("enabled", true, faults),
            response: table.optional("response", faults),
            place: table.place(),
        }
    }

    /// The hosts that the entry is restricted to; empty: any.
    pub(super) fn hosts(&self) -> &[Placed<HostPattern>] {
        &self.hosts
    }

    /// The entry with its parts compiled. `None`: a part did not compile, which is reported.
    pub(super) fn entry(self, parts: Vec<Part>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
        self.check_response(&parts, faults);
        self.check_hosts(env, faults);
        self.warn_of_lapse(&parts, env, faults);
        let rules: Vec<Option<Rule>> = parts.into_iter().map(|part| self.rule(part, env, faults)).collect();
        Some(Entry {
            id: self.id,
            id_place: self.id_place,
            id_is_written: self.id_is_written,
            skips: Vec::new(),
            rules: rules.into_iter().collect::<Option<_>>()?,
        })
    }

    fn rule(&self, part: Part, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Rule> {
        let patterns: Vec<HostPattern> = self.hosts.iter().map(|host| host.value.clone()).collect();
        let expires = self.expires.as_ref().map(|expiry| expiry.value.0);
        let in_time = expires.map(|at| Condition::single(format!("portcullis.now lt {}", at.0)));
        let condition = part.condition.and(hosts::condition(&patterns)).and(in_time);
        let id = match part.suffix {
            "" => self.id.clone(),
            suffix => RuleId(Arc::from(format!("{}.{suffix}", self.id))),
        };
        Some(Rule {
            id,
            kind: self.kind,
            phase: part.phase,
            expression: env.compile(&condition, &self.place, faults)?,
            response: match part.action {
                Action::Block => self.response.as_ref().map(|response| response.value.clone()),
                Action::Allow | Action::Log | Action::Skip(_) => None,
            },
            action: part.action,
            mode: self.mode,
            reason: part.reason,
            note: self.note.clone(),
            owner: self.owner.clone(),
            expires,
            enabled: self.enabled,
            place: self.place.clone(),
        })
    }

    fn check_response(&self, parts: &[Part], faults: &mut Faults) {
        let blocks = parts.iter().any(|part| part.action == Action::Block);
        if let Some(response) = &self.response
            && !blocks
        {
            faults.push(
                Fault::error(response.place.clone(), "a `response` without a block")
                    .expected("only a rule with `action = \"block\"` answers the client")
                    .help("leave `response` out, or write `action = \"block\"`"),
            );
        }
    }

    /// A host that no site serves is a typo more often than a plan, and the rule then does nothing.
    fn check_hosts(&self, env: &RuleEnvironment<'_>, faults: &mut Faults) {
        for host in &self.hosts {
            if env.is_served(&host.value) {
                continue;
            }
            let message = format!("no site has the host `{}`", host.value);
            let fault = match self.kind {
                // What it was to lock stands open.
                Kind::Lockdown => Fault::error(host.place.clone(), message).expected("this locks nothing"),
                Kind::IpAccess | Kind::Geo | Kind::Rule | Kind::UserAgent | Kind::Hotlink => {
                    Fault::warning(host.place.clone(), message).expected("the rule never matches here")
                }
            };
            faults.push(fault.help("check the spelling against the `hosts` of the sites"));
        }
    }

    fn warn_of_lapse(&self, parts: &[Part], env: &RuleEnvironment<'_>, faults: &mut Faults) {
        const WARNED_SECONDS: i64 = 7 * 24 * 60 * 60;
        let Some(expires) = &self.expires else { return };
        let blocks = parts.iter().any(|part| part.action == Action::Block);
        let left = expires.value.0.0.saturating_sub(env.now.0);
        if !blocks || !self.enabled || left > WARNED_SECONDS {
            return;
        }
        let message = match left {
            ..=0 => format!("`{}` has lapsed: it no longer blocks anything", self.id),
            1..=86_400 => format!("`{}` lapses within a day", self.id),
            _ => format!("`{}` lapses in {} days", self.id, left / 86_400),
        };
        faults.push(
            Fault::warning(expires.place.clone(), message)
                .help("move the date, or remove the rule when it is no longer needed"),
        );
    }
}

/// `hosts = […]`; an empty array would be a rule for no host at all.
fn host_patterns(table: &mut Table<'_>, faults: &mut Faults) -> Vec<Placed<HostPattern>> {
    let hosts: Option<Vec<Placed<HostPattern>>> = table.optional("hosts", faults);
    if hosts.as_ref().is_some_and(Vec::is_empty) {
        let place = table.key_place("hosts").unwrap_or_else(|| table.place());
        faults.push(
            Fault::error(place, "`hosts` is empty")
                .expected("expected at least one host")
                .help("leave `hosts` out for a rule about every host"),
        );
    }
    hosts.unwrap_or_default()
}

impl FromToml for RuleId {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let valid = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
        if !starts_well || !valid || text.len() > 64 {
            let fault = value.invalid(
                format!("`{text}` is no id"),
                "1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
            );
            let lower = text.to_ascii_lowercase().replace(' ', "-");
            faults.push(match lower != text && !lower.is_empty() {
                true => fault.help(format!("write \"{lower}\"")),
                false => fault,
            });
            return None;
        }
        if Phase::RESERVED.contains(&text.as_str()) {
            faults.push(
                value
                    .invalid(format!("`{text}` is the name of a phase"), "another id")
                    .help("`skip` could not tell the rule from the phase"),
            );
            return None;
        }
        Some(Self(Arc::from(text)))
    }
}

impl FromToml for Mode {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        match text.as_str() {
            "enforce" => Some(Self::Enforce),
            "shadow" => Some(Self::Shadow),
            _ => {
                faults.push(
                    value
                        .invalid(format!("`{text}` is no mode"), "\"enforce\" or \"shadow\"")
                        .suggest(&text, ["enforce", "shadow"]),
                );
                None
            }
        }
    }
}

/// Reads `action`, which has no default. `allowed` are the actions of the kind; `why` says why others are none.
pub(super) fn action(
    table: &mut Table<'_>,
    allowed: &[&'static str],
    why: &str,
    faults: &mut Faults,
) -> Option<&'static str> {
    let written: Placed<String> = table.required("action", "action = \"block\"", faults)?;
    if let Some(action) = allowed.iter().find(|action| **action == written.value) {
        return Some(action);
    }
    let fault = Fault::error(
        written.place,
        format!("`{}` is no action of {}", written.value, table.name()),
    )
    .expected(format!("expected {}", alternatives(allowed)));
    faults.push(match meant(&written.value) {
        Some(known) if known == written.value => fault.help(why),
        Some(meant) if allowed.contains(&meant) => fault.help(format!("did you mean `{meant}`?")),
        Some(_) | None => fault.suggest(&written.value, allowed.iter().copied()),
    });
    None
}

/// The action that other programs call so.
fn meant(written: &str) -> Option<&'static str> {
    match written {
        "allow" | "accept" | "permit" | "pass" | "whitelist" => Some("allow"),
        "block" | "deny" | "drop" | "reject" | "refuse" | "ban" | "forbid" => Some("block"),
        "log" | "monitor" | "count" => Some("log"),
        "skip" | "bypass" => Some("skip"),
        _ => None,
    }
}

/// `allow`, `block` or `log` as the kind's action.
pub(super) fn simple_action(
    table: &mut Table<'_>,
    allowed: &[&'static str],
    why: &str,
    faults: &mut Faults,
) -> Option<Action> {
    match action(table, allowed, why, faults)? {
        "allow" => Some(Action::Allow),
        "block" => Some(Action::Block),
        _ => Some(Action::Log),
    }
}

/// A kind that takes no action says what it does instead of calling the key unknown.
pub(super) fn no_action(table: &mut Table<'_>, what_it_does: &str, faults: &mut Faults) {
    if let Some(place) = table.key_place("action") {
        table.value("action");
        faults.push(
            Fault::error(place, format!("{} takes no `action`", table.name()))
                .expected(what_it_does)
                .help("leave `action` out"),
        );
    }
}

/// `"a", "b" or "c"`
pub(super) fn alternatives(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

/// The id of an entry without one: stable as long as the entry says the same, in whatever order and spelling.
fn derived_id(kind: Kind, entries: &DeTable<'_>) -> RuleId {
    let mut hash = Fnv::new();
    hash.table(entries);
    let short = (hash.0 >> 32) ^ (hash.0 & 0xffff_ffff);
    RuleId(Arc::from(format!("{}-{short:08x}", kind.as_str())))
}

/// FNV-1a: the standard library's hashes may change between releases, ids must not.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
        for byte in std::iter::once(&tag).chain(&length).chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn table(&mut self, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.get_ref().cmp(b.get_ref()));
        self.bytes(b't', &[]);
        for (key, value) in entries {
            self.bytes(b'k', key.get_ref().as_bytes());
            self.value(value.get_ref());
        }
        self.bytes(b'z', &[]);
    }

    fn value(&mut self, value: &DeValue<'_>) {
        match value {
            DeValue::String(text) => self.bytes(b's', text.as_bytes()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                let value = i128::from_str_radix(&digits, number.radix());
                self.bytes(b'i', &value.unwrap_or_default().to_le_bytes());
            }
            DeValue::Float(number) => self.bytes(b'f', number.as_str().as_bytes()),
            DeValue::Boolean(flag) => self.bytes(b'b', &[u8::from(*flag)]),
            DeValue::Datetime(at) => self.bytes(b'd', at.to_string().as_bytes()),
            DeValue::Array(items) => {
                self.bytes(b'a', &[]);
                items.iter().for_each(|item| self.value(item.get_ref()));
                self.bytes(b'z', &[]);
            }
            DeValue::Table(table) => self.table(table),
        }
    }
}
