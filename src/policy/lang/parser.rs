//! Tokens to syntax, by recursive descent. `not` binds tightest, then `and`, `xor`, `or`, as Cloudflare documents.

use super::{
    diagnostics::Diagnostic,
    lexer::{Symbol, Token, TokenKind, lex},
    mistakes::several,
    syntax::{At, Base, Literal, Logic, Node, Operator, Right, Span, Step, Syntax, is_name, is_reserved},
};

/// How deep parentheses, `not`s and calls may nest. People need five; without a bound, a generated expression could
/// overflow the stack of whatever walks it.
pub const MAX_DEPTH: usize = 64;

/// The whole text as one expression.
pub(super) fn parse(text: &str) -> Result<Syntax, Diagnostic> {
    let tokens = lex(text)?;
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
    };
    if parser.peek().kind == TokenKind::End {
        return Err(Diagnostic::new(0..text.len(), "the expression is empty")
            .help("write a condition, such as `ip.src.country eq \"DE\"`; `true` matches every request"));
    }
    let syntax = parser.group(Logic::Or)?;
    match parser.peek().kind {
        TokenKind::End => Ok(syntax),
        _ => Err(parser.trailing()),
    }
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> &Token {
        // The last token is `End`, which nothing consumes.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn word(&self, token: &Token) -> &'t str {
        match token.kind {
            TokenKind::Word | TokenKind::List => &self.text[token.span.clone()],
            TokenKind::Text { .. } | TokenKind::Symbol(_) | TokenKind::End => "",
        }
    }

    fn next_is(&self, symbol: Symbol) -> bool {
        self.peek().kind == TokenKind::Symbol(symbol)
    }

    fn take(&mut self, symbol: Symbol) -> bool {
        let found = self.next_is(symbol);
        self.at += usize::from(found);
        found
    }

    /// Conditions joined by this operator or by tighter ones.
    fn group(&mut self, logic: Logic) -> Result<Syntax, Diagnostic> {
        let first = self.tighter(logic)?;
        let mut parts = vec![first];
        while self.next_joins(logic) {
            self.advance();
            parts.push(self.tighter(logic)?);
        }
        let span = span_of(&parts);
        Ok(match parts.pop() {
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                At {
                    span,
                    node: Node::Group(logic, parts),
                }
            }
        })
    }

    fn tighter(&mut self, logic: Logic) -> Result<Syntax, Diagnostic> {
        match logic {
            Logic::Or => self.group(Logic::Xor),
            Logic::Xor => self.group(Logic::And),
            Logic::And => self.condition(),
        }
    }

    fn next_joins(&self, logic: Logic) -> bool {
        let token = self.peek();
        let symbol = match logic {
            Logic::Or => Symbol::Or,
            Logic::Xor => Symbol::Xor,
            Logic::And => Symbol::And,
        };
        token.kind == TokenKind::Symbol(symbol) || self.word(token) == logic.as_str()
    }

    /// `not …`, a parenthesis, a comparison or a bare value.
    fn condition(&mut self) -> Result<Syntax, Diagnostic> {
        let token = self.peek().clone();
        if token.kind == TokenKind::Symbol(Symbol::Not) || self.word(&token) == "not" {
            self.advance();
            let inner = self.deeper(&token.span, Self::condition)?;
            return Ok(At {
                span: token.span.start..inner.span.end,
                node: Node::Not(Box::new(inner)),
            });
        }
        if token.kind == TokenKind::Symbol(Symbol::ParenOpen) {
            self.advance();
            let inner = self.deeper(&token.span, |parser| parser.group(Logic::Or))?;
            let close = self.close(Symbol::ParenClose, ')', &token.span)?;
            if let Some(operator) = self.operator()? {
                return Err(Diagnostic::new(operator.span, "a parenthesis cannot be compared")
                    .expected("only a field or a function can stand before this operator")
                    .help("put the parentheses around the whole comparison"));
            }
            return Ok(At {
                span: token.span.start..close.end,
                node: inner.node,
            });
        }
        self.comparison()
    }

    fn deeper<T>(
        &mut self,
        opened: &Span,
        parse: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        if self.depth == MAX_DEPTH {
            return Err(Diagnostic::new(
                opened.clone(),
                format!("the expression nests deeper than {MAX_DEPTH} levels"),
            )
            .help("split it into several rules, or use sets and lists: `in {…}`, `in $list`"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn close(&mut self, symbol: Symbol, spelling: char, opened: &Span) -> Result<Span, Diagnostic> {
        if self.next_is(symbol) {
            return Ok(self.advance().span);
        }
        let token = self.peek().clone();
        if token.kind == TokenKind::End {
            let opening = &self.text[opened.clone()];
            return Err(
                Diagnostic::new(opened.clone(), format!("this `{opening}` is never closed"))
                    .expected(format!("no `{spelling}` follows")),
            );
        }
        Err(self
            .trailing()
            .expected(format!("expected `{spelling}`, or `and`, `or` or an operator")))
    }

    fn comparison(&mut self) -> Result<Syntax, Diagnostic> {
        let left = self.path()?;
        if self.word(self.peek()) == "not" || self.next_is(Symbol::Not) {
            return Err(self.not_behind(&left.span));
        }
        let Some(operator) = self.operator()? else {
            return Ok(left);
        };
        let right = self.right(operator.node)?;
        if let Some(second) = self.operator()? {
            return Err(Diagnostic::new(second.span, "comparisons cannot be chained")
                .expected("a comparison ended before this")
                .help("join two comparisons with `and`"));
        }
        Ok(At {
            span: left.span.start..right.span.end,
            node: Node::Compare {
                left: Box::new(left),
                operator,
                right,
            },
        })
    }

    /// A field, a call or a literal, with its brackets.
    fn path(&mut self) -> Result<Syntax, Diagnostic> {
        let token = self.advance();
        let base = match &token.kind {
            TokenKind::Word if is_reserved(self.word(&token)) => return Err(self.misplaced(&token)),
            TokenKind::Word if is_name(self.word(&token)) => self.name_or_call(&token)?,
            TokenKind::Word | TokenKind::Text { .. } => Base::Literal(self.literal(&token)),
            TokenKind::List | TokenKind::Symbol(_) | TokenKind::End => return Err(self.misplaced(&token)),
        };
        let mut end = self.tokens[self.at - 1].span.end;
        let base = At {
            span: token.span.start..end,
            node: base,
        };
        let mut steps = Vec::new();
        while self.next_is(Symbol::BracketOpen) {
            let step = self.step()?;
            end = step.span.end;
            steps.push(step);
        }
        Ok(At {
            span: token.span.start..end,
            node: Node::Path { base, steps },
        })
    }

    fn name_or_call(&mut self, token: &Token) -> Result<Base, Diagnostic> {
        let name = self.word(token).to_owned();
        if !self.next_is(Symbol::ParenOpen) {
            return Ok(Base::Name(name));
        }
        let open = self.advance().span;
        let arguments = self.deeper(&open, |parser| parser.arguments(&open))?;
        Ok(Base::Call {
            name: At {
                span: token.span.clone(),
                node: name,
            },
            arguments,
        })
    }

    fn arguments(&mut self, open: &Span) -> Result<Vec<Syntax>, Diagnostic> {
        let mut arguments = Vec::new();
        if self.take(Symbol::ParenClose) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.group(Logic::Or)?);
            if !self.take(Symbol::Comma) {
                let token = self.peek().clone();
                let closed = self.close(Symbol::ParenClose, ')', open);
                return match closed {
                    Ok(_) => Ok(arguments),
                    Err(fault) if self.begins_a_value(&token) => Err(fault.help("arguments are separated by commas")),
                    Err(fault) => Err(fault),
                };
            }
        }
    }

    /// `["name"]`, `[0]` or `[*]`.
    fn step(&mut self) -> Result<At<Step>, Diagnostic> {
        let open = self.advance().span;
        let token = self.advance();
        let step = match &token.kind {
            TokenKind::Text { .. } => Step::Key(At {
                span: token.span.clone(),
                node: self.literal(&token),
            }),
            TokenKind::Word => Step::Index(self.word(&token).to_owned()),
            TokenKind::Symbol(Symbol::Star) => Step::Each,
            TokenKind::List | TokenKind::Symbol(_) | TokenKind::End => {
                return Err(Diagnostic::new(open, "nothing usable in these brackets")
                    .expected("expected a name in double quotes, an index from 0, or `*`"));
            }
        };
        let close = self.close(Symbol::BracketClose, ']', &open)?;
        Ok(At {
            span: open.start..close.end,
            node: step,
        })
    }

    fn literal(&self, token: &Token) -> Literal {
        match &token.kind {
            TokenKind::Text { raw, body } => Literal::Text {
                raw: *raw,
                body: self.text[body.clone()].to_owned(),
            },
            TokenKind::Word | TokenKind::List | TokenKind::Symbol(_) | TokenKind::End => {
                Literal::Word(self.text[token.span.clone()].to_owned())
            }
        }
    }

    /// The operator that comes next, if one does.
    fn operator(&mut self) -> Result<Option<At<Operator>>, Diagnostic> {
        let token = self.peek().clone();
        let operator = match &token.kind {
            TokenKind::Symbol(symbol) => Operator::of_symbol(*symbol),
            TokenKind::Word => Operator::of_word(self.word(&token)),
            TokenKind::Text { .. } | TokenKind::List | TokenKind::End => None,
        };
        if let Some(node) = operator {
            let span = self.advance().span;
            return Ok(Some(At { span, node }));
        }
        match self.word(&token) {
            "strict" => {
                self.advance();
                let wildcard = self.advance();
                if self.word(&wildcard) != "wildcard" {
                    return Err(Diagnostic::new(token.span, "`strict` stands before `wildcard` only")
                        .expected("expected `strict wildcard`"));
                }
                Ok(Some(At {
                    span: token.span.start..wildcard.span.end,
                    node: Operator::StrictWildcard,
                }))
            }
            "not" => Err(Diagnostic::new(token.span, "`not` cannot stand here")
                .help("`not` comes before the whole comparison: `not ip.src in {…}`, not `ip.src not in {…}`")),
            _ => Ok(None),
        }
    }

    fn right(&mut self, operator: Operator) -> Result<At<Right>, Diagnostic> {
        let token = self.advance();
        let (node, end) = match &token.kind {
            TokenKind::Text { .. } => (Right::Literal(self.literal(&token)), token.span.end),
            TokenKind::List => (Right::List(self.word(&token)[1..].to_owned()), token.span.end),
            TokenKind::Symbol(Symbol::BraceOpen) => self.set(&token.span)?,
            TokenKind::Word if is_name(self.word(&token)) && !is_reserved(self.word(&token)) => {
                (Right::Name(self.word(&token).to_owned()), token.span.end)
            }
            TokenKind::Word if !is_reserved(self.word(&token)) => {
                (Right::Literal(self.literal(&token)), token.span.end)
            }
            TokenKind::Word | TokenKind::Symbol(_) | TokenKind::End => {
                let found = self.describe(&token);
                let fault = Diagnostic::new(
                    self.visible(&token),
                    format!("a value is missing after `{}`", operator.as_str()),
                )
                .expected(format!("expected a value, found {found}"));
                return Err(match token.kind {
                    TokenKind::Symbol(Symbol::BracketOpen | Symbol::ParenOpen) if operator != Operator::In => {
                        fault.help(several(operator))
                    }
                    TokenKind::Symbol(Symbol::BracketOpen | Symbol::ParenOpen) => {
                        fault.help("sets are in braces, with spaces between the elements: `in {\"a\" \"b\"}`")
                    }
                    TokenKind::Symbol(Symbol::Star) if operator == Operator::Matches => {
                        fault.help("to ignore case, begin the regular expression with `(?i)`: `matches \"(?i)…\"`")
                    }
                    TokenKind::Symbol(Symbol::Star) => {
                        fault.help("patterns are strings, in double quotes: `wildcard \"*.example.com/*\"`")
                    }
                    _ => fault,
                });
            }
        };
        Ok(At {
            span: token.span.start..end,
            node,
        })
    }

    /// The elements of `{…}`, separated by spaces.
    fn set(&mut self, open: &Span) -> Result<(Right, usize), Diagnostic> {
        let mut elements = Vec::new();
        loop {
            let token = self.advance();
            match &token.kind {
                TokenKind::Word | TokenKind::Text { .. } => elements.push(At {
                    span: token.span.clone(),
                    node: self.literal(&token),
                }),
                TokenKind::Symbol(Symbol::BraceClose) => return Ok((Right::Set(elements), token.span.end)),
                TokenKind::Symbol(Symbol::Comma) => {
                    return Err(Diagnostic::new(token.span, "a set has no commas")
                        .expected("expected a space")
                        .help("elements are separated by spaces: `{\"a\" \"b\"}`"));
                }
                TokenKind::End => {
                    return Err(Diagnostic::new(open.clone(), "this `{` is never closed").expected("no `}` follows"));
                }
                TokenKind::List => {
                    return Err(Diagnostic::new(token.span, "a list cannot stand inside a set")
                        .help("write `… in $list or … in {…}`"));
                }
                TokenKind::Symbol(_) => {
                    let found = self.describe(&token);
                    return Err(Diagnostic::new(token.span, format!("unexpected {found} in a set"))
                        .expected("expected a string, a number, an address or `}`"));
                }
            }
        }
    }
}

fn span_of(parts: &[Syntax]) -> Span {
    match (parts.first(), parts.last()) {
        (Some(first), Some(last)) => first.span.start..last.span.end,
        (None, _) | (_, None) => 0..0,
    }
}
