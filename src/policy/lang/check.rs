//! Syntax to a checked expression: finds every name, gives everything a type, and gathers all faults on the way.

use super::{
    ast::{Base, Comparison, Elementwise, Literal, Predicate, Quantifier, Step, Test, Value},
    diagnostics::Diagnostic,
    environment::Environment,
    fields::{Field, Sort},
    functions::{Body, Function},
    impossible::{self, Part},
    literals,
    mistakes::{EACH_NAMES_ITS_FIELD, several},
    needle::Needle,
    parser::MAX_DEPTH,
    syntax::{self, At, Literal as Written, Logic, Node, Operator, Relation, Right, Syntax},
    types::{Scalar, Type},
    wildcard::Case,
};

/// The checked expression, or everything that is wrong with it.
pub(super) fn check(syntax: &Syntax, environment: &Environment<'_>) -> Result<Predicate, Vec<Diagnostic>> {
    let mut checker = Checker {
        environment,
        faults: Vec::new(),
    };
    let predicate = checker.predicate(syntax);
    match predicate {
        // The canonical text puts every group in parentheses, and must parse back.
        Some(predicate) if checker.faults.is_empty() && predicate.depth() > MAX_DEPTH => Err(vec![
            Diagnostic::new(
                syntax.span.clone(),
                format!("the expression nests deeper than {MAX_DEPTH} levels when all its groups are in parentheses"),
            )
            .help("split it into several rules, or use sets and lists: `in {…}`, `in $list`"),
        ]),
        Some(predicate) if checker.faults.is_empty() => Ok(predicate),
        Some(_) | None => Err(checker.faults),
    }
}

/// A `None` from any of its methods means that a fault was recorded.
pub(super) struct Checker<'e> {
    pub(super) environment: &'e Environment<'e>,
    faults: Vec<Diagnostic>,
}

