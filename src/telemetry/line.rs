//! One log line, as JSON or as text. Whatever bytes a client sends, a line stays one line and a value stays in its quotes.

use std::{io::Write, net::IpAddr};

use crate::{config::settings::LogFormat, represent::address};

/// The longest value that is logged, in bytes; what is cut is marked. The head's limits are the first bound, this one
/// keeps a flood of long targets from filling the disk.
const MAX_VALUE: usize = 4096;

/// The name of a value, with what stands before and behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) json: &'static str,
    pub(super) text: &'static str,
}

/// The name of a value, in both formats.
macro_rules! key {
    ($name:literal) => {
        $crate::telemetry::line::Key {
            json: concat!(",\"", $name, "\":"),
            text: concat!(" ", $name, "="),
        }
    };
}

pub(super) use key;

/// A line being written into a buffer.
#[derive(Debug)]
pub(super) struct Line<'b> {
    buffer: &'b mut Vec<u8>,
    format: LogFormat,
}

impl<'b> Line<'b> {
    /// Goes on with what is in the buffer; an empty one begins a line.
    pub(super) fn new(buffer: &'b mut Vec<u8>, format: LogFormat) -> Self {
        Self { buffer, format }
    }

    /// A value that a client may have sent.
    #[inline(always)]
    pub(super) fn text(&mut self, key: Key, value: impl AsRef<[u8]>) {
        self.key(key);
        self.quoted(&[value.as_ref()]);
    }

    /// A value of letters, digits and `._-:/` that we made ourselves.
    #[inline(always)]
    pub(super) fn token(&mut self, key: Key, value: &str) {
        self.key(key);
        self.enclosed(|line| line.buffer.extend_from_slice(value.as_bytes()));
    }

    /// An address.
    #[inline(always)]
    pub(super) fn address(&mut self, key: Key, address: IpAddr) {
        self.key(key);
        self.enclosed(|line| address::push(line.buffer, address));
    }

    /// Between quotes, where the format has them.
    fn enclosed(&mut self, write: impl FnOnce(&mut Self)) {
        match self.format {
            LogFormat::Json => {
                self.buffer.push(b'"');
                write(self);
                self.buffer.push(b'"');
            }
            LogFormat::Text => write(self),
        }
    }

    /// A value that we made ourselves, without a name: for text, where its place says what it is.
    pub(super) fn bare(&mut self, value: impl std::fmt::Display) {
        let before = if self.buffer.is_empty() { "" } else { " " };
        self.put(format_args!("{before}{value}"));
    }

    /// A value that a client may have sent, in parts, without quotes: whatever would end the word is escaped, too.
    pub(super) fn word(&mut self, key: Key, parts: &[&[u8]]) {
        self.key(key);
        self.in_word(parts);
    }

    /// The same without a name.
    pub(super) fn bare_word(&mut self, parts: &[&[u8]]) {
        self.bare("");
        self.in_word(parts);
    }

    /// A value that a client may have sent, in parts, without a name.
    pub(super) fn quoted_bare(&mut self, parts: &[&[u8]]) {
        self.bare("");
        self.quoted(parts);
    }

    /// A number.
    #[inline(always)]
    pub(super) fn number(&mut self, key: Key, value: impl Into<u64>) {
        self.key(key);
        self.digits(value.into());
    }

    fn digits(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.buffer.extend_from_slice(digits.format(number).as_bytes());
    }

