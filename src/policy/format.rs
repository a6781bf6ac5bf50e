//! A rules file laid out as people should find it, with every comment where it was: `key = value`, one blank line before
//! each table, arrays with a space after each comma, expressions as [`layout`] lays them out.
//!
//! The values come from the parser and everything between them from the text, in the order in which it stands there. So
//! nothing can be lost or moved, whatever is written.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Faults, Place, Source},
    lang::layout,
    rules::spans,
    table::parse,
};

/// How long a line of an expression may be, in columns.
pub const WIDTH: usize = 100;
/// What an element of an array on a line of its own is indented by.
const INDENT: &str = "    ";

/// The file's text as it should be.
///
/// # Errors
/// What is wrong with its syntax, that of its expressions included.
pub fn format(source: &Arc<Source>) -> Result<String, Vec<Fault>> {
    let (ends, of_windows) = (source.text.matches('\n').count(), source.text.matches("\r\n").count());
    if of_windows > 0 && of_windows < ends {
        return Err(vec![mixed_line_ends(source)]);
    }
    let windows = of_windows > 0;
    let unix = Source::new(source.name.clone(), source.text.replace("\r\n", "\n"));
    let text = format_unix(&unix)?;
    Ok(if windows { text.replace('\n', "\r\n") } else { text })
}

/// A string over several lines holds its line ends: making them alike would change what it says.
fn mixed_line_ends(source: &Arc<Source>) -> Fault {
    let first = source.text.find('\n').unwrap_or(0);
    let is_windows = source.text[..first].ends_with('\r');
    let mut lines = source.text.match_indices('\n').map(|(at, _)| at);
    let other = lines
        .find(|at| source.text[..*at].ends_with('\r') != is_windows)
        .unwrap_or(first);
    let start = source.text[..other].rfind('\n').map_or(0, |before| before + 1);
    Fault::error(
        Place::new(source, start..other),
        "this line ends otherwise than those before it",
    )
    .expected("expected all lines to end alike: in a line feed, or in CR and LF")
    .help("save the file with one kind of line ends")
}

fn format_unix(source: &Arc<Source>) -> Result<String, Vec<Fault>> {
    let mut faults = Faults::new();
    let document = parse(source, &mut faults);
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    let mut statements = Vec::new();
    collect(document.get_ref(), &source.text, At::Root, &mut statements);
    statements.sort_by_key(|statement| statement.value.span().start);
    let mut page = Page {
        source,
        lines: Vec::new(),
        gap: Vec::new(),
        is_fresh: true,
        faults,
    };
    let mut at = 0;
    for statement in statements {
        let value = statement.value.span();
        let start = source.text[..value.start].rfind('\n').map_or(0, |before| before + 1);
        let end = source.text[value.end..]
            .find('\n')
            .map_or(source.text.len(), |len| value.end + len);
        page.between(&source.text[at..start]);
        page.statement(&statement, start, end);
        at = (end + 1).min(source.text.len());
    }
    page.between(&source.text[at..]);
    page.finish()
}

/// A key with its value, on lines of their own.
struct Statement<'s> {
    value: &'s Spanned<DeValue<'s>>,
    is_expression: bool,
}

/// Which part of a file a table is, as far as it matters where expressions stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Root,
    Rules,
    Rule,
    Elsewhere,
}