impl Checker<'_> {
    /// A part of an expression; `None` if something is wrong with it.
    pub(super) fn checked(syntax: &Syntax, environment: &Environment<'_>) -> Option<Predicate> {
        let mut checker = Checker {
            environment,
            faults: Vec::new(),
        };
        checker.predicate(syntax)
    }

    pub(super) fn fault<T>(&mut self, fault: Diagnostic) -> Option<T> {
        self.faults.push(fault);
        None
    }

    pub(super) fn sound<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn predicate(&mut self, syntax: &Syntax) -> Option<Predicate> {
        match &syntax.node {
            Node::Not(inner) => Some(Predicate::Not(Box::new(self.predicate(inner)?))),
            Node::Group(logic, parts) => {
                let checked: Vec<_> = parts.iter().map(|part| self.predicate(part)).collect();
                joined(*logic, checked)
            }
            Node::Compare { left, operator, right } => {
                let comparison = self.comparison(left, operator, right)?;
                match comparison.value.ty {
                    Type::Each(_) => self.fault(
                        Diagnostic::new(syntax.span.clone(), "this has an outcome for each element, not one")
                            .expected("expected one condition")
                            .help(format!(
                                "say how many must hold: `any({comparison})` or `all({comparison})`"
                            )),
                    ),
                    Type::One(_) | Type::Array(_) | Type::Map => Some(Predicate::Compare(comparison)),
                }
            }
            Node::Path { base, steps } => self.bare(syntax, base, steps),
        }
    }

    /// A value that stands alone as a condition.
    fn bare(&mut self, syntax: &Syntax, base: &At<syntax::Base>, steps: &[At<syntax::Step>]) -> Option<Predicate> {
        if let syntax::Base::Call { name, arguments } = &base.node
            && let Some(function) = Function::named(&name.node)
            && let Body::Quantifier(quantifier) = function.body
            && steps.is_empty()
        {
            return self.quantified(quantifier, name, arguments);
        }
        let value = self.value(base, steps)?;
        match (&value.base, value.ty) {
            (Base::Literal(Literal::Bool(constant)), _) => Some(Predicate::Constant(*constant)),
            (Base::Field(_) | Base::Call(_), Type::BOOL) => Some(Predicate::Holds(value)),
            (_, Type::Array(Scalar::Bool)) => self.fault(
                Diagnostic::new(syntax.span.clone(), "this has an outcome for each element, not one")
                    .expected("expected one condition")
                    .help(format!("say how many must hold: `any({value})` or `all({value})`")),
            ),
            (Base::Literal(_), ty) => self.fault(
                Diagnostic::new(syntax.span.clone(), format!("a value alone ({ty}) is no condition"))
                    .expected("expected a condition")
                    .help(EACH_NAMES_ITS_FIELD),
            ),
            (Base::Field(_) | Base::Call(_), ty) => self.fault(
                Diagnostic::new(
                    syntax.span.clone(),
                    format!("`{value}` is {}, no condition", described(ty)),
                )
                .expected("expected a comparison")
                .help(example_of(&value)),
            ),
        }
    }

    fn quantified(&mut self, quantifier: Quantifier, name: &At<String>, arguments: &[Syntax]) -> Option<Predicate> {
        let [argument] = arguments else {
            return self.fault(
                Diagnostic::new(name.span.clone(), format!("`{}` takes one condition", name.node)).help(format!(
                    "such as `{}(http.request.headers[\"x-name\"][*] eq \"value\")`",
                    name.node
                )),
            );
        };
        self.quantify(quantifier, argument)
    }

    /// `any(… or …)` is `any(…) or any(…)`, `all(… and …)` is `all(…) and all(…)`.
    fn quantify(&mut self, quantifier: Quantifier, syntax: &Syntax) -> Option<Predicate> {
        match &syntax.node {
            Node::Group(logic, parts) if distributes(quantifier, *logic) => {
                let parts: Vec<_> = parts.iter().map(|part| self.quantify(quantifier, part)).collect();
                joined(*logic, parts)
            }
            Node::Not(_) | Node::Group(..) | Node::Compare { .. } | Node::Path { .. } => {
                Some(Predicate::Quantified(quantifier, self.elementwise(quantifier, syntax)?))
            }
        }
    }

    fn elementwise(&mut self, quantifier: Quantifier, syntax: &Syntax) -> Option<Elementwise> {
        let name = quantifier.as_str();
        match &syntax.node {
            Node::Not(inner) => Some(Elementwise::Not(Box::new(self.elementwise(quantifier, inner)?))),
            Node::Group(logic, _) => self.fault(
                Diagnostic::new(syntax.span.clone(), format!("`{name}` takes one condition"))
                    .expected(format!("found several joined by `{}`", logic.as_str()))
                    .help(format!(
                        "join them outside, `{name}(…) {} {name}(…)`: each is then asked of all elements by itself",
                        logic.as_str()
                    )),
            ),
            Node::Compare { left, operator, right } => {
                let comparison = self.comparison(left, operator, right)?;
                match comparison.value.ty {
                    Type::Each(_) => Some(Elementwise::Compare(comparison)),
                    Type::One(_) | Type::Array(_) | Type::Map => self.fault(
                        Diagnostic::new(
                            left.span.clone(),
                            format!("`{name}` needs something with several elements"),
                        )
                        .expected("expected an array followed by [*]")
                        .help(format!("without `{name}` it is a condition already: `{comparison}`")),
                    ),
                }
            }
            Node::Path { base, steps } => {
                let value = self.value(base, steps)?;
                match value.ty {
                    Type::Array(Scalar::Bool) => Some(Elementwise::Holds(value)),
                    ty => self.fault(
                        Diagnostic::new(
                            syntax.span.clone(),
                            format!("`{name}` takes a condition on each element"),
                        )
                        .expected(format!("found {}", described(ty)))
                        .help(format!(
                            "such as `{name}(http.request.headers[\"x-name\"][*] eq \"value\")`"
                        )),
                    ),
                }
            }
        }
    }

    fn comparison(&mut self, left: &Syntax, operator: &At<Operator>, right: &At<Right>) -> Option<Comparison> {
        let Node::Path { base, steps } = &left.node else {
            return self.fault(Diagnostic::new(left.span.clone(), "a condition cannot be compared"));
        };
        if let syntax::Base::Literal(_) = base.node {
            return self.fault(
                Diagnostic::new(
                    left.span.clone(),
                    "the left side of a comparison must be a field or a function",
                )
                .expected("found a value")
                .help("swap the sides: `http.host eq \"example.com\"`"),
            );
        }
        let value = self.value(base, steps)?;
        let scalar = match value.ty {
            Type::One(Scalar::Bool) | Type::Each(Scalar::Bool) => {
                return self.fault(
                    Diagnostic::new(operator.span.clone(), format!("`{value}` is a condition already"))
                        .expected("nothing to compare")
                        .help(as_condition(&value, operator.node, &right.node)),
                );
            }
            Type::One(scalar) | Type::Each(scalar) => scalar,
            Type::Array(_) | Type::Map => {
                return self.fault(
                    Diagnostic::new(left.span.clone(), format!("`{value}` is {}", described(value.ty)))
                        .expected("expected one value")
                        .help(of_elements(&value, operator.node, &right.node)),
                );
            }
        };
        let test = match self.test(operator, right, scalar, sort_of(&value))? {
            Test::Contains(needle) if is_lowered(&value) => Test::Contains(needle.in_any_case()),
            test => test,
        };
        Some(Comparison { value, test })
    }

    fn test(&mut self, operator: &At<Operator>, right: &At<Right>, scalar: Scalar, sort: Sort) -> Option<Test> {
        match operator.node {
            Operator::In => self.membership(right, scalar, sort),
            Operator::Relation(relation) => {
                if scalar == Scalar::Ip && !matches!(relation, Relation::Equal | Relation::NotEqual) {
                    return self.fault(
                        Diagnostic::new(operator.span.clone(), "addresses have no order")
                            .expected("expected `eq`, `ne` or `in`")
                            .help("a range is written `ip.src in {10.0.0.1..10.0.0.9}`"),
                    );
                }
                let literal = self.single(operator, right)?;
                self.ordered(relation, scalar, operator, &literal)?;
                let compared = self.literal(&literal, scalar)?;
                if matches!(relation, Relation::Equal | Relation::NotEqual) {
                    self.possible(sort, &compared, &literal)?;
                }
                Some(Test::Relation(relation, compared))
            }
            Operator::Contains | Operator::Matches | Operator::Wildcard | Operator::StrictWildcard => {
                if scalar != Scalar::String {
                    return self.fault(
                        Diagnostic::new(
                            operator.span.clone(),
                            format!("`{}` is for strings", operator.node.as_str()),
                        )
                        .expected(format!("the left side is {}", described(Type::One(scalar))))
                        .help("use `eq`, `ne` or `in`"),
                    );
                }
                let literal = self.single(operator, right)?;
                self.text_test(operator.node, &literal, sort)
            }
        }
    }

    /// Records a fault for a string that is to be less or more than a number: strings are compared byte by byte, and
    /// "99" would be more than "100".
    fn ordered(
        &mut self,
        relation: Relation,
        scalar: Scalar,
        operator: &At<Operator>,
        literal: &At<Written>,
    ) -> Option<()> {
        let is_order = !matches!(relation, Relation::Equal | Relation::NotEqual);
        match &literal.node {
            Written::Word(word) if is_order && scalar == Scalar::String && literals::parse_int(word).is_some() => self
                .fault(
                    Diagnostic::new(operator.span.clone(), "a string is compared with a number")
                        .expected("strings are compared byte by byte: \"99\" is more than \"100\"")
                        .help("compare its length, `len(…)`, or say with `matches` how the number is written: `matches \"^[0-9]{4,}$\"`"),
                ),
            Written::Word(_) | Written::Text { .. } => Some(()),
        }
    }

    fn text_test(&mut self, operator: Operator, literal: &At<Written>, sort: Sort) -> Option<Test> {
        match operator {
            Operator::Matches => self.sound(literals::regex(literal)).map(Test::Matches),
            Operator::Wildcard | Operator::StrictWildcard => {
                let case = if operator == Operator::Wildcard {
                    Case::Insensitive
                } else {
                    Case::Sensitive
                };
                let wildcard = self.sound(literals::wildcard(literal, case))?;
                if let Some(fault) = impossible::pattern(sort, &wildcard, &literal.span) {
                    return self.fault(fault);
                }
                Some(Test::Wildcard(wildcard))
            }
            Operator::Contains | Operator::In | Operator::Relation(_) => {
                let text = self.sound(literals::text(literal))?;
                if text.is_empty() {
                    return self.fault(
                        Diagnostic::new(literal.span.clone(), "every string contains the empty one")
                            .help("to test for an empty string, write `eq \"\"`"),
                    );
                }
                if let Some(fault) = impossible::part(sort, Part::Anywhere, &text, &literal.span) {
                    return self.fault(fault);
                }
                Some(Test::Contains(Needle::new(&text)))
            }
        }
    }

    /// The one literal on the right of an operator.
    fn single(&mut self, operator: &At<Operator>, right: &At<Right>) -> Option<At<Written>> {
        let fault = |message: &str| Diagnostic::new(right.span.clone(), message);
        let name = operator.node.as_str();
        match &right.node {
            Right::Literal(literal) => Some(At {
                span: right.span.clone(),
                node: literal.clone(),
            }),
            Right::Set(_) => self.fault(
                fault("a set is tested with `in`")
                    .expected("expected one value")
                    .help(several(operator.node)),
            ),
            Right::List(list) => self.fault(
                fault("a list is tested with `in`")
                    .expected("expected one value")
                    .help(format!("write `in ${list}`")),
            ),
            Right::Name(written) if Field::named(written).is_some() => self.fault(
                fault("two fields cannot be compared with each other")
                    .expected(format!("`{name}` takes a value written in the rule")),
            ),
            Right::Name(written) => self.fault(bare_word(right, written)),
        }
    }

    pub(super) fn literal(&mut self, literal: &At<Written>, scalar: Scalar) -> Option<Literal> {
        match scalar {
            Scalar::Int => self.sound(literals::int(literal)).map(Literal::Int),
            Scalar::Ip => self.sound(literals::ip(literal)).map(Literal::Ip),
            Scalar::String => {
                let text = self.sound(literals::text(literal))?;
                Some(Literal::Text(text.into_boxed_slice()))
            }
            Scalar::Bool => self.fault(Diagnostic::new(literal.span.clone(), "conditions are not compared")),
        }
    }

    /// Records a fault for a value that the field can never have.
    pub(super) fn possible(&mut self, sort: Sort, value: &Literal, written: &At<Written>) -> Option<()> {
        let fault = match value {
            Literal::Text(text) => impossible::value(sort, text, &written.span, self.environment),
            Literal::Int(asn) if sort == Sort::Asn && u32::try_from(*asn).is_err() => Some(
                Diagnostic::new(written.span.clone(), format!("{asn} is no autonomous system's number"))
                    .help("they go from 0 (unknown) to 4294967295"),
            ),
            Literal::Int(_) | Literal::Ip(_) | Literal::Bool(_) => None,
        };
        match fault {
            Some(fault) => self.fault(fault),
            None => Some(()),
        }
    }
}

