//! Why one rule matched or not: its expression, and the parts that decided with what they saw.

use std::fmt::Write;

use crate::{
    cli::paint::Paint,
    config::show::{grouped, printable},
    policy::{
        explain::ExplainedRule,
        lang::{Trace, layout},
        list::List,
        policy::Policy,
    },
};

/// How many deciding parts are shown.
const MAX_PARTS: usize = 6;
/// How wide an expression may be before it is laid out.
const WIDTH: usize = 96;
/// How many lines an expression may have to be shown: of a longer one the parts that decided say more.
const MAX_LINES: usize = 6;
/// How wide the column of the parts is.
const COLUMN: usize = 48;

/// The expression, then the deciding parts.
pub(super) fn write(
    rule: &ExplainedRule,
    policy: &Policy,
    indent: &str,
    paint: Paint,
    text: &mut String,
) -> std::fmt::Result {
    let Some(trace) = &rule.trace else {
        return Ok(());
    };
    // What has no parts is told with its value, once.
    if !trace.parts.is_empty() {
        for line in laid_out(rule) {
            writeln!(text, "{indent}{}", printable(&line))?;
        }
    }
    parts(trace, policy, indent, paint, text)
}

/// The expression in lines that fit.
fn laid_out(rule: &ExplainedRule) -> Vec<String> {
    let expression = rule.expression.as_str();
    if expression.chars().count() <= WIDTH {
        return vec![expression.to_owned()];
    }
    match layout(expression, WIDTH) {
        Ok(lines) if lines.len() <= MAX_LINES => lines,
        Ok(_) | Err(_) => vec![format!(
            "of its expression (`portcullis rules {}`) these parts decided:",
            rule.id
        )],
    }
}

/// The deciding parts: whether each holds, and what it saw.
fn parts(trace: &Trace, policy: &Policy, indent: &str, paint: Paint, text: &mut String) -> std::fmt::Result {
    let mut found = Vec::new();
    gather(trace, &mut found);
    let width = found
        .iter()
        .take(MAX_PARTS)
        .map(|part| part.text.chars().count())
        .max()
        .unwrap_or(0);
    let width = width.min(COLUMN);
    for part in found.iter().take(MAX_PARTS) {
        let (mark, is_good) = match part.outcome {
            Some(true) => ("yes", true),
            Some(false) => ("no ", false),
            None => ("?  ", false),
        };
        let mark = if is_good { paint.good(mark) } else { paint.bad(mark) };
        let said = said(part, policy);
        let shown = printable(&cut(&part.text));
        // What is longer than the column has its values on a line of their own.
        match (said.is_empty(), shown.chars().count() > width) {
            (true, _) => writeln!(text, "{indent}  {mark}  {shown}")?,
            (false, false) => writeln!(
                text,
                "{indent}  {mark}  {shown:<width$}   {}",
                paint.faint(&printable(&said))
            )?,
            (false, true) => {
                writeln!(text, "{indent}  {mark}  {shown}")?;
                writeln!(text, "{indent}       {}", paint.faint(&printable(&said)))?;
            }
        }
    }
    if found.len() > MAX_PARTS {
        writeln!(text, "{indent}       and {} more like these", found.len() - MAX_PARTS)?;
    }
    Ok(())
}

/// In one line: the first part that decided, for a rule that did not match.
pub(super) fn in_short(trace: &Trace, policy: &Policy) -> Option<String> {
    let mut found = Vec::new();
    gather(trace, &mut found);
    let first = found.first()?;
    let said = said(first, policy);
    let holds = match first.outcome {
        Some(true) => "holds",
        Some(false) => "does not hold",
        None => "is not known",
    };
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    let more = match found.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    };
    Some(printable(&format!("{} {holds}{said}{more}", cut(&first.text))))
}

fn gather<'t>(trace: &'t Trace, found: &mut Vec<&'t Trace>) {
    if !trace.decides {
        return;
    }
    if trace.parts.is_empty() {
        found.push(trace);
    }
    trace.parts.iter().for_each(|part| gather(part, found));
}

/// What a part saw: `it is "/admin"`, `it is 198.51.100.7; $office has 3 entries, lists/office.txt`.
fn said(part: &Trace, policy: &Policy) -> String {
    let mut said = Vec::new();
    if let Some(unknown) = &part.unknown {
        said.push(format!("{unknown} is not known"));
    } else if let Some(saw) = &part.saw {
        said.push(match saw.as_str() {
            "absent" => "there is none".to_owned(),
            saw => format!("it is {}", cut(saw)),
        });
    }
    if let Some(list) = part.list.as_ref().and_then(|name| policy.list(name)) {
        said.push(entries(list, policy));
    }
    said.join("; ")
}

fn entries(list: &List, policy: &Policy) -> String {
    let number = list.len();
    let entries = if number == 1 { "entry" } else { "entries" };
    let origin = policy.list_origin(list.name());
    let place = origin.map(|origin| origin.file.clone().unwrap_or_else(|| origin.place.to_string()));
    let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
    format!("${} has {} {entries}{place}", list.name(), grouped(number))
}

/// Long text cut short.
fn cut(text: &str) -> String {
    const LONGEST: usize = 160;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
