//! Reads the members of one JSON object without building a tree of it: what is not asked for is only stepped over.

use std::borrow::Cow;

/// The members of an object, in order. What is stepped over is not checked to the letter; an object that does not end is
/// an error.
pub(super) struct Members<'l> {
    text: &'l str,
    at: usize,
    is_first: bool,
}

/// A member's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'l> {
    /// What stands between quotes, and whether escapes are in it.
    Text(&'l str, bool),
    /// A number, `true`, `false` or `null`, as written.
    Bare(&'l str),
    /// An array or an object, as written.
    Nested,
}

/// The line is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoObject;

impl<'l> Members<'l> {
    pub(super) fn of(text: &'l str) -> Result<Self, NoObject> {
        let mut members = Self {
            text,
            at: 0,
            is_first: true,
        };
        members.expect(b'{')?;
        Ok(members)
    }

    /// The next member; `None` at the end of the object, behind which nothing else stands.
    pub(super) fn next(&mut self) -> Result<Option<(&'l str, Value<'l>)>, NoObject> {
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return if self.peek().is_none() { Ok(None) } else { Err(NoObject) };
            }
            Some(b',') if !self.is_first => self.at += 1,
            Some(b'"') if self.is_first => {}
            _ => return Err(NoObject),
        }
        self.is_first = false;
        self.expect(b'"')?;
        let (key, _) = self.quoted()?;
        self.expect(b':')?;
        Ok(Some((key, self.value()?)))
    }

    fn value(&mut self) -> Result<Value<'l>, NoObject> {
        match self.peek().ok_or(NoObject)? {
            b'"' => {
                self.at += 1;
                let (text, escaped) = self.quoted()?;
                Ok(Value::Text(text, escaped))
            }
            b'{' | b'[' => {
                self.step_over()?;
                Ok(Value::Nested)
            }
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find([',', '}', ']', ' ']).ok_or(NoObject)?;
                self.at += end;
                let bare = &rest[..end];
                if bare.is_empty() {
                    Err(NoObject)
                } else {
                    Ok(Value::Bare(bare))
                }
            }
        }
    }

    /// What stands until the closing quote, and whether there are escapes in it.
    fn quoted(&mut self) -> Result<(&'l str, bool), NoObject> {
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).ok_or(NoObject)?;
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(NoObject)?;
            let end = self.at + found;
            if rest.get(found) == Some(&b'"') {
                self.at = end + 1;
                return Ok((&self.text[start..end], escaped));
            }
            escaped = true;
            // The escaped byte is ASCII in JSON; if it is not, the next search stands inside a character, and is fine.
            self.at = end + 2;
        }
    }

    /// An array or an object, whole.
    fn step_over(&mut self) -> Result<(), NoObject> {
        let mut depth = 0_usize;
        loop {
            let byte = *self.text.as_bytes().get(self.at).ok_or(NoObject)?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.quoted()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoObject> {
        if self.peek() != Some(byte) {
            return Err(NoObject);
        }
        self.at += 1;
        Ok(())
    }
}

impl<'l> Value<'l> {
    /// The text, if it is some.
    pub(super) fn text(self) -> Option<Cow<'l, str>> {
        match self {
            Self::Text(text, false) => Some(Cow::Borrowed(text)),
            Self::Text(text, true) => unescaped(text).map(Cow::Owned),
            Self::Bare(_) | Self::Nested => None,
        }
    }
}

fn unescaped(text: &str) -> Option<String> {
    serde_json::from_str(&format!("\"{text}\"")).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(text: &str) -> Result<Vec<(String, Option<String>)>, NoObject> {
        let mut members = Members::of(text)?;
        let mut all = Vec::new();
        while let Some((key, value)) = members.next()? {
            all.push((key.to_owned(), value.text().map(Cow::into_owned)));
        }
        Ok(all)
    }

    #[test]
    fn members_are_read_and_the_rest_is_stepped_over() {
        let read = members(r#" {"a":"x","b" : [1,"]",{"c":"}"}], "d":"\u00e9\"\\","e":-1.5e3,"f":null} "#);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            read,
            Ok(vec![
                ("a".to_owned(), text("x")),
                ("b".to_owned(), None),
                ("d".to_owned(), text("é\"\\")),
                ("e".to_owned(), None),
                ("f".to_owned(), None),
            ])
        );
        assert_eq!(members("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_cut_or_is_no_object_is_an_error() {
        for text in [
            "",
            "[]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":\"x",
            "{\"a\":\"x\"",
            "{\"a\":1",
            "{\"a\":[1",
            "{\"a\":1}x",
            "{\"a\":1,,\"b\":2}",
            "{,\"a\":1}",
            "{\"a\" 1}",
            "{\"a\":\"\\",
            "{\"a\":\"\\é",
        ] {
            assert_eq!(members(text), Err(NoObject), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_a_parser_of_all_json_reads(entries in prop::collection::btree_map("[a-z.]{1,9}", any::<String>(), 0..6)) {
            let text = serde_json::to_string(&entries).expect("JSON");
            let expected: Vec<_> = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
            prop_assert_eq!(members(&text), Ok(expected));
        }

        #[test]
        fn nothing_panics(text in any::<String>()) {
            let _ = members(&text);
            let _ = members(&format!("{{\"a\":{text}"));
        }
    }
}
