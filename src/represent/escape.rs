//! Escaping: no value can break out of the HTML or JSON text that it is written into.

use std::fmt::{self, Write};

/// Appends `text` so that it is plain text in HTML element content and in quoted attribute values.
pub fn html(text: &str, out: &mut impl Write) -> fmt::Result {
    write_escaped(text, out, |byte| match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\'' => Some("&#39;"),
        _ => None,
    })
}

/// Appends `text` as the inside of a JSON string: without the quotes around it.
pub fn json(text: &str, out: &mut impl Write) -> fmt::Result {
    write_escaped(text, out, |byte| match byte {
        b'"' => Some("\\\""),
        b'\\' => Some("\\\\"),
        b'\n' => Some("\\n"),
        0..=0x1f => Some(CONTROLS[usize::from(byte)]),
        _ => None,
    })
}

/// Writes runs of harmless bytes whole. `replacement` answers for ASCII bytes only, so runs end on character boundaries.
fn write_escaped(text: &str, out: &mut impl Write, replacement: impl Fn(u8) -> Option<&'static str>) -> fmt::Result {
    if is_plain(text) {
        return out.write_str(text);
    }
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(replacement) = replacement(byte) {
            out.write_str(&text[written..at])?;
            out.write_str(replacement)?;
            written = at + 1;
        }
    }
    out.write_str(&text[written..])
}

/// Whether nothing in it means anything, in HTML or JSON: nearly all values. Looked at without a way out in between, so that the
/// compiler compares many bytes at once.
fn is_plain(text: &str) -> bool {
    let is_harmless =
        |b: u8| (b >= b' ') & (b != b'&') & (b != b'<') & (b != b'>') & (b != b'"') & (b != b'\'') & (b != b'\\');
    text.as_bytes()
        .iter()
        .fold(true, |plain, byte| plain & is_harmless(*byte))
}

/// The control characters as JSON spells them (RFC 8259 §7).
const CONTROLS: [&str; 32] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\u0008", "\\u0009",
    "\\u000a", "\\u000b", "\\u000c", "\\u000d", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d",
    "\\u001e", "\\u001f",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str, escape: impl Fn(&str, &mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        escape(text, &mut out).expect("a String takes everything");
        out
    }

    proptest! {
        #[test]
        fn escaped_json_parses_back_to_the_same_text(text in any::<String>()) {
            let document = format!("\"{}\"", escaped(&text, json));
            prop_assert_eq!(serde_json::from_str::<String>(&document).expect("valid JSON"), text);
        }

        #[test]
        fn escaped_html_has_no_markup_and_unescapes_to_the_same_text(text in any::<String>()) {
            let out = escaped(&text, html);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            let back = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'")
                .replace("&amp;", "&");
            prop_assert_eq!(back, text);
        }
    }

    #[test]
    fn every_json_control_character_is_escaped() {
        for control in 0..0x20_u8 {
            let text = char::from(control).to_string();
            let document = format!("\"{}\"", escaped(&text, json));
            assert_eq!(serde_json::from_str::<String>(&document).expect("valid JSON"), text);
        }
    }
}
