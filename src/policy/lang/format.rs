//! An expression laid out as people should find it: operators in letters, single spaces, parentheses where two operators
//! meet, and a long one over several lines. It works on what is written: names may be unknown, strings stay as they are.

use super::{
    diagnostics::Diagnostic,
    parser,
    syntax::{At, Base, Literal, Node, Right, Step, Syntax},
};

/// How far a line inside parentheses is indented, in spaces.
const INDENT: &str = "  ";

/// The lines of an expression: one if it fits into `width` columns, else one for each part, and those of long sets.
///
/// # Errors
/// The first fault of its syntax.
pub fn layout(text: &str, width: usize) -> Result<Vec<String>, Diagnostic> {
    let syntax = parser::parse(text)?;
    let formatter = Formatter { text, width };
    let line = formatter.line(&syntax);
    let lines = match &syntax.node {
        Node::Group(..) if !fits(&line, width) => formatter.lines(&syntax),
        Node::Not(_) | Node::Compare { .. } if !fits(&line, width) => formatter.broken("", &syntax),
        Node::Not(_) | Node::Group(..) | Node::Compare { .. } | Node::Path { .. } => vec![line],
    };
    // The parentheses that were put in may nest too deep.
    match parser::parse(&lines.join("\n")) {
        Ok(_) => Ok(lines),
        Err(fault) => Err(Diagnostic {
            span: syntax.span,
            ..fault
        }),
    }
}

fn fits(line: &str, width: usize) -> bool {
    line.chars().count() <= width
}

struct Formatter<'t> {
    text: &'t str,
    width: usize,
}

impl Formatter<'_> {
    /// The parts of a group, one below the other.
    fn lines(&self, group: &Syntax) -> Vec<String> {
        let Node::Group(logic, _) = &group.node else {
            return vec![self.line(group)];
        };
        let mut lines = Vec::new();
        for part in parts(group) {
            let joint = if lines.is_empty() {
                String::new()
            } else {
                format!("{} ", logic.as_str())
            };
            lines.extend(self.broken(&joint, part));
        }
        lines
    }

    /// One part with what stands before it, over several lines if it must be and can be.
    fn broken(&self, before: &str, part: &Syntax) -> Vec<String> {
        let line = format!("{before}{}", self.operand(part));
        if fits(&line, self.width) {
            return vec![line];
        }
        match &part.node {
            Node::Not(inner) => self.broken(&format!("{before}not "), inner),
            Node::Group(..) => {
                let narrower = Self {
                    text: self.text,
                    width: self.width.saturating_sub(INDENT.len()),
                };
                let inner = narrower.lines(part).into_iter().map(|line| format!("{INDENT}{line}"));
                let mut lines = vec![format!("{before}(")];
                lines.extend(inner);
                lines.push(")".to_owned());
                lines
            }
            Node::Compare { left, operator, right } => match &right.node {
                Right::Set(elements) => {
                    let mut lines = vec![format!("{before}{} {} {{", self.line(left), operator.node.as_str())];
                    lines.extend(self.filled(elements));
                    lines.push("}".to_owned());
                    lines
                }
                Right::Literal(_) | Right::List(_) | Right::Name(_) => vec![line],
            },
            Node::Path { .. } => vec![line],
        }
    }

    /// The elements of a set, as many on a line as fit.
    fn filled(&self, elements: &[At<Literal>]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for element in elements.iter().map(|element| self.written(element)) {
            match lines.last_mut() {
                Some(line) if fits(&format!("{line} {element}"), self.width) => {
                    line.push(' ');
                    line.push_str(&element);
                }
                Some(_) | None => lines.push(format!("{INDENT}{element}")),
            }
        }
        lines
    }

    fn line(&self, syntax: &Syntax) -> String {
        match &syntax.node {
            Node::Not(inner) => format!("not {}", self.operand(inner)),
            Node::Group(logic, _) => {
                let parts: Vec<String> = parts(syntax).into_iter().map(|part| self.operand(part)).collect();
                parts.join(&format!(" {} ", logic.as_str()))
            }
            Node::Compare { left, operator, right } => {
                let (left, right) = (self.line(left), self.right(right));
                format!("{left} {} {right}", operator.node.as_str())
            }
            Node::Path { base, steps } => {
                let steps = steps.iter().map(|step| self.step(&step.node));
                self.base(base) + &steps.collect::<String>()
            }
        }
    }

    /// Groups inside anything are in parentheses: nobody has to know what binds tighter.
    fn operand(&self, syntax: &Syntax) -> String {
        match &syntax.node {
            Node::Group(..) => format!("({})", self.line(syntax)),
            Node::Not(_) | Node::Compare { .. } | Node::Path { .. } => self.line(syntax),
        }
    }

    fn base(&self, base: &At<Base>) -> String {
        match &base.node {
            Base::Name(name) => name.clone(),
            Base::Literal(_) => self.written(base),
            Base::Call { name, arguments } => {
                let arguments: Vec<String> = arguments.iter().map(|argument| self.line(argument)).collect();
                format!("{}({})", name.node, arguments.join(", "))
            }
        }
    }

    fn step(&self, step: &Step) -> String {
        match step {
            Step::Key(key) => format!("[{}]", self.written(key)),
            Step::Index(index) => format!("[{index}]"),
            Step::Each => "[*]".to_owned(),
        }
    }

    fn right(&self, right: &At<Right>) -> String {
        match &right.node {
            Right::Literal(_) => self.written(right),
            Right::List(name) => format!("${name}"),
            Right::Name(name) => name.clone(),
            Right::Set(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| self.written(element)).collect();
                format!("{{{}}}", elements.join(" "))
            }
        }
    }

    /// As it stands in the text: what a backslash means depends on the operator, so no string is rewritten.
    fn written<T>(&self, node: &At<T>) -> String {
        self.text.get(node.span.clone()).unwrap_or_default().to_owned()
    }
}

