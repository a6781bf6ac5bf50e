//! What the values written in a rule mean.

use regex::bytes::{Regex, RegexBuilder};

use super::{
    diagnostics::Diagnostic,
    lexer::has_no_width,
    syntax::{At, Literal, Span},
    wildcard::{Case, Wildcard},
};
use crate::policy::network::{IpRange, Network};

/// The most memory a compiled regex may take: a counted repetition of a large class is refused instead of slowing every
/// request. The engine's time is linear in the text, with this as its factor.
const REGEX_SIZE_LIMIT: usize = 2 << 20;

/// The most memory that a regex's lazily built automaton may take per thread.
const REGEX_CACHE_LIMIT: usize = 1 << 20;

/// The bytes of a string: `\"`, `\\`, `\xHH`, `\ooo`, `\n`, `\r`, `\t`, unless it is raw.
pub(super) fn text(literal: &At<Literal>) -> Result<Vec<u8>, Diagnostic> {
    let (raw, body) = body(literal, "a string")?;
    visible(literal, body)?;
    if raw {
        return Ok(body.as_bytes().to_vec());
    }
    let start = literal.span.start + 1;
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let place = start + (body.len() - rest.len()) + at;
        let (byte, len) = escape(&rest[at..], place)?;
        bytes.push(byte);
        rest = &rest[at + len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

/// What comes along with text from web pages and no one sees: a string that holds it matches nothing that people send.
fn visible(literal: &At<Literal>, body: &str) -> Result<(), Diagnostic> {
    let Some(found) = body.chars().find(|c| has_no_width(*c)) else {
        return Ok(());
    };
    let bytes: String = found.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    Err(Diagnostic::new(
        literal.span.clone(),
        format!("this string holds an invisible character, {}", found.escape_unicode()),
    )
    .help(format!("delete it; if it is meant, write \"{bytes}\"")))
}

fn escape(text: &str, place: usize) -> Result<(u8, usize), Diagnostic> {
    let byte = match text.as_bytes().get(1) {
        Some(b'"') => b'"',
        Some(b'\\') => b'\\',
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'x') => {
            let digits = text
                .get(2..4)
                .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            return byte.map(|byte| (byte, 4)).ok_or_else(|| {
                Diagnostic::new(place..place + 2, "`\\x` is followed by two hexadecimal digits")
                    .expected("such as \\x2e")
            });
        }
        Some(b'0'..=b'7') => {
            let digits = text.get(1..4).filter(|digits| digits.len() == 3);
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
            return byte.map(|byte| (byte, 4)).ok_or_else(|| {
                Diagnostic::new(place..place + 2, "a backslash and digits are a byte in octal")
                    .expected("three digits from 0 to 7, from \\000 to \\377")
            });
        }
        Some(_) | None => {
            let found: String = text.chars().take(2).collect();
            return Err(
                Diagnostic::new(place..place + found.len(), format!("unknown escape `{found}`"))
                    .expected(r#"known are \", \\, \xHH, \ooo, \n, \r, \t"#)
                    .help(format!(
                        r#"write `\{found}`, or a raw string, in which a backslash is just that: r"…""#
                    )),
            );
        }
    };
    Ok((byte, 2))
}

/// The pattern of a string on the right of `matches`. In a quoted one only `\"` is an escape, so that `"\.php$"` is the
/// regex that it looks like (as on Cloudflare).
fn pattern(literal: &At<Literal>) -> Result<String, Diagnostic> {
    let (raw, body) = body(literal, "a regular expression in a string")?;
    let mut pattern = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if !raw => match chars.next() {
                Some('"') => pattern.push('"'),
                Some(other) => pattern.extend(['\\', other]),
                None => pattern.push('\\'),
            },
            _ => pattern.push(c),
        }
    }
    Ok(pattern)
}

fn body<'l>(literal: &'l At<Literal>, wanted: &str) -> Result<(bool, &'l str), Diagnostic> {
    match &literal.node {
        Literal::Text { raw, body } => Ok((*raw, body)),
        Literal::Word(word) => Err(Diagnostic::new(literal.span.clone(), format!("`{word}` is no string"))
            .expected(format!("expected {wanted}, in double quotes"))
            .help(format!("write \"{word}\""))),
    }
}

