//! What holds of every expression, tried on generated ones.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::policy::{
    list::{List, Lists},
    network::IpRange,
    testing::Request,
};

fn lists() -> Lists {
    let office = IpRange::parse("10.0.0.0/8").expect("a network");
    Lists::from_iter([List::ip("office", [office]), List::string("names", ["a"])])
}

fn request() -> Request {
    Request::get("https://example.com/a/B.php?x=1&y=%41")
        .ip("10.0.0.1")
        .country("DE")
        .asn(7)
        .header("x", "a")
        .header("x", "b")
        .header("cookie", "a=b; c")
        .header("referer", "https://example.com/")
        .header("user-agent", b"caf\xe9 \xff".as_slice())
}

/// Every piece that the grammar has, and some that it has not.
const PIECES: [&str; 64] = [
    "http.host",
    "ip.src",
    "ip.src.asnum",
    "ssl",
    "true",
    "http.request.uri.path",
    "http.request.headers",
    "http.request.headers.names",
    "http.user_agent",
    "http.request.uri.args",
    "eq",
    "ne",
    "lt",
    "==",
    "!=",
    "<=",
    ">",
    "contains",
    "matches",
    "~",
    "wildcard",
    "strict",
    "in",
    "and",
    "or",
    "xor",
    "not",
    "&&",
    "||",
    "^^",
    "!",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "*",
    "[*]",
    "[0]",
    "[\"x\"]",
    "any(",
    "all(",
    "lower(",
    "len(",
    "split(",
    "cidr(",
    "\"a\"",
    "\"/a*\"",
    "r\"\\.\"",
    "r#\"a\"b\"#",
    "\"\\x41\"",
    "1",
    "-5",
    "1..5",
    "10.0.0.0/8",
    "::1..::5",
    "$office",
    "$names",
    "$none",
    "\"",
    "\\",
    "ä",
];

/// An expression that compiles, by construction.
fn expression() -> impl Strategy<Value = String> {
    condition().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not {inner}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            (vec(inner, 2..4), select(&["and", "or", "xor", "&&", "||", "^^"][..]))
                .prop_map(|(parts, operator)| format!("({})", parts.join(&format!(" {operator} ")))),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        select(
            &[
                "ssl",
                "true",
                "false",
                "portcullis.referer.is_own",
                "starts_with(http.host, \"ex\")"
            ][..]
        )
        .prop_map(str::to_owned),
        (text_value(), text_test()).prop_map(|(value, test)| format!("{value} {test}")),
        (int_value(), int_test()).prop_map(|(value, test)| format!("{value} {test}")),
        address_test().prop_map(|test| format!("ip.src {test}")),
        (select(&["any", "all"][..]), any::<bool>(), array(), text_test()).prop_map(
            |(quantifier, not, array, test)| {
                let not = if not { "not " } else { "" };
                format!("{quantifier}({not}{array}[*] {test})")
            }
        ),
    ]
}

fn text_value() -> impl Strategy<Value = String> {
    let field = select(
        &[
            "http.user_agent",
            "http.referer",
            "http.request.uri.query",
            "http.request.full_uri",
        ][..],
    );
    prop_oneof![
        field.clone().prop_map(str::to_owned),
        field.clone().prop_map(|field| format!("url_decode({field})")),
        (array(), 0..3usize).prop_map(|(array, index)| format!("{array}[{index}]")),
        (field, literal()).prop_map(|(field, literal)| format!("concat({field}, {literal}, 5)")),
    ]
}

fn array() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|key| format!("http.request.uri.args[{}]", quoted(&key))),
        Just("http.request.headers[\"X\"]".to_owned()),
        Just("http.request.uri.args.names".to_owned()),
        Just("url_decode(http.request.headers.values[*])".to_owned()),
        Just("split(http.host, \".\", 3)".to_owned()),
    ]
}

