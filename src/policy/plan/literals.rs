//! Literals without which a regular expression cannot match: one scan for all of them tells which expressions are worth
//! asking.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

use super::clues::Part;
use crate::policy::lang::{Case, literals::is_unicode};

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
const MAX_STRINGS: usize = 128;
/// How long a literal may be: a longer one tells no more.
const MAX_LENGTH: usize = 64;

/// The expression as the interpreter reads it.
fn parsed(pattern: &str) -> Option<Hir> {
    let mut builder = ParserBuilder::new();
    builder.unicode(is_unicode(pattern)).utf8(false);
    builder.build().parse(pattern).ok()
}

/// The same expression for an automaton that reads those of others as well.
pub(super) fn in_its_mode(pattern: &str) -> String {
    match is_unicode(pattern) {
        true => pattern.to_owned(),
        false => format!("(?-u){pattern}"),
    }
}

/// The sets of literals of a regular expression, each sufficient alone; none if it can match without any.
pub(super) fn of_regex(pattern: &str) -> Vec<Alternative> {
    let mut found = Vec::new();
    if let Some(hir) = parsed(pattern) {
        gather(&hir, &mut found);
    }
    found
}

/// The parts of which a text must hold one, and no more, to match; `None` if the expression says more than that.
pub(super) fn parts(pattern: &str) -> Option<Vec<Part>> {
    let hir = parsed(pattern)?;
    let core = without_optional_ends(hir);
    let of_case = |strings: Option<Vec<Vec<u8>>>, case| {
        let strings = strings?.into_iter();
        Some(strings.map(|text| Part { text, case }).collect())
    };
    of_case(exact(&core, &any_case), Case::Insensitive).or_else(|| of_case(exact(&core, &as_written), Case::Sensitive))
}

/// What may be missing at an end of an expression that is looked for anywhere says nothing.
fn without_optional_ends(hir: Hir) -> Hir {
    let HirKind::Concat(parts) = hir.kind() else {
        return hir;
    };
    let is_needed = |part: &Hir| !matches!(part.kind(), HirKind::Repetition(repetition) if repetition.min == 0);
    let first = parts.iter().position(is_needed).unwrap_or(parts.len());
    let last = parts.iter().rposition(is_needed).map_or(first, |last| last + 1);
    Hir::concat(parts[first..last].to_vec())
}

/// All strings that match, if they are few and nothing else is asked of them.
fn exact(hir: &Hir, characters: &dyn Fn(&Hir) -> Option<Vec<Vec<u8>>>) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Literal(_) | HirKind::Class(_) => characters(hir),
        HirKind::Capture(capture) => exact(&capture.sub, characters),
        HirKind::Concat(parts) => parts
            .iter()
            .try_fold(vec![Vec::new()], |run, part| product(&run, &exact(part, characters)?)),
        HirKind::Alternation(branches) => {
            let branches = branches.iter().map(|branch| exact(branch, characters));
            distinct(branches.collect::<Option<Vec<_>>>()?.concat())
        }
        HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// The literal, or each character of the class.
fn as_written(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Class(class) => characters_of(class),
        _ => None,
    }
}

/// The same in lower case, if every ASCII letter is there in both its cases.
fn any_case(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let written = as_written(hir)?;
    let has_both = |text: &Vec<u8>| match text.as_slice() {
        [letter] if letter.is_ascii_alphabetic() => {
            let is_other = |other: &Vec<u8>| other != text && other.eq_ignore_ascii_case(text);
            written.iter().any(is_other)
        }
        text => !text.iter().any(u8::is_ascii_alphabetic),
    };
    if !written.iter().all(has_both) {
        return None;
    }
    distinct(written.iter().map(|text| text.to_ascii_lowercase()).collect())
}

/// Whether the expression can share an automaton: one that asks for Unicode word boundaries would have it give up on every
/// text that is not ASCII.
pub(super) fn is_scannable(pattern: &str) -> bool {
    parsed(pattern).is_some_and(|hir| !hir.properties().look_set().contains_word_unicode())
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

/// The characters of a small class in lower case, `[Bb]` being one.
fn of_class(class: &Class) -> Option<Vec<Vec<u8>>> {
    let characters = characters_of(class)?;
    distinct(characters.iter().map(|c| c.to_ascii_lowercase()).collect())
}

/// The characters of a small class: a few letters in both cases and what folds to them, not all digits.
fn characters_of(class: &Class) -> Option<Vec<Vec<u8>>> {
    const MAX_CHARACTERS: usize = 8;
    let count: usize = match class {
        Class::Unicode(class) => class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum(),
        Class::Bytes(class) => class.iter().map(regex_syntax::hir::ClassBytesRange::len).sum(),
    };
    if !(1..=MAX_CHARACTERS).contains(&count) {
        return None;
    }
    Some(match class {
        Class::Unicode(class) => {
            let characters = class.iter().flat_map(|range| range.start()..=range.end());
            characters.map(|c| c.to_string().into_bytes()).collect()
        }
        Class::Bytes(class) => {
            let bytes = class.iter().flat_map(|range| range.start()..=range.end());
            bytes.map(|byte| vec![byte]).collect()
        }
    })
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

    fn parts_of(pattern: &str) -> Option<(Vec<String>, Case)> {
        let parts = parts(pattern)?;
        let case = parts.first()?.case;
        assert!(parts.iter().all(|part| part.case == case));
        let texts = parts
            .iter()
            .map(|part| String::from_utf8_lossy(&part.text).into_owned());
        Some((texts.collect(), case))
    }

    #[test]
    fn an_expression_that_only_looks_for_parts_is_recognized() {
        for (pattern, expected, case) in [
            ("Googlebot/", &["Googlebot/"][..], Case::Sensitive),
            (r"archive\.org", &["archive.org"], Case::Sensitive),
            ("(?i)Nmap/", &["nmap/"], Case::Insensitive),
            ("[wW]get", &["Wget", "wget"], Case::Sensitive),
            ("(foo|ba[rz])", &["bar", "baz", "foo"], Case::Sensitive),
            ("(?i)[a-z]*(bot|crawler).*", &["bot", "crawler"], Case::Insensitive),
            (
                "(?u)(?i)sk",
                &["sk", "s\u{212a}", "\u{17f}k", "\u{17f}\u{212a}"],
                Case::Insensitive,
            ),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(parts_of(pattern), Some((expected, case)), "{pattern}");
        }
    }

    #[test]
    fn an_expression_that_says_more_is_not() {
        for pattern in ["^bot", "bot$", "a+", "[0-9]x", "a.b", r"\bbot", "(a|b*)c"] {
            assert_eq!(parts_of(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn letters_that_fold_to_others_are_not_lost() {
        // U+017F and U+212A are an s and a k when case is ignored.
        assert_eq!(sets("(?u)(?i)sk"), [["sk", "s\u{212a}", "\u{17f}k", "\u{17f}\u{212a}"]]);
    }
}
