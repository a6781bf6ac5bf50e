//! Templates of refusal bodies: checked when loaded, cheap when rendered.
//!
//! The language is minijinja's. A template that only inserts variables and asks whether they are there, as the shipped
//! ones do, is also cut into parts ahead of time and rendered by joining them; the engine runs only for the others.
//! Every value is escaped, whatever the template says: there is no filter that marks a value as safe.

use std::{fmt::Write, ops::Range, sync::Arc};

use bytes::Bytes;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};

use super::{
    parts::Parts,
    trial,
    values::{Value, Values, Variable},
};
use crate::{
    policy::fault::{Fault, Place, Source},
    represent::escape,
};

/// What a template makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A page. Text that is not known is left out.
    Html,
    /// A document. Variables stand inside of strings that the template opens and closes: `"host": "{{ host }}"`.
    Json,
}

impl Format {
    /// Appends `value`, escaped.
    pub(super) fn write(self, value: &Value<'_>, out: &mut impl Write) -> std::fmt::Result {
        match (value, self) {
            (Value::Text(text), _) => self.escape(text, out),
            (Value::Number(number), _) => write!(out, "{number}"),
            (Value::NoNumber, Self::Html) => Ok(()),
            (Value::NoNumber, Self::Json) => out.write_str("null"),
        }
    }

    fn escape(self, text: &str, out: &mut impl Write) -> std::fmt::Result {
        match self {
            Self::Html => escape::html(text, out),
            Self::Json => escape::json(text, out),
        }
    }
}

/// A template that has passed its trial.
#[derive(Debug)]
pub(super) struct Template {
    format: Format,
    renderer: Renderer,
}

#[derive(Debug)]
enum Renderer {
    /// There is nothing to be put in.
    Whole(Bytes),
    Parts(Parts),
    Engine(Box<Environment<'static>>),
}

/// The one name that an environment of ours knows.
const NAME: &str = "page";

/// What one rendering may cost: a page with hundreds of variables, not a runaway loop.
const FUEL: u64 = 100_000;

impl Template {
    /// Compiles the template and renders it on trial, with every reason and every degree of disclosure.
    pub(super) fn compile(source: &Arc<Source>, format: Format) -> Result<Self, Vec<Fault>> {
        let text = match format {
            Format::Html => with_tokens_replaced(&source.text),
            Format::Json => source.text.clone(),
        };
        let engine = engine(&text, format).map_err(|error| vec![fault(source, &error)])?;
        let unknown = unknown_variables(&engine, source);
        if !unknown.is_empty() {
            return Err(unknown);
        }
        trial::run(source, format, |values| render_by(&engine, values)).map_err(|fault| vec![fault])?;
        let renderer = match Parts::cut(&text) {
            Some(parts) => match parts.only_text() {
                Some(text) => Renderer::Whole(Bytes::copy_from_slice(text.as_bytes())),
                None => Renderer::Parts(parts),
            },
            None => Renderer::Engine(Box::new(engine)),
        };
        Ok(Self { format, renderer })
    }

    /// The body that says `values`.
    pub(super) fn render(&self, values: &Values<'_>) -> Result<Bytes, Error> {
        match &self.renderer {
            Renderer::Whole(bytes) => Ok(bytes.clone()),
            Renderer::Parts(parts) => Ok(parts.join(values, self.format).into()),
            Renderer::Engine(engine) => render_by(engine, values).map(Bytes::from),
        }
    }
}

fn render_by(engine: &Environment<'_>, values: &Values<'_>) -> Result<String, Error> {
    engine.get_template(NAME)?.render(variables(values))
}

/// Cloudflare's tokens, each as a variable of exactly the same length, so that faults keep their columns.
fn with_tokens_replaced(text: &str) -> String {
    text.replace("::CLIENT_IP::", "{{client_ip}}")
        .replace("::RAY_ID::", "{{ray_id}}")
        .replace("::GEO::", "{{geo}}")
}

fn engine(text: &str, format: Format) -> Result<Environment<'static>, Error> {
    let mut engine = Environment::new();
    engine.set_debug(true); // Gives errors their place.
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build()?);
    engine.set_fuel(Some(FUEL));
    // These mark values as safe, or escape for another context than the one that we write into.
    for filter in ["safe", "escape", "e", "tojson"] {
        engine.remove_filter(filter);
    }
    // Shows the engine's inside to clients.
    engine.remove_global("debug");
    engine.set_formatter(move |out, _, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let written = match value.as_str() {
            Some(text) => format.escape(text, out),
            None if value.is_none() => format.write(&Value::NoNumber, out),
            None => format.escape(&value.to_string(), out),
        };
        written.map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    engine.add_template_owned(NAME, text.to_owned())?;
    Ok(engine)
}

