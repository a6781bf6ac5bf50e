//! What an upstream does about servers that fail: the balance, ejection and `[upstream.NAME.health_check]`.

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::{
    limits::number,
    settings::{Balance, Ejection, HealthCheck},
    values::{OrOff, word},
};
use crate::policy::{
    fault::{Fault, Faults},
    table::{FromToml, Placed, Table, Value},
};

/// How long a server is left out the first time.
const EJECTION_TIME: Duration = Duration::from_secs(10);
/// How long a server is left out at most.
const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);
/// How often servers are asked how they are.
const INTERVAL: Duration = Duration::from_secs(5);
/// More often is load, not care.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// How long a check may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads `balance`.
pub(super) fn balance(table: &mut Table<'_>, faults: &mut Faults) -> Balance {
    const WORDS: [(&str, Balance); 2] = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
    ];
    let balance = table.value("balance").and_then(|value| word(value, &WORDS, faults));
    balance.unwrap_or(Balance::RoundRobin)
}

/// Reads `eject_after`, `ejection_time` and `max_ejection_time`.
pub(super) fn ejection(table: &mut Table<'_>, faults: &mut Faults) -> Option<Ejection> {
    let after = table.or("eject_after", OrOff(Some(Failures(3))), faults).0;
    let time = table.or("ejection_time", EJECTION_TIME, faults);
    let longest = table.optional::<Placed<Duration>>("max_ejection_time", faults);
    if let Some(longest) = &longest
        && longest.value < time
    {
        let message = "`max_ejection_time` is shorter than `ejection_time`";
        let fault = Fault::error(longest.place.clone(), message);
        faults.push(fault.expected("expected the longest time that a server is left out"));
    }
    let longest = longest.map_or(time.max(MAX_EJECTION_TIME), |longest| longest.value);
    after.map(|Failures(after)| Ejection { after, time, longest })
}

/// A number of failures in a row.
struct Failures(u32);

impl FromToml for Failures {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let failures = u32::from_toml(value, faults)?;
        if failures == 0 {
            let fault = value.invalid("0 failures are none", "how many failures in a row are too many");
            faults.push(fault.help("write `\"off\"` to keep servers whatever they do"));
            return None;
        }
        Some(Self(failures))
    }
}

/// Reads `[upstream.NAME.health_check]`.
pub(super) fn health_check(upstream: &mut Table<'_>, faults: &mut Faults) -> Option<HealthCheck> {
    let name = format!("{}.health_check]", upstream.name().trim_end_matches(']'));
    let mut table = upstream.value("health_check")?.table(&name, faults)?;
    let path = table.required::<CheckPath>("path", "path = \"/healthz\"", faults);
    let interval = table.optional::<Placed<Duration>>("interval", faults);
    let timeout = table.optional::<Placed<Duration>>("timeout", faults);
    let host = table.optional::<HeaderValue>("host", faults);
    let status: Vec<FinalStatus> = table.or("status", Vec::new(), faults);
    let healthy_after = number(&mut table, "healthy_after", 1..=100, faults).unwrap_or(2);
    let unhealthy_after = number(&mut table, "unhealthy_after", 1..=100, faults).unwrap_or(3);
    table.finish(faults);
    if let Some(interval) = &interval
        && interval.value < SHORTEST_INTERVAL
    {
        let fault = Fault::error(interval.place.clone(), "`interval` is too short");
        faults.push(fault.expected(format!("expected at least {SHORTEST_INTERVAL:?}")));
    }
    let interval = interval.map_or(INTERVAL, |interval| interval.value);
    if let Some(timeout) = &timeout
        && timeout.value > interval
    {
        let fault = Fault::error(timeout.place.clone(), "`timeout` is longer than `interval`");
        faults.push(fault.expected("a check must end before the next one begins"));
    }
    let CheckPath(path) = path?;
    Some(HealthCheck {
        path,
        host,
        interval,
        timeout: timeout.map_or(TIMEOUT.min(interval), |timeout| timeout.value),
        status: status.into_iter().map(|FinalStatus(status)| status).collect(),
        healthy_after,
        unhealthy_after,
    })
}

/// The target of a check.
struct CheckPath(String);

impl FromToml for CheckPath {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let path = String::from_toml(value, faults)?;
        let is_visible = path.bytes().all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#');
        if !path.starts_with('/') || !is_visible {
            let fault = value.invalid(
                format!("`{path}` is not a path that can be asked for"),
                "a path such as \"/healthz\"",
            );
            faults.push(fault.help("it begins with `/`; blanks and what is no ASCII are written with `%`"));
            return None;
        }
        Some(Self(path))
    }
}

/// A status that ends an exchange.
struct FinalStatus(StatusCode);

impl FromToml for FinalStatus {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let number = u16::from_toml(value, faults)?;
        let status = StatusCode::from_u16(number).ok();
        let status = status.filter(|status| (200..600).contains(&status.as_u16()));
        if status.is_none() {
            faults.push(value.invalid(
                format!("{number} is not a status that an answer ends with"),
                "200 to 599",
            ));
        }
        status.map(Self)
    }
}
