//! Refusals from outside: what a client gets, and what it does not.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::settings::{Disclose, NotFound},
    policy::{fault::Source, rule::RefusalStatus},
};

/// The shipped answers with an nginx origin's 404, changed.
fn answers(change: impl FnOnce(&mut SiteAnswers)) -> SiteAnswers {
    let mut answers = SiteAnswers::shipped();
    answers.not_found = NotFound {
        body: "<h1>Not Found</h1>\n".into(),
        content_type: HeaderValue::from_static("text/html"),
        headers: vec![(header::SERVER, HeaderValue::from_static("nginx"))],
    };
    change(&mut answers);
    answers
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a header value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

const RULE: DecidingRule<'static> = DecidingRule {
    id: "embargo",
    response: None,
};

fn refusal<'a>(reason: Reason, headers: &'a HeaderMap) -> Refusal<'a> {
    Refusal {
        reason,
        status: None,
        fault: None,
        rule: Some(RULE),
        method: &Method::GET,
        headers,
        request_id: "7f3a",
        client: Some(ClientIp::new(IpAddr::from([203, 0, 113, 9]))),
        country: Country::new("KP").expect("a country"),
        host: Some("example.com"),
        now: Timestamp(1_767_225_600),
    }
}

fn sent(answer: Answer) -> Response<Bytes> {
    match answer {
        Answer::Respond(response) => response,
        Answer::Close => panic!("the connection was closed"),
    }
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).expect("UTF-8")
}

/// Status, sorted headers and body: all that a client can see.
fn seen(response: &Response<Bytes>) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    headers.sort();
    (response.status().as_u16(), headers, text(response).to_owned())
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

#[test]
fn negotiation_follows_the_cases() {
    let answers = SiteAnswers::shipped();
    let cases = include_str!("../../../tests/cases/accept.txt");
    let cases = cases.lines().filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut tried = 0;
    for line in cases.filter(|line| *line != "#") {
        let (accept, expected) = line.split_once("  =>  ").expect("ACCEPT => ANSWERS");
        let (quiet, navigating) = expected.split_once("  |  ").expect("two answers");
        for (navigates, expected) in [(false, quiet), (true, navigating)] {
            let mut headers = match accept {
                "none" => HeaderMap::new(),
                "empty" => headers(&[("accept", "")]),
                accept => headers(&[("accept", accept)]),
            };
            if navigates {
                headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
            }
            let response = sent(answers.respond(&refusal(Reason::Rule, &headers)));
            let content_type = response.headers()[header::CONTENT_TYPE].to_str().expect("ASCII");
            let answer = content_type.split(['/', ';']).nth(1).expect("a subtype");
            assert_eq!(answer, expected, "{accept}, navigates: {navigates}");
            tried += 1;
        }
    }
    assert!(tried > 100, "only {tried} cases were found");
}

#[test]
fn a_problem_document_has_the_members_of_rfc_9457_and_ours() {
    let headers = headers(&[("accept", "application/problem+json")]);
    let response =
        sent(answers(|site| site.disclose = Disclose::Rule).respond(&refusal(Reason::CountryBlocked, &headers)));
    let body = concat!(
        r#"{"type":"about:blank","title":"Forbidden","status":403,"#,
        r#""detail":"This site is not available in the country or region you are connecting from.","#,
        r#""instance":"/req/7f3a","reason":"country_blocked","error_code":1009,"rule":"embargo","#,
        r#""request_id":"7f3a","timestamp":"2026-01-01T00:00:00Z"}"#,
    );
    let headers = owned(&[
        ("cache-control", "no-store"),
        ("content-type", "application/problem+json"),
        ("vary", "Accept"),
        ("x-content-type-options", "nosniff"),
    ]);
    assert_eq!(seen(&response), (403, headers, body.to_owned()));
}

#[test]
fn error_docs_give_each_reason_a_type_of_its_own() {
    let none = HeaderMap::new();
    let shown = |disclose| {
        let answers = answers(|site| {
            site.error_docs = Some("https://example.com/errors".into());
            site.disclose = disclose;
        });
        let response = sent(answers.respond(&refusal(Reason::IpBlocked, &none)));
        let document: Value = serde_json::from_slice(response.body()).expect("JSON");
        (document["type"].clone(), document["title"].clone())
    };
    let disclosed = (json!("https://example.com/errors#ip_blocked"), json!("Access denied"));
    assert_eq!(shown(Disclose::Reason), disclosed);
    assert_eq!(
        shown(Disclose::Nothing),
        (json!("https://example.com/errors"), json!("Forbidden"))
    );
}

