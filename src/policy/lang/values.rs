//! Checks values: fields, calls and what is in brackets behind them.

use super::{
    ast::{Base, Call, Literal, Step, Value},
    check::{Checker, described, sort_of},
    diagnostics::Diagnostic,
    elsewhere,
    fields::{self, Field},
    functions::{self, Body, Function},
    impossible::{self, Part},
    literals,
    syntax::{self, At, Literal as Written, Node, Operator, Syntax},
    types::Type,
};
use crate::policy::fault::nearest;

/// The field whose keys are case-insensitive names.
const HEADERS: &str = "http.request.headers";

impl Checker<'_> {
    pub(super) fn value(&mut self, base: &At<syntax::Base>, steps: &[At<syntax::Step>]) -> Option<Value> {
        let (checked, mut ty) = match &base.node {
            syntax::Base::Name(name) => self.name(&base.span, name)?,
            syntax::Base::Call { name, arguments } => self.call(name, arguments)?,
            syntax::Base::Literal(literal) => {
                let literal = self.standalone(&base.span, literal)?;
                let ty = literal.ty();
                (Base::Literal(literal), ty)
            }
        };
        let mut value = Value {
            base: checked,
            steps: Vec::new(),
            ty,
        };
        for step in steps {
            let (step, stepped) = self.step(&value, ty, step)?;
            value.steps.push(step);
            ty = stepped;
            value.ty = ty;
        }
        Some(value)
    }

    fn name(&mut self, span: &syntax::Span, name: &str) -> Option<(Base, Type)> {
        if let "true" | "false" = name {
            return Some((Base::Literal(Literal::Bool(name == "true")), Type::BOOL));
        }
        let Some(field) = Field::named(name) else {
            return self.fault(unknown_field(span, name));
        };
        match field.needs {
            Some(fact) if !self.environment.geo.gives(fact) => {
                let (message, help) = fact.missing();
                self.fault(
                    Diagnostic::new(span.clone(), format!("`{name}` is never known: {message}"))
                        .expected("this fact has no source")
                        .help(help),
                )
            }
            Some(_) | None => Some((Base::Field(field), field.ty())),
        }
    }

    /// A literal that stands where no type is asked for.
    fn standalone(&mut self, span: &syntax::Span, literal: &Written) -> Option<Literal> {
        let literal = At {
            span: span.clone(),
            node: literal.clone(),
        };
        match &literal.node {
            Written::Text { .. } => {
                let text = self.sound(literals::text(&literal))?;
                Some(Literal::Text(text.into_boxed_slice()))
            }
            Written::Word(word) => match (literals::parse_int(word), literals::ip(&literal)) {
                (Some(number), _) => Some(Literal::Int(number)),
                (None, Ok(address)) => Some(Literal::Ip(address)),
                (None, Err(_)) => self.fault(
                    Diagnostic::new(literal.span.clone(), format!("`{word}` is no value"))
                        .expected("expected a field, a string in double quotes, a number or an address"),
                ),
            },
        }
    }

    fn step(&mut self, value: &Value, ty: Type, step: &At<syntax::Step>) -> Option<(Step, Type)> {
        match (ty, &step.node) {
            (Type::Map, syntax::Step::Key(key)) => {
                let key = self.key(value, key)?;
                Some((Step::Key(key), Type::STRINGS))
            }
            (Type::Array(scalar), syntax::Step::Index(written)) => {
                let index = written
                    .parse()
                    .ok()
                    .filter(|_| written.bytes().all(|b| b.is_ascii_digit()));
                match index {
                    Some(index) => Some((Step::Index(index), Type::One(scalar))),
                    None => self.fault(
                        Diagnostic::new(step.span.clone(), format!("`{written}` is no index"))
                            .expected("expected a number from 0, or `*`"),
                    ),
                }
            }
            (Type::Array(scalar), syntax::Step::Each) => Some((Step::Each, Type::Each(scalar))),
            (Type::Map, syntax::Step::Index(_) | syntax::Step::Each) => self.fault(
                Diagnostic::new(step.span.clone(), format!("`{value}` is a map"))
                    .expected("expected a name in double quotes")
                    .help(format!("write `{value}[\"name\"][0]`, or use `{value}.values`")),
            ),
            (Type::Array(_), syntax::Step::Key(_)) => self.fault(
                Diagnostic::new(step.span.clone(), format!("`{value}` is an array"))
                    .expected("expected an index from 0, or `*`"),
            ),
            (Type::One(_) | Type::Each(_), _) => self.fault(
                Diagnostic::new(step.span.clone(), format!("`{value}` is {}", described(ty)))
                    .expected("nothing can be looked up in it"),
            ),
        }
    }

    /// The name inside `["…"]`. Header names are compared without regard to case.
    fn key(&mut self, value: &Value, literal: &At<Written>) -> Option<String> {
        let bytes = self.sound(literals::text(literal))?;
        let Ok(key) = String::from_utf8(bytes) else {
            return self.fault(Diagnostic::new(literal.span.clone(), "this name is not UTF-8"));
        };
        let of_headers = matches!(&value.base, Base::Field(field) if field.name == HEADERS);
        if of_headers && http::HeaderName::from_bytes(key.as_bytes()).is_err() {
            return self.fault(
                Diagnostic::new(
                    literal.span.clone(),
                    format!("\"{}\" is no header name", key.escape_debug()),
                )
                .expected("letters, digits and `-`, without the colon"),
            );
        }
        Some(if of_headers { key.to_ascii_lowercase() } else { key })
    }

    fn call(&mut self, name: &At<String>, arguments: &[Syntax]) -> Option<(Base, Type)> {
        let Some(function) = Function::named(&name.node) else {
            return self.fault(unknown_function(name));
        };
        let Body::Of { returns, .. } = function.body else {
            return self.fault(
                Diagnostic::new(
                    name.span.clone(),
                    format!("`{}` is a condition of its own", function.name),
                )
                .expected("it cannot be compared or be an argument"),
            );
        };
        let required = function.parameters.len() - function.optional;
        if arguments.len() < required || (arguments.len() > function.parameters.len() && !function.repeats) {
            return self.fault(
                Diagnostic::new(
                    name.span.clone(),
                    format!("`{}` does not take {} arguments", function.name, arguments.len()),
                )
                .expected(function.signature()),
            );
        }
        let checked: Vec<_> = arguments
            .iter()
            .enumerate()
            .map(|(at, argument)| self.argument(function, at, argument))
            .collect();
        let values: Vec<Value> = checked.into_iter().collect::<Option<_>>()?;
        self.possible_part(function, arguments, &values)?;
        let arguments = values;
        let mapped = matches!(arguments.first().map(|first| first.ty), Some(Type::Each(_)));
        let ty = match returns {
            Type::One(scalar) if mapped => Type::Array(scalar),
            ty if mapped => {
                return self.fault(
                    Diagnostic::new(
                        name.span.clone(),
                        format!("`{}` cannot be applied to each element", function.name),
                    )
                    .expected(format!("it returns {}", described(ty))),
                );
            }
            ty => ty,
        };
        Some((Base::Call(Call { function, arguments }), ty))
    }

    /// Records a fault for a beginning or an end that a field can never have.
    fn possible_part(&mut self, function: &Function, written: &[Syntax], values: &[Value]) -> Option<()> {
        let part = match function.name {
            "starts_with" => Part::Start,
            "ends_with" => Part::End,
            _ => return Some(()),
        };
        if let ([of, text], [swapped, _]) = (values, written)
            && let (Base::Literal(literal), Base::Field(_) | Base::Call(_)) = (&of.base, &text.base)
        {
            return self.fault(
                Diagnostic::new(swapped.span.clone(), "the text that is looked at comes first")
                    .expected(function.signature())
                    .help(format!("write `{}({text}, {literal})`", function.name)),
            );
        }
        if let ([of, text], [_, written]) = (values, written)
            && let Base::Literal(Literal::Text(text)) = &text.base
            && let Some(fault) = impossible::part(sort_of(of), part, text, &written.span)
        {
            return self.fault(fault);
        }
        Some(())
    }

    fn argument(&mut self, function: &'static Function, at: usize, argument: &Syntax) -> Option<Value> {
        let parameter = function.parameter(at)?;
        let Node::Path { base, steps } = &argument.node else {
            return self.fault(
                Diagnostic::new(
                    argument.span.clone(),
                    format!("`{}` takes values, no conditions", function.name),
                )
                .expected(function.signature()),
            );
        };
        let value = self.value(base, steps)?;
        let ty = match value.ty {
            Type::Each(scalar) if at == 0 => Type::One(scalar),
            Type::Each(_) => {
                return self.fault(
                    Diagnostic::new(argument.span.clone(), "only the first argument can be `array[*]`")
                        .expected(function.signature()),
                );
            }
            ty => ty,
        };
        if !parameter.accepts.contains(&ty) {
            return self.fault(wrong_type(function, at, argument, &value));
        }
        if let Some(message) = parameter.restriction.fault(&value) {
            return self.fault(Diagnostic::new(
                argument.span.clone(),
                format!("`{}` {message}", parameter.name),
            ));
        }
        Some(value)
    }
}