/// All values that stand behind a key of their own line.
fn collect<'s>(table: &'s DeTable<'s>, text: &str, at: At, statements: &mut Vec<Statement<'s>>) {
    for (key, value) in table {
        let inside = match (at, key.get_ref().as_ref()) {
            (At::Root, "rule") => At::Rules,
            (At::Root | At::Rules | At::Rule | At::Elsewhere, _) => At::Elsewhere,
        };
        match value.get_ref() {
            DeValue::Table(table) if !is_inline(value, text) => collect(table, text, inside, statements),
            DeValue::Array(tables) if tables.iter().any(|table| is_section(table, text)) => {
                let inside = if inside == At::Rules { At::Rule } else { At::Elsewhere };
                for table in tables.iter() {
                    if let DeValue::Table(table) = table.get_ref() {
                        collect(table, text, inside, statements);
                    }
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => statements.push(Statement {
                value,
                is_expression: at == At::Rule && key.get_ref() == "expression",
            }),
        }
    }
}

fn is_inline(table: &Spanned<DeValue<'_>>, text: &str) -> bool {
    text[table.span().start..].starts_with('{')
}

/// Whether it is a `[[table]]`.
fn is_section(element: &Spanned<DeValue<'_>>, text: &str) -> bool {
    matches!(element.get_ref(), DeValue::Table(_)) && !is_inline(element, text)
}

/// The lines written so far.
struct Page<'s> {
    source: &'s Arc<Source>,
    lines: Vec<String>,
    /// Comments and blank lines since the last key or table, not yet written.
    gap: Vec<&'s str>,
    /// Nothing stands above but the top of the file or a table's header: no blank line goes there.
    is_fresh: bool,
    faults: Faults,
}

impl<'s> Page<'s> {
    /// Comments, blank lines and table headers.
    fn between(&mut self, text: &'s str) {
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                if !self.gap.contains(&"") {
                    self.gap.insert(0, "");
                }
                self.is_fresh = self.lines.is_empty();
                self.close_gap();
                self.lines.push(header(line));
                self.is_fresh = true;
            } else {
                self.gap.push(line);
            }
        }
    }

    /// Writes the gap, runs of blank lines as one.
    fn close_gap(&mut self) {
        let mut blank = self.is_fresh;
        for line in std::mem::take(&mut self.gap) {
            if !(line.is_empty() && blank) {
                self.lines.push(line.to_owned());
            }
            blank = line.is_empty();
        }
    }

    fn statement(&mut self, statement: &Statement<'s>, start: usize, end: usize) {
        let text = &self.source.text;
        let span = statement.value.span();
        self.close_gap();
        let key = key(&text[start..span.start]);
        let value = if statement.is_expression {
            self.expression(&key, statement.value)
        } else {
            value(statement.value, text, "")
        };
        let comment = text[span.end..end].trim_end();
        let gap = if comment.is_empty() || comment.starts_with([' ', '\t']) {
            ""
        } else {
            " "
        };
        // Blanks before a comment stay: people align them.
        let statement = format!("{key} = {value}{gap}{comment}");
        self.lines.push(statement);
        self.is_fresh = false;
    }

    fn expression(&mut self, key: &str, written: &Spanned<DeValue<'_>>) -> String {
        let DeValue::String(expression) = written.get_ref() else {
            return value(written, &self.source.text, "");
        };
        let width = WIDTH.saturating_sub(key.len() + " = ''".len());
        match layout(expression.trim(), width) {
            Ok(lines) => string(&lines),
            Err(diagnostic) => {
                let skipped = expression.len() - expression.trim_start().len();
                let span = diagnostic.span.start + skipped..diagnostic.span.end + skipped;
                let place = spans::inside(&Place::new(self.source, written.span()), expression, span);
                let fault = Fault::error(place, diagnostic.message).expected(diagnostic.expected);
                self.faults.push(diagnostic.help.into_iter().fold(fault, Fault::help));
                String::new()
            }
        }
    }

    fn finish(mut self) -> Result<String, Vec<Fault>> {
        self.close_gap();
        while self.lines.last().is_some_and(String::is_empty) {
            self.lines.pop();
        }
        if self.faults.has_errors() {
            return Err(self.faults.into_sorted());
        }
        Ok(self.lines.iter().map(|line| format!("{line}\n")).collect())
    }
}

/// `[ rule . response ]  # why` as `[rule.response]  # why`.
fn header(line: &str) -> String {
    let opening = if line.starts_with("[[") { "[[" } else { "[" };
    let closing = if opening == "[[" { "]]" } else { "]" };
    let inside = &line[opening.len()..];
    let Some(end) = outside_quotes(inside, |rest| rest.starts_with(closing)) else {
        return line.to_owned();
    };
    let (path, comment) = (&inside[..end], inside[end + closing.len()..].trim_end());
    let gap = if comment.starts_with('#') { " " } else { "" };
    format!("{opening}{}{closing}{gap}{comment}", dotted(path))
}

/// `a . b  =` as `a.b`.
fn key(text: &str) -> String {
    let text = text
        .trim_start_matches(|c: char| c.is_whitespace() || c == ',')
        .trim_end();
    dotted(text.strip_suffix('=').unwrap_or(text))
}

