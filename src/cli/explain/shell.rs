//! A pasted command line as its words, as bash would split it.

/// The words of a command line, and what was noticed on the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) words: Vec<String>,
    pub(super) remarks: Vec<String>,
}

/// Splits a command line: quotes of every sort, `$'…'`, a backslash at a line's end. What follows the command (a pipe, a
/// redirection) is left out, and that is remarked.
///
/// # Errors
/// A quote is left open, or the line is of another shell.
pub(super) fn words(line: &str) -> Result<Words, String> {
    // Copied on Windows, lines end in two characters.
    let line = line.trim().replace("\r\n", "\n");
    let line = line.strip_prefix("$ ").unwrap_or(&line);
    if line.contains("^\"") || line.contains("^\n") || line.contains("^\r") {
        return Err("this is a line for Windows' cmd: choose \"Copy as cURL (bash)\" or (POSIX)".to_owned());
    }
    let mut remarks = Vec::new();
    let plain = plain(line, &mut remarks)?;
    let words = shlex::split(&plain).ok_or("the line ends inside a quote, or with a lone backslash")?;
    Ok(Words { words, remarks })
}

/// The command with every `$'…'` as an ordinary quoted word, up to what is another command's.
fn plain(line: &str, remarks: &mut Vec<String>) -> Result<String, String> {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if let Some(next) = rest.strip_prefix("\\\n") {
            // The line goes on.
            rest = next;
            continue;
        }
        let taken = match first {
            '\'' => span(rest, '\'')?,
            '"' => double_quoted(rest)?,
            '\\' => rest.chars().take(2).map(char::len_utf8).sum(),
            '$' if rest.starts_with("$'") => {
                let (text, taken) = ansi_quoted(&rest[2..])?;
                plain.push_str(&quoted(&text));
                rest = &rest[2 + taken..];
                continue;
            }
            '|' | ';' | '&' | '<' | '>' => {
                // `2>file` redirects: its number is no word of the command.
                let begun = plain.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                if matches!(first, '<' | '>') && plain[..begun].ends_with([' ', '\t']) {
                    plain.truncate(begun);
                }
                remarks.push(format!(
                    "what follows `{first}` is not curl's to a shell, and was left out; a URL with one belongs in quotes"
                ));
                return Ok(plain);
            }
            other => other.len_utf8(),
        };
        let piece = rest.get(..taken).unwrap_or(rest);
        if first != '\'' && first != '\\' {
            note_variable(piece, rest, remarks);
        }
        plain.push_str(piece);
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(plain)
}

/// How long a quoted stretch is that ends with `end`.
fn span(text: &str, end: char) -> Result<usize, String> {
    let closing = text.get(1..).and_then(|inside| inside.find(end));
    closing.map(|at| at + 2).ok_or_else(|| format!("a {end} is not closed"))
}

fn double_quoted(text: &str) -> Result<usize, String> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err("a \" is not closed".to_owned())
}

/// A shell would put a variable's value here; nobody knows it.
fn note_variable(piece: &str, rest: &str, remarks: &mut Vec<String>) {
    let text = if piece == "$" { rest } else { piece };
    let Some(at) = text
        .find('$')
        .filter(|at| piece == "$" || text.as_bytes().get(at.wrapping_sub(1)) != Some(&b'\\'))
    else {
        return;
    };
    let name: String = text[at + 1..]
        .trim_start_matches('{')
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    if !name.is_empty() {
        remarks.push(format!(
            "`${name}` is taken as written: a shell would put a value there"
        ));
    }
}

/// Bash's `$'…'` without its opening: the text, and how long it was with the closing quote.
fn ansi_quoted(inside: &str) -> Result<(String, usize), String> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(c) = inside[at..].chars().next() {
        at += c.len_utf8();
        match c {
            '\'' => return Ok((String::from_utf8_lossy(&bytes).into_owned(), at)),
            '\\' => at += escape(&inside[at..], &mut bytes),
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("a $' is not closed".to_owned())
}

/// What follows a backslash in `$'…'`; how long it was.
fn escape(text: &str, bytes: &mut Vec<u8>) -> usize {
    let Some(letter) = text.chars().next() else {
        return 0;
    };
    let single = match letter {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'a' => 7,
        'b' => 8,
        'e' | 'E' => 27,
        'f' => 12,
        'v' => 11,
        '\\' | '\'' | '"' | '?' => letter as u8,
        'x' => return 1 + byte(&text[1..], 2, 16, bytes),
        '0'..='7' => return byte(text, 3, 8, bytes),
        'u' => return 1 + character(&text[1..], 4, bytes),
        'U' => return 1 + character(&text[1..], 8, bytes),
        // Bash leaves the backslash.
        other => {
            bytes.push(b'\\');
            bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
            return other.len_utf8();
        }
    };
    bytes.push(single);
    letter.len_utf8()
}

fn number(text: &str, most: usize, radix: u32) -> (u32, usize) {
    let digits = text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
    (u32::from_str_radix(&text[..digits], radix).unwrap_or(0), digits)
}

fn byte(text: &str, most: usize, radix: u32, bytes: &mut Vec<u8>) -> usize {
    let (value, digits) = number(text, most, radix);
    bytes.push((value & 0xff) as u8);
    digits
}

fn character(text: &str, most: usize, bytes: &mut Vec<u8>) -> usize {
    let (value, digits) = number(text, most, 16);
    let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    digits
}

/// A word that a POSIX shell takes for this text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        words(line).expect("a command line").words
    }

    #[test]
    fn quotes_of_every_sort_are_read_as_bash_reads_them() {
        for (line, expected) in [
            ("curl 'a b' \"c d\" e\\ f", &["curl", "a b", "c d", "e f"][..]),
            (
                "curl 'https://x/' \\\n  -H 'a: b' \\\r\n  --compressed",
                &["curl", "https://x/", "-H", "a: b", "--compressed"],
            ),
            (
                r"curl --data-raw $'it\'s\n\u00e9\x41\101\!'",
                &["curl", "--data-raw", "it's\né\x41A\\!"],
            ),
            (r#"curl "a \"b\" \$c""#, &["curl", "a \"b\" $c"]),
            ("$ curl x'y'z", &["curl", "xyz"]),
            ("curl x 2>/dev/null", &["curl", "x"]),
            ("curl x | jq .", &["curl", "x"]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn what_a_shell_would_do_beside_is_remarked() {
        let remarks = |line: &str| words(line).expect("a command line").remarks;
        assert_eq!(remarks("curl 'https://x/?a=$b' \"y\\$z\""), Vec::<String>::new());
        assert!(remarks("curl -H \"Authorization: Bearer $TOKEN\" x")[0].starts_with("`$TOKEN` is taken as written"));
        assert!(remarks("curl ${HOST}/x")[0].starts_with("`$HOST` is taken as written"));
        assert!(remarks("curl https://x/?a=1&b=2")[0].starts_with("what follows `&` is not curl's"));
    }

    #[test]
    fn what_does_not_split_says_why() {
        for (line, part) in [
            ("curl 'x", "a ' is not closed"),
            ("curl \"x", "a \" is not closed"),
            ("curl $'x", "a $' is not closed"),
            ("curl ^\"https://x/^\" ^\n -H ^\"a: b^\"", "Windows' cmd"),
        ] {
            let said = words(line).expect_err(line);
            assert!(said.contains(part), "{line}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_or_refused(line: String, ansi in r"[\\a-z0-9'xuU]{0,12}") {
            let _split_or_not = words(&line);
            let _split_or_not = words(&format!("curl $'{ansi}'"));
        }
    }
}
