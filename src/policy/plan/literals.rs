//! Literals without which a regular expression cannot match: one scan for all of them tells which expressions are worth
//! asking.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

/// Strings in lower case, one of which occurs, letter case aside, in whatever matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative(pub(super) Vec<Vec<u8>>);

impl Alternative {
    pub(super) fn new(literals: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut literals: Vec<Vec<u8>> = literals.into_iter().map(|text| text.to_ascii_lowercase()).collect();
        literals.sort_unstable();
        literals.dedup();
        Self(literals)
    }
}

/// How many strings a part of an expression may stand for and still be spelled out.
const MAX_STRINGS: usize = 64;
/// How long a literal may be: a longer one tells no more.
const MAX_LENGTH: usize = 64;

/// The sets of literals of a regular expression, each sufficient alone; none if it can match without any.
pub(super) fn of_regex(pattern: &str) -> Vec<Alternative> {
    let parsed = ParserBuilder::new().utf8(false).build().parse(pattern);
    let mut found = Vec::new();
    if let Ok(hir) = parsed {
        gather(&hir, &mut found);
    }
    found
}

/// An expression that is no more than a part to look for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// In the case that it is written in.
    AsWritten(Vec<u8>),
    /// ASCII letters in any case.
    AnyCase(Vec<u8>),
}

/// The text that the expression looks for, if it is that simple: no anchors, no choice but of letter case.
pub(super) fn plain(pattern: &str) -> Option<Plain> {
    let hir = ParserBuilder::new().utf8(false).build().parse(pattern).ok()?;
    match hir.kind() {
        HirKind::Literal(literal) => Some(Plain::AsWritten(literal.0.to_vec())),
        HirKind::Concat(parts) => {
            let letters = parts.iter().map(any_case).collect::<Option<Vec<_>>>()?;
            Some(Plain::AnyCase(letters.concat()))
        }
        HirKind::Empty
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Alternation(_) => None,
    }
}

/// A literal without letters, or a letter in both its cases and no other.
fn any_case(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) if !literal.0.iter().any(u8::is_ascii_alphabetic) => Some(literal.0.to_vec()),
        HirKind::Class(class) => match single_bytes(class).as_slice() {
            [upper, lower] if upper.is_ascii_uppercase() && lower.is_ascii_lowercase() => {
                upper.eq_ignore_ascii_case(lower).then(|| vec![*lower])
            }
            _ => None,
        },
        _ => None,
    }
}

/// The ASCII characters of a class that has none but a few single ones, in order.
fn single_bytes(class: &Class) -> Vec<u8> {
    let ends: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class
            .iter()
            .map(|range| (range.start().into(), range.end().into()))
            .collect(),
        Class::Bytes(class) => class
            .iter()
            .map(|range| (range.start().into(), range.end().into()))
            .collect(),
    };
    let single = ends
        .into_iter()
        .map(|(start, end)| u8::try_from(start).ok().filter(|_| start == end));
    single.collect::<Option<_>>().unwrap_or_default()
}

/// Whether the expression can share an automaton: one that asks for Unicode word boundaries would have it give up on every
/// text that is not ASCII.
pub(super) fn is_scannable(pattern: &str) -> bool {
    let parsed = ParserBuilder::new().utf8(false).build().parse(pattern);
    parsed.is_ok_and(|hir| !hir.properties().look_set().contains_word_unicode())
}

/// Adds every set that the expression needs.
fn gather(hir: &Hir, found: &mut Vec<Alternative>) {
    if let Some(strings) = strings(hir) {
        add(strings, found);
        return;
    }
    match hir.kind() {
        HirKind::Capture(capture) => gather(&capture.sub, found),
        HirKind::Repetition(repetition) if repetition.min > 0 => gather(&repetition.sub, found),
        HirKind::Concat(parts) => gather_run(parts, found),
        HirKind::Alternation(branches) => gather_branches(branches, found),
        HirKind::Repetition(_) | HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => {}
    }
}

/// Neighbours that can be spelled out make longer literals together.
fn gather_run(parts: &[Hir], found: &mut Vec<Alternative>) {
    let mut run = vec![Vec::new()];
    for part in parts {
        let longer = strings(part).and_then(|strings| product(&run, &strings));
        if let Some(longer) = longer {
            run = longer;
            continue;
        }
        add(std::mem::replace(&mut run, vec![Vec::new()]), found);
        match strings(part) {
            Some(strings) => run = strings,
            None => gather(part, found),
        }
    }
    add(run, found);
}

/// Of several branches each must need something; the best of each make one set.
fn gather_branches(branches: &[Hir], found: &mut Vec<Alternative>) {
    let mut literals = Vec::new();
    for branch in branches {
        let mut needs = Vec::new();
        gather(branch, &mut needs);
        let best = needs.into_iter().max_by_key(|need| need.0.iter().map(Vec::len).min());
        match best {
            Some(Alternative(best)) => literals.extend(best),
            None => return,
        }
    }
    add(literals, found);
}

