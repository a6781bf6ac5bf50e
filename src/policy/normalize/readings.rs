//! The readings of a path: what an origin may make of the canonical path that it is sent.
//!
//! Origins decode (once, or twice behind two layers), drop `;` parameters, take a backslash for a slash, merge slashes
//! and resolve dot segments, each in an order of its own. So the readings are everything that these steps lead to, in any
//! order and number. All of them are judged; a path with more than a few is refused.

use std::borrow::Cow;

use super::{Malformed, PathOptions};

/// How many readings a path may have, itself included. Honest paths have one, rarely up to eight; each costs a decision.
/// A path with more is refused, never judged in part.
pub const MAX_READINGS: usize = 16;
/// How many times a path may be percent-encoded. Honest ones are encoded once, addresses in addresses twice or three
/// times. Without a bound, `%252525…` would cost one pass over the path for each `25`.
pub const MAX_DECODING_ROUNDS: usize = 4;

/// The readings of `canonical` other than itself.
pub(super) fn others(canonical: &str, options: PathOptions) -> Result<Vec<String>, Malformed> {
    let one_reading = |b| !matches!(b, b'%' | b';' | b'\\');
    if canonical.bytes().all(one_reading) && (options.merge_slashes || !canonical.contains("//")) {
        return Ok(Vec::new());
    }
    let mut readings = vec![Reading {
        path: canonical.to_owned(),
        rounds: 0,
    }];
    let mut at = 0;
    while let Some(reading) = readings.get(at) {
        for next in reading.steps(options)? {
            if readings.iter().any(|known| known.path == next.path) {
                continue;
            }
            if readings.len() == MAX_READINGS {
                return Err(Malformed::new("the path can be read in too many ways"));
            }
            readings.push(next);
        }
        at += 1;
    }
    Ok(readings.into_iter().skip(1).map(|reading| reading.path).collect())
}

struct Reading {
    path: String,
    /// How often it was percent-decoded.
    rounds: usize,
}

impl Reading {
    /// What one more step makes of it.
    fn steps(&self, options: PathOptions) -> Result<Vec<Reading>, Malformed> {
        let path = self.path.as_str();
        let mut steps = Vec::new();
        for scope in Scope::of(options) {
            if let Some(decoded) = decode(path, *scope)? {
                if self.rounds == MAX_DECODING_ROUNDS {
                    return Err(TOO_DEEP);
                }
                steps.push(Reading {
                    path: decoded,
                    rounds: self.rounds + 1,
                });
            }
        }
        let undecoded = [
            without_parameters(path),
            with_backslashes_as_slashes(path),
            with_slashes_merged(path),
            without_dot_segments(path),
            before_query(path),
        ];
        steps.extend(undecoded.into_iter().flatten().map(|path| Reading {
            path,
            rounds: self.rounds,
        }));
        Ok(steps)
    }
}

const TOO_DEEP: Malformed = Malformed::new("the path is percent-encoded too many times");

/// What a decoder decodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    /// Servers that keep `%2F` decode the rest around it.
    AllButSlash,
    SlashOnly,
}

impl Scope {
    fn of(options: PathOptions) -> &'static [Self] {
        if options.keep_encoded_slashes {
            &[Self::All, Self::AllButSlash, Self::SlashOnly]
        } else {
            &[Self::All]
        }
    }

    fn covers(self, byte: u8) -> bool {
        match self {
            Self::All => true,
            Self::AllButSlash => byte != b'/',
            Self::SlashOnly => byte == b'/',
        }
    }
}

/// One round of percent-decoding; `None` when nothing decodes. A percent sign that begins no escape stays, as lenient
/// decoders leave it: `/100%25` is read as `/100%`. Control characters and broken UTF-8 that come to light are refused:
/// they end strings and confuse the next decoder, and no honest path hides them.
fn decode(path: &str, scope: Scope) -> Result<Option<String>, Malformed> {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(percent) = path[at..].find('%').map(|offset| at + offset) {
        at = percent + 1;
        let Some(byte) = escape_at(bytes, percent).filter(|byte| scope.covers(*byte)) else {
            continue;
        };
        if byte < b' ' || byte == 0x7f {
            return Err(Malformed::new("control character encoded twice in the path"));
        }
        decoded.extend_from_slice(&bytes[copied..percent]);
        decoded.push(byte);
        copied = percent + 3;
        at = copied;
    }
    if copied == 0 {
        return Ok(None);
    }
    decoded.extend_from_slice(&bytes[copied..]);
    match String::from_utf8(decoded) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Malformed::new("invalid UTF-8 in the path")),
    }
}

/// The byte that the escape at `percent` stands for, if two hexadecimal digits follow.
pub(super) fn escape_at(bytes: &[u8], percent: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let value = digit(percent + 1)? * 16 + digit(percent + 2)?;
    u8::try_from(value).ok()
}

/// Decodes until nothing decodes any more.
pub(super) fn decode_fully(text: &str) -> Result<Cow<'_, str>, Malformed> {
    let mut decoded = Cow::Borrowed(text);
    for _ in 0..=MAX_DECODING_ROUNDS {
        match decode(&decoded, Scope::All)? {
            Some(next) => decoded = Cow::Owned(next),
            None => return Ok(decoded),
        }
    }
    Err(TOO_DEEP)
}

/// Java servlet containers drop `;name=value` from every segment before they look at it.
fn without_parameters(path: &str) -> Option<String> {
    let names = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(segment));
    path.contains(';').then(|| names.collect::<Vec<_>>().join("/"))
}

/// Windows servers.
fn with_backslashes_as_slashes(path: &str) -> Option<String> {
    path.contains('\\').then(|| path.replace('\\', "/"))
}

fn with_slashes_merged(path: &str) -> Option<String> {
    if !path.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    Some(merged)
}

/// Resolves dot segments; one above the root stays at the root.
fn without_dot_segments(path: &str) -> Option<String> {
    if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return None;
    }
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            resolved.push('/');
        }
    }
    Some(resolved)
}

/// A first layer that sends on what it decoded lets the second one see a query where `%3F` was.
fn before_query(path: &str) -> Option<String> {
    path.find(['?', '#']).map(|end| path[..end].to_owned())
}