fn text_test() -> impl Strategy<Value = String> {
    let relation = select(&["eq", "ne", "lt", "le", "gt", "ge", "==", "!=", "<", "<=", ">", ">="][..]);
    prop_oneof![
        (relation, literal()).prop_map(|(relation, literal)| format!("{relation} {literal}")),
        literal().prop_filter_map("empty", |literal| (literal != "\"\"")
            .then(|| format!("contains {literal}"))),
        vec(literal(), 1..4).prop_map(|literals| format!("in {{{}}}", literals.join(" "))),
        r#"[a-z"\\*\[\]()+.?^$é ]{1,8}"#.prop_filter_map("no regex", |pattern| {
            regex::bytes::Regex::new(&pattern)
                .ok()
                .map(|_| format!("matches {}", quoted_regex(&pattern)))
        }),
        ("[a-z*\\\\\"é]{0,8}", any::<bool>()).prop_filter_map("no pattern", |(pattern, strict)| {
            Wildcard::new(pattern.as_bytes(), Case::Sensitive).ok()?;
            let strict = if strict { "strict " } else { "" };
            Some(format!("{strict}wildcard {}", quoted(&pattern)))
        }),
        Just("in $names".to_owned()),
    ]
}

fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| quoted(&text)),
        "[a-z\"\\\\#]{0,6}".prop_map(|text| quoted(&text)),
        vec(any::<u8>(), 0..6).prop_map(|bytes| {
            let escapes: String = bytes.iter().map(|byte| format!("\\x{byte:02X}")).collect();
            format!("\"{escapes}\"")
        }),
    ]
}

fn int_value() -> impl Strategy<Value = String> {
    select(
        &[
            "ip.src.asnum",
            "portcullis.now",
            "len(http.host)",
            "len(http.request.headers.names)",
        ][..],
    )
    .prop_map(str::to_owned)
}

fn int_test() -> impl Strategy<Value = String> {
    let relation = select(&["eq", "ne", "lt", "le", "gt", "ge"][..]);
    prop_oneof![
        (relation, any::<u32>()).prop_map(|(relation, value)| format!("{relation} {value}")),
        vec((any::<u16>(), any::<u16>()), 1..4).prop_map(|ranges| {
            let ranges = ranges.iter().map(|(a, b)| format!("{}..{}", a.min(b), a.max(b)));
            format!("in {{{}}}", ranges.collect::<Vec<_>>().join(" "))
        }),
    ]
}

fn address_test() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(|address| format!("eq {address}")),
        any::<std::net::IpAddr>().prop_map(|address| format!("ne {address}")),
        vec((any::<std::net::IpAddr>(), 0..=128u8), 1..4).prop_map(|networks| {
            let networks = networks
                .iter()
                .map(|(address, prefix)| crate::policy::network::Network::new(*address, *prefix).to_string());
            format!("in {{{}}}", networks.collect::<Vec<_>>().join(" "))
        }),
        Just("in $office".to_owned()),
    ]
}