fn add(strings: Vec<Vec<u8>>, found: &mut Vec<Alternative>) {
    // The empty string is found everywhere.
    if strings.iter().all(|text| !text.is_empty()) && strings.len() <= MAX_STRINGS {
        found.push(Alternative::new(strings));
    }
}

/// All strings that match, if they are few, in lower case.
fn strings(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => of_class(class),
        HirKind::Capture(capture) => strings(&capture.sub),
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, Some(1)) => {
                let mut strings = strings(&repetition.sub)?;
                strings.push(Vec::new());
                Some(strings)
            }
            _ => None,
        },
        HirKind::Concat(parts) => parts
            .iter()
            .try_fold(vec![Vec::new()], |run, part| product(&run, &strings(part)?)),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(strings(branch)?);
            }
            distinct(all)
        }
    }
}

/// The characters of a small class, `[Bb]` being one.
fn of_class(class: &Class) -> Option<Vec<Vec<u8>>> {
    const MAX_CHARACTERS: usize = 4;
    let mut characters = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.iter() {
                for c in range.start()..=range.end() {
                    characters.push(c.to_ascii_lowercase().to_string().into_bytes());
                    if characters.len() > 2 * MAX_CHARACTERS {
                        return None;
                    }
                }
            }
        }
        Class::Bytes(class) => {
            for range in class.iter() {
                for byte in range.start()..=range.end() {
                    characters.push(vec![byte.to_ascii_lowercase()]);
                    if characters.len() > 2 * MAX_CHARACTERS {
                        return None;
                    }
                }
            }
        }
    }
    distinct(characters).filter(|characters| (1..=MAX_CHARACTERS).contains(&characters.len()))
}

/// Every string of the one followed by every string of the other.
fn product(starts: &[Vec<u8>], ends: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if starts.len() * ends.len() > MAX_STRINGS {
        return None;
    }
    let joined = starts
        .iter()
        .flat_map(|start| ends.iter().map(|end| [start.as_slice(), end].concat()));
    let joined: Vec<Vec<u8>> = joined.collect();
    if joined.iter().any(|text| text.len() > MAX_LENGTH) {
        return None;
    }
    distinct(joined)
}

fn distinct(mut strings: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    strings.sort_unstable();
    strings.dedup();
    (strings.len() <= MAX_STRINGS).then_some(strings)
}

/// The bytes as a regular expression that matches just them, letter case being up to its flags.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(*byte).to_string(),
            byte => format!("\\x{byte:02x}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(pattern: &str) -> Vec<Vec<String>> {
        let readable = |literals: &Vec<Vec<u8>>| {
            let literals = literals.iter().map(|text| String::from_utf8_lossy(text).into_owned());
            literals.collect::<Vec<String>>()
        };
        of_regex(pattern).iter().map(|set| readable(&set.0)).collect()
    }

    #[test]
    fn literals_are_found_wherever_they_must_occur() {
        for (pattern, expected) in [
            (
                "^/(old|legacy)-7/[a-z0-9]+\\.(php|asp)$",
                vec![vec!["/legacy-7/", "/old-7/"], vec![".asp", ".php"]],
            ),
            ("[wW]get", vec![vec!["wget"]]),
            ("Ahrefs(Bot|SiteAudit)", vec![vec!["ahrefsbot", "ahrefssiteaudit"]]),
            ("bots?/", vec![vec!["bot/", "bots/"]]),
            ("a.*b", vec![vec!["a"], vec!["b"]]),
            ("(abc)+x?", vec![vec!["abc"]]),
            ("(foo.*|bar.*)", vec![vec!["bar", "foo"]]),
            ("(?i)nmap", vec![vec!["nmap"]]),
        ] {
            assert_eq!(sets(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn what_can_match_without_a_literal_has_none() {
        for pattern in ["^[0-9]+$", "a*", "(foo|.*)", "^$", "(abc)?"] {
            assert_eq!(sets(pattern), Vec::<Vec<String>>::new(), "{pattern}");
        }
    }

    #[test]
    fn a_plain_text_is_recognized() {
        assert_eq!(plain("Googlebot/"), Some(Plain::AsWritten(b"Googlebot/".to_vec())));
        assert_eq!(plain(r"archive\.org"), Some(Plain::AsWritten(b"archive.org".to_vec())));
        assert_eq!(plain("(?i)Nmap/"), Some(Plain::AnyCase(b"nmap/".to_vec())));
        for pattern in ["^bot", "(?i)sk", "[ab]c", "a|b", "a+", "", "(bot)"] {
            assert_eq!(plain(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn letters_that_fold_to_others_are_not_lost() {
        // U+017F and U+212A are an s and a k when case is ignored.
        assert_eq!(sets("(?i)sk"), [["sk", "s\u{212a}", "\u{17f}k", "\u{17f}\u{212a}"]]);
    }
}