/// Parts joined by the same operator become one group.
fn joined(logic: Logic, parts: Vec<Option<Predicate>>) -> Option<Predicate> {
    let mut flat = Vec::new();
    for part in parts {
        match part? {
            Predicate::Group(inner, parts) if inner == logic => flat.extend(parts),
            part => flat.push(part),
        }
    }
    Some(Predicate::Group(logic, flat))
}

/// Whether asking each part of all elements comes to the same as asking all parts of each element.
fn distributes(quantifier: Quantifier, logic: Logic) -> bool {
    match quantifier {
        Quantifier::Any => logic == Logic::Or,
        Quantifier::All => logic == Logic::And,
    }
}

/// `ssl eq true` and its like, as the condition that was meant.
fn as_condition(value: &Value, operator: Operator, right: &Right) -> String {
    let equal = match operator {
        Operator::Relation(Relation::Equal) => true,
        Operator::Relation(Relation::NotEqual) => false,
        Operator::Relation(_)
        | Operator::Contains
        | Operator::Matches
        | Operator::Wildcard
        | Operator::StrictWildcard
        | Operator::In => return format!("write `{value}` or `not {value}`"),
    };
    let wanted = match right {
        Right::Name(name) if name == "true" => equal,
        Right::Name(name) if name == "false" => !equal,
        Right::Literal(Written::Word(word)) if word == "1" => equal,
        Right::Literal(Written::Word(word)) if word == "0" => !equal,
        Right::Literal(_) | Right::Set(_) | Right::List(_) | Right::Name(_) => {
            return format!("write `{value}` or `not {value}`");
        }
    };
    if wanted {
        format!("write `{value}`")
    } else {
        format!("write `not {value}`")
    }
}