/// The variables as minijinja takes them.
fn variables(values: &Values<'_>) -> minijinja::Value {
    let alias = [("ray_id", Variable::RequestId), ("geo", Variable::Country)];
    let pairs = Variable::ALL
        .into_iter()
        .map(|variable| (variable.as_str(), variable))
        .chain(alias)
        .map(|(name, variable)| {
            let value = match values.value(variable) {
                Value::Text(text) => minijinja::Value::from(text.into_owned()),
                Value::Number(number) => minijinja::Value::from(number),
                Value::NoNumber => minijinja::Value::from(()),
            };
            (name, value)
        });
    minijinja::Value::from_pairs(pairs)
}

/// A fault for every variable that does not exist, also in branches that no trial takes.
fn unknown_variables(engine: &Environment<'_>, source: &Arc<Source>) -> Vec<Fault> {
    let Ok(template) = engine.get_template(NAME) else {
        return Vec::new();
    };
    let mut names: Vec<String> = template
        .undeclared_variables(false)
        .into_iter()
        .filter(|name| Variable::named(name).is_none() && engine.globals().all(|(global, _)| global != name))
        .collect();
    names.sort();
    names
        .iter()
        .map(|name| {
            let place = Place::new(source, word_in_tag(&source.text, name).unwrap_or(0..0));
            Fault::error(place, format!("unknown variable `{name}`"))
                .expected("no such variable")
                .suggest(name, Variable::ALL.map(Variable::as_str))
                .help(format!(
                    "variables are {}",
                    Variable::ALL.map(Variable::as_str).join(", ")
                ))
        })
        .collect()
}

