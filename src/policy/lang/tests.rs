//! The language as a whole: cases that are data (`tests/cases/expressions`), and properties.

use std::{fs, path::Path};

use serde::Deserialize;

use super::*;
use crate::policy::{
    list::{List, Lists},
    network::IpRange,
    testing::Request,
};

/// A file of cases. `[[request]]` states a request and what matches it; `[[fault]]` an expression that does not compile;
/// `[[copied]]` expressions from elsewhere, which compile or do not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    request: Vec<RequestCase>,
    #[serde(default)]
    fault: Vec<FaultCase>,
    #[serde(default)]
    copied: Vec<Copied>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestCase {
    url: Option<String>,
    method: Option<String>,
    ip: Option<String>,
    country: Option<String>,
    continent: Option<String>,
    asn: Option<u32>,
    now: Option<i64>,
    /// The site's name, then its hosts.
    site: Option<(String, Vec<String>)>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(default)]
    does_not_match: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultCase {
    expression: String,
    /// What the caret is under; for several faults, the first.
    at: String,
    /// Parts of the message, its label or its help.
    says: Vec<String>,
    /// How many faults there are, when not one.
    faults: Option<usize>,
    /// No geo source is configured.
    #[serde(default)]
    without_geo: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copied {
    /// Where such expressions are found.
    from: String,
    works: Vec<String>,
    /// The expression, what the caret is under, and parts of the message.
    refused: Vec<Vec<String>>,
}

impl RequestCase {
    fn build(&self) -> Request {
        let mut request = Request::get(self.url.as_deref().unwrap_or("https://example.com/"));
        if let Some(method) = &self.method {
            request = request.method(method);
        }
        if let Some(ip) = &self.ip {
            request = request.ip(ip);
        }
        if let Some(country) = &self.country {
            request = request.country(country);
        }
        if let Some(continent) = &self.continent {
            request = request.continent(continent);
        }
        if let Some(asn) = self.asn {
            request = request.asn(asn);
        }
        if let Some(now) = self.now {
            request = request.now(now);
        }
        if let Some((name, hosts)) = &self.site {
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            request = request.site(name, &hosts);
        }
        self.headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    }
}

fn lists() -> Lists {
    let ranges = ["10.0.0.0/8", "2001:db8::/32"].map(|range| IpRange::parse(range).expect("a range"));
    let embargo = ["KP", "IR"].map(|code| crate::policy::facts::Country::new(code).expect("a code"));
    Lists::from_iter([
        List::ip("office", ranges),
        List::asn("hosting", [64496, 64500]),
        List::country("embargo", embargo),
        List::string("partners", ["partner.example", "friend.example"]),
        List::string("mixed", ["example.com", "Example.COM", "get"]),
    ])
}

fn cases() -> Vec<(String, Cases)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/expressions");
    let files = fs::read_dir(&folder).expect("the folder of cases");
    let mut cases: Vec<(String, Cases)> = files
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a readable file");
            let cases = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_name().expect("a name").to_string_lossy().into_owned(), cases)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!cases.is_empty());
    cases
}

fn shown(faults: &[Diagnostic]) -> String {
    faults.iter().map(|fault| format!("\n    {fault}")).collect()
}