/// An unquoted word where a value should be.
fn bare_word(right: &At<Right>, written: &str) -> Diagnostic {
    let fault = Diagnostic::new(right.span.clone(), format!("`{written}` is no value"));
    let number = written.strip_prefix("AS").or_else(|| written.strip_prefix("as"));
    match (number.filter(|number| literals::parse_int(number).is_some()), written) {
        (Some(number), _) => fault.help(format!("an autonomous system is written as a number: {number}")),
        (None, "true" | "false") => fault.help("conditions are not compared: write the condition, or `not` before it"),
        (None, _) => fault
            .expected("expected a string in double quotes, a number or an address")
            .help(format!("if it is a string, write \"{written}\"")),
    }
}

/// Whether it is `lower(…)` of one text.
fn is_lowered(value: &Value) -> bool {
    matches!(&value.base, Base::Call(call) if call.function.name == "lower")
        && value.ty == Type::STRING
        && value.steps.is_empty()
}

/// What the values look like, an array's elements too; what most functions make of a field looks like anything.
pub(super) fn sort_of(value: &Value) -> Sort {
    match &value.base {
        Base::Field(field) => field.sort,
        Base::Call(call) => match call.function.name {
            "lower" => Sort::Lower,
            "upper" => Sort::Upper,
            _ => Sort::Any,
        },
        Base::Literal(_) => Sort::Any,
    }
}