/// Where `name` first stands as a word inside of `{{ … }}` or `{% … %}`.
fn word_in_tag(text: &str, name: &str) -> Option<Range<usize>> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.match_indices(name)
        .map(|(at, _)| at..at + name.len())
        .filter(|span| {
            let before = text[..span.start].bytes().next_back();
            let after = text[span.end..].bytes().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
        .find(|span| {
            let before = &text[..span.start];
            let opened = before.rfind("{{").max(before.rfind("{%"));
            let closed = before.rfind("}}").max(before.rfind("%}"));
            opened > closed
        })
}

/// What minijinja found, at its place in the file.
pub(super) fn fault(source: &Arc<Source>, error: &Error) -> Fault {
    let span = error
        .range()
        .or_else(|| line_span(&source.text, error.line()?))
        .unwrap_or(0..0);
    let message = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    let fault = Fault::error(Place::new(source, span), message).expected("the template stops making sense here");
    match error.kind() {
        ErrorKind::UnknownFilter => {
            fault.help("every value is escaped already; `safe`, `escape` and `tojson` do not exist here")
        }
        ErrorKind::SyntaxError => fault.help(
            "`{{`, `{%` and `{#` begin template tags; where a page needs them literally, as minified CSS may, put a \
             space between the two characters",
        ),
        _ => fault,
    }
}

/// The text of a line, counted from 1, without its indentation.
pub(super) fn line_span(text: &str, line: usize) -> Option<Range<usize>> {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let line = text[before..].lines().next()?;
    let start = before + line.len() - line.trim_start().len();
    Some(start..before + line.trim_end().len().max(start - before))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::refusal::answers::SHIPPED_PAGE;

    fn compile(text: &str, format: Format) -> Result<Template, Vec<Fault>> {
        Template::compile(&Source::new("page", text), format)
    }

    fn faults(text: &str, format: Format) -> Vec<String> {
        let faults = compile(text, format).expect_err("the template is at fault");
        faults
            .iter()
            .map(|fault| format!("{}: {}", fault.place.as_ref().expect("a place"), fault.message))
            .collect()
    }

    #[test]
    fn the_shipped_templates_compile_and_need_no_engine() {
        for (text, format) in [
            (SHIPPED_PAGE, Format::Html),
            (include_str!("../../../pages/403.json"), Format::Json),
        ] {
            let template = compile(text, format).expect("it compiles");
            assert!(matches!(template.renderer, Renderer::Parts(_)));
        }
    }

    /// Both ways to render say the same, for every reason and degree of disclosure.
    fn assert_parts_equal_engine(text: &str, format: Format) {
        let source = Source::new("page", text);
        let parts = Parts::cut(text).expect("a simple template");
        let engine = engine(text, format).expect("it compiles");
        let rendered = |values: &Values<'_>| render_by(&engine, values);
        trial::run(&source, format, |values| {
            let joined = parts.join(values, format);
            assert_eq!(joined, rendered(values)?);
            Ok(joined)
        })
        .expect("every trial renders");
    }

    #[test]
    fn joined_parts_are_what_the_engine_renders() {
        assert_parts_equal_engine(SHIPPED_PAGE, Format::Html);
        assert_parts_equal_engine(include_str!("../../../pages/403.json"), Format::Json);
        let nested =
            "a{% if rule %}{{ rule }}{% if reason %}b{% else %}c{% endif %}{%else%}d{{geo}}{% endif %}\n{# x #}\n";
        assert_parts_equal_engine(nested, Format::Html);
    }

    #[test]
    fn templates_with_more_than_parts_can_do_are_left_to_the_engine() {
        for text in [
            "{% if reason == 'rule' %}x{% endif %}",
            "{{ host|upper }}",
            "{%- if rule %}x{% endif %}",
            "{{- host }}",
            "{% if rule %}x",
            "{% if rule %}x{% else %}y{% else %}z{% endif %}",
            "{% endif %}",
            "{{ unknown }}",
            "{% raw %}{{ host }}{% endraw %}",
            "{{ host",
        ] {
            assert_eq!(Parts::cut(text), None, "{text}");
        }
    }

    #[test]
    fn a_fault_names_file_line_and_column() {
        for (text, expected) in [
            ("<p>\n  {{ reqest_id }}", "page:2:6: unknown variable `reqest_id`"),
            (
                "{% if reason == 'never' %}{{ nme }}{% endif %}",
                "page:1:30: unknown variable `nme`",
            ),
            (
                "<p>{{ host|safe }}",
                "page:1:12: unknown filter: filter safe is unknown",
            ),
        ] {
            assert_eq!(faults(text, Format::Html), [expected]);
        }
        assert_eq!(faults("a\n {% if host %}", Format::Html).len(), 1);
        assert_eq!(faults("<style>a{#b}</style>", Format::Html).len(), 1);
        assert_eq!(
            faults(
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
                Format::Html
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_misspelt_variable_is_corrected() {
        let faults = compile("{{ reqest_id }}", Format::Html).expect_err("the template is at fault");
        assert_eq!(faults[0].help[0], "did you mean `request_id`?");
    }

    #[test]
    fn a_document_that_would_not_be_json_is_a_fault_on_its_line() {
        for (text, place) in [
            ("{\n  \"host\": {{ host }}\n}", "page:2:3:"),
            ("{\n  \"rule\": {{ rule }}\n}", "page:2:3:"),
            ("{\n  \"status\": {{ status }},\n}", "page:3:1:"),
            (
                "{\"code\": {{ error_code }}{% if not reason %},{% endif %}}",
                "page:1:1:",
            ),
        ] {
            let faults = faults(text, Format::Json);
            assert!(faults.len() == 1 && faults[0].starts_with(place), "{faults:?}");
        }
    }

    proptest! {
        /// Whatever the parts accept, the engine accepts and renders alike.
        #[test]
        fn parts_never_differ_from_the_engine(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12)) {
            let text = pieces.concat();
            if Parts::cut(&text).is_some() {
                assert_parts_equal_engine(&text, Format::Html);
            }
        }
    }

    const PIECES: &[&str] = &[
        "{{ host }}",
        "{{rule}}",
        "{{ geo }}",
        "{{ error_code }}",
        "{{",
        "}}",
        "{% if rule %}",
        "{%if reason%}",
        "{% if error_code %}",
        "{% if status %}",
        "{% else %}",
        "{% endif %}",
        "{% endif %}",
        "{%- endif %}",
        "{# no #}",
        "{#",
        "#}",
        "{%",
        "%}",
        "{",
        "}",
        "{{ host -}}",
        "{# no -#}",
        "{%+ if rule %}",
        " ",
        "\n",
        "\r\n",
        "a",
        "é",
        "-",
        "'",
    ];
}
