//! What the functions do. The checker has seen to the types: a combination that it rules out gives no value.

use std::net::IpAddr;

use bumpalo::{Bump, collections::Vec};

use super::{fields::lowered, types::Datum};
use crate::policy::network::Network;

pub(super) fn lower<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text)] => Some(Datum::Text(lowered(text, arena))),
        _ => None,
    }
}

pub(super) fn upper<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text)] => {
            let copy = arena.alloc_slice_copy(text);
            copy.make_ascii_uppercase();
            Some(Datum::Text(copy))
        }
        _ => None,
    }
}

pub(super) fn starts_with<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text), Datum::Text(start)] => Some(Datum::Bool(text.starts_with(start))),
        _ => None,
    }
}

pub(super) fn ends_with<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text), Datum::Text(end)] => Some(Datum::Bool(text.ends_with(end))),
        _ => None,
    }
}

pub(super) fn len<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    let len = match arguments {
        [Datum::Text(text)] => text.len(),
        [Datum::Array(elements)] => elements.len(),
        _ => return None,
    };
    Some(Datum::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

pub(super) fn concat<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let mut whole = Vec::new_in(arena);
    for argument in arguments {
        match argument {
            Datum::Text(text) => whole.extend_from_slice(text),
            Datum::Int(value) => whole.extend_from_slice(bumpalo::format!(in arena, "{}", value).as_bytes()),
            Datum::Bool(_) | Datum::Ip(_) | Datum::Array(_) | Datum::Map(..) | Datum::Absent => return None,
        }
    }
    Some(Datum::Text(whole.into_bump_slice()))
}

pub(super) fn to_string<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [value @ (Datum::Int(_) | Datum::Ip(_) | Datum::Bool(_))] => Some(Datum::printed(value, arena)),
        _ => None,
    }
}

pub(super) fn substring<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    let (text, start, end) = match arguments {
        [Datum::Text(text), Datum::Int(start)] => (text, *start, i64::MAX),
        [Datum::Text(text), Datum::Int(start), Datum::Int(end)] => (text, *start, *end),
        _ => return None,
    };
    let (start, end) = (index(start, text.len()), index(end, text.len()));
    Some(Datum::Text(&text[start..end.max(start)]))
}

/// A position in a text of this length; negative ones count from the end, those outside are at the nearer end.
fn index(at: i64, len: usize) -> usize {
    let distance = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
    if at < 0 {
        len.saturating_sub(distance)
    } else {
        distance.min(len)
    }
}

pub(super) fn remove_bytes<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text), Datum::Text(removed)] => {
            let left = text.iter().copied().filter(|byte| !removed.contains(byte));
            Some(Datum::Text(Vec::from_iter_in(left, arena).into_bump_slice()))
        }
        _ => None,
    }
}

pub(super) fn split<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let [Datum::Text(text), Datum::Text(separator), Datum::Int(limit)] = arguments else {
        return None;
    };
    let limit = usize::try_from(*limit).ok().filter(|_| !separator.is_empty())?;
    let mut pieces = Vec::new_in(arena);
    let mut rest: &'a [u8] = text;
    while pieces.len() + 1 < limit
        && let Some(at) = rest.windows(separator.len()).position(|window| window == *separator)
    {
        pieces.push(Datum::Text(&rest[..at]));
        rest = &rest[at + separator.len()..];
    }
    pieces.push(Datum::Text(rest));
    Some(Datum::Array(pieces.into_bump_slice()))
}

pub(super) fn join<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let [Datum::Array(strings), Datum::Text(separator)] = arguments else {
        return None;
    };
    let mut whole = Vec::new_in(arena);
    for (at, string) in strings.iter().enumerate() {
        if at > 0 {
            whole.extend_from_slice(separator);
        }
        if let Datum::Text(text) = string {
            whole.extend_from_slice(text);
        }
    }
    Some(Datum::Text(whole.into_bump_slice()))
}

pub(super) fn has_key<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Map(map, input), Datum::Text(key)] => {
            let key = String::from_utf8_lossy(key);
            Some(Datum::Bool((map.lookup)(input, &key).is_some()))
        }
        _ => None,
    }
}