fn wrong_type(function: &Function, at: usize, argument: &Syntax, value: &Value) -> Diagnostic {
    let accepts = function.parameter(at).map_or(&[][..], |parameter| parameter.accepts);
    let wanted: Vec<String> = accepts.iter().map(|ty| described(*ty)).collect();
    let fault = Diagnostic::new(
        argument.span.clone(),
        format!(
            "`{}` takes {} here, not {}",
            function.name,
            wanted.join(" or "),
            described(value.ty)
        ),
    )
    .expected(function.signature());
    match value.ty {
        Type::Array(scalar) if at == 0 && accepts.contains(&Type::One(scalar)) => {
            fault.help(format!("apply it to each element: `{}({value}[*])`", function.name))
        }
        Type::Map => fault.help(format!("look at one name: `{value}[\"name\"][0]`")),
        Type::Array(_) | Type::Each(_) | Type::One(_) => fault,
    }
}

fn unknown_field(span: &syntax::Span, name: &str) -> Diagnostic {
    if let Some(help) = elsewhere::field(name) {
        return Diagnostic::new(span.clone(), format!("`{name}` is not available here"))
            .expected("this is a field of Cloudflare's")
            .help(help);
    }
    let fault = Diagnostic::new(span.clone(), format!("unknown field `{name}`"));
    let map = fields::ALL
        .iter()
        .filter(|field| field.ty() == Type::Map)
        .find_map(|field| {
            let key = name.strip_prefix(field.name)?.strip_prefix('.')?;
            Some(format!("write `{}[\"{key}\"][0]`", field.name))
        });
    match map {
        Some(help) if !fields::ALL.iter().any(|field| near(field.name, name)) => fault.help(help),
        Some(_) | None if Function::named(name).is_some() => fault.help(format!(
            "`{name}` is a function: {}",
            Function::named(name).map_or(String::new(), Function::signature)
        )),
        Some(_) | None => suggest_field(fault, name),
    }
}

