//! Patterns with `*`: any run of characters, `/` included. The whole text must match.

use std::fmt;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// What stands between the stars; one piece more than there are stars.
    pieces: Vec<Box<[u8]>>,
    case: Case,
}

/// Whether upper and lower case (ASCII) differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Case {
    /// `wildcard`
    Insensitive,
    /// `strict wildcard`
    Sensitive,
}

/// What is wrong with a pattern, with the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WildcardError {
    /// The byte of the pattern.
    pub at: usize,
    /// What is wrong, and what to write.
    pub message: &'static str,
}

impl fmt::Display for WildcardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Wildcard {
    /// Compiles a pattern, in which `\*` is a star and `\\` a backslash.
    ///
    /// # Errors
    /// Two stars in a row, or a backslash before anything else.
    pub fn new(pattern: &[u8], case: Case) -> Result<Self, WildcardError> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut bytes = pattern.iter().copied().enumerate().peekable();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'*' if bytes.peek().is_some_and(|(_, next)| *next == b'*') => {
                    let message = "`**` means no more than `*`: write one star, or `\\*` for a star itself";
                    return Err(WildcardError { at, message });
                }
                b'*' => pieces.push(std::mem::take(&mut piece).into_boxed_slice()),
                b'\\' => match bytes.next() {
                    Some((_, escaped @ (b'*' | b'\\'))) => piece.push(escaped),
                    Some(_) | None => {
                        let message = "a backslash in a pattern stands before `*` or another backslash only";
                        return Err(WildcardError { at, message });
                    }
                },
                _ => piece.push(byte),
            }
        }
        pieces.push(piece.into_boxed_slice());
        Ok(Self { pieces, case })
    }

    /// Whether upper and lower case differ.
    pub fn case(&self) -> Case {
        self.case
    }

    /// What stands between the stars.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece)
    }

    /// The pattern, with stars and backslashes escaped.
    pub fn pattern(&self) -> Vec<u8> {
        let escaped = self.pieces.iter().map(|piece| {
            let bytes = piece.iter().flat_map(|byte| match byte {
                b'*' | b'\\' => vec![b'\\', *byte],
                _ => vec![*byte],
            });
            bytes.collect::<Vec<u8>>()
        });
        escaped.collect::<Vec<_>>().join(&b'*')
    }

    /// Whether the whole text matches.
    ///
    /// Each piece is taken at its first place after the one before: a later place could only leave less room for the
    /// rest. So nothing is ever tried twice, and the time is bounded by text times pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return self.same(text, first);
        };
        if text.len() < first.len() + last.len() {
            return false;
        }
        let (start, text) = text.split_at(first.len());
        let (text, end) = text.split_at(text.len() - last.len());
        self.same(start, first) && self.same(end, last) && self.in_order(text, middle)
    }

    fn in_order(&self, mut text: &[u8], pieces: &[Box<[u8]>]) -> bool {
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            match text.windows(piece.len()).position(|window| self.same(window, piece)) {
                Some(at) => text = &text[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    fn same(&self, text: &[u8], piece: &[u8]) -> bool {
        match self.case {
            Case::Sensitive => text == piece,
            Case::Insensitive => text.eq_ignore_ascii_case(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let wildcard = Wildcard::new(pattern.as_bytes(), Case::Insensitive).expect("a pattern");
        wildcard.matches(text.as_bytes())
    }

    #[test]
    fn a_star_is_any_run_of_characters_slashes_included() {
        assert!(matches("/admin/*", "/ADMIN/a/b"));
        assert!(matches("/admin/*", "/admin/"));
        assert!(!matches("/admin/*", "/admin"));
        assert!(matches("*.example.com/*/page", "a.b.example.com/x/y/page"));
        assert!(!matches("a*a", "a"));
        assert!(matches("*", ""));
    }

    #[test]
    fn escapes_stand_for_themselves() {
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
        assert!(matches(r"a\\*", r"a\anything"));
        assert_eq!(Wildcard::new(br"a\", Case::Sensitive).expect_err("dangling").at, 1);
        assert_eq!(Wildcard::new(b"a**", Case::Sensitive).expect_err("double").at, 1);
        assert!(Wildcard::new(br"\**", Case::Sensitive).is_ok());
    }

    /// The definition, tried out: exponential, and obviously right.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| oracle(rest, &text[skip..])),
            ([a, pattern @ ..], [b, text @ ..]) => a == b && oracle(pattern, text),
            (_, _) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,12}") {
            if let Ok(wildcard) = Wildcard::new(pattern.as_bytes(), Case::Sensitive) {
                prop_assert_eq!(wildcard.matches(text.as_bytes()), oracle(pattern.as_bytes(), text.as_bytes()));
            }
        }

        #[test]
        fn a_printed_pattern_is_the_same_pattern(pattern in r"[ab*\\]{0,8}") {
            if let Ok(wildcard) = Wildcard::new(pattern.as_bytes(), Case::Sensitive) {
                prop_assert_eq!(Wildcard::new(&wildcard.pattern(), Case::Sensitive), Ok(wildcard));
            }
        }
    }
}
