//! What is proven is true of every request: tried on random conditions and requests, with the interpreter as the judge.

use bumpalo::Bump;
use fastrand::Rng;
use proptest::{collection::vec, prelude::*};

use super::{Cases, Known, Reader};
use crate::policy::{
    lang::{Environment, Expression, Input},
    list::Lists,
    plan::tests::{Maker, lists},
    testing::Request,
};

/// Conditions on few values, so that they often say something of each other.
fn condition(maker: &mut Maker) -> String {
    let text = maker.of(&[
        "\"/a\"",
        "\"/admin/x\"",
        "\"/admin/\"",
        "\"/a/b/c.png\"",
        "\"/ADMIN/x.PHP\"",
    ]);
    let network = maker.of(&[
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.0.1",
        "0.0.0.0/0",
        "::/0",
        "2001:db8::/32",
        "10.0.0.2..10.0.1.8",
    ]);
    let country = maker.of(&[
        "\"DE\"",
        "\"AT\"",
        "\"XX\"",
        "\"DE\" \"AT\"",
        "\"DE\" \"AT\" \"XX\" \"US\"",
    ]);
    let word = maker.of(&["\"a\"", "\"bot\"", "\"ab\"", "\"abc\"", "\"bot/1\"", "\"x\""]);
    let pattern = maker.of(&[
        "\"/a*\"",
        "\"/*\"",
        "\"*/x*\"",
        "\"/admin*\"",
        "\"/admin/*\"",
        "\"*.png\"",
        "\"/a/*.png\"",
        "\"/ADMIN/*\"",
    ]);
    let regex = maker.of(&[
        "\"^/a\"",
        "\"^/admin\"",
        "\"/x\"",
        "\"[.]png$\"",
        "\"^(/a|/b)$\"",
        "\"(?i)^/admin/\"",
        "\"a.*b\"",
    ]);
    let number = maker.0.i64(-1..4);
    match maker.0.u8(..22) {
        0 | 1 => format!("http.request.uri.path wildcard {pattern}"),
        2 => format!("http.request.uri.path strict wildcard {pattern}"),
        3 => format!("http.request.uri.path eq {text}"),
        4 => format!("http.request.uri.path in {{{text} \"/\"}}"),
        5 => format!("starts_with(http.request.uri.path, {text})"),
        6 => format!("http.request.uri.path matches {regex}"),
        7 => format!("lower(http.request.uri.path) matches {regex}"),
        8 | 9 => format!("ip.src in {{{network}}}"),
        10 => maker
            .of(&["ip.src in $office", "ip.src eq 10.0.0.1", "ip.src ne 10.0.0.1"])
            .to_owned(),
        11 | 12 => format!("ip.src.country in {{{country}}}"),
        13 => maker
            .of(&[
                "ip.src.country ne \"DE\"",
                "ip.src.country ne \"AT\"",
                "ip.src.country in $countries",
            ])
            .to_owned(),
        14 => format!("lower(http.user_agent) contains {word}"),
        15 => format!("http.user_agent contains {word}"),
        16 => format!("lower(http.user_agent) eq {word}"),
        17 => format!(
            "http.request.headers[\"x\"][0] {} {word}",
            maker.of(&["eq", "ne", "contains", "lt"])
        ),
        18 => format!("ip.src.asnum {} {number}", maker.of(&["lt", "ge", "eq", "ne"])),
        19 => format!(
            "lower(http.request.headers[\"x\"][0]) {} {word}",
            maker.of(&["eq", "ne", "contains"])
        ),
        20 => maker
            .of(&[
                "ssl",
                "http.user_agent in $words",
                "lower(http.user_agent) in {\"bot/1\" \"a\"}",
                "ip.src.asnum in $systems",
            ])
            .to_owned(),
        _ => format!(
            "http.host {}",
            maker.of(&[
                "eq \"example.com\"",
                "wildcard \"*.EXAMPLE.com\"",
                "contains \"example\"",
                "matches \"^www\""
            ])
        ),
    }
}

