//! The reference of fields and functions in `docs/expressions.md` is what the tables say.

use std::{env, fs, path::Path};

use super::{
    elsewhere::{self, Elsewhere},
    fields,
    fields::GeoFact,
    functions,
};
use crate::policy::{
    list::{List, Lists},
    network::IpRange,
};

#[test]
fn the_reference_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/expressions.md");
    let written = fs::read_to_string(&path).expect("the language's documentation");
    let tables = [
        ("fields", field_table()),
        (
            "missing fields",
            table_of_missing("field of Cloudflare's", elsewhere::FIELDS),
        ),
        ("renamed fields", table_of_renamed()),
        ("functions", function_table()),
        (
            "missing functions",
            table_of_missing("function of Cloudflare's", elsewhere::FUNCTIONS),
        ),
    ];
    let current = tables
        .iter()
        .fold(written.clone(), |text, (name, table)| replaced(&text, name, table));
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &current).expect("a writable file");
    } else {
        assert!(
            written == current,
            "run `UPDATE_DOCS=1 cargo test --lib reference` and look at what changed"
        );
    }
}

/// The text with what stands between the markers of this name replaced.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let marker = text.find(&format!("<!-- {name}:")).expect("the opening marker");
    let start = marker + text[marker..].find('\n').expect("a line after it") + 1;
    let end = start + text[start..].find("<!-- end -->").expect("the closing marker");
    format!("{}{table}{}", &text[..start], &text[end..])
}

fn field_table() -> String {
    let rows = fields::ALL.iter().map(|field| {
        let needs = match field.needs {
            Some(GeoFact::Country | GeoFact::Continent) => " Needs `[geoip] country`.",
            Some(GeoFact::Asn) => " Needs `[geoip] asn`.",
            None => "",
        };
        let (name, ty) = (field.name, field.ty());
        format!(
            "| `{name}` | {} | {}{needs}<br>{} |\n",
            cell(&ty.to_string()),
            cell(field.doc),
            code(field.example)
        )
    });
    format!(
        "| field | type | what it is |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

fn function_table() -> String {
    let rows = functions::ALL.iter().map(|function| {
        format!(
            "| {} | {}<br>{} |\n",
            code(&function.signature()),
            cell(function.doc),
            code(function.example)
        )
    });
    format!("| function | what it does |\n|---|---|\n{}", rows.collect::<String>())
}

fn table_of_missing(heading: &str, table: &[Elsewhere]) -> String {
    let rows = table.iter().map(|entry| {
        let names: Vec<String> = entry.names.iter().map(|name| code(name)).collect();
        format!("| {} | {} |\n", names.join(", "), cell(entry.instead))
    });
    format!("| {heading} | instead |\n|---|---|\n{}", rows.collect::<String>())
}

fn table_of_renamed() -> String {
    let rows = fields::RENAMED
        .iter()
        .map(|(old, new)| format!("| {} | {} |\n", code(old), code(new)));
    format!("| old name | field |\n|---|---|\n{}", rows.collect::<String>())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn code(text: &str) -> String {
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{}{fence}", text.replace('|', "\\|"))
}

/// Every block of code in the documentation that is not TOML is made of expressions.
#[test]
fn the_expressions_in_the_documentation_compile() {
    let office = IpRange::parse("203.0.113.0/24").expect("a network");
    let lists = Lists::from_iter([List::ip("office", [office])]);
    let environment = super::Environment::new(&lists);
    let text = include_str!("../../../docs/expressions.md");
    let blocks = text
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix('\n'));
    let mut count = 0;
    for block in blocks {
        let commented = block.contains(" # ");
        let expressions: Vec<String> = if commented {
            block
                .lines()
                .filter_map(|line| line.split_once(" # "))
                .map(|(code, _)| code.to_owned())
                .collect()
        } else {
            vec![block.to_owned()]
        };
        for expression in expressions {
            let compiled = super::Expression::compile(&expression, &environment);
            assert!(compiled.is_ok(), "{expression}: {compiled:?}");
            count += 1;
        }
    }
    assert_eq!(count, 15);
}
