//! The kinds of value that `portcullis.toml` is written with: durations, sizes, addresses, header names.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use toml::de::DeValue;

use crate::policy::{
    fault::{Fault, Faults, Place, nearest},
    network::Network,
    table::{FromToml, Value},
};

/// The text of a string; anything else is a fault that shows how the value is written.
pub(super) fn text<'s>(value: Value<'s>, expected: &str, faults: &mut Faults) -> Option<&'s str> {
    match value.raw() {
        DeValue::String(text) => Some(text),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => {
            faults.push(value.mismatch(expected));
            None
        }
    }
}

/// Keeps the good outcome; a bad one becomes a fault.
pub(super) fn keep<T>(outcome: Result<T, Fault>, faults: &mut Faults) -> Option<T> {
    outcome.map_err(|fault| faults.push(fault)).ok()
}

/// A whole number with its unit, and what follows it.
fn amount(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text.get(..digits)?.parse().ok()?;
    let rest = text.get(digits..)?;
    let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    Some((number, rest.get(..unit)?.trim(), rest.get(unit..)?))
}

/// `"500ms"`, `"10s"`, `"1m30s"`, `"2h"`, `"1d"`: longer than nothing.
impl FromToml for Duration {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "a duration such as \"10s\", \"1m30s\" or \"500ms\"";
        if let DeValue::Integer(number) = value.raw() {
            let fault = value.mismatch(EXAMPLE);
            faults.push(fault.help(format!(
                "say in what unit, for example `\"{}s\"` for seconds",
                number.as_str()
            )));
            return None;
        }
        let text = text(value, EXAMPLE, faults)?;
        let duration = duration(text).map_err(|cause| {
            let fault = value.invalid(format!("`{text}` is not a duration: {}", cause.message), EXAMPLE);
            match cause.help {
                Some(help) => fault.help(help),
                None => fault,
            }
        });
        keep(duration, faults)
    }
}

/// Why a text is not the amount it should be.
struct AmountError {
    message: String,
    help: Option<String>,
}

impl AmountError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }
}

/// A duration as the configuration writes it.
pub(super) fn written_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|error| match error.help {
        Some(help) => format!("{}: {help}", error.message),
        None => error.message,
    })
}

fn duration(text: &str) -> Result<Duration, AmountError> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(AmountError::new("it is empty"));
    }
    while !rest.is_empty() {
        let (number, unit, tail) =
            amount(rest).ok_or_else(|| AmountError::new("a whole number must stand before each unit"))?;
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            "" => {
                return Err(AmountError {
                    message: format!("{number} of what?"),
                    help: Some(format!("add a unit, for example `\"{text}s\"` for seconds")),
                });
            }
            _ => {
                return Err(AmountError::new(format!(
                    "unknown unit `{unit}`; units are ms, s, m, h and d"
                )));
            }
        };
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| AmountError::new("it is longer than a year"))?;
        rest = tail;
    }
    if total.is_zero() {
        return Err(AmountError::new("it must be longer than nothing"));
    }
    Ok(total)
}

/// No timeout means anything beyond this; deadlines computed from it cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A number of bytes: `"64KiB"`, `"1MiB"`, or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromToml for Size {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "a size such as \"64KiB\", \"1MiB\" or a number of bytes";
        if matches!(value.raw(), DeValue::Integer(_)) {
            return u64::from_toml(value, faults).map(Self);
        }
        let text = text(value, EXAMPLE, faults)?;
        let size = size(text).map_err(|cause| {
            let fault = value.invalid(format!("`{text}` is not a size: {}", cause.message), EXAMPLE);
            match cause.help {
                Some(help) => fault.help(help),
                None => fault,
            }
        });
        keep(size, faults).map(Self)
    }
}

fn size(text: &str) -> Result<u64, AmountError> {
    let whole = || AmountError::new("a whole number must stand before the unit");
    let (number, unit, tail) = amount(text.trim()).ok_or_else(whole)?;
    if !tail.is_empty() {
        return Err(whole());
    }
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => {
            let units = ["KiB", "MiB", "GiB", "B"];
            let initial = |unit: &&str| unit.chars().next().map(|c| c.to_ascii_lowercase());
            let meant = units.into_iter().find(|known| initial(known) == initial(&unit));
            return Err(AmountError {
                message: format!("unknown unit `{unit}`; units are B, KiB, MiB and GiB"),
                help: meant.map(|known| format!("did you mean `\"{number}{known}\"`?")),
            });
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| AmountError::new("it is too large"))
}

