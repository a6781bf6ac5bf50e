//! What differs between two texts, line by line, as `diff -u` shows it.

use std::fmt::Write;

/// Lines around a change that are shown.
const AROUND: usize = 3;
/// Beyond this many pairs of differing lines, what differs is shown as one change: the table of pairs must fit into memory.
const MOST_PAIRS: usize = 4_000_000;

/// A unified diff of a file's text; empty when nothing differs.
pub(super) fn unified(name: &str, before: &str, after: &str) -> String {
    let lines = changes(&lines(before), &lines(after));
    let mut text = String::new();
    for hunk in hunks(&lines) {
        if text.is_empty() {
            text = format!("--- {name}\n+++ {name}\n");
        }
        write_hunk(&mut text, &lines, hunk);
    }
    text
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A line of either text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Removed(&'t str),
    Added(&'t str),
}

fn changes<'t>(before: &[&'t str], after: &[&'t str]) -> Vec<Line<'t>> {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (head, before, after) = (&before[..start], &before[start..], &after[start..]);
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (before, tail) = before.split_at(before.len() - end);
    let (after, _) = after.split_at(after.len() - end);
    let mut lines: Vec<Line<'_>> = head.iter().copied().map(Line::Same).collect();
    lines.extend(between(before, after));
    lines.extend(tail.iter().copied().map(Line::Same));
    lines
}

/// The fewest removals and additions, by the longest common subsequence.
fn between<'t>(before: &[&'t str], after: &[&'t str]) -> Vec<Line<'t>> {
    let removed = before.iter().copied().map(Line::Removed);
    if before.len().saturating_mul(after.len()) > MOST_PAIRS {
        return removed.chain(after.iter().copied().map(Line::Added)).collect();
    }
    // `common[a][b]`: how many lines the rests from `a` and `b` have in common.
    let mut common = vec![vec![0u32; after.len() + 1]; before.len() + 1];
    for (a, line) in before.iter().enumerate().rev() {
        for (b, other) in after.iter().enumerate().rev() {
            common[a][b] = if line == other {
                common[a + 1][b + 1] + 1
            } else {
                common[a + 1][b].max(common[a][b + 1])
            };
        }
    }
    let (mut a, mut b, mut lines) = (0, 0, Vec::new());
    while a < before.len() || b < after.len() {
        match (before.get(a), after.get(b)) {
            (Some(line), Some(other)) if line == other => {
                lines.push(Line::Same(line));
                (a, b) = (a + 1, b + 1);
            }
            (Some(line), other) if other.is_none() || common[a + 1][b] >= common[a][b + 1] => {
                lines.push(Line::Removed(line));
                a += 1;
            }
            (_, Some(line)) => {
                lines.push(Line::Added(line));
                b += 1;
            }
            (_, None) => break,
        }
    }
    lines
}

/// Stretches of changes with what is around them; those that would touch are one.
fn hunks(lines: &[Line<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if matches!(line, Line::Same(_)) {
            continue;
        }
        let (start, end) = (at.saturating_sub(AROUND), (at + 1 + AROUND).min(lines.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            Some(_) | None => hunks.push(start..end),
        }
    }
    hunks
}

fn write_hunk(text: &mut String, lines: &[Line<'_>], hunk: std::ops::Range<usize>) {
    let counts = |lines: &[Line<'_>]| {
        let added = lines.iter().filter(|line| matches!(line, Line::Added(_))).count();
        let removed = lines.iter().filter(|line| matches!(line, Line::Removed(_))).count();
        (lines.len() - added, lines.len() - removed)
    };
    let (before, after) = counts(&lines[..hunk.start]);
    let (removed, added) = counts(&lines[hunk.clone()]);
    let _ = writeln!(
        text,
        "@@ -{},{removed} +{},{added} @@",
        before + usize::from(removed > 0),
        after + usize::from(added > 0)
    );
    for line in &lines[hunk] {
        let (sign, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Removed(line) => ('-', line),
            Line::Added(line) => ('+', line),
        };
        text.push(sign);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl";
        let after = "a\nb\nC\nd\ne\nf\ng\nh\ni\nj\nl\nm\n";
        let told = "\
--- r.toml
+++ r.toml
@@ -1,6 +1,6 @@
 a
 b
-c
+C
 d
 e
 f
@@ -8,5 +8,5 @@
 h
 i
 j
-k
-l
\\ No newline at end of file
+l
+m
";
        assert_eq!(unified("r.toml", before, after), told);
        assert_eq!(unified("r.toml", before, before), "");
        assert_eq!(
            unified("r.toml", "", "a\n"),
            "--- r.toml\n+++ r.toml\n@@ -0,0 +1,1 @@\n+a\n"
        );
    }
}
