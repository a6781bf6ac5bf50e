//! `[limits]`: every bound, with a safe default.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    settings::Limits,
    values::{OrOff, Size},
};
use crate::policy::{
    fault::{Fault, Faults},
    table::{FromToml, Table},
};

/// What holds unless `[limits]` says otherwise.
pub(super) const DEFAULTS: Limits = Limits {
    header_bytes: 64 << 10,
    header_count: 90,
    target_bytes: 16 << 10,
    body_bytes: None,
    header_timeout: Duration::from_secs(15),
    handshake_timeout: Duration::from_secs(10),
    handshake_turns: 2,
    proxy_header_timeout: Duration::from_secs(5),
    keepalive_timeout: Duration::from_secs(75),
    total_timeout: None,
    min_rate: 240,
    min_rate_grace: Duration::from_secs(5),
    connections: 20_000,
    connections_per_client: 256,
    h2_streams: 100,
    tunnel_idle_timeout: Duration::from_secs(3600),
    drain_timeout: Duration::from_secs(30),
    upstream_connections: 256,
};

/// Reads `[limits]`.
pub(super) fn limits(table: Option<Table<'_>>, faults: &mut Faults) -> Limits {
    let Some(mut table) = table else {
        return DEFAULTS;
    };
    let t = &mut table;
    let limits = Limits {
        header_bytes: size(t, "header_bytes", 1024..=16 << 20, faults).unwrap_or(DEFAULTS.header_bytes),
        header_count: number(t, "header_count", 1..=10_000, faults).unwrap_or(DEFAULTS.header_count),
        target_bytes: size(t, "target_bytes", 64..=1 << 20, faults).unwrap_or(DEFAULTS.target_bytes),
        body_bytes: t.or("body_bytes", OrOff(None), faults).0.map(|Size(bytes)| bytes),
        header_timeout: t.or("header_timeout", DEFAULTS.header_timeout, faults),
        handshake_timeout: t.or("handshake_timeout", DEFAULTS.handshake_timeout, faults),
        handshake_turns: number(t, "handshake_turns", 1..=10_000, faults).unwrap_or(DEFAULTS.handshake_turns),
        proxy_header_timeout: t.or("proxy_header_timeout", DEFAULTS.proxy_header_timeout, faults),
        keepalive_timeout: t.or("keepalive_timeout", DEFAULTS.keepalive_timeout, faults),
        total_timeout: t.or("total_timeout", OrOff(None), faults).0,
        min_rate: rate(t, faults),
        min_rate_grace: t.or("min_rate_grace", DEFAULTS.min_rate_grace, faults),
        connections: number(t, "connections", 1..=10_000_000, faults).unwrap_or(DEFAULTS.connections),
        connections_per_client: number(t, "connections_per_client", 1..=10_000_000, faults)
            .unwrap_or(DEFAULTS.connections_per_client),
        h2_streams: number(t, "h2_streams", 1..=10_000, faults).unwrap_or(DEFAULTS.h2_streams),
        tunnel_idle_timeout: t.or("tunnel_idle_timeout", DEFAULTS.tunnel_idle_timeout, faults),
        drain_timeout: t.or("drain_timeout", DEFAULTS.drain_timeout, faults),
        upstream_connections: number(t, "upstream_connections", 1..=1_000_000, faults)
            .unwrap_or(DEFAULTS.upstream_connections),
    };
    table.finish(faults);
    limits
}

/// Bytes a second; `"off"`, like 0, switches the check off.
fn rate(table: &mut Table<'_>, faults: &mut Faults) -> u64 {
    let written = table.or("min_rate", OrOff(Some(Size(DEFAULTS.min_rate))), faults);
    written.0.map_or(0, |Size(bytes)| bytes)
}

/// A size within bounds.
fn size(table: &mut Table<'_>, key: &'static str, bounds: RangeInclusive<u64>, faults: &mut Faults) -> Option<usize> {
    let value = table.value(key)?;
    let Size(bytes) = Size::from_toml(value, faults)?;
    if !bounds.contains(&bytes) {
        let expected = format!("{} to {} bytes", bounds.start(), bounds.end());
        faults.push(value.invalid(format!("`{key}` is out of range: {bytes} bytes"), &expected));
        return None;
    }
    usize::try_from(bytes).ok()
}

/// A whole number within bounds.
pub(super) fn number<T: TryFrom<u64>>(
    table: &mut Table<'_>,
    key: &'static str,
    bounds: RangeInclusive<u64>,
    faults: &mut Faults,
) -> Option<T> {
    let value = table.value(key)?;
    let number = u64::from_toml(value, faults)?;
    if !bounds.contains(&number) {
        faults.push(
            Fault::error(value.place(), format!("`{key}` is out of range")).expected(format!(
                "expected {} to {}",
                bounds.start(),
                bounds.end()
            )),
        );
        return None;
    }
    T::try_from(number).ok()
}
