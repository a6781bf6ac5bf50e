//! The plan comes to what the interpreter says: tried on random policies and requests, of every field, operator and
//! function there is.

use std::sync::Arc;

use bumpalo::Bump;
use fastrand::Rng;
use proptest::{collection::vec, prelude::*};

use super::{Answers, Asking};
use crate::policy::{
    decision::{Decision, Verdict},
    fault::{Faults, Source},
    lang::{
        Environment, Expression, GeoKnown, Input, Kleene, Unknown, UnknownHeaders,
        fields::{self, Fact},
        functions::{self, Body, Function, Restriction},
        quoted, quoted_regex,
        types::{Scalar, Type},
    },
    list::Lists,
    phases::{Position, Scratch},
    policy::{ListFiles, Policy, PolicyEnvironment},
    rule::{Phase, Timestamp},
    site::{DefaultVerdict, HostPattern, SiteFacts},
    testing::Request,
};

/// Few words, so that what rules ask for and what requests say meet.
const WORDS: [&str; 19] = [
    "a", "ab", "abc", "Admin", "admin", "bot", "Bot/1", "php", "x=1", "/", "/a", "/admin/x", "%61", "é", "k", "S", "X",
    "Accept", "\u{212a}",
];
const PATHS: [&str; 12] = [
    "/",
    "/a",
    "/admin",
    "/admin/x.php",
    "/ADMIN/x.PHP",
    "/a/b/c.png",
    "/%61dmin",
    "/admin;x/y",
    "/a%2520b",
    "/abc/../admin",
    "/%C3%A9",
    "/a%253Fb",
];
const QUERIES: [&str; 8] = [
    "",
    "?",
    "?a=1&x=1",
    "?a=admin&a=2",
    "?%61=Bot/1&k=+",
    "?x",
    "?k=%61bc&S=",
    "?a=%2561",
];
const ADDRESSES: [&str; 8] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.7",
    "192.0.2.1",
    "255.255.255.255",
    "2001:db8::1",
    "2001:db8::2",
    "::",
];
const NETWORKS: [&str; 10] = [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.1",
    "10.0.0.2..10.0.1.8",
    "0.0.0.0/0",
    "255.255.255.255",
    "2001:db8::/32",
    "2001:db8::1",
    "::/0",
    "192.0.2.0/30",
];
const COUNTRIES: [&str; 4] = ["DE", "AT", "XX", "US"];
const HOSTS: [&str; 4] = ["example.com", "www.example.com", "a.example.net", "10.0.0.1"];
const HEADERS: [&str; 6] = ["x", "accept", "user-agent", "referer", "cookie", "x-forwarded-for"];
const KEYS: [&str; 6] = ["a", "x", "k", "S", "accept", "user-agent"];
const REGEXES: [&str; 23] = [
    "^/a",
    "[Aa]dmin",
    "(?i)bot",
    "^[a-z]+$",
    "a.*b",
    "(abc|bot/1)x?",
    "é",
    "\\.php$",
    "^$",
    "(?i)sk?",
    "[0-9]",
    "a{2,3}|b",
    ".",
    "x=1",
    "(?i)K",
    "(?u)(?i)K",
    "(?u)^\\w.$",
    "(?i)É",
    "\\b[a-z]\\b",
    "\\ba",
    "(?-u)[\\x80-\\xff]",
    "(?x) bot # comment",
    "(|abc)d?",
];

/// Makes things of a seed.
pub(in crate::policy) struct Maker(pub(in crate::policy) Rng);