pub(super) fn has_value<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Map(map, input), Datum::Text(value)] => Some(Datum::Bool(holds_text(&(map.values)(input), value))),
        [array @ Datum::Array(_), Datum::Text(value)] => Some(Datum::Bool(holds_text(array, value))),
        _ => None,
    }
}

fn holds_text(array: &Datum<'_>, value: &[u8]) -> bool {
    match array {
        Datum::Array(elements) => elements.iter().any(|element| element.as_text() == Some(value)),
        Datum::Bool(_) | Datum::Int(_) | Datum::Text(_) | Datum::Ip(_) | Datum::Map(..) | Datum::Absent => false,
    }
}

pub(super) fn cidr<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Ip(address), Datum::Int(v4), Datum::Int(v6)] => {
            let prefix = if address.is_ipv4() { v4 } else { v6 };
            network(*address, *prefix)
        }
        _ => None,
    }
}

pub(super) fn cidr6<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Ip(address), Datum::Int(prefix)] => network(*address, if address.is_ipv4() { 32 } else { *prefix }),
        _ => None,
    }
}

fn network<'a>(address: IpAddr, prefix: i64) -> Option<Datum<'a>> {
    let prefix = u8::try_from(prefix).ok()?;
    Some(Datum::Ip(Network::new(address, prefix).address()))
}

pub(super) fn lookup_json_string<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match lookup_json(arguments)? {
        serde_json::Value::String(text) => Some(Datum::text(arena.alloc_str(&text))),
        _ => None,
    }
}

pub(super) fn lookup_json_integer<'a>(arguments: &[Datum<'a>], _: &'a Bump) -> Option<Datum<'a>> {
    lookup_json(arguments)?.as_i64().map(Datum::Int)
}

fn lookup_json(arguments: &[Datum<'_>]) -> Option<serde_json::Value> {
    let (json, keys) = arguments.split_first()?;
    let Datum::Text(json) = json else {
        return None;
    };
    // The parser bounds its own depth; the text is bounded by the size of a head.
    let mut at: serde_json::Value = serde_json::from_slice(json).ok()?;
    for key in keys {
        at = match key {
            Datum::Text(name) => at.get_mut(std::str::from_utf8(name).ok()?)?.take(),
            Datum::Int(position) => at.get_mut(usize::try_from(*position).ok()?)?.take(),
            Datum::Bool(_) | Datum::Ip(_) | Datum::Array(_) | Datum::Map(..) | Datum::Absent => return None,
        };
    }
    Some(at)
}

pub(super) fn decode_base64<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    match arguments {
        [Datum::Text(text)] => base64(text, arena).map(Datum::Text),
        _ => None,
    }
}

/// Either alphabet, padded or not. Leftover bits are ignored, as lenient decoders do.
pub(super) fn base64<'a>(text: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let mut decoded = Vec::with_capacity_in(end / 4 * 3 + 2, arena);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in &text[..end] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(((bits >> count) & 0xff) as u8);
        }
    }
    // One character alone stands for no byte; more than two `=` are no padding.
    (end % 4 != 1 && text.len() - end <= 2).then(|| decoded.into_bump_slice() as &[u8])
}

pub(super) fn url_decode<'a>(arguments: &[Datum<'a>], arena: &'a Bump) -> Option<Datum<'a>> {
    let (text, options) = match arguments {
        [Datum::Text(text)] => (*text, &b""[..]),
        [Datum::Text(text), Datum::Text(options)] => (*text, *options),
        _ => return None,
    };
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(Datum::Text(text));
    }
    let unicode = options.contains(&b'u');
    let decoded = if options.contains(&b'r') {
        decode_all_layers(text, unicode, arena)
    } else {
        decode_one_layer(text, unicode, arena)
    };
    Some(Datum::Text(decoded.into_bump_slice()))
}

fn decode_one_layer<'a>(text: &[u8], unicode: bool, arena: &'a Bump) -> Vec<'a, u8> {
    let mut decoded = Vec::with_capacity_in(text.len(), arena);
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escape = [3, 6].into_iter().find_map(|len| {
            let escape = rest.get(..len)?;
            escaped(escape, unicode).map(|c| (c, len))
        });
        rest = match escape {
            Some((c, len)) => {
                c.push_to(&mut decoded);
                &rest[len..]
            }
            None => {
                decoded.push(if byte == b'+' { b' ' } else { byte });
                after
            }
        };
    }
    decoded
}