pub(in crate::policy::lint) fn expression(maker: &mut Maker, depth: u32) -> String {
    match maker.0.u8(..8) {
        0..4 if depth > 0 => {
            let join = maker.of(&[" and ", " and ", " or ", " or ", " xor "]);
            let parts: Vec<String> = (0..maker.0.usize(2..4)).map(|_| expression(maker, depth - 1)).collect();
            format!("({})", parts.join(join))
        }
        4 if depth > 0 => format!("not {}", expression(maker, depth - 1)),
        _ => condition(maker),
    }
}

pub(in crate::policy::lint) fn request(maker: &mut Maker) -> Request {
    let words = ["a", "Bot", "bot/1", "AB", "abc", "x", "Bot/1"];
    let request = maker.request();
    let word = maker.of(&words);
    let request = if maker.0.bool() {
        request.header("x", word)
    } else {
        request
    };
    let path = maker.of(&["/admin/x", "/ADMIN/x.PHP", "/b/x", "/admin/", "/A"]);
    if maker.0.bool() { request.url(path) } else { request }
}

fn compile(text: &str, lists: &Lists) -> Option<Expression> {
    Expression::compile(text, &Environment::new(lists)).ok()
}

fn holds(expression: &Expression, request: &Request) -> bool {
    let (facts, arena) = (request.facts(), Bump::new());
    expression.truth(&Input::new(&facts, facts.target.path(), &arena))
}

/// Counts what was proven: a prover that proves nothing is sound too.
#[derive(Debug, Default)]
struct Proven {
    never: usize,
    always: usize,
    covered: usize,
    excluded: usize,
}

fn assert_sound(a: &Expression, b: &Expression, requests: &[Request], proven: &mut Proven) {
    let reader = Reader::new(&[], 0);
    let read = |expression: &Expression| {
        let (cases, opposite) = (reader.cases(expression.root()), reader.opposite(expression.root()));
        let possible = |cases: &Cases| reader.possible(cases, Known::Always);
        (possible(&cases), possible(&opposite), cases)
    };
    let (possible_a, opposite_a, cases_a) = read(a);
    let (possible_b, _, _) = read(b);
    let never = possible_a.is_never();
    let always = opposite_a.is_never();
    let covered = possible_b.is_within(&cases_a);
    let excluded = possible_a.excludes(&possible_b);
    for request in requests {
        let (in_a, in_b) = (holds(a, request), holds(b, request));
        assert!(!(never && in_a), "never: {a}\n{request:?}");
        assert!(!always || in_a, "always: {a}\n{request:?}");
        assert!(!(covered && in_b && !in_a), "{b}\nis not covered by {a}\n{request:?}");
        assert!(!(excluded && in_a && in_b), "{a}\nmeets {b}\n{request:?}");
    }
    proven.never += usize::from(never);
    proven.always += usize::from(always);
    proven.covered += usize::from(covered && !possible_b.is_never());
    proven.excluded += usize::from(excluded && !never && !possible_b.is_never());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proven_of_any_expressions_is_true(seed: u64, requests in vec(any::<u64>(), 12)) {
        let lists = lists();
        let mut maker = Maker(Rng::with_seed(seed));
        let texts = [maker.compiled(&lists), maker.compiled(&lists)];
        let compiled = texts.map(|text| compile(&text, &lists));
        let requests: Vec<Request> = requests.into_iter().map(|seed| Maker(Rng::with_seed(seed)).request()).collect();
        if let [Some(a), Some(b)] = &compiled {
            assert_sound(a, b, &requests, &mut Proven::default());
        }
    }
}

/// Many pairs over few values, with a count of the proofs.
#[test]
fn what_is_proven_of_alike_expressions_is_true_and_much_is() {
    let lists = lists();
    let mut proven = Proven::default();
    let mut maker = Maker(Rng::with_seed(7));
    for _ in 0..2_000 {
        let texts = [expression(&mut maker, 2), expression(&mut maker, 1)];
        let requests: Vec<Request> = (0..20).map(|_| request(&mut maker)).collect();
        if let [Some(a), Some(b)] = &texts.map(|text| compile(&text, &lists)) {
            assert_sound(a, b, &requests, &mut proven);
        }
    }
    let Proven {
        never,
        always,
        covered,
        excluded,
    } = proven;
    assert!(never > 15 && always > 15 && covered > 60 && excluded > 60, "{proven:?}");
}