/// The nearest name that ends in the same word, else the nearest of all: `http.method` means `http.request.method`.
fn suggest_field(fault: Diagnostic, name: &str) -> Diagnostic {
    let last = |name: &str| name.rsplit('.').next().map(str::to_owned);
    let names = fields::ALL.iter().map(|field| field.name);
    let alike = names.clone().filter(|known| last(known) == last(name));
    let suggested = alike
        .min_by_key(|known| strsim::damerau_levenshtein(known, name))
        .or_else(|| nearest(name, names));
    match suggested {
        Some(known) => fault.help(format!("did you mean `{known}`?")),
        None => fault,
    }
}

/// One slip of the hand apart.
fn near(known: &str, typed: &str) -> bool {
    strsim::damerau_levenshtein(known, typed) <= 2
}

/// What to write instead of `field.contains(…)`.
fn method(written: &str) -> Option<String> {
    let (field, name) = written.rsplit_once('.')?;
    let field = Field::named(field)?.name;
    if let Some(operator) = Operator::of_word(name) {
        return Some(format!("it is an operator: `{field} {} …`", operator.as_str()));
    }
    let known = functions::ALL.iter().map(|function| function.name);
    let plain = |name: &str| name.replace('_', "").to_ascii_lowercase();
    let function = known
        .clone()
        .find(|known| plain(known) == plain(name))
        .or_else(|| nearest(name, known))?;
    Some(format!(
        "a function takes the field as an argument: `{function}({field}, …)`"
    ))
}

fn unknown_function(name: &At<String>) -> Diagnostic {
    let written = name.node.as_str();
    match functions::not_available(written) {
        Some(help) => Diagnostic::new(name.span.clone(), format!("`{written}` is not available here")).help(help),
        None if Field::named(written).is_some() => {
            Diagnostic::new(name.span.clone(), format!("`{written}` is a field, no function"))
                .help("leave out the parentheses")
        }
        None if method(written).is_some() => {
            Diagnostic::new(name.span.clone(), format!("unknown function `{written}`"))
                .help(method(written).unwrap_or_default())
        }
        None => Diagnostic::new(name.span.clone(), format!("unknown function `{written}`"))
            .suggest(written, functions::ALL.iter().map(|function| function.name)),
    }
}