/// A path of keys without blanks around its dots.
fn dotted(path: &str) -> String {
    let mut names = Vec::new();
    let mut rest = path;
    while let Some(dot) = outside_quotes(rest, |rest| rest.starts_with('.')) {
        names.push(rest[..dot].trim());
        rest = &rest[dot + 1..];
    }
    names.push(rest.trim());
    names.join(".")
}

/// The first place outside quoted keys where the rest of the text is as asked.
fn outside_quotes(text: &str, is: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            None if is(&text[at..]) => return Some(at),
            None if c == '"' || c == '\'' => quote = Some(c),
            None => {}
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
        }
    }
    None
}

/// A value as it should be written, at this indentation.
fn value(written: &Spanned<DeValue<'_>>, text: &str, indent: &str) -> String {
    let as_written = &text[written.span()];
    match written.get_ref() {
        DeValue::Array(elements) => {
            let elements: Vec<_> = elements.iter().collect();
            array(&elements, written.span(), text, indent)
        }
        DeValue::Table(table) => inline_table(table, written.span(), text, indent),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            as_written.to_owned()
        }
    }
}

/// On one line if it was, else with its rows and comments kept and a comma after the last element.
fn array(elements: &[&Spanned<DeValue<'_>>], span: Range<usize>, text: &str, indent: &str) -> String {
    let gaps = gaps(elements.iter().map(|element| element.span()), &span, text);
    let deeper = format!("{indent}{INDENT}");
    let rows = gaps.iter().any(|gap| gap.contains('\n'));
    let inner = if rows { deeper.as_str() } else { indent };
    let mut elements = elements.iter().map(|element| value(element, text, inner)).peekable();
    let is_empty = elements.peek().is_none() && gaps.iter().all(|gap| gap.trim().is_empty());
    if !rows || is_empty {
        return format!("[{}]", elements.collect::<Vec<_>>().join(", "));
    }
    let mut written = "[".to_owned();
    for (at, gap) in gaps.iter().enumerate() {
        written += &row_break(gap, at == 0, elements.peek().is_none(), &deeper);
        match elements.next() {
            Some(element) => written += &format!("{element},"),
            None => written += &format!("\n{indent}]"),
        }
    }
    written
}

/// What stands before, between and after elements.
fn gaps<'t>(elements: impl Iterator<Item = Range<usize>>, span: &Range<usize>, text: &'t str) -> Vec<&'t str> {
    let mut at = span.start + 1;
    let mut gaps = Vec::new();
    for element in elements {
        gaps.push(&text[at..element.start]);
        at = element.end;
    }
    gaps.push(&text[at..span.end - 1]);
    gaps
}

/// From one element to the next: a space on the same row, else what comments there are and a new row.
fn row_break(gap: &str, is_first: bool, is_last: bool, indent: &str) -> String {
    let trimmed = |line: &str| line.trim_start_matches([' ', '\t', ',']).trim_end().to_owned();
    // What stands after the last line break is the element's or the bracket's own row: nothing.
    let above = gap.rsplit_once('\n').map(|(above, _)| above.split('\n'));
    let above = above.into_iter().flatten().enumerate();
    // A line with nothing but the comma is no blank line.
    let lines = above.filter(|(at, line)| *at == 0 || line.trim() != ",");
    let lines: Vec<String> = lines.map(|(_, line)| trimmed(line)).collect();
    if lines.is_empty() && !is_first && !is_last {
        return " ".to_owned();
    }
    let mut lines = lines.into_iter();
    let same_row = lines.next().unwrap_or_default();
    let mut written = match gap.find('#') {
        // Blanks before a comment stay: people align them.
        Some(at) if !same_row.is_empty() => {
            let before = &gap[..at];
            let blanks = &before[before.trim_end_matches([' ', '\t']).len()..];
            format!("{}{same_row}", if blanks.is_empty() { " " } else { blanks })
        }
        Some(_) | None => String::new(),
    };
    let mut blanks = if is_first { None } else { Some("") };
    for line in lines {
        if line.is_empty() {
            blanks = blanks.map(|_| "\n");
        } else {
            written += &format!("{}\n{indent}{line}", blanks.unwrap_or_default());
            blanks = Some("");
        }
    }
    if is_last {
        return written;
    }
    format!("{written}{}\n{indent}", blanks.unwrap_or_default())
}