/// Decodes what the decoded bytes form with their neighbours at once, so that any depth of layers takes linear time.
fn decode_all_layers<'a>(text: &[u8], unicode: bool, arena: &'a Bump) -> Vec<'a, u8> {
    let mut decoded = Vec::with_capacity_in(text.len(), arena);
    for &byte in text {
        decoded.push(if byte == b'+' { b' ' } else { byte });
        while let Some((c, len)) = [3, 6].into_iter().find_map(|len| {
            let start = decoded.len().checked_sub(len)?;
            escaped(&decoded[start..], unicode).map(|c| (c, len))
        }) {
            decoded.truncate(decoded.len() - len);
            match c {
                Decoded::Byte(b'+') => decoded.push(b' '),
                Decoded::Byte(_) | Decoded::Char(_) => c.push_to(&mut decoded),
            }
        }
    }
    decoded
}

#[derive(Clone, Copy)]
enum Decoded {
    Byte(u8),
    Char(char),
}

impl Decoded {
    fn push_to(self, text: &mut Vec<'_, u8>) {
        match self {
            Self::Byte(byte) => text.push(byte),
            Self::Char(c) => text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// What exactly `%xx` or `%uxxxx` stands for.
fn escaped(escape: &[u8], unicode: bool) -> Option<Decoded> {
    let digits = match escape {
        [b'%', digits @ ..] if digits.len() == 2 => digits,
        [b'%', b'u' | b'U', digits @ ..] if unicode && digits.len() == 4 => digits,
        _ => return None,
    };
    let hex = digits.iter().try_fold(0u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value * 16 + digit)
    })?;
    Some(match u8::try_from(hex) {
        Ok(byte) if digits.len() == 2 || byte.is_ascii() => Decoded::Byte(byte),
        Ok(_) | Err(_) => Decoded::Char(char::from_u32(hex).unwrap_or(char::REPLACEMENT_CHARACTER)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, options: &str) -> String {
        let arena = Bump::new();
        let datum = url_decode(&[Datum::text(text), Datum::text(options)], &arena).expect("it decodes");
        match datum {
            Datum::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => other.to_string(),
        }
    }

    #[test]
    fn urls_decode_by_one_layer_or_by_all() {
        assert_eq!(decoded("John%20Doe+x", ""), "John Doe x");
        assert_eq!(decoded("%2520", ""), "%20");
        assert_eq!(decoded("%2520", "r"), " ");
        assert_eq!(decoded("%25252525252e", "r"), ".");
        assert_eq!(decoded("%252B", "r"), " ");
        assert_eq!(decoded("%u2601", ""), "%u2601");
        assert_eq!(decoded("%u2601", "u"), "☁");
        assert_eq!(decoded("%25u002e", "ru"), ".");
        assert_eq!(decoded("%zz%2", "r"), "%zz%2");
    }

    #[test]
    fn base64_decodes_in_either_alphabet() {
        let arena = Bump::new();
        let decoded = |text: &str| base64(text.as_bytes(), &arena);
        assert_eq!(decoded("MTIzYWJj"), Some(&b"123abc"[..]));
        assert_eq!(decoded("YQ=="), Some(&b"a"[..]));
        assert_eq!(decoded("YQ"), Some(&b"a"[..]));
        assert_eq!(decoded("_-8="), decoded("/+8="));
        assert_eq!(decoded("Y"), None);
        assert_eq!(decoded("Y Q="), None);
        assert_eq!(decoded("===="), None);
    }

    #[test]
    fn substrings_count_from_either_end() {
        let part = |start, end| {
            let arguments = [Datum::text("asdfghjk"), Datum::Int(start), Datum::Int(end)];
            substring(&arguments, &Bump::new()).expect("a part").to_string()
        };
        assert_eq!(part(2, 5), "\"dfg\"");
        assert_eq!(part(0, -2), "\"asdfgh\"");
        assert_eq!(part(-2, i64::MAX), "\"jk\"");
        assert_eq!(part(5, 2), "\"\"");
        assert_eq!(part(i64::MIN, i64::MAX), "\"asdfghjk\"");
    }
}
