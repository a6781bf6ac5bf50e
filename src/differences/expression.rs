//! What of an expression is different: the words that are, with a few around them.

/// Words around a change that are shown.
const AROUND: usize = 4;

/// The differing part of both, with `…` for what is the same beyond a few words.
pub(super) fn differing(before: &str, after: &str) -> (String, String) {
    let (before, after) = (words(before), words(after));
    let start = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - start;
    let ends = before.iter().rev().zip(after.iter().rev());
    let end = ends.take(rest).take_while(|(a, b)| a == b).count();
    (part(&before, start, end), part(&after, start, end))
}

fn part(words: &[&str], start: usize, end: usize) -> String {
    let first = start.saturating_sub(AROUND);
    // A single word is as short as what would stand for it.
    let first = if first == 1 { 0 } else { first };
    let last = words.len() - end.saturating_sub(AROUND);
    let last = if last + 1 == words.len() { words.len() } else { last };
    let shown = words.get(first..last).unwrap_or_default().join(" ");
    let before = if first > 0 { "… " } else { "" };
    let after = if last < words.len() { " …" } else { "" };
    format!("{before}{shown}{after}")
}

/// Splits at spaces, but not inside quotes.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' if !quoted => {
                words.extend(text.get(start..at).filter(|word| !word.is_empty()));
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    words.extend(text.get(start..).filter(|word| !word.is_empty()));
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_a_few_words_around_it() {
        for (before, after, expected) in [
            ("ssl", "not ssl", ("ssl", "not ssl")),
            (
                r#"http.request.uri.path eq "/a b""#,
                r#"http.request.uri.path eq "/a c""#,
                (
                    r#"http.request.uri.path eq "/a b""#,
                    r#"http.request.uri.path eq "/a c""#,
                ),
            ),
            (
                "ip.src in {1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 5.5.5.5 6.6.6.6 7.7.7.7 8.8.8.8 9.9.9.9 10.1.1.1 11.1.1.1}",
                "ip.src in {1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 6.6.6.6 7.7.7.7 8.8.8.8 9.9.9.9 10.1.1.1 11.1.1.1}",
                (
                    "… {1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 5.5.5.5 6.6.6.6 7.7.7.7 8.8.8.8 9.9.9.9 …",
                    "… {1.1.1.1 2.2.2.2 3.3.3.3 4.4.4.4 6.6.6.6 7.7.7.7 8.8.8.8 9.9.9.9 …",
                ),
            ),
        ] {
            let found = differing(before, after);
            assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{before}");
        }
    }

    proptest! {
        #[test]
        fn texts_that_differ_are_shown_differing(a in "[a\" \\\\]{0,12}", b in "[a\" \\\\]{0,12}") {
            let (before, after) = differing(&a, &b);
            prop_assert_eq!(before == after, words(&a) == words(&b));
        }
    }
}