/// `{ a = 1, b = 2 }`; one over several lines stays as it is.
fn inline_table(table: &DeTable<'_>, span: Range<usize>, text: &str, indent: &str) -> String {
    let mut values = Vec::new();
    entries(table, text, &mut values);
    values.sort_by_key(|value| value.span().start);
    let gaps = gaps(values.iter().map(|value| value.span()), &span, text);
    if gaps.iter().any(|gap| gap.contains('\n')) {
        return text[span].to_owned();
    }
    let entries: Vec<String> = gaps
        .iter()
        .zip(&values)
        .map(|(gap, entry)| format!("{} = {}", key(gap), value(entry, text, indent)))
        .collect();
    if entries.is_empty() {
        return "{}".to_owned();
    }
    format!("{{ {} }}", entries.join(", "))
}

/// The values of an inline table, those of dotted keys too.
fn entries<'s>(table: &'s DeTable<'s>, text: &str, values: &mut Vec<&'s Spanned<DeValue<'s>>>) {
    for value in table.values() {
        match value.get_ref() {
            DeValue::Table(table) if !is_inline(value, text) => entries(table, text, values),
            _ => values.push(value),
        }
    }
}

/// A TOML string of an expression: literal, so that its quotes and backslashes stand for themselves.
fn string(lines: &[String]) -> String {
    let text = lines.join("\n");
    let control = text.chars().any(|c| c.is_control() && c != '\t' && c != '\n');
    match lines {
        _ if control || text.contains("'''") => basic(&text),
        [line] if !line.contains(['\'', '\n']) => format!("'{line}'"),
        _ => {
            let lines: String = lines.iter().map(|line| format!("  {line}\n")).collect();
            format!("'''\n{lines}'''")
        }
    }
}