    /// Rule ids. None is left out.
    pub(super) fn tokens<'v>(&mut self, key: Key, values: impl Iterator<Item = &'v str>) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        self.key(key);
        let (open, quote, close) = match self.format {
            LogFormat::Json => ("[", "\"", "]"),
            LogFormat::Text => ("", "", ""),
        };
        let mut before = open;
        for value in values {
            for part in [before, quote, value, quote] {
                self.buffer.extend_from_slice(part.as_bytes());
            }
            before = ",";
        }
        self.buffer.extend_from_slice(close.as_bytes());
    }

    /// Values that a client may have sent, each in parts. None is left out.
    pub(super) fn texts<'v, const N: usize>(&mut self, key: Key, values: impl Iterator<Item = [&'v [u8]; N]>) {
        let mut before = "[";
        for value in values {
            match before {
                "[" => {
                    self.key(key);
                    self.put(format_args!("["));
                }
                between => self.put(format_args!("{between}")),
            }
            self.quoted(&value);
            before = ",";
        }
        if before != "[" {
            self.put(format_args!("]"));
        }
    }

    /// How long the line is so far: a place for [`Line::insert`].
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Writes at a place in the middle, between two values.
    pub(super) fn insert(&mut self, at: usize, write: impl FnOnce(&mut Self)) {
        let before = self.buffer.len();
        write(self);
        let written = self.buffer.len() - before;
        if let Some(moved) = self.buffer.get_mut(at..) {
            moved.rotate_right(written);
        }
    }

    /// Ends the line.
    pub(super) fn end(self) {
        let end: &[u8] = match self.format {
            LogFormat::Json => b"}\n",
            LogFormat::Text => b"\n",
        };
        self.buffer.extend_from_slice(end);
    }

    /// Inlined, so that a key, which is always a constant, is copied as one.
    #[inline(always)]
    fn key(&mut self, key: Key) {
        let (name, first) = match self.format {
            LogFormat::Json => (key.json, "{"),
            LogFormat::Text => (key.text, ""),
        };
        if self.buffer.is_empty() {
            self.buffer.extend_from_slice(first.as_bytes());
            self.buffer.extend_from_slice(&name.as_bytes()[1..]);
        } else {
            self.buffer.extend_from_slice(name.as_bytes());
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into memory does not fail.
        let _infallible = self.buffer.write_fmt(text);
    }

    fn quoted(&mut self, parts: &[&[u8]]) {
        self.buffer.push(b'"');
        self.parts(parts, Inside::Quotes);
        self.buffer.push(b'"');
    }

    fn in_word(&mut self, parts: &[&[u8]]) {
        match parts.iter().all(|part| part.is_empty()) {
            // Nothing would move what follows to its place.
            true => self.put(format_args!("-")),
            false => self.parts(parts, Inside::Word),
        }
    }

    fn parts(&mut self, parts: &[&[u8]], inside: Inside) {
        for part in parts {
            let shown = part.get(..MAX_VALUE).unwrap_or(part);
            self.shown(shown, inside);
            if shown.len() < part.len() {
                self.put(format_args!("…({}_bytes)", part.len()));
            }
        }
    }

    fn shown(&mut self, bytes: &[u8], inside: Inside) {
        // Nearly all values.
        if is_plain(bytes, inside) {
            return self.buffer.extend_from_slice(bytes);
        }
        for chunk in bytes.utf8_chunks() {
            self.escaped(chunk.valid(), inside);
            for byte in chunk.invalid() {
                match self.format {
                    LogFormat::Json => self.put(format_args!("\\ufffd")),
                    LogFormat::Text => self.put(format_args!("\\x{byte:02x}")),
                }
            }
        }
    }

    /// Runs of harmless characters are copied whole.
    fn escaped(&mut self, mut rest: &str, inside: Inside) {
        while let Some((at, harmful)) = rest.char_indices().find(|(_, c)| inside.is_harmful(*c)) {
            self.buffer.extend_from_slice(&rest.as_bytes()[..at]);
            self.escape(harmful, inside);
            rest = &rest[at + harmful.len_utf8()..];
        }
        self.buffer.extend_from_slice(rest.as_bytes());
    }

    fn escape(&mut self, harmful: char, inside: Inside) {
        match (harmful, self.format, inside) {
            ('"' | '\\', _, Inside::Quotes) | ('\\', _, Inside::Word) => self.put(format_args!("\\{harmful}")),
            // All of them lie in the basic plane, so JSON needs no surrogates.
            (_, LogFormat::Json, _) => self.put(format_args!("\\u{:04x}", u32::from(harmful))),
            (_, LogFormat::Text, _) => self.put(format_args!("\\u{{{:x}}}", u32::from(harmful))),
        }
    }
}

/// Whether all of it is harmless wherever it stands: visible ASCII without quotes and backslashes, spaces excepted in a word.
/// Eight bytes at a time; how a byte of a number is told from others is explained in Warren, Hacker's Delight, §6-1.
fn is_plain(bytes: &[u8], inside: Inside) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let least = match inside {
        Inside::Quotes => b' ',
        Inside::Word => b'!',
    };
    let is_harmful = |eight: [u8; 8]| {
        let eight = u64::from_ne_bytes(eight);
        let is_below = |bytes: u64, bound: u8| bytes.wrapping_sub(ONES * u64::from(bound)) & !bytes;
        let is_one = |byte: u8| is_below(eight ^ (ONES * u64::from(byte)), 1);
        (eight | is_below(eight, least) | is_one(b'"') | is_one(b'\\') | is_one(0x7f)) & HIGH != 0
    };
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut last = [b'a'; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    !eights.iter().any(|eight| is_harmful(*eight)) && !is_harmful(last)
}