/// The parts of a group, those of groups inside that are joined by the same too.
fn parts(group: &Syntax) -> Vec<&Syntax> {
    let Node::Group(logic, parts) = &group.node else {
        return vec![group];
    };
    let flattened = parts.iter().flat_map(|part| match &part.node {
        Node::Group(inner, _) if inner == logic => self::parts(part),
        Node::Group(..) | Node::Not(_) | Node::Compare { .. } | Node::Path { .. } => vec![part],
    });
    flattened.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> String {
        layout(text, 60).expect("it parses").join("\n")
    }

    #[test]
    fn operators_are_in_letters_and_spaces_are_single() {
        let messy = "!ssl&&http.host=='x'".replace('\'', "\"") + "||  ( ip.src  in {10.0.0.1   ::1} )";
        assert_eq!(
            formatted(&messy),
            r#"(not ssl and http.host eq "x") or ip.src in {10.0.0.1 ::1}"#
        );
        assert_eq!(
            formatted("any( lower( x [ * ] )[*]~r#\"a\"b\"# )"),
            "any(lower(x[*])[*] matches r#\"a\"b\"#)"
        );
        assert_eq!(formatted("((a) and ((b and c)))"), "a and b and c");
        assert_eq!(formatted("not(a or b)"), "not (a or b)");
    }

    #[test]
    fn a_long_one_is_broken_at_its_outermost_operator() {
        let text = r#"http.host eq "a.example" and (http.request.uri.path eq "/aaaaaaaaaa" or not (ssl xor http.request.uri.path eq "/bbbbbbbbbbbbbb"))"#;
        let broken = "\
http.host eq \"a.example\"
and (
  http.request.uri.path eq \"/aaaaaaaaaa\"
  or not (
    ssl
    xor http.request.uri.path eq \"/bbbbbbbbbbbbbb\"
  )
)";
        assert_eq!(formatted(text), broken);
        assert_eq!(formatted(broken), broken);
    }

    #[test]
    fn a_long_set_is_filled_line_by_line() {
        let text = format!("ssl and not x in {{{}}}", ["10.0.0.1"; 14].join(" "));
        let row = ["10.0.0.1"; 6].join(" ");
        let broken = format!("ssl\nand not x in {{\n  {row}\n  {row}\n  10.0.0.1 10.0.0.1\n}}");
        assert_eq!(formatted(&text), broken);
        assert_eq!(formatted(&broken), broken);
    }

    #[test]
    fn a_fault_of_the_syntax_is_told_with_its_place() {
        let fault = layout("ssl and", 60).expect_err("it ends too early");
        assert!(fault.message.starts_with("a condition is missing"), "{fault}");
    }
}