/// A bound that `"off"` lifts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OrOff<T>(pub(super) Option<T>);

impl<T: FromToml> FromToml for OrOff<T> {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        match value.raw() {
            DeValue::String(text) if text == "off" => Some(Self(None)),
            _ => T::from_toml(value, faults).map(|bound| Self(Some(bound))),
        }
    }
}

/// Address and port to listen on.
impl FromToml for SocketAddr {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "an address and port such as \"127.0.0.1:8443\" or \"[::]:443\"";
        if let DeValue::Integer(port) = value.raw() {
            let fault = value.mismatch(EXAMPLE);
            faults.push(fault.help(format!(
                "for every address of this machine write `\"[::]:{}\"`",
                port.as_str()
            )));
            return None;
        }
        let text = text(value, EXAMPLE, faults)?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let fault = value.invalid(format!("`{text}` is not an address and port"), EXAMPLE);
        faults.push(match address_meant(text) {
            Some(help) => fault.help(help),
            None => fault,
        });
        None
    }
}

fn address_meant(text: &str) -> Option<String> {
    let everywhere = |port: &str| format!("for every address of this machine write `\"[::]:{port}\"`");
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(format!("add a port: `\"{}\"`", SocketAddr::new(address, 443)));
    }
    if text.parse::<u16>().is_ok() {
        return Some(everywhere(text));
    }
    let (host, port) = text.rsplit_once(':')?;
    if !port.bytes().all(|b| b.is_ascii_digit()) || port.is_empty() {
        return Some(format!("`{port}` is not a port number"));
    }
    if port.parse::<u16>().is_err() {
        return Some(format!("port {port} is out of range; ports are 0 to 65535"));
    }
    match host {
        "" | "*" => Some(everywhere(port)),
        "localhost" => Some(format!("names are not resolved here: write `\"127.0.0.1:{port}\"`")),
        _ if host.parse::<std::net::Ipv6Addr>().is_ok() => {
            Some(format!("an IPv6 address needs brackets: `\"[{host}]:{port}\"`"))
        }
        _ => Some(format!(
            "names are not resolved here: write the IP address instead of `{host}`"
        )),
    }
}

/// A network: a CIDR or a single address.
impl FromToml for Network {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXAMPLE: &str = "a network such as \"10.0.0.0/8\" or a single address";
        let text = text(value, EXAMPLE, faults)?;
        let network = Self::parse(text).map_err(|cause| value.invalid(cause.to_string(), EXAMPLE));
        keep(network, faults)
    }
}

impl FromToml for PathBuf {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = text(value, "a path in quotes", faults)?;
        if text.is_empty() {
            faults.push(value.invalid("empty path", "a path"));
            return None;
        }
        Some(Self::from(text))
    }
}

impl FromToml for HeaderName {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = text(value, "a header's name", faults)?;
        match Self::try_from(text) {
            Ok(name) => Some(name),
            Err(_) => {
                faults.push(value.invalid(
                    format!("`{text}` is not a header name"),
                    "letters, digits and `-`, without a colon",
                ));
                None
            }
        }
    }
}

/// Whether a header frames or routes a message or belongs to one connection: to add, drop or believe one breaks HTTP.
pub(super) fn frames(name: &HeaderName) -> bool {
    const FRAMING: [&str; 11] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
}

/// The fault of a header for which [`frames`] holds.
pub(super) fn framing_fault(place: Place, message: String) -> Fault {
    Fault::error(place, message).expected("the gateway itself frames messages and keeps connections")
}

impl FromToml for HeaderValue {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = text(value, "a header's value", faults)?;
        match Self::try_from(text) {
            Ok(header) => Some(header),
            Err(_) => {
                faults.push(value.invalid("not a header value", "one line of visible characters"));
                None
            }
        }
    }
}

/// A table of headers: names to values.
pub(super) struct HeaderTable(pub(super) Vec<(HeaderName, HeaderValue)>);

impl FromToml for HeaderTable {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("the header table", faults)?;
        let mut headers = Vec::new();
        for (name, value) in table.named() {
            let Ok(header) = HeaderName::try_from(name.value.as_str()) else {
                faults.push(
                    Fault::error(name.place, format!("`{}` is not a header name", name.value))
                        .expected("expected letters, digits and `-`, without a colon"),
                );
                continue;
            };
            if frames(&header) {
                faults.push(framing_fault(name.place, format!("`{}` cannot be set", name.value)));
                continue;
            }
            // `X-A` and `x-a` are two keys to TOML and one header to everybody else.
            if headers.iter().any(|(known, _)| *known == header) {
                faults.push(
                    Fault::error(name.place, format!("`{}` is set twice", name.value))
                        .expected("each header once; letter case makes no difference"),
                );
                continue;
            }
            if let Some(value) = HeaderValue::from_toml(value, faults) {
                headers.push((header, value));
            }
        }
        Some(Self(headers))
    }
}

