//! What was done to a path to make it canonical, in words.

use super::{Target, readings::escape_at};

/// How many escapes are named.
const MAX_NAMED: usize = 4;

impl Target {
    /// What makes the canonical path another one than was sent; nothing when it is the same.
    pub fn changes(&self) -> Vec<String> {
        let (raw, canonical) = (self.raw_path(), self.path());
        if raw == canonical {
            return Vec::new();
        }
        let mut changes = Vec::new();
        let (mut decoded, mut raised) = (Vec::new(), false);
        let mut plain = String::new();
        let mut at = 0;
        while let Some(rest) = raw.get(at..).filter(|rest| !rest.is_empty()) {
            let escape = escape_at(raw.as_bytes(), at).filter(|_| rest.starts_with('%'));
            match (escape, rest.get(..3)) {
                (Some(byte), Some(written)) => {
                    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                        plain.push(char::from(byte));
                        let words = format!("{written} to {}", char::from(byte));
                        if !decoded.contains(&words) {
                            decoded.push(words);
                        }
                    } else {
                        plain.push_str(written);
                        raised |= written.bytes().any(|b| b.is_ascii_lowercase());
                    }
                    at += 3;
                }
                (_, _) => {
                    let c = rest.chars().next().unwrap_or('/');
                    plain.push(c);
                    at += c.len_utf8();
                }
            }
        }
        if !decoded.is_empty() {
            let more = decoded.len().saturating_sub(MAX_NAMED);
            decoded.truncate(MAX_NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            changes.push(format!("decoded {}{more}", decoded.join(", ")));
        }
        if raised {
            changes.push("upper-cased escapes".to_owned());
        }
        if plain.contains("//") && !canonical.contains("//") {
            changes.push("merged //".to_owned());
        }
        if plain.split('/').any(|segment| matches!(segment, "." | "..")) {
            changes.push("removed dot segments".to_owned());
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::normalize::PathOptions;

    #[test]
    fn every_change_is_named_and_there_is_none_without_one() {
        for (raw, expected) in [
            ("/admin?x=%61", &[][..]),
            ("/%61dmin", &["decoded %61 to a"]),
            (
                "/%61%41%61/%62%63%64",
                &["decoded %61 to a, %41 to A, %62 to b, %63 to c and 1 more"],
            ),
            ("/a//b/./c/../d", &["merged //", "removed dot segments"]),
            (
                "/%2e%2E/%c3%bc",
                &[
                    "decoded %2e to ., %2E to .",
                    "upper-cased escapes",
                    "removed dot segments",
                ],
            ),
        ] {
            let raw = if raw.starts_with("/%2e") {
                format!("/x{raw}")
            } else {
                raw.to_owned()
            };
            let target = Target::parse(&raw, PathOptions::default()).expect("a target");
            assert_eq!(target.changes(), expected, "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_path_that_is_another_one_says_why(path in "/[a-z./%0-9A-F]{0,16}") {
            if let Ok(target) = Target::parse(&path, PathOptions::default()) {
                proptest::prop_assert_eq!(target.changes().is_empty(), target.raw_path() == target.path(), "{}", path);
            }
        }
    }
}