pub(super) fn described(ty: Type) -> String {
    match ty {
        Type::One(Scalar::Bool) => "a Bool".to_owned(),
        Type::One(Scalar::Int) => "an Int".to_owned(),
        Type::One(Scalar::String) => "a String".to_owned(),
        Type::One(Scalar::Ip) => "an IP address".to_owned(),
        Type::Array(scalar) => format!("an Array<{scalar}>"),
        Type::Each(scalar) => format!("each {scalar} of an array"),
        Type::Map => "a map of arrays".to_owned(),
    }
}

/// The comparison of an array or a map that was probably meant.
fn of_elements(value: &Value, operator: Operator, right: &Right) -> String {
    if value.ty == Type::Map {
        return example_of(value);
    }
    let comparison = format!("{} {}", operator.as_str(), right.written());
    format!("look at its elements: `any({value}[*] {comparison})` or `{value}[0] {comparison}`")
}

/// How a value is used in a condition.
fn example_of(value: &Value) -> String {
    let key = match value.steps.last() {
        Some(Step::Each) => "",
        Some(Step::Key(_) | Step::Index(_)) | None => "[*]",
    };
    match value.ty {
        Type::BOOL | Type::Array(Scalar::Bool) | Type::Each(Scalar::Bool) => format!("write `{value}`"),
        Type::INT => format!("compare it: `{value} eq 1`"),
        Type::IP => format!("compare it: `{value} in {{10.0.0.0/8}}`"),
        Type::One(_) => format!("compare it: `{value} eq \"…\"`"),
        Type::Array(_) | Type::Each(_) => format!("look at its elements: `any({value}{key} eq \"…\")` or `{value}[0]`"),
        Type::Map => format!("look at one name: `any({value}[\"name\"][*] eq \"…\")`"),
    }
}