/// One of a few words, or a fault that names them all.
pub(super) fn word<T: Copy>(value: Value<'_>, words: &[(&str, T)], faults: &mut Faults) -> Option<T> {
    let all: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let all = all.join(" or ");
    let typed = text(value, &all, faults)?;
    if let Some((_, meaning)) = words.iter().find(|(name, _)| *name == typed) {
        return Some(*meaning);
    }
    let fault = value.invalid(format!("unknown value `{typed}`"), &all);
    faults.push(match nearest(typed, words.iter().map(|(name, _)| *name)) {
        Some(name) => fault.help(format!("did you mean `{name}`?")),
        None => fault,
    });
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{
        fault::Source,
        table::{Table, parse},
    };

    fn read<T: FromToml>(text: &str) -> Result<T, Vec<String>> {
        let source = Source::new("c.toml", format!("v = {text}\n"));
        let mut faults = Faults::new();
        let document = parse(&source, &mut faults);
        let mut table = Table::new(&source, "the file", document.span(), document.get_ref());
        let value = table.optional::<T>("v", &mut faults);
        value.ok_or_else(|| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn durations_add_up_their_parts() {
        assert_eq!(read("\"1m30s\""), Ok(Duration::from_secs(90)));
        assert_eq!(read("\"500ms\""), Ok(Duration::from_millis(500)));
        assert_eq!(read("\"1d2h\""), Ok(Duration::from_secs(93_600)));
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, part) in [
            ("\"10\"", "add a unit, for example `\"10s\"`"),
            ("10", "say in what unit, for example `\"10s\"`"),
            ("\"10 parsecs\"", "units are ms, s, m, h and d"),
            ("\"0s\"", "longer than nothing"),
            ("\"\"", "it is empty"),
            ("\"-1s\"", "a whole number must stand before each unit"),
            ("\"99999999999999999d\"", "longer than a year"),
            ("\"99999999999999999999s\"", "a whole number"),
        ] {
            let faults = read::<Duration>(text).expect_err(text).join("\n");
            assert!(faults.contains(part), "{text}: {faults}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(read("\"64KiB\""), Ok(Size(65_536)));
        assert_eq!(read("8192"), Ok(Size(8192)));
        assert_eq!(read("\"1 MB\""), Ok(Size(1_000_000)));
        let faults = read::<Size>("\"64K\"").expect_err("no such unit").join("\n");
        assert!(faults.contains("did you mean `\"64KiB\"`?"), "{faults}");
    }

    #[test]
    fn addresses_say_what_is_missing() {
        for (text, part) in [
            ("\"8443\"", "`\"[::]:8443\"`"),
            ("8443", "`\"[::]:8443\"`"),
            ("\":8443\"", "`\"[::]:8443\"`"),
            ("\"localhost:80\"", "`\"127.0.0.1:80\"`"),
            ("\"127.0.0.1:70000\"", "ports are 0 to 65535"),
            ("\"127.0.0.1\"", "`\"127.0.0.1:443\"`"),
        ] {
            let faults = read::<SocketAddr>(text).expect_err(text).join("\n");
            assert!(faults.contains(part), "{text}: {faults}");
        }
    }

    #[test]
    fn networks_begin_at_their_first_address() {
        assert_eq!(
            read("\"10.0.0.0/8\""),
            Ok(Network::parse("10.0.0.0/8").expect("a network"))
        );
        let faults = read::<Network>("\"10.1.2.3/8\"").expect_err("host bits").join("\n");
        assert!(faults.contains("write 10.0.0.0/8 or 10.1.2.3"), "{faults}");
    }

    proptest! {
        #[test]
        fn every_whole_number_of_seconds_is_a_duration(seconds in 1_u64..31_536_000) {
            prop_assert_eq!(duration(&format!("{seconds}s")).ok(), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn no_text_panics_as_a_duration_size_or_address(text in "\\PC{0,20}") {
            let _ = (duration(&text).is_ok(), size(&text).is_ok(), address_meant(&text));
        }
    }
}
