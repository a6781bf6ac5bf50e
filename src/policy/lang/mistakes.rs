//! What a token that the grammar has no place for was probably meant to be.

use super::{
    diagnostics::Diagnostic,
    functions::Function,
    lexer::{Symbol, Token, TokenKind},
    parser::Parser,
    syntax::{OPERATOR_WORDS, Operator, Relation, Span, is_reserved},
};

/// What to do about `http.host eq "a" or "b"`.
pub(super) const EACH_NAMES_ITS_FIELD: &str =
    "each condition names its field, also after `or`: `http.host eq \"a\" or http.host eq \"b\"`";

/// What to do about several values behind an operator that takes one.
pub(super) fn several(operator: Operator) -> String {
    let operator = match operator {
        Operator::Relation(Relation::Equal) | Operator::In => return "write `in {…}`".to_owned(),
        Operator::Relation(Relation::NotEqual) => return "write `not … in {…}`".to_owned(),
        Operator::Relation(_)
        | Operator::Contains
        | Operator::Matches
        | Operator::Wildcard
        | Operator::StrictWildcard => operator.as_str(),
    };
    format!("`{operator}` takes one value: write a condition for each and join them with `or`")
}

impl Parser<'_> {
    /// Whether a value could begin with it.
    pub(super) fn begins_a_value(&self, token: &Token) -> bool {
        match token.kind {
            TokenKind::Text { .. } => true,
            TokenKind::Word => !is_reserved(self.word(token)),
            TokenKind::List | TokenKind::Symbol(_) | TokenKind::End => false,
        }
    }

    /// Where to put the caret for a token; the end of the text has no width, so the last token stands for it.
    pub(super) fn visible(&self, token: &Token) -> Span {
        match (&token.kind, self.tokens.iter().rev().nth(1)) {
            (TokenKind::End, Some(last)) => last.span.clone(),
            (TokenKind::End, None)
            | (TokenKind::Word | TokenKind::Text { .. } | TokenKind::List | TokenKind::Symbol(_), _) => {
                token.span.clone()
            }
        }
    }

    pub(super) fn describe(&self, token: &Token) -> String {
        match &token.kind {
            TokenKind::End => "the end of the expression".to_owned(),
            TokenKind::Word | TokenKind::Text { .. } | TokenKind::List | TokenKind::Symbol(_) => {
                format!("`{}`", &self.text[token.span.clone()])
            }
        }
    }

    /// A token where a condition should begin.
    pub(super) fn misplaced(&self, token: &Token) -> Diagnostic {
        let found = self.describe(token);
        let fault = Diagnostic::new(self.visible(token), format!("a condition is missing: found {found}"))
            .expected("expected a field, a function, `not` or `(`");
        match &token.kind {
            TokenKind::Word if Operator::of_word(self.word(token)).is_some() => fault.help(EACH_NAMES_ITS_FIELD),
            TokenKind::List => fault.help("a list stands on the right of `in`: `ip.src in $name`"),
            TokenKind::Symbol(Symbol::BraceOpen) => fault.help("a set stands on the right of `in`: `ip.src in {…}`"),
            TokenKind::Word | TokenKind::Text { .. } | TokenKind::Symbol(_) | TokenKind::End => fault,
        }
    }

    /// `field not in …`
    pub(super) fn not_behind(&self, left: &Span) -> Diagnostic {
        let (left, not) = (&self.text[left.clone()], self.peek());
        let next = self.tokens.get(self.at + 1);
        let operator = next.and_then(|next| match next.kind {
            TokenKind::Symbol(symbol) => Operator::of_symbol(symbol),
            TokenKind::Word => Operator::of_word(self.word(next)),
            TokenKind::Text { .. } | TokenKind::List | TokenKind::End => None,
        });
        let operator = operator.unwrap_or(Operator::In).as_str();
        let right = if operator == "in" { "{…}" } else { "…" };
        Diagnostic::new(not.span.clone(), format!("{} cannot stand here", self.describe(not)))
            .expected("`not` comes before the whole comparison")
            .help(format!("write `not {left} {operator} {right}`"))
    }

    /// A token after a complete expression.
    pub(super) fn trailing(&self) -> Diagnostic {
        let token = self.peek();
        let found = self.describe(token);
        let fault = Diagnostic::new(token.span.clone(), format!("unexpected {found}"));
        let word = self.word(token);
        let lower = word.to_ascii_lowercase();
        if token.kind == TokenKind::Symbol(Symbol::ParenClose) {
            return fault.expected("no `(` was opened for it");
        }
        if matches!(word, "starts_with" | "ends_with") {
            let left = self.at.checked_sub(1).and_then(|before| self.tokens.get(before));
            let left = left.map_or("", |token| self.word(token));
            let field = if left.is_empty() { "http.request.uri.path" } else { left };
            return fault.help(format!("`{word}` is a function: `{word}({field}, \"…\")`"));
        }
        if word != lower && (is_reserved(&lower) || Operator::of_word(&lower).is_some()) {
            return fault.help(format!("operators are lower-case: `{lower}`"));
        }
        let fault = fault.expected("expected an operator, `and` or `or`");
        match lower.as_str() {
            "is" | "equals" => fault.help("equality is `eq` or `==`"),
            "does" => fault.help("`not` comes before the whole comparison: `not http.user_agent contains \"…\"`"),
            "like" => fault.help("a pattern with `*` is `wildcard`"),
            "startswith" | "begins_with" => fault.help("write `starts_with(field, \"…\")`"),
            "endswith" => fault.help("write `ends_with(field, \"…\")`"),
            "regex" | "match" => fault.help("a regular expression is `matches`"),
            _ => match self.at.checked_sub(1).map(|before| self.word(&self.tokens[before])) {
                Some(before) if Function::named(before).is_some() => fault.help(format!(
                    "`{before}` is a function: its arguments are in parentheses, `{before}(…)`"
                )),
                Some(_) | None if word.is_empty() => fault,
                Some(_) | None => fault.suggest(word, OPERATOR_WORDS),
            },
        }
    }
}
