//! The canonical path: the one spelling that is judged and forwarded.
//!
//! Unreserved characters are decoded, escapes upper-cased, `//` merged and dot segments removed (RFC 3986 §6.2.2). What
//! servers are known to disagree on is refused.

use std::borrow::Cow;

use super::{Malformed, readings};

/// A site's choices for applications that need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathOptions {
    /// `encoded_slashes = "keep"`: `%2F` stays instead of being refused.
    pub keep_encoded_slashes: bool,
    /// `merge_slashes = false`: `//` stays.
    pub merge_slashes: bool,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            keep_encoded_slashes: false,
            merge_slashes: true,
        }
    }
}

/// Whether the path is canonical and has no other reading, as nearly all have: nothing in it is encoded, a parameter, or
/// a segment that is empty or begins with a dot. One look at each byte tells.
pub(super) fn is_plain(raw: &str) -> bool {
    let mut last = 0;
    let plain = raw.bytes().all(|byte| {
        let follows = last == b'/' && matches!(byte, b'/' | b'.');
        last = byte;
        matches!(byte, b'!'..=b'~') && !matches!(byte, b'%' | b';' | b'\\' | b'#' | b'?') && !follows
    });
    plain && raw.starts_with('/')
}

/// The canonical form of `raw`, borrowed when it is that already.
pub(super) fn canonical(raw: &str, options: PathOptions) -> Result<Cow<'_, str>, Malformed> {
    if !raw.starts_with('/') {
        return Err(Malformed::new("the request target does not start with a slash"));
    }
    let escaped = check_bytes(raw)?;
    let decoded = if escaped {
        Cow::Owned(decode_unreserved(raw, options)?)
    } else {
        Cow::Borrowed(raw)
    };
    let canonical = if has_odd_segment(&decoded, options) {
        Cow::Owned(resolve_segments(&decoded, options)?)
    } else {
        decoded
    };
    if escaped {
        refuse_hidden_dot_segments(&canonical)?;
    }
    Ok(canonical)
}

/// Whether there are percent signs; an error for bytes that no path may hold.
fn check_bytes(raw: &str) -> Result<bool, Malformed> {
    let mut escaped = false;
    for byte in raw.bytes() {
        match byte {
            b'%' => escaped = true,
            b'\\' => return Err(BACKSLASH),
            b'#' => return Err(Malformed::new("fragment in the request target")),
            0..=b' ' | 0x7f => return Err(Malformed::new("control character or space in the path")),
            0x80.. => return Err(Malformed::new("raw non-ASCII byte in the path")),
            _ => {}
        }
    }
    Ok(escaped)
}

const BACKSLASH: Malformed = Malformed::new("backslash in the path");

/// Decodes what needs no encoding, upper-cases the other escapes, and refuses those that servers disagree on.
fn decode_unreserved(raw: &str, options: PathOptions) -> Result<String, Malformed> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut decoded = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(percent) = rest.find('%') {
        decoded.push_str(&rest[..percent]);
        let byte = readings::escape_at(rest.as_bytes(), percent)
            .ok_or(Malformed::new("invalid percent-encoding in the path"))?;
        match byte {
            0..0x20 | 0x7f => return Err(Malformed::new("encoded control character in the path")),
            b'\\' => return Err(BACKSLASH),
            b'/' if !options.keep_encoded_slashes => return Err(Malformed::new("encoded slash in the path")),
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => decoded.push(char::from(byte)),
            _ => {
                decoded.push('%');
                decoded.push(char::from(HEX[usize::from(byte >> 4)]));
                decoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        rest = &rest[percent + 3..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// Whether anything is to merge or to remove.
fn has_odd_segment(path: &str, options: PathOptions) -> bool {
    let empty = options.merge_slashes && path.contains("//");
    empty || (path.contains("/.") && path.split('/').any(is_dot_segment))
}

fn is_dot_segment(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Merges slashes and removes dot segments. One above the root is refused: servers clamp it, refuse it, or leave the root.
fn resolve_segments(path: &str, options: PathOptions) -> Result<String, Malformed> {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if options.merge_slashes && !last => continue,
            "." => {}
            ".." => match resolved.rfind('/') {
                Some(slash) => resolved.truncate(slash),
                None => return Err(Malformed::new("dot segment above the root of the path")),
            },
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
        }
        if last {
            resolved.push('/');
        }
    }
    Ok(resolved)
}

/// A dot segment encoded twice or deeper has no honest use: it hides from whoever decodes once.
fn refuse_hidden_dot_segments(canonical: &str) -> Result<(), Malformed> {
    for segment in canonical.split('/').filter(|segment| segment.contains("%25")) {
        if is_dot_segment(&readings::decode_fully(segment)?) {
            return Err(Malformed::new("dot segment encoded twice in the path"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_path_is_canonical_and_has_no_other_reading(
            path in "(/[a-z./%;\\\\?#é~!-]{0,3}){0,5}",
            keep_encoded_slashes: bool,
            merge_slashes: bool,
        ) {
            let options = PathOptions { keep_encoded_slashes, merge_slashes };
            if is_plain(&path) {
                prop_assert_eq!(canonical(&path, options), Ok(Cow::Borrowed(path.as_str())));
                prop_assert_eq!(readings::others(&path, options), Ok(Vec::new()));
            }
        }
    }
}