#[test]
fn plain_text_says_it_in_a_few_lines() {
    let headers = headers(&[("accept", "text/plain")]);
    let response = sent(SiteAnswers::shipped().respond(&refusal(Reason::IpBlocked, &headers)));
    assert_eq!(
        text(&response),
        "403 Forbidden\nYour IP address is blocked on this site.\nRequest ID: 7f3a\n"
    );
}

/// What each degree of disclosure shows: reason, detail and error code together; the rule's id.
#[test]
fn only_what_is_disclosed_is_in_the_bodies() {
    let templated = |disclose| {
        let page = Source::new(
            "p.html",
            "{{ title }}|{{ detail }}|{{ reason }}|{{ error_code }}|{{ rule }}|{{ advice }}",
        );
        let document = Source::new(
            "p.json",
            r#"{"d":"{{ detail }}{{ reason }}{{ rule }}{{ advice }}","c":{{ error_code }}}"#,
        );
        [(None, None), (Some(&page), Some(&document))].map(|(page, document)| {
            let mut answers = SiteAnswers::with_templates(page, document).expect("they compile");
            answers.disclose = disclose;
            answers
        })
    };
    for (disclose, shows_reason, shows_rule) in [
        (Disclose::Nothing, false, false),
        (Disclose::Reason, true, false),
        (Disclose::Rule, true, true),
    ] {
        for answers in templated(disclose) {
            for reason in Reason::ALL {
                for accept in [
                    "text/html",
                    "application/problem+json",
                    "application/json",
                    "text/plain",
                ] {
                    let headers = headers(&[("accept", accept)]);
                    let response = sent(answers.respond(&refusal(reason, &headers)));
                    let body = text(&response);
                    let case = format!("{disclose:?} {reason:?} {accept}: {body}");
                    let told = words::words(reason);
                    assert_eq!(body.contains(told.detail), shows_reason, "{case}");
                    let code = told.error_code.map(|code| code.to_string());
                    assert!(shows_reason || code.is_none_or(|code| !body.contains(&code)), "{case}");
                    let named = reason.as_str().contains('_') && body.contains(reason.as_str());
                    assert!(shows_reason || !named, "{case}");
                    assert_eq!(body.contains("embargo"), shows_rule, "{case}");
                }
            }
        }
    }
}

#[test]
fn what_exactly_is_wrong_is_told_with_the_reason_only() {
    let headers = headers(&[("accept", "text/plain")]);
    let malformed = Refusal {
        fault: Some("no host"),
        ..refusal(Reason::Malformed, &headers)
    };
    let told = |disclose| {
        let answers = answers(|site| site.disclose = disclose);
        text(&sent(answers.respond(&malformed))).contains("in more than one way: no host.\n")
    };
    assert!(told(Disclose::Reason));
    assert!(!told(Disclose::Nothing));
}

#[test]
fn without_disclosure_all_refusals_by_policy_look_the_same() {
    let answers = answers(|site| site.disclose = Disclose::Nothing);
    for accept in ["text/html", "application/json", "text/plain"] {
        let headers = headers(&[("accept", accept)]);
        let first = seen(&sent(answers.respond(&refusal(Reason::IpBlocked, &headers))));
        for reason in Reason::ALL.into_iter().filter(|reason| words::is_policy(*reason)) {
            assert_eq!(seen(&sent(answers.respond(&refusal(reason, &headers)))), first);
        }
    }
}

