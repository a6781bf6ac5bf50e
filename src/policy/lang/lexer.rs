//! Text to tokens. Every token keeps its place; strings are only delimited here, since what a backslash means depends on
//! the operator before them.

use std::ops::Range;

use super::diagnostics::Diagnostic;

/// A piece of the text with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name, an operator in letters, a number, an address or a range of them.
    Word,
    /// A string; `body` is what stands between its delimiters.
    Text { raw: bool, body: Range<usize> },
    /// `$name`
    List,
    /// Punctuation, or an operator in symbols.
    Symbol(Symbol),
    /// The end of the text.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    ParenOpen,
    ParenClose,
    BraceOpen,
    BraceClose,
    BracketOpen,
    BracketClose,
    Comma,
    Star,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Tilde,
    Not,
    And,
    Or,
    Xor,
}

/// Longer spellings first.
const SYMBOLS: [(&str, Symbol); 19] = [
    ("==", Symbol::Equal),
    ("!=", Symbol::NotEqual),
    ("<=", Symbol::LessEqual),
    (">=", Symbol::GreaterEqual),
    ("&&", Symbol::And),
    ("||", Symbol::Or),
    ("^^", Symbol::Xor),
    ("(", Symbol::ParenOpen),
    (")", Symbol::ParenClose),
    ("{", Symbol::BraceOpen),
    ("}", Symbol::BraceClose),
    ("[", Symbol::BracketOpen),
    ("]", Symbol::BracketClose),
    (",", Symbol::Comma),
    ("*", Symbol::Star),
    ("<", Symbol::Less),
    (">", Symbol::Greater),
    ("~", Symbol::Tilde),
    ("!", Symbol::Not),
];

/// All tokens of the text, with [`TokenKind::End`] last.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, Diagnostic> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(token) = next(text, at)? {
        at = token.span.end;
        tokens.push(token);
    }
    tokens.push(Token {
        kind: TokenKind::End,
        span: text.len()..text.len(),
    });
    Ok(tokens)
}

fn next(text: &str, from: usize) -> Result<Option<Token>, Diagnostic> {
    let rest = text.get(from..).unwrap_or("");
    let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
    let start = from + (rest.len() - trimmed.len());
    let Some(first) = trimmed.chars().next() else {
        return Ok(None);
    };
    if first == '"' {
        return quoted(text, start).map(Some);
    }
    if let Some(hashes) = raw_opening(trimmed) {
        return raw(text, start, hashes).map(Some);
    }
    if first == '$' {
        let name = trimmed[1..]
            .find(|c: char| !is_word(c))
            .map_or(trimmed.len(), |end| end + 1);
        return Ok(Some(token(TokenKind::List, start, name)));
    }
    if is_word(first) {
        let len = trimmed.find(|c: char| !is_word(c)).unwrap_or(trimmed.len());
        return Ok(Some(token(TokenKind::Word, start, len)));
    }
    match SYMBOLS.iter().find(|(spelling, _)| trimmed.starts_with(spelling)) {
        Some((spelling, symbol)) => Ok(Some(token(TokenKind::Symbol(*symbol), start, spelling.len()))),
        None => Err(stray(first, start)),
    }
}

fn token(kind: TokenKind, start: usize, len: usize) -> Token {
    Token {
        kind,
        span: start..start + len,
    }
}

/// Names, numbers, addresses, networks and ranges are all made of these.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-')
}

/// `"…"`, in which a backslash takes the next character along.
fn quoted(text: &str, start: usize) -> Result<Token, Diagnostic> {
    let body = start + 1;
    let mut escaped = false;
    for (offset, byte) in text.as_bytes()[body..].iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => {
                let end = body + offset;
                let kind = TokenKind::Text {
                    raw: false,
                    body: body..end,
                };
                return Ok(token(kind, start, end + 1 - start));
            }
            _ => {}
        }
    }
    Err(Diagnostic::new(start..start + 1, "this string is never closed").expected("no closing \" follows"))
}

/// How many `#` a raw string opens with; `None` when it is no raw string.
fn raw_opening(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn raw(text: &str, start: usize, hashes: usize) -> Result<Token, Diagnostic> {
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = start + 1 + hashes + 1;
    match text[body..].find(&closing) {
        Some(len) => {
            let kind = TokenKind::Text {
                raw: true,
                body: body..body + len,
            };
            Ok(token(kind, start, body + len + closing.len() - start))
        }
        None => Err(Diagnostic::new(start..body, "this raw string is never closed")
            .expected(format!("no closing {closing} follows"))),
    }
}

fn stray(found: char, start: usize) -> Diagnostic {
    let span = start..start + found.len_utf8();
    let help = match found {
        '\'' => "strings are in double quotes; in TOML, put the whole expression in single quotes: '…'",
        '“' | '”' | '„' | '«' | '»' => "use straight double quotes: \"…\"",
        '=' => "equality is `eq` or `==`",
        '&' => "write `and` or `&&`",
        '|' => "write `or` or `||`",
        '^' => "write `xor` or `^^`",
        '#' => "an expression has no comments: put them in the TOML file, or in the rule's `note`",
        '\\' => "a backslash belongs inside a string",
        _ if is_invisible(found) => "this character is invisible and often comes along from a web page: delete it",
        ';' => "an expression is one condition: join several with `and` or `or`",
        _ => "",
    };
    let shown = if found.is_control() || is_invisible(found) {
        found.escape_unicode().to_string()
    } else {
        found.to_string()
    };
    let fault = Diagnostic::new(span, format!("unexpected character `{shown}`"));
    if help.is_empty() { fault } else { fault.help(help) }
}

/// What looks like nothing at all.
pub(super) fn has_no_width(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}'
    )
}

/// What looks like a space or like nothing at all.
pub(super) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}' | '\u{3000}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let tokens = lex(text).expect("it lexes");
        tokens.iter().map(|token| &text[token.span.clone()]).collect()
    }

    #[test]
    fn addresses_ranges_and_names_are_one_token_each() {
        assert_eq!(
            words("a.b in {1..5 ::1 10.0.0.0/8 fe80::1..fe80::9 -3}"),
            [
                "a.b",
                "in",
                "{",
                "1..5",
                "::1",
                "10.0.0.0/8",
                "fe80::1..fe80::9",
                "-3",
                "}",
                ""
            ]
        );
    }

    #[test]
    fn raw_strings_end_at_their_own_delimiter() {
        assert_eq!(words(r####"r##"a"#b"## x"####), [r####"r##"a"#b"##"####, "x", ""]);
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        assert_eq!(words(r#""a\"b" c"#), [r#""a\"b""#, "c", ""]);
        assert!(lex(r#""a\""#).is_err());
    }
}