#[test]
fn every_expression_matches_the_requests_that_its_case_names() {
    let lists = lists();
    let environment = Environment::new(&lists);
    let mut wrong = Vec::new();
    for (file, cases) in cases() {
        for case in cases.request {
            let request = case.build();
            let facts = request.facts();
            let expected = case.matches.iter().map(|text| (text, true));
            for (text, expected) in expected.chain(case.does_not_match.iter().map(|text| (text, false))) {
                match Expression::compile(text, &environment) {
                    Err(faults) => wrong.push(format!("{file}: {text}: does not compile{}", shown(&faults))),
                    Ok(expression) => {
                        let path = facts.target.path();
                        if expression.matches(&facts, path) != expected {
                            let trace = traced(&expression, &facts, path);
                            wrong.push(format!("{file}: {text}: expected {expected}: {trace:#?}"));
                        }
                        if traced(&expression, &facts, path).outcome != Some(expected) {
                            wrong.push(format!("{file}: {text}: the trace disagrees"));
                        }
                        match Expression::compile(expression.as_str(), &environment) {
                            Ok(again) if again == expression => {}
                            Ok(again) => wrong.push(format!("{file}: {text}: prints {expression}, then {again}")),
                            Err(faults) => wrong.push(format!("{file}: {text}: prints {expression}{}", shown(&faults))),
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fault_says_where_and_what() {
    let lists = lists();
    let sites = ["main".to_owned(), "shop".to_owned()];
    let mut wrong = Vec::new();
    for (file, cases) in cases() {
        for case in cases.fault {
            let environment = Environment {
                geo: if case.without_geo {
                    GeoKnown::NONE
                } else {
                    GeoKnown::ALL
                },
                sites: Some(&sites),
                ..Environment::new(&lists)
            };
            let text = &case.expression;
            let Err(faults) = Expression::compile(text, &environment) else {
                wrong.push(format!("{file}: {text}: compiles"));
                continue;
            };
            if faults.len() != case.faults.unwrap_or(1) {
                wrong.push(format!("{file}: {text}: has {} faults{}", faults.len(), shown(&faults)));
            }
            let at = &text[faults[0].span.clone()];
            if at != case.at {
                wrong.push(format!("{file}: {text}: the caret is under `{at}`{}", shown(&faults)));
            }
            let said = faults[0].to_string();
            for part in case.says.iter().filter(|part| !said.contains(*part)) {
                wrong.push(format!("{file}: {text}: does not say `{part}`{}", shown(&faults)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_copied_from_cloudflare_works_or_is_told_what_to_write() {
    let lists = lists();
    let environment = Environment::new(&lists);
    let mut wrong = Vec::new();
    for copied in cases().into_iter().flat_map(|(_, cases)| cases.copied) {
        for text in &copied.works {
            if let Err(faults) = Expression::compile(text, &environment) {
                wrong.push(format!("{}: {text}: does not compile{}", copied.from, shown(&faults)));
            }
        }
        for refused in &copied.refused {
            let [text, at, says @ ..] = &refused[..] else {
                panic!("{refused:?}: an expression and its place are missing");
            };
            let fault = match Expression::compile(text, &environment) {
                Ok(_) => {
                    wrong.push(format!("{}: {text}: compiles", copied.from));
                    continue;
                }
                Err(faults) => faults[0].clone(),
            };
            let said = fault.to_string();
            if text[fault.span.clone()] != **at || !says.iter().all(|part| said.contains(part)) {
                wrong.push(format!("{}: {text}: `{}`: {said}", copied.from, &text[fault.span]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_examples_in_the_tables_compile() {
    let lists = lists();
    let examples = fields::ALL.iter().map(|field| (field.name, field.doc, field.example));
    let examples = examples.chain(
        functions::ALL
            .iter()
            .map(|function| (function.name, function.doc, function.example)),
    );
    for (name, doc, example) in examples {
        let faults = Expression::compile(example, &Environment::new(&lists))
            .err()
            .unwrap_or_default();
        assert!(faults.is_empty(), "{name}: {example}{}", shown(&faults));
        assert!(!doc.is_empty() && example.contains(name), "{name}");
    }
}

#[test]
fn the_tables_are_sorted_and_name_everything_once() {
    assert!(fields::ALL.is_sorted_by(|a, b| a.name < b.name));
    assert!(functions::ALL.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn nesting_is_bounded_and_breadth_is_not() {
    let lists = lists();
    let compile = |text: &str| Expression::compile(text, &Environment::new(&lists));
    for (open, close) in [("(", ")"), ("not ", ""), ("!", ""), ("not (", ")"), ("lower(", ")")] {
        let text = format!("{}ssl{}", open.repeat(100_000), close.repeat(100_000));
        let faults = compile(&text).expect_err("it nests too deep");
        assert!(
            faults[0].message.contains("nests deeper than 64 levels"),
            "{}",
            faults[0]
        );
    }
    assert!(compile(&format!("{}ssl{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH))).is_ok());
    assert!(compile(&vec!["ssl"; 10_000].join(" and ")).is_ok());
    assert!(compile(&format!("http.host{} eq \"x\"", "[0]".repeat(10_000))).is_err());
    let addresses: Vec<String> = (0..10_000).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    assert!(compile(&format!("ip.src in {{{}}}", addresses.join(" "))).is_ok());
}

#[test]
fn tor_needs_its_list() {
    let lists = lists();
    let environment = Environment {
        geo: GeoKnown {
            tor: false,
            ..GeoKnown::ALL
        },
        ..Environment::new(&lists)
    };
    let faults = Expression::compile(r#"ip.src.country in {"T1" "XX"}"#, &environment).expect_err("no list of exits");
    assert_eq!(
        faults[0].to_string(),
        "no list of Tor exits is configured; set `tor = \"$list\"` in [geoip]"
    );
}

#[test]
fn a_path_is_judged_under_the_reading_that_is_asked_about() {
    let lists = lists();
    let request = Request::get("https://example.com/a?q=1");
    let facts = request.facts();
    let matches = |text: &str, path: &str| {
        Expression::compile(text, &Environment::new(&lists))
            .expect("it compiles")
            .matches(&facts, path)
    };
    assert!(matches(r#"http.request.uri.path eq "/admin""#, "/admin"));
    assert!(matches(r#"http.request.uri eq "/admin?q=1""#, "/admin"));
    assert!(matches(
        r#"http.request.full_uri eq "https://example.com/admin.php?q=1""#,
        "/admin.php"
    ));
    assert!(matches(r#"http.request.uri.path.extension eq "php""#, "/admin.php"));
    assert!(matches(r#"raw.http.request.uri.path eq "/a""#, "/admin"));
}

fn traced(expression: &Expression, facts: &RequestFacts<'_>, path: &str) -> Trace {
    let arena = Bump::new();
    expression.trace(&Input::new(facts, path, &arena), Unknown::NOTHING)
}

#[test]
fn a_trace_tells_what_is_not_known_and_whether_that_decides() {
    let lists = lists();
    let request = Request::get("https://example.com/a");
    let facts = request.facts();
    let arena = Bump::new();
    let unknown = Unknown {
        facts: &[],
        headers: UnknownHeaders::Only(&["x-role"]),
    };
    let input = Input {
        unknown: &unknown,
        ..Input::new(&facts, "/a", &arena)
    };
    let text = r#"ssl and http.request.headers["x-role"][0] eq "ops" and http.request.headers["x-other"][0] ne "1""#;
    let traced = |text: &str| {
        let expression = Expression::compile(text, &Environment::new(&lists)).expect("it compiles");
        expression.trace(&input, Unknown::NOTHING)
    };
    // What was not sent is not unknown: the last part is false, whatever the role.
    assert_eq!(traced(text).outcome, Some(false));
    let trace = traced(r#"ssl and http.request.headers["x-role"][0] eq "ops""#);
    assert_eq!(trace.outcome, None);
    let parts: Vec<_> = trace
        .parts
        .iter()
        .map(|part| (part.decides, part.unknown.as_deref()))
        .collect();
    assert_eq!(parts, [(false, None), (true, Some("the header x-role"))]);
    assert_eq!(
        traced(r#"any(http.request.headers.names[*] eq "host")"#).outcome,
        Some(false)
    );
}

#[test]
fn a_trace_tells_what_each_part_saw() {
    let lists = lists();
    let request = Request::get("https://example.com/a?x=1").country("DE");
    let facts = request.facts();
    let text = r#"ip.src.country eq "FR" or not (ssl and http.request.uri.args["y"][0] eq "1")"#;
    let expression = Expression::compile(text, &Environment::new(&lists)).expect("it compiles");
    let trace = traced(&expression, &facts, "/a");
    let part = |text: &str, outcome: bool, decides: bool| Trace {
        text: text.to_owned(),
        outcome: Some(outcome),
        decides,
        join: None,
        about: None,
        saw: None,
        unknown: None,
        list: None,
        parts: Vec::new(),
    };
    let leaf = |text: &str, decides, about: &str, saw: &str| Trace {
        about: Some(about.to_owned()),
        saw: Some(saw.to_owned()),
        ..part(text, false, decides)
    };
    let argument = r#"http.request.uri.args["y"][0]"#;
    let and = Trace {
        join: Some("and"),
        parts: vec![
            part("ssl", true, false),
            leaf(&format!("{argument} eq \"1\""), true, argument, "absent"),
        ],
        ..part(&format!("ssl and {argument} eq \"1\""), false, true)
    };
    let not = Trace {
        join: Some("not"),
        ..part(&format!("not ({})", and.text), true, true)
    };
    let not = Trace {
        parts: vec![and],
        ..not
    };
    let country = leaf(r#"ip.src.country eq "FR""#, false, "ip.src.country", "\"DE\"");
    assert_eq!(trace.outcome, Some(true));
    assert_eq!(trace.text, text);
    assert_eq!(trace.parts, [country, not]);
}

#[test]
fn a_trace_never_shows_credentials() {
    let lists = lists();
    let request = Request::get("https://example.com/")
        .header("authorization", "Bearer hunter2")
        .header("cookie", "session=hunter2")
        .header("x-api-key", "hunter2")
        .header("accept", "text/html");
    let facts = request.facts();
    let saw = |text: &str| {
        let expression = Expression::compile(text, &Environment::new(&lists)).expect("it compiles");
        format!("{:?}", traced(&expression, &facts, "/"))
    };
    for text in [
        r#"http.cookie contains "x""#,
        r#"lower(http.cookie) contains "x""#,
        r#"http.request.cookies["session"][0] eq "x""#,
        r#"any(http.request.headers["Authorization"][*] eq "x")"#,
        r#"starts_with(http.request.headers["authorization"][0], "x")"#,
        r#"any(starts_with(http.request.headers["x-api-key"][*], "x"))"#,
        r#"any(http.request.headers.values[*] eq "x")"#,
        r#"concat(http.host, http.cookie) eq "x""#,
        r#"has_value(http.request.headers, "x")"#,
        r#"lower(split(concat("a", http.cookie), "=", 3)[1]) eq "x""#,
    ] {
        assert!(!saw(text).contains("hunter2"), "{}", saw(text));
        assert!(saw(text).contains("(not shown)"), "{}", saw(text));
    }
    assert!(saw(r#"http.request.headers["accept"][0] eq "x""#).contains("text/html"));
}

#[test]
fn what_is_printed_nests_no_deeper_than_what_is_read() {
    let lists = Lists::new();
    let deep = (0..40).fold("ssl".to_owned(), |inner, _| format!("(ssl or not ssl and {inner})"));
    let faults = Expression::compile(&deep, &Environment::new(&lists)).expect_err("printed, it would nest too deep");
    assert!(shown(&faults).contains("nests deeper than 64 levels when all its groups"));
    let less = (0..30).fold("ssl".to_owned(), |inner, _| format!("(ssl or not ssl and {inner})"));
    let printed = Expression::compile(&less, &Environment::new(&lists)).expect("it compiles");
    let again = Expression::compile(printed.as_str(), &Environment::new(&lists));
    assert_eq!(again, Ok(printed));
}

#[test]
fn regular_expressions_are_about_bytes_unless_they_name_other_characters() {
    let lists = Lists::new();
    let environment = Environment::new(&lists);
    let matches = |agent: &[u8], pattern: &str| {
        let text = format!("http.user_agent matches {}", quoted_regex(pattern));
        let expression = Expression::compile(&text, &environment).expect("an expression");
        let request = Request::get("/").header("user-agent", agent);
        expression.matches(&request.facts(), "/")
    };
    assert!(matches(b"sqlmap\xffscan", "sqlmap.scan"));
    assert!(matches(b"a\xffb", "[^ -~]"));
    assert!(!matches("é".as_bytes(), "^.$"));
    assert!(matches("é".as_bytes(), "(?u)^.$"));
    assert!(matches("É".as_bytes(), "(?i)é"));
    assert!(!matches("\u{212a}".as_bytes(), "(?i)^k$"));
}