impl Maker {
    pub(in crate::policy) fn of(&mut self, from: &[&'static str]) -> &'static str {
        self.0.choice(from).copied().unwrap_or_default()
    }

    fn word(&mut self) -> String {
        let mut word = self.of(&WORDS).to_owned();
        if self.0.u8(..4) == 0 {
            word.push_str(self.of(&WORDS));
        }
        word
    }

    pub(in crate::policy) fn request(&mut self) -> Request {
        let scheme = self.of(&["https", "http"]);
        let url = format!("{scheme}://{}{}{}", self.of(&HOSTS), self.of(&PATHS), self.of(&QUERIES));
        let mut request = Request::get(&url)
            .ip(self.of(&ADDRESSES))
            .country(self.of(&COUNTRIES))
            .continent(self.of(&["EU", "NA", "XX"]))
            .asn(self.0.u32(..3))
            .now(self.0.i64(0..4))
            .method(self.of(&["GET", "POST"]))
            .site(self.of(&["main", "other"]), &["example.com", "*.example.net"]);
        for _ in 0..self.0.usize(..5) {
            let value = match self.of(&HEADERS) {
                header @ "cookie" => (header, format!("{}={}; {}", self.of(&KEYS), self.word(), self.word())),
                header @ "referer" => (header, format!("https://{}/{}", self.of(&HOSTS), self.word())),
                header => (header, self.word()),
            };
            request = request.header(value.0, value.1);
        }
        if self.0.bool() {
            request
        } else {
            request.block_by_default()
        }
    }

    /// An expression of random shape.
    fn expression(&mut self, depth: u32) -> String {
        match self.0.u8(..10) {
            0..4 if depth > 0 => {
                let join = self.of(&[" and ", " and ", " or ", " or ", " xor "]);
                let parts: Vec<String> = (0..self.0.usize(2..4)).map(|_| self.expression(depth - 1)).collect();
                format!("({})", parts.join(join))
            }
            4 if depth > 0 => format!("not {}", self.expression(depth - 1)),
            _ => self.condition(),
        }
    }

    fn condition(&mut self) -> String {
        match self.0.u8(..16) {
            0 => self.of(&["true", "false"]).to_owned(),
            1 | 2 => self.value(Type::BOOL, 2),
            3 | 4 => format!("{} {}", self.value(Type::INT, 2), self.int_test()),
            5..8 => format!("{} {}", self.address(), self.address_test()),
            8..11 => {
                let (quantifier, not) = (self.of(&["any", "any", "all"]), self.of(&["", "", "not "]));
                format!(
                    "{quantifier}({not}{} {})",
                    self.value(Type::Each(Scalar::String), 2),
                    self.text_test()
                )
            }
            11 => format!(
                "{}({})",
                self.of(&["any", "all"]),
                self.value(Type::Array(Scalar::Bool), 2)
            ),
            _ => format!("{} {}", self.value(Type::STRING, 2), self.text_test()),
        }
    }

    fn address(&mut self) -> String {
        if self.0.u8(..4) == 0 {
            self.value(Type::IP, 2)
        } else {
            "ip.src".to_owned()
        }
    }

    /// A value of this type: a field, a part of one, or a function of others, as the tables have them.
    fn value(&mut self, ty: Type, depth: u32) -> String {
        let of_type: Vec<&'static str> = fields::ALL
            .iter()
            .filter(|field| field.ty() == ty)
            .map(|field| field.name)
            .collect();
        let functions: Vec<&'static Function> = functions::ALL
            .iter()
            .filter(|function| matches!(function.body, Body::Of { returns, .. } if returns == ty))
            .collect();
        if depth > 0 && !functions.is_empty() && (of_type.is_empty() || self.0.u8(..3) == 0) {
            let function = self.0.choice(functions);
            return function.map_or_else(|| "ssl".to_owned(), |function| self.call(function, depth, false));
        }
        match ty {
            Type::One(Scalar::String) if self.0.u8(..3) == 0 => format!("{}[{}]", self.array(depth), self.0.u8(..2)),
            Type::One(_) | Type::Map if !of_type.is_empty() => self.of(&of_type).to_owned(),
            Type::Each(Scalar::String) if depth > 0 && self.0.u8(..3) == 0 => {
                let strings = |function: &&Function| {
                    matches!(
                        function.body,
                        Body::Of {
                            returns: Type::STRING,
                            ..
                        }
                    ) && function
                        .parameters
                        .first()
                        .is_some_and(|first| first.accepts.contains(&Type::STRING))
                };
                let function = self.0.choice(functions::ALL.iter().filter(strings).collect::<Vec<_>>());
                function.map_or_else(String::new, |function| {
                    format!("{}[*]", self.call(function, depth, true))
                })
            }
            Type::Each(_) => format!("{}[*]", self.array(depth)),
            Type::Array(Scalar::Bool) => {
                let function = self.of(&["starts_with", "ends_with"]);
                format!("{function}({}[*], {})", self.array(depth), quoted(&self.word()))
            }
            Type::Array(_) => self.array(depth),
            Type::One(_) | Type::Map => "http.host".to_owned(),
        }
    }

    fn array(&mut self, depth: u32) -> String {
        match self.0.u8(..4) {
            0 => {
                let arrays = fields::ALL.iter().filter(|field| field.ty() == Type::STRINGS);
                self.of(&arrays.map(|field| field.name).collect::<Vec<_>>()).to_owned()
            }
            1 if depth > 0 => format!(
                "split({}, {}, {})",
                self.value(Type::STRING, depth - 1),
                quoted("a"),
                self.0.u8(1..5)
            ),
            _ => {
                let maps = ["http.request.headers", "http.request.cookies", "http.request.uri.args"];
                format!("{}[{}]", self.of(&maps), quoted(self.of(&KEYS)))
            }
        }
    }

    fn call(&mut self, function: &'static Function, depth: u32, each: bool) -> String {
        let required = function.parameters.len() - function.optional;
        let count = self.0.usize(required..=function.parameters.len());
        let arguments: Vec<String> = (0..count)
            .filter_map(|at| {
                let parameter = function.parameter(at)?;
                Some(match parameter.restriction {
                    Restriction::Between(min, max) => self.0.i64(min..=max.min(min.saturating_add(40))).to_string(),
                    Restriction::Text => quoted(&self.word()),
                    Restriction::Flags(flags) => quoted(&flags[..self.0.usize(..=flags.len())]),
                    Restriction::None if at == 0 && each => self.value(Type::Each(Scalar::String), depth - 1),
                    Restriction::None => {
                        let ty = self.0.choice(parameter.accepts).copied().unwrap_or(Type::STRING);
                        self.argument(ty, at, depth - 1)
                    }
                })
            })
            .collect();
        format!("{}({})", function.name, arguments.join(", "))
    }

    fn argument(&mut self, ty: Type, at: usize, depth: u32) -> String {
        match ty {
            Type::STRING if at > 0 => quoted(&self.word()),
            Type::INT if at > 0 => self.0.i64(-3..6).to_string(),
            ty => self.value(ty, depth),
        }
    }

    fn int_test(&mut self) -> String {
        let number = self.0.i64(-1..8);
        match self.0.u8(..3) {
            0 => format!("in {{{number}..{} {}}}", number + self.0.i64(0..4), self.0.i64(0..9)),
            1 if self.0.bool() => "in $systems".to_owned(),
            _ => format!("{} {number}", self.of(&["eq", "ne", "lt", "le", "gt", "ge"])),
        }
    }

    fn address_test(&mut self) -> String {
        match self.0.u8(..4) {
            0 => format!("{} {}", self.of(&["eq", "ne"]), self.of(&ADDRESSES)),
            1 => "in $office".to_owned(),
            _ => format!("in {{{} {}}}", self.of(&NETWORKS), self.of(&NETWORKS)),
        }
    }

    fn text_test(&mut self) -> String {
        match self.0.u8(..9) {
            0 => format!("matches {}", quoted_regex(self.of(&REGEXES))),
            1 | 2 => {
                let (strict, star) = (self.of(&["", "strict "]), self.of(&["*", ""]));
                format!(
                    "{strict}wildcard {}",
                    quoted(&format!("{star}{}*{}", self.of(&WORDS), self.of(&WORDS)))
                )
            }
            3 => format!("in {{{} {}}}", quoted(&self.said()), quoted(&self.said())),
            4 => self.of(&["in $words", "in $countries"]).to_owned(),
            5 | 6 => format!("contains {}", quoted(&self.word())),
            _ => format!("{} {}", self.of(&["eq", "eq", "ne", "lt", "ge"]), quoted(&self.said())),
        }
    }

    /// Something that some field says.
    fn said(&mut self) -> String {
        match self.0.u8(..5) {
            0 => self.of(&COUNTRIES).to_owned(),
            1 => self.of(&HOSTS).to_owned(),
            2 => self
                .of(&["/", "/a", "/admin", "GET", "HTTP/2", "EU", "main", "php", ""])
                .to_owned(),
            _ => self.word(),
        }
    }

    /// An expression that compiles: a random one may compare what can never be equal, which is a fault.
    pub(in crate::policy) fn compiled(&mut self, lists: &Lists) -> String {
        let sites = ["main".to_owned(), "other".to_owned()];
        let environment = Environment {
            sites: Some(&sites),
            ..Environment::new(lists)
        };
        for _ in 0..20 {
            let expression = self.expression(3);
            if Expression::compile(&expression, &environment).is_ok() {
                return expression;
            }
        }
        "ssl".to_owned()
    }

    /// A table of any kind.
    fn table(&mut self, id: usize, lists: &Lists) -> String {
        let mode = self.of(&["enforce", "enforce", "enforce", "shadow"]);
        let action = self.of(&["allow", "block", "log"]);
        let rule = match self.0.u8(..12) {
            0 => format!(
                "[[ip_access]]\naction = \"{action}\"\nip = [\"{}\"]",
                self.of(&NETWORKS)
            ),
            1 => format!("[[ip_access]]\naction = \"{action}\"\nasn = [{}]", self.0.u8(1..4)),
            2 => format!(
                "[[geo]]\naction = \"{action}\"\ncountry = [\"{}\"]",
                self.of(&COUNTRIES)
            ),
            3 => format!(
                "[[lockdown]]\nurls = [\"{}\", \"/admin/*\"]\nallow = [\"{}\"]",
                self.of(&["/admin", "/a*", "/*"]),
                self.of(&NETWORKS)
            ),
            4 => format!(
                "[[user_agent]]\naction = \"{}\"\ncontains = [\"{}\"]\nempty = true",
                self.of(&["block", "log"]),
                self.of(&["bot", "admin", "a"])
            ),
            5 => "[[hotlink]]\nextensions = [\"php\", \"png\"]\nallow_empty_referer = false".to_owned(),
            6 => format!(
                "[[rule]]\naction = \"skip\"\nskip = [\"{}\"]\nexpression = '''{}'''",
                self.of(&["user_agent", "hotlink", "lockdown"]),
                self.compiled(lists)
            ),
            _ => format!(
                "[[rule]]\naction = \"{action}\"\nexpression = '''{}'''",
                self.compiled(lists)
            ),
        };
        format!("{rule}\nid = \"r{id}\"\nmode = \"{mode}\"\n")
    }

    /// Facts that are not known.
    pub(in crate::policy) fn unknown(&mut self) -> (Vec<Fact>, Option<Vec<&'static str>>) {
        let facts = [
            Fact::Now,
            Fact::Site,
            Fact::Tls,
            Fact::Version,
            Fact::Method,
            Fact::Host,
            Fact::Port,
            Fact::Header("referer"),
            Fact::Path,
            Fact::Query,
            Fact::RawTarget,
            Fact::Client,
            Fact::Country,
            Fact::Continent,
            Fact::Asn,
        ];
        let facts = facts.into_iter().filter(|_| self.0.u8(..4) == 0).collect();
        let headers = self
            .0
            .bool()
            .then(|| HEADERS.into_iter().filter(|_| self.0.bool()).collect());
        (facts, headers)
    }
}

pub(in crate::policy) const LISTS: &str = r#"
[list.office]
kind = "ip"
items = ["10.0.0.0/24", "10.0.0.128/25", "2001:db8::/64", "192.0.2.1"]
[list.words]
kind = "string"
items = ["a", "Bot/1", "example.com", "/admin", "main"]
[list.countries]
kind = "country"
items = ["DE", "XX"]
[list.systems]
kind = "asn"
items = [1, 2]
"#;

/// The same lists, for what is asked before there is a policy: whether an expression compiles.
pub(in crate::policy) fn lists() -> Lists {
    let policy = compiled(LISTS).unwrap_or_else(|faults| panic!("{faults}"));
    policy.lists().clone()
}

struct NoFiles;

impl ListFiles for NoFiles {
    fn read(&self, _path: &str) -> Result<Arc<Source>, String> {
        Err("no files here".to_owned())
    }
}

pub(in crate::policy) fn policy(seeds: &[u64]) -> (Policy, String) {
    let lists = lists();
    let tables = seeds
        .iter()
        .enumerate()
        .map(|(id, seed)| Maker(Rng::with_seed(*seed)).table(id, &lists));
    let text = format!("{}{LISTS}", tables.collect::<String>());
    (
        compiled(&text).unwrap_or_else(|faults| panic!("{faults}\n{text}")),
        text,
    )
}

pub(in crate::policy) fn compiled(text: &str) -> Result<Policy, String> {
    let site = |name: &str| SiteFacts {
        name: name.to_owned(),
        hosts: vec![HostPattern::Any],
        upstream: "app".to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    };
    let environment = PolicyEnvironment {
        sites: &[site("main"), site("other")],
        geo: GeoKnown::ALL,
        files: &NoFiles,
        now: Timestamp(0),
        previous: None,
    };
    let mut faults = Faults::new();
    let policy = Policy::compile(&[Source::new("random.toml", text)], &environment, &mut faults);
    policy.ok_or_else(|| faults.iter().map(|fault| format!("{}\n", fault.message)).collect())
}

/// All that a decision says.
fn told(decision: &Decision<'_>) -> (String, Vec<String>, Vec<String>) {
    let ids = |rules: &[&crate::policy::rule::Rule]| rules.iter().map(|rule| rule.id.to_string()).collect();
    let verdict = match &decision.verdict {
        Verdict::Allow { rule, .. } => format!("allow {:?}", rule.map(|rule| rule.id.as_str())),
        Verdict::Block { reason, rule } => format!("{} {:?}", reason.as_str(), rule.map(|rule| rule.id.as_str())),
    };
    (verdict, ids(decision.matched), ids(decision.shadow))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plan_and_interpreter_decide_alike(seeds in vec(any::<u64>(), 1..14), requests in vec(any::<u64>(), 6)) {
        let (policy, text) = policy(&seeds);
        let (mut planned, mut interpreted) = (Scratch::new(), Scratch::new());
        for seed in requests {
            let request = Maker(Rng::with_seed(seed)).request();
            let facts = request.facts();
            prop_assert_eq!(
                told(&policy.decide(&facts, &mut planned)),
                told(&policy.interpret(&facts, &mut interpreted)),
                "{}\n{:?}", text, request
            );
        }
    }

    #[test]
    fn plan_and_interpreter_know_alike(seeds in vec(any::<u64>(), 1..8), requests in vec(any::<u64>(), 4)) {
        let (policy, text) = policy(&seeds);
        let mut answers = Answers::default();
        for seed in requests {
            let mut maker = Maker(Rng::with_seed(seed));
            let request = maker.request();
            let (unknown, headers) = maker.unknown();
            let (facts, arena) = (request.facts(), Bump::new());
            let unknown = Unknown {
                facts: &unknown,
                headers: headers.as_deref().map_or(UnknownHeaders::None, UnknownHeaders::AllBut),
            };
            let input = Input { unknown: &unknown, ..Input::new(&facts, facts.target.path(), &arena) };
            let mut asking = Asking::new(&policy.plan, input, &mut answers);
            for phase in Phase::ALL {
                let mut candidates: Vec<Position> = Vec::new();
                asking.candidates::<Kleene>(phase, &mut candidates);
                for at in candidates {
                    let rule = &policy.rules[at];
                    let expected: Kleene = rule.expression.truth(&input);
                    prop_assert_eq!(asking.matches::<Kleene>(at), expected, "{} in {}\n{:?}", rule.id, text, request);
                }
            }
        }
    }
}

/// The generator reaches all of the language: where it did not, the tests above would say nothing of what it misses.
#[test]
fn random_expressions_use_every_field_operator_and_function() {
    let lists = lists();
    let mut all = String::new();
    for seed in 0..6_000 {
        all.push_str(&Maker(Rng::with_seed(seed)).compiled(&lists));
        all.push('\n');
    }
    let names = fields::ALL.iter().map(|field| field.name);
    let names = names.chain(functions::ALL.iter().map(|function| function.name));
    let operators = [
        " eq ",
        " ne ",
        " lt ",
        " le ",
        " gt ",
        " ge ",
        " contains ",
        " matches ",
        " wildcard ",
        " strict wildcard ",
        " in {",
        " in $",
        "not ",
        " and ",
        " or ",
        " xor ",
        "[*]",
        "[0]",
    ];
    let missing: Vec<&str> = names.chain(operators).filter(|name| !all.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    let simple = all.lines().filter(|line| *line == "ssl").count();
    assert!(simple < 600, "{simple} of 6000 expressions are the fallback");
}

/// A rule file, and requests that its rule `block` must refuse.
fn assert_blocks(rules: &str, requests: &[Request]) {
    let policy = compiled(rules).unwrap_or_else(|faults| panic!("{faults}"));
    let mut scratch = Scratch::new();
    for request in requests {
        let facts = request.facts();
        let decision = policy.decide(&facts, &mut scratch);
        assert!(
            matches!(decision.verdict, Verdict::Block { .. }),
            "{rules}\n{request:?}"
        );
    }
}

#[test]
fn a_header_name_is_found_in_any_case() {
    let rule =
        "[[rule]]\nid = \"block\"\naction = \"block\"\nexpression = 'has_key(http.request.headers, \"X-Debug\")'";
    assert_blocks(rule, &[Request::get("/").header("x-debug", "1")]);
}

#[test]
fn a_byte_that_is_no_character_hides_nothing() {
    for pattern in ["sqlmap.scan", "[a-z]+.[a-z]+$", "(?i)SQLMAP[^a]SCAN"] {
        let rule = format!(
            "[[rule]]\nid = \"block\"\naction = \"block\"\nexpression = 'http.user_agent matches \"{pattern}\"'"
        );
        assert_blocks(&rule, &[Request::get("/").header("user-agent", b"sqlmap\xffscan")]);
    }
}

/// Hundreds of rules that share a literal: each pattern is found all the same, by whichever way leads to it.
#[test]
fn each_of_a_crowd_is_found() {
    let rules = |expression: fn(usize) -> String| -> String {
        let rule = |n| {
            format!(
                "[[rule]]\nid = \"r{n}\"\naction = \"block\"\nexpression = '{}'\n",
                expression(n)
            )
        };
        (0..60).map(rule).collect()
    };
    let agents: Vec<Request> = (0..60)
        .map(|n| Request::get("/").header("user-agent", format!("Bot bot{n}é")))
        .collect();
    for expression in [
        |n| format!(r#"http.user_agent matches "bot{n}[^0-9]""#),
        |n| format!(r#"lower(http.user_agent) matches "bot{n}[^0-9]""#),
        |n| format!(r#"http.user_agent matches "[a-z]{n}[^0-9]""#),
        |n| format!(r#"http.user_agent matches "\b[a-z]+{n}é""#),
        |n| format!(r#"http.user_agent strict wildcard "*b*o*t*{n}é""#),
        |n| format!(r#"http.user_agent contains "bot{n}é""#),
    ] as [fn(usize) -> String; 6]
    {
        assert_blocks(&rules(expression), &agents);
    }
}

/// The example at the top of the module.
#[test]
fn the_example_is_compiled_as_the_documentation_says() {
    let rules = r#"
        [[rule]]
        id = "a"
        action = "block"
        expression = 'ip.src in {203.0.113.0/24} and not ssl'
        [[rule]]
        id = "b"
        action = "block"
        expression = 'http.request.uri.path wildcard "/wp-*" and ip.src in {10.0.0.0/8}'
        [[rule]]
        id = "c"
        action = "block"
        expression = 'lower(http.user_agent) contains "sqlmap" or lower(http.user_agent) contains "nikto"'
        [[rule]]
        id = "d"
        action = "log"
        expression = 'not ip.src.country in {"DE" "AT"}'
    "#;
    let policy = compiled(rules).unwrap_or_else(|faults| panic!("{faults}"));
    let plan = &policy.plan;
    let guards: Vec<(String, &[Position])> = plan
        .atoms
        .iter()
        .filter(|atom| !atom.guarded.is_empty())
        .map(|atom| (atom.predicate.to_string(), &*atom.guarded))
        .collect();
    assert_eq!(
        guards,
        [
            ("ip.src in {203.0.113.0/24}".to_owned(), &[0][..]),
            (r#"http.request.uri.path wildcard "/wp-*""#.to_owned(), &[1]),
            (r#"lower(http.user_agent) contains "sqlmap""#.to_owned(), &[2]),
            (r#"lower(http.user_agent) contains "nikto""#.to_owned(), &[2]),
        ]
    );
    assert_eq!(*plan.phase(Phase::Rule).always, [3]);
    let subjects: Vec<&str> = plan.matchers.iter().map(|matcher| matcher.subject.as_str()).collect();
    assert_eq!(subjects, ["ip.src", "http.request.uri.path", "http.user_agent"]);
}