/// What a value stands in.
#[derive(Debug, Clone, Copy)]
enum Inside {
    Quotes,
    /// Until the next space. A quote in it is written as a number, so that quotes in a line always come in pairs.
    Word,
}

impl Inside {
    fn is_harmful(self, c: char) -> bool {
        match self {
            Self::Quotes => is_harmful(c),
            Self::Word => is_harmful(c) || c.is_whitespace(),
        }
    }
}

/// What could end the value or the line, drive a terminal, or show other text than is there (line and paragraph
/// separators, direction overrides).
fn is_harmful(c: char) -> bool {
    matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, value: &[u8]) -> String {
        let mut buffer = Vec::new();
        let mut line = Line::new(&mut buffer, format);
        line.text(key!("key"), value);
        line.number(key!("n"), 1_u64);
        line.end();
        String::from_utf8(buffer).expect("lines are UTF-8")
    }

    #[test]
    fn control_characters_never_break_a_line() {
        let value = b"a\r\n{\"event.action\":\"allow\"}\x1b[2J\x00\x7f\xc2\x85";
        assert_eq!(
            line(LogFormat::Json, value),
            "{\"key\":\"a\\u000d\\u000a{\\\"event.action\\\":\\\"allow\\\"}\\u001b[2J\\u0000\\u007f\\u0085\",\"n\":1}\n"
        );
        assert_eq!(
            line(LogFormat::Text, value),
            "key=\"a\\u{d}\\u{a}{\\\"event.action\\\":\\\"allow\\\"}\\u{1b}[2J\\u{0}\\u{7f}\\u{85}\" n=1\n"
        );
    }

    #[test]
    fn bytes_that_are_no_utf8_are_shown_as_such() {
        assert_eq!(
            line(LogFormat::Json, b"a\xff\xc3b"),
            "{\"key\":\"a\\ufffd\\ufffdb\",\"n\":1}\n"
        );
        assert_eq!(line(LogFormat::Text, b"a\xff\xc3b"), "key=\"a\\xff\\xc3b\" n=1\n");
    }

    #[test]
    fn long_values_are_cut_and_marked() {
        let cut = line(LogFormat::Text, &vec![b'x'; MAX_VALUE + 1]);
        assert!(cut.ends_with("x…(4097_bytes)\" n=1\n"));
    }

    #[test]
    fn a_word_stays_a_word() {
        let mut buffer = Vec::new();
        let mut line = Line::new(&mut buffer, LogFormat::Text);
        line.word(key!("key"), &["a b\u{a0}\"c\n".as_bytes(), b"\xff"]);
        line.bare_word(&[b"", b""]);
        line.insert(0, |line| line.token(key!(" x"), "1"));
        assert_eq!(
            String::from_utf8(buffer).as_deref(),
            Ok("  x=1key=a\\u{20}b\\u{a0}\\u{22}c\\u{a}\\xff -")
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_plain_is_looked_for_in_eights(value: Vec<u8>, harmless in "[ -~]{0,20}", at in 0_usize..20, byte: u8) {
            let mut nearly = harmless.into_bytes();
            if let Some(place) = nearly.get_mut(at) {
                *place = byte;
            }
            for (inside, least) in [(Inside::Quotes, b' '), (Inside::Word, b'!')] {
                for value in [&value, &nearly] {
                    let is_harmless = |b: &u8| (least..0x7f).contains(b) && !b"\"\\".contains(b);
                    proptest::prop_assert_eq!(is_plain(value, inside), value.iter().all(is_harmless));
                }
            }
        }

        #[test]
        fn any_bytes_make_one_line_of_valid_json(value: Vec<u8>) {
            let json = line(LogFormat::Json, &value);
            proptest::prop_assert_eq!(json.matches('\n').count(), 1);
            let parsed: serde_json::Value = serde_json::from_str(&json).expect("valid JSON");
            let lossy = String::from_utf8_lossy(&value).into_owned();
            if !lossy.contains('\u{fffd}') {
                proptest::prop_assert_eq!(parsed["key"].as_str(), Some(lossy.as_str()));
            }
            proptest::prop_assert_eq!(&parsed["n"], 1);
        }
    }
}