#[test]
fn head_gets_the_headers_of_get_and_no_body() {
    let conceal = rule::Response {
        status: Some(RefusalStatus::Conceal),
        ..Default::default()
    };
    for accept in ["text/html", "application/json", "text/plain"] {
        for response in [None, Some(&conceal)] {
            let headers = headers(&[("accept", accept)]);
            let rule = Some(DecidingRule { id: "a", response });
            let get = Refusal {
                rule,
                ..refusal(Reason::Rule, &headers)
            };
            let head = Refusal {
                method: &Method::HEAD,
                ..get
            };
            let answers = answers(|_| {});
            let (get, mut head) = (sent(answers.respond(&get)), sent(answers.respond(&head)));
            let length = head.headers_mut().remove(header::CONTENT_LENGTH);
            assert_eq!(length, Some(HeaderValue::from(get.body().len())));
            assert_eq!((get.status(), get.headers()), (head.status(), head.headers()));
            assert!(head.body().is_empty() && !get.body().is_empty());
        }
    }
}

#[test]
fn a_concealing_404_is_the_sites_not_found_whatever_is_accepted() {
    let conceal = rule::Response {
        status: Some(RefusalStatus::Conceal),
        ..Default::default()
    };
    let expected = (
        404,
        owned(&[("content-type", "text/html"), ("server", "nginx")]),
        "<h1>Not Found</h1>\n".to_owned(),
    );
    for accept in ["text/html", "application/json", "text/plain", "image/png", "*/*"] {
        let headers = headers(&[("accept", accept), ("sec-fetch-mode", "navigate")]);
        let by_rule = Refusal {
            rule: Some(DecidingRule {
                id: "a",
                response: Some(&conceal),
            }),
            ..refusal(Reason::Rule, &headers)
        };
        assert_eq!(seen(&sent(answers(|_| {}).respond(&by_rule))), expected);
        let by_site = answers(|site| site.status = RefusalStatus::Conceal);
        assert_eq!(
            seen(&sent(by_site.respond(&refusal(Reason::Lockdown, &headers)))),
            expected
        );
    }
}

#[test]
fn a_site_that_conceals_still_says_what_broke() {
    let answers = answers(|site| site.status = RefusalStatus::Conceal);
    let headers = HeaderMap::new();
    for (reason, status, expected) in [
        (Reason::Malformed, None, 400),
        (Reason::TooLarge, None, 413),
        (Reason::TooLarge, Some(StatusCode::URI_TOO_LONG), 414),
        (Reason::TooLarge, Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE), 431),
        (Reason::UnknownHost, None, 421),
        (Reason::Misdirected, None, 421),
        (Reason::Overloaded, None, 503),
        (Reason::UpstreamDown, None, 502),
        (Reason::UpstreamTimeout, None, 504),
    ] {
        let refusal = Refusal {
            status,
            rule: None,
            ..refusal(reason, &headers)
        };
        let response = sent(answers.respond(&refusal));
        let document: Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(response.status().as_u16(), expected);
        assert_eq!(document["status"], expected);
        assert_eq!(document["reason"], reason.as_str());
    }
}

#[test]
fn a_444_closes() {
    let headers = HeaderMap::new();
    let close = rule::Response {
        status: Some(RefusalStatus::Close),
        ..Default::default()
    };
    let by_rule = Refusal {
        rule: Some(DecidingRule {
            id: "a",
            response: Some(&close),
        }),
        ..refusal(Reason::Rule, &headers)
    };
    assert!(matches!(answers(|_| {}).respond(&by_rule), Answer::Close));
    let by_site = answers(|site| site.status = RefusalStatus::Close);
    assert!(matches!(
        by_site.respond(&refusal(Reason::Rule, &headers)),
        Answer::Close
    ));
}