/// Spans must be fit for slicing: the caret is drawn under them.
fn assert_places(text: &str, faults: &[Diagnostic]) {
    for fault in faults {
        assert!(
            text.get(fault.span.clone()).is_some(),
            "{text:?}: {:?} {fault}",
            fault.span
        );
        assert!(!fault.message.is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in any::<String>()) {
        let lists = lists();
        if let Err(faults) = Expression::compile(&text, &Environment::new(&lists)) {
            assert_places(&text, &faults);
        }
    }

    #[test]
    fn no_sequence_of_pieces_makes_the_compiler_panic(pieces in vec(select(&PIECES[..]), 0..14), glue in "[ ]{0,1}") {
        let lists = lists();
        let text = pieces.join(&glue);
        match Expression::compile(&text, &Environment::new(&lists)) {
            Err(faults) => assert_places(&text, &faults),
            Ok(expression) => {
                let again = Expression::compile(expression.as_str(), &Environment::new(&lists));
                prop_assert_eq!(again.as_ref().map(Expression::as_str), Ok(expression.as_str()));
            }
        }
    }

    #[test]
    fn what_is_printed_compiles_to_the_same_expression(text in expression()) {
        let lists = lists();
        let environment = Environment::new(&lists);
        let expression = Expression::compile(&text, &environment);
        prop_assert!(expression.is_ok(), "{}: {:?}", text, expression);
        let request = request();
        let facts = request.facts();
        if let Ok(expression) = expression {
            let again = Expression::compile(expression.as_str(), &environment);
            prop_assert_eq!(again.as_ref().map(Expression::as_str), Ok(expression.as_str()), "{}", text);
            let matches = expression.matches(&facts, "/a/B.php");
            prop_assert_eq!(again.map(|again| again.matches(&facts, "/a/B.php")), Ok(matches));
            let arena = bumpalo::Bump::new();
            let trace = expression.trace(&Input::new(&facts, "/a/B.php", &arena), Unknown::NOTHING);
            prop_assert_eq!(trace.outcome, Some(matches));
        }
    }

    #[test]
    fn a_formatted_text_compiles_to_the_same_expression_and_stays(text in expression(), width in 1..120usize) {
        let lists = lists();
        let environment = Environment::new(&lists);
        let compiled = |text: &str| Expression::compile(text, &environment).map(|compiled| compiled.as_str().to_owned());
        let formatted = layout(&text, width).expect("it parses").join("\n");
        prop_assert_eq!(compiled(&formatted), compiled(&text));
        prop_assert_eq!(layout(&formatted, width).expect("it parses").join("\n"), formatted);
    }

    #[test]
    fn whatever_parses_can_be_formatted_and_stays(pieces in vec(select(&PIECES[..]), 0..14), width in 1..80usize) {
        if let Ok(lines) = layout(&pieces.join(" "), width) {
            let formatted = lines.join("\n");
            prop_assert_eq!(layout(&formatted, width).map(|lines| lines.join("\n")), Ok(formatted));
        }
    }

    #[test]
    fn a_lowered_text_contains_what_a_plain_search_finds_in_it(
        agent in "[aAbBzZkKéÉ@`{\\[ſ\u{212a}]{0,12}",
        part in "[abzké@`{\\[ſ\u{212a}]{1,3}",
    ) {
        let lists = lists();
        let text = format!("lower(http.user_agent) contains {}", quoted(&part));
        let expression = Expression::compile(&text, &Environment::new(&lists)).expect("it compiles");
        let request = Request::get("/").header("user-agent", agent.as_bytes());
        prop_assert_eq!(expression.matches(&request.facts(), "/"), agent.to_ascii_lowercase().contains(&part));
        let plain = format!("http.user_agent contains {}", quoted(&part));
        let plain = Expression::compile(&plain, &Environment::new(&lists)).expect("it compiles");
        prop_assert_eq!(plain.matches(&request.facts(), "/"), agent.contains(&part));
    }

    #[test]
    fn a_quoted_text_means_itself(text in any::<String>(), pattern in r#"[a-z"\\#.]{1,9}"#) {
        let lists = lists();
        let written = format!("http.user_agent eq {}", quoted(&text));
        let compiled = Expression::compile(&written, &Environment::new(&lists));
        let test = compiled.map(|expression| match expression.root() {
            ast::Predicate::Compare(ast::Comparison { test: ast::Test::Relation(_, literal), .. }) => Some(literal.clone()),
            _ => None,
        });
        prop_assert_eq!(test, Ok(Some(ast::Literal::Text(text.as_bytes().into()))));

        let written = format!("http.user_agent matches {}", quoted_regex(&pattern));
        if let Ok(compiled) = Expression::compile(&written, &Environment::new(&lists)) {
            let is_same = matches!(compiled.root(), ast::Predicate::Compare(comparison)
                if matches!(&comparison.test, ast::Test::Matches(regex) if regex.as_str() == pattern));
            prop_assert!(is_same, "{}", compiled);
        }
    }
}