/// A compiled regex.
pub(super) fn regex(literal: &At<Literal>) -> Result<Regex, Diagnostic> {
    let pattern = pattern(literal)?;
    if pattern.is_empty() {
        return Err(
            Diagnostic::new(literal.span.clone(), "an empty regular expression matches everything")
                .help("to test for an empty string, write `eq \"\"`"),
        );
    }
    RegexBuilder::new(&pattern)
        .unicode(is_unicode(&pattern))
        .size_limit(REGEX_SIZE_LIMIT)
        .dfa_size_limit(REGEX_CACHE_LIMIT)
        .build()
        .map_err(|error| regex_fault(literal, &pattern, &error))
}

/// Whether a regular expression is about characters rather than bytes (as on Cloudflare, those of ASCII alone are about
/// bytes): a `.` that does not match a byte which is no character would let `evil\xffbot` past `evil.bot`.
pub(in crate::policy) fn is_unicode(pattern: &str) -> bool {
    !pattern.is_ascii()
}

fn regex_fault(literal: &At<Literal>, pattern: &str, error: &regex::Error) -> Diagnostic {
    let regex::Error::Syntax(report) = error else {
        return Diagnostic::new(
            literal.span.clone(),
            "this regular expression is too large when compiled",
        )
        .help("lower its repetition counts");
    };
    let reason = report.lines().last().unwrap_or("").trim_start_matches("error: ");
    let fault = Diagnostic::new(
        regex_place(literal, pattern, report).unwrap_or_else(|| literal.span.clone()),
        format!("not a regular expression: {reason}"),
    );
    if reason.contains("Unicode not allowed") {
        fault.help("expressions are about bytes: begin this one with `(?u)` to have it read characters")
    } else if reason.contains("look-around") || reason.contains("backreferences") {
        fault.help("this engine takes linear time and has neither look-around nor backreferences: use `and`, `not` and several conditions")
    } else {
        fault
    }
}

/// Where in the literal the engine's own caret points: known for one-line patterns that stand in it as they are.
fn regex_place(literal: &At<Literal>, pattern: &str, report: &str) -> Option<Span> {
    let Literal::Text { raw, body } = &literal.node else {
        return None;
    };
    let mut lines = report
        .lines()
        .skip_while(|line| line.trim_start() != pattern.trim_start());
    let indent = lines.next()?.strip_suffix(pattern)?.len();
    let carets = lines.next()?;
    let column = carets.find('^')?.checked_sub(indent)?;
    let count = carets[indent + column..].trim_end().len();
    if body != pattern || pattern.contains('\n') {
        return None;
    }
    let offset = |column| pattern.char_indices().nth(column).map_or(pattern.len(), |(at, _)| at);
    let prefix = if *raw {
        (literal.span.len() - body.len()).div_ceil(2)
    } else {
        1
    };
    let start = literal.span.start + prefix;
    Some(start + offset(column)..start + offset(column + count).max(offset(column) + 1))
}

/// A compiled pattern with stars.
pub(super) fn wildcard(literal: &At<Literal>, case: Case) -> Result<Wildcard, Diagnostic> {
    if let Literal::Text { raw: false, body } = &literal.node
        && body.contains("\\*")
        && !body.contains("\\\\")
    {
        return Err(Diagnostic::new(literal.span.clone(), "`\\*` needs a raw string")
            .help(format!("write a star itself as `r\"{body}\"`")));
    }
    let pattern = text(literal)?;
    Wildcard::new(&pattern, case).map_err(|error| Diagnostic::new(literal.span.clone(), error.message))
}