#[test]
fn a_rule_answers_with_its_own_status_body_and_headers() {
    let own = rule::Response {
        status: Some(RefusalStatus::Status(StatusCode::TOO_MANY_REQUESTS)),
        body: Some("<later/>".into()),
        content_type: Some("application/xml".into()),
        headers: vec![
            (header::RETRY_AFTER, HeaderValue::from_static("60")),
            (header::CACHE_CONTROL, HeaderValue::from_static("max-age=60")),
            (header::SET_COOKIE, HeaderValue::from_static("a=1")),
            (header::SET_COOKIE, HeaderValue::from_static("b=2")),
        ],
    };
    let headers = headers(&[("accept", "text/html")]);
    let refusal = Refusal {
        rule: Some(DecidingRule {
            id: "a",
            response: Some(&own),
        }),
        ..refusal(Reason::Rule, &headers)
    };
    let expected = owned(&[
        ("cache-control", "no-store"),
        ("content-type", "application/xml"),
        ("retry-after", "60"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("vary", "Accept"),
        ("x-content-type-options", "nosniff"),
    ]);
    assert_eq!(
        seen(&sent(answers(|_| {}).respond(&refusal))),
        (429, expected, "<later/>".to_owned())
    );
}

#[test]
fn the_shipped_page_may_load_nothing_and_an_own_page_what_it_likes() {
    let headers = headers(&[("accept", "text/html")]);
    let page = Source::new("p.html", "<script src=https://cdn.example/x.js></script>");
    let own = SiteAnswers::with_templates(Some(&page), None).expect("it compiles");
    let policy = |answers: &SiteAnswers| {
        let response = sent(answers.respond(&refusal(Reason::Rule, &headers)));
        response.headers().get(header::CONTENT_SECURITY_POLICY).cloned()
    };
    assert_eq!(policy(&own), None);
    let shipped = policy(&SiteAnswers::shipped()).expect("a policy");
    assert!(shipped.to_str().expect("ASCII").starts_with("default-src 'none'; "));
    assert!(!SHIPPED_PAGE.contains("<script") && !SHIPPED_PAGE.contains("src=") && !SHIPPED_PAGE.contains("href="));
    assert!(!SHIPPED_PAGE.contains("http:") && !SHIPPED_PAGE.contains("https:"));
}

#[test]
fn cloudflares_tokens_work_in_pages() {
    let page = Source::new("p.html", "::CLIENT_IP:: ::RAY_ID:: ::GEO:: ::OTHER::");
    let answers = SiteAnswers::with_templates(Some(&page), None).expect("it compiles");
    let headers = headers(&[("accept", "text/html")]);
    let response = sent(answers.respond(&refusal(Reason::Rule, &headers)));
    assert_eq!(text(&response), "203.0.113.9 7f3a KP ::OTHER::");
}

#[test]
fn faults_of_page_and_document_come_together() {
    let page = Source::new("p.html", "{{ nope }}");
    let document = Source::new("p.json", "{");
    let faults = SiteAnswers::with_templates(Some(&page), Some(&document)).expect_err("both are at fault");
    let places: Vec<_> = faults
        .iter()
        .map(|fault| fault.place.as_ref().expect("a place").to_string())
        .collect();
    assert_eq!(places, ["p.html:1:4", "p.json:1:1"]);
}

#[test]
fn a_page_that_fails_on_a_request_leaves_the_refusal_to_the_shipped_one() {
    let page = Source::new("p.html", "{% if host == 'x.example' %}{{ host|nope }}{% endif %}");
    let document = Source::new("p.json", "{ {%- if host == 'x.example' %}{{ host|nope }}{% endif %} }");
    let answers = SiteAnswers::with_templates(Some(&page), Some(&document)).expect("no trial shows it");
    for accept in ["text/html", "application/json"] {
        let headers = headers(&[("accept", accept)]);
        let refusal = Refusal {
            host: Some("x.example"),
            ..refusal(Reason::Rule, &headers)
        };
        let own = seen(&sent(answers.respond(&refusal)));
        assert_eq!(own, seen(&sent(SiteAnswers::shipped().respond(&refusal))));
    }
}

#[test]
fn the_guide_names_every_variable_and_reason() {
    let guide = include_str!("../../../docs/pages.md");
    for variable in values::Variable::ALL {
        assert!(
            guide.contains(&format!("\n| `{}` |", variable.as_str())),
            "{variable:?}"
        );
    }
    for reason in Reason::ALL {
        let words = words::words(reason);
        let code = words.error_code.map(|code| code.to_string()).unwrap_or_default();
        let row = format!("\n| `{}` | {} | {code}", reason.as_str(), words.status.as_u16());
        assert!(guide.contains(&row), "{row}");
    }
}

proptest! {
    #[test]
    fn no_value_becomes_markup_in_a_page(id in any::<String>(), host in any::<String>(), rule in any::<String>()) {
        let headers = headers(&[("accept", "text/html")]);
        let engine = Source::new("p.html", "<p title='{{ host|upper }}'>{{ request_id ~ rule }}</p>");
        for own in [None, Some(&engine)] {
            let mut answers = SiteAnswers::with_templates(own, None).expect("it compiles");
            answers.disclose = Disclose::Rule;
            let markup = |id: &str, host: &str, rule: &str| {
                let refusal = Refusal {
                    request_id: id,
                    host: Some(host),
                    rule: Some(DecidingRule { id: rule, response: None }),
                    ..refusal(Reason::Rule, &headers)
                };
                text(&sent(answers.respond(&refusal))).matches(['<', '>', '"', '\'']).count()
            };
            // One letter more than nothing: empty values leave their lines out.
            let (id, host, rule) = (format!("x{id}"), format!("x{host}"), format!("x{rule}"));
            prop_assert_eq!(markup(&id, &host, &rule), markup("x", "x", "x"));
        }
    }

    #[test]
    fn every_value_comes_back_from_a_document(id in any::<String>(), host in any::<String>()) {
        let headers = headers(&[("accept", "application/json")]);
        let parts = Source::new("p.json", r#"{"request_id": "{{ request_id }}", "host": "{{ host }}"}"#);
        let engine = Source::new("p.json", r#"{ {#- -#} "request_id": "{{ request_id }}", "host": "{{ '' ~ host }}"}"#);
        for own in [&parts, &engine] {
            let answers = SiteAnswers::with_templates(None, Some(own)).expect("it compiles");
            let refusal = Refusal { request_id: &id, host: Some(&host), ..refusal(Reason::Rule, &headers) };
            let response = sent(answers.respond(&refusal));
            let document: Value = serde_json::from_slice(response.body()).expect("JSON");
            prop_assert_eq!(document, json!({ "request_id": id, "host": host }));
        }
        let refusal = Refusal { request_id: &id, ..refusal(Reason::Rule, &headers) };
        let response = sent(SiteAnswers::shipped().respond(&refusal));
        let document: Value = serde_json::from_slice(response.body()).expect("JSON");
        prop_assert_eq!(&document["request_id"], &json!(id));
    }
}

/// Status, `grpc-status` and `grpc-message` of a refused call, which has no body.
fn outcome(response: &Response<Bytes>) -> (u16, &str, &str) {
    assert!(response.body().is_empty());
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let header = |name| {
        response
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    };
    (
        response.status().as_u16(),
        header("grpc-status"),
        header("grpc-message"),
    )
}

#[test]
fn calls_are_refused_in_grpc_s_own_words() {
    let headers = headers(&[("content-type", "application/grpc+proto"), ("accept", "text/html")]);
    let answers = answers(|_| {});
    let refused = sent(answers.respond(&refusal(Reason::IpBlocked, &headers)));
    assert_eq!(
        outcome(&refused),
        (200, "7", "Your IP address is blocked on this site.")
    );
    let refused = sent(answers.respond(&refusal(Reason::UpstreamDown, &headers)));
    assert_eq!(outcome(&refused).1, "14");
    let refused = sent(answers.respond(&refusal(Reason::Malformed, &headers)));
    assert_eq!(outcome(&refused).1, "13");
    let too_large = sent(answers.respond(&refusal(Reason::TooLarge, &headers)));
    assert_eq!(outcome(&too_large).1, "2");
}

#[test]
fn a_call_learns_no_more_than_is_disclosed() {
    let headers = headers(&[("content-type", "application/grpc")]);
    let silent = answers(|answers| answers.disclose = Disclose::Nothing);
    let refused = sent(silent.respond(&refusal(Reason::CountryBlocked, &headers)));
    assert_eq!(outcome(&refused), (200, "7", "Forbidden"));
    let telling = answers(|answers| answers.disclose = Disclose::Rule);
    let refused = sent(telling.respond(&refusal(Reason::Rule, &headers)));
    assert_eq!(
        outcome(&refused),
        (200, "7", "A rule of this site refused the request. Rule: embargo.")
    );
    let odd = answers(|answers| answers.status = RefusalStatus::Status(StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS));
    assert_eq!(outcome(&sent(odd.respond(&refusal(Reason::Rule, &headers)))).1, "7");
    let concealing = answers(|answers| answers.status = RefusalStatus::Conceal);
    let concealed = sent(concealing.respond(&refusal(Reason::Rule, &headers)));
    assert_eq!(outcome(&concealed), (200, "12", ""));
    assert_eq!(concealed.headers()["server"], "nginx");
}