/// A string in double quotes that means this text.
fn basic(text: &str) -> String {
    let mut written = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => written.extend(['\\', c]),
            '\n' => written += "\\n",
            _ if c.is_control() => written += &format!("\\u{:04X}", u32::from(c)),
            _ => written.push(c),
        }
    }
    written.push('"');
    written
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::policy::{
        lang::{Environment, Expression},
        list::Lists,
    };

    fn formatted(text: &str) -> String {
        format(&Source::new("r.toml", text)).expect("it parses")
    }

    #[test]
    fn a_file_is_laid_out_and_keeps_its_comments() {
        let messy = r#"

# top


[[ rule ]]# one

  id="a"   # why
# two
 expression = '''
 ssl&&true
'''
 response={status=404,body='x'}
[ rule . headers ]



b."c d" . e   =  1 #x


# end  
[[rule]]
[list.x]
items=[ 1,2 , 3,]"#;
        let clean = r#"# top

[[rule]] # one
id = "a"   # why
# two
expression = 'ssl and true'
response = { status = 404, body = 'x' }

[rule.headers]
b."c d".e = 1 #x

# end
[[rule]]

[list.x]
items = [1, 2, 3]
"#;
        assert_eq!(formatted(messy), clean);
        assert_eq!(formatted(clean), clean);
        assert_eq!(
            formatted(&messy.replace('\n', "\r\n")).trim_start(),
            clean.replace('\n', "\r\n")
        );
        assert_eq!(formatted(""), "");
    }

    #[test]
    fn an_array_over_several_lines_keeps_its_rows_and_comments() {
        let messy = "a = [ # first\n  1, 2, # row\n\n\n # alone\n     [3,4]   # last\n  ,\n # end\n ]\nb = [\n]\nc = [[1],\n[2]]\n";
        let clean = "\
a = [ # first
    1, 2, # row

    # alone
    [3, 4],   # last
    # end
]
b = []
c = [
    [1],
    [2],
]
";
        assert_eq!(formatted(messy), clean);
        assert_eq!(formatted(clean), clean);
    }

    #[test]
    fn an_expression_takes_the_quotes_that_it_needs() {
        let rule = |value: &str| formatted(&format!("[[rule]]\nexpression = {value}\n"));
        assert_eq!(
            rule(r#""http.host  eq \"it's\"""#),
            "[[rule]]\nexpression = '''\n  http.host eq \"it's\"\n'''\n"
        );
        assert_eq!(
            rule(r#""http.host  eq \"'''\"""#),
            "[[rule]]\nexpression = \"http.host eq \\\"'''\\\"\"\n"
        );
        let long = format!("'ssl && {}'", ["http.host eq \"a.example\""; 5].join(" && "));
        assert!(rule(&long).starts_with("[[rule]]\nexpression = '''\n  ssl\n  and http.host eq"));
        assert_eq!(
            formatted("[other]\nexpression = 'a&&b'\n"),
            "[other]\nexpression = 'a&&b'\n"
        );
    }

    #[test]
    fn the_shipped_rules_are_laid_out_so() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        for file in std::fs::read_dir(folder).expect("the rules") {
            let text = std::fs::read_to_string(file.expect("a file").path()).expect("a readable file");
            assert_eq!(formatted(&text), text);
        }
    }

    #[test]
    fn every_fault_of_a_file_is_told_at_its_place() {
        let source = Source::new(
            "r.toml",
            "[[rule]]\nexpression = 'ssl and'\n[[rule]]\nexpression = '''\n  a eq'''\n",
        );
        let faults = format(&source).expect_err("two do not parse");
        let places = faults.iter().filter_map(|fault| fault.place.as_ref());
        let places: Vec<String> = places.map(ToString::to_string).collect();
        assert_eq!(places, ["r.toml:2:19", "r.toml:5:5"]);
        assert!(format(&Source::new("r.toml", "a = [1\nb = 2\n")).is_err());
    }

    /// Lines of a file: keys and tables get numbers, so that none stands twice.
    fn file() -> impl Strategy<Value = String> {
        let line = select(
            &[
                "# a comment  ",
                "",
                "   ",
                "[[rule]]\nexpression = 'ssl&&(true)'# why",
                "[[rule]]\nexpression = \"\"\"\\\n  http.host in {\\\"a\\\"   \\\"b\\\"} \"\"\"",
                "[ table_@ . 'x.y' ] # why",
                "  key_@='a#b'",
                "key_@ . \"x = y\" . z = \"# no [comment]\" # one",
                "key_@ = [1,2 , 'a']",
                "key_@ = [ # one\n 1, # two\n\n # three\n [2, {a=1}] # four\n , 3\n\n # five\n]",
                "key_@ = [\n\n 'a', 'b',\n]",
                "key_@ = {a=1,b . c='x', d = [1,2]}   #    six",
                "key_@ = {}",
                "key_@ = '''\n[x]\n# no comment \n\n\n'''",
                "key_@ = 2030-01-01T00:00:00Z",
            ][..],
        );
        (vec(line, 0..20), select(&["\n", "\r\n"][..]), any::<bool>()).prop_map(|(lines, newline, closed)| {
            let numbered = lines
                .iter()
                .enumerate()
                .map(|(at, line)| line.replace('@', &at.to_string()));
            let text = numbered.collect::<Vec<_>>().join("\n") + if closed { "\n" } else { "" };
            text.replace('\n', newline)
        })
    }

    /// The values, those of expressions as they compile.
    fn values(text: &str) -> String {
        let mut table: toml::Table = text.parse().expect("TOML");
        for rule in table
            .get_mut("rule")
            .and_then(toml::Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(expression) = rule.get_mut("expression") {
                let lists = Lists::new();
                let compiled =
                    Expression::compile(expression.as_str().expect("a string").trim(), &Environment::new(&lists));
                *expression = toml::Value::String(compiled.expect("it compiles").to_string());
            }
        }
        format!("{table:?}")
    }

    /// The comments, by what their lines say after a `#` that is followed by a letter or blanks and one.
    fn comments(text: &str) -> Vec<String> {
        let told = [
            "# a comment",
            "# why",
            "# one",
            "# two",
            "# three",
            "# four",
            "# five",
            "#    six",
        ];
        let found = text
            .lines()
            .flat_map(|line| told.iter().filter(move |told| line.contains(**told)));
        found.map(ToString::to_string).collect()
    }

    proptest! {
        #[test]
        fn formatting_keeps_values_and_comments_and_is_done_once(text in file()) {
            let once = formatted(&text);
            prop_assert_eq!(values(&once), values(&text));
            prop_assert_eq!(comments(&once), comments(&text));
            prop_assert_eq!(formatted(&once), once.clone());
            let kept = text.find('\n').is_none_or(|at| once.contains("\r\n") == text[..at].ends_with('\r'));
            prop_assert!(kept || once.is_empty());
            prop_assert!(once.lines().all(|line| !line.ends_with(' ') || line == "# no comment "), "{}", once);
        }
    }
}