/// An integer.
pub(super) fn int(literal: &At<Literal>) -> Result<i64, Diagnostic> {
    let fault = |message: String| Diagnostic::new(literal.span.clone(), message).expected("expected an integer");
    match &literal.node {
        Literal::Word(word) if word.contains("..") => {
            Err(fault(format!("`{word}` is a range")).help(format!("write `in {{{word}}}`")))
        }
        Literal::Word(word) => parse_int(word).ok_or_else(|| {
            let fault = fault(format!("`{word}` is no integer"));
            if let Some(hex) = word.strip_prefix("0x")
                && let Ok(value) = i64::from_str_radix(hex, 16)
            {
                return fault.help(format!("integers are decimal: write {value}"));
            }
            match word.trim_start_matches('0') {
                plain if plain != word && parse_int(plain).is_some() => fault.help(format!("write {plain}")),
                _ => fault,
            }
        }),
        Literal::Text { body, .. } if parse_int(body).is_some() => {
            Err(fault(format!("\"{body}\" is a string")).help(format!("write {body} without quotes")))
        }
        Literal::Text { body, .. } => Err(fault(format!("\"{body}\" is a string"))),
    }
}

/// An integer or `first..last`.
pub(super) fn int_range(literal: &At<Literal>) -> Result<(i64, i64), Diagnostic> {
    let ends = match &literal.node {
        Literal::Word(word) => word.split_once(".."),
        Literal::Text { .. } => None,
    };
    let Some((first, last)) = ends else {
        return int(literal)
            .map(|value| (value, value))
            .map_err(|fault| dashed(fault, literal, parse_int));
    };
    match (parse_int(first), parse_int(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err(
            Diagnostic::new(literal.span.clone(), "this range ends before it begins")
                .help(format!("write {last}..{first}")),
        ),
        (None, _) | (_, None) => {
            Err(Diagnostic::new(literal.span.clone(), "this is no range of integers").expected("such as 400..499"))
        }
    }
}

/// Adds what to write instead of `first-last`, when both are such ends.
fn dashed<T>(fault: Diagnostic, literal: &At<Literal>, end: impl Fn(&str) -> Option<T>) -> Diagnostic {
    let ends = match &literal.node {
        Literal::Word(word) => word.trim_start_matches('-').split_once('-'),
        Literal::Text { .. } => None,
    };
    match ends {
        Some((first, last)) if end(first).is_some() && end(last).is_some() => {
            fault.help(format!("a range is written {first}..{last}"))
        }
        Some(_) | None => fault,
    }
}

/// Decimal digits with at most a minus before them; no leading zeros, which look octal.
pub(super) fn parse_int(word: &str) -> Option<i64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

/// One address.
pub(super) fn ip(literal: &At<Literal>) -> Result<std::net::IpAddr, Diagnostic> {
    let word = address_word(literal)?;
    let fault = |message: String| Diagnostic::new(literal.span.clone(), message).expected("expected one address");
    if word.contains("..") {
        return Err(fault(format!("{word} is a range")).help(format!("write `in {{{word}}}`")));
    }
    let network = Network::parse(word).map_err(|error| fault(error.to_string()))?;
    if network.is_single() {
        Ok(network.address())
    } else {
        Err(fault(format!("{word} is a network")).help(format!("write `in {{{word}}}`")))
    }
}

/// An address, a network or a range.
pub(super) fn ip_range(literal: &At<Literal>) -> Result<IpRange, Diagnostic> {
    let word = address_word(literal)?;
    IpRange::parse(word).map_err(|error| {
        let fault = Diagnostic::new(literal.span.clone(), error.to_string());
        dashed(fault, literal, |end| IpRange::parse(end).ok())
            .expected("expected an address, a network such as 10.0.0.0/8, or a range such as 10.0.0.1..10.0.0.9")
    })
}

fn address_word(literal: &At<Literal>) -> Result<&str, Diagnostic> {
    match &literal.node {
        Literal::Word(word) => Ok(word),
        Literal::Text { body, .. } => {
            let fault = Diagnostic::new(literal.span.clone(), format!("\"{body}\" is a string"))
                .expected("expected an address");
            Err(match IpRange::parse(body) {
                Ok(_) => fault.help(format!("write {body} without quotes")),
                Err(_) => fault,
            })
        }
    }
}
