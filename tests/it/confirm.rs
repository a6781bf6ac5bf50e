//! Reloads that are to be confirmed: what goes back, when, and what nothing takes away.

use std::{fs, io::Write};

use serde_json::{Value, json};

use crate::harness::{
    Gateway, Origin,
    client::{connect, exchange, read_response},
    gateway::Setup,
    load::Load,
};

const RETURNED: &str = "returned to the last confirmed configuration";

fn config(upstream: &str, more: &str) -> String {
    format!(
        r#"
rules = ["rules/*.toml"]
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
tls = true
[admin]
address = "127.0.0.1:0"
socket = "admin.sock"
[client_ip]
trusted_proxies = ["127.0.0.1"]
[upstream.app]
servers = ["{upstream}"]
[[site]]
name = "main"
hosts = ["*"]
upstream = "app"
self_signed = true
{more}
[log]
format = "json"
"#
    )
}

/// A rule that blocks one path.
fn block(path: &str) -> String {
    format!("[[rule]]\nid = \"a\"\nexpression = 'http.request.uri.path eq \"{path}\"'\naction = \"block\"\n")
}

fn start(more: &str, rules: &str) -> Gateway {
    Setup::new(&config("builtin:demo", more))
        .file("rules/rules.toml", rules)
        .start()
}

/// The status of a GET.
fn status(gateway: &Gateway, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    exchange(gateway.address(0), request.as_bytes())[9..12].to_owned()
}

fn json_of(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, printed) = gateway.verb(&[&["-o", "json"], arguments].concat());
    (code, serde_json::from_str(&printed).expect("JSON"))
}

#[test]
fn unconfirmed_it_goes_back_under_load_without_a_failed_request() {
    let origin = Origin::naming_and_echoing();
    let setup = Setup::new(&config(&origin.url(), "")).file("rules/rules.toml", &block("/old"));
    let gateway = setup.start();
    let (plain, tls) = (gateway.address(0), gateway.address(1));
    let load = Load::new().http1(tls).http2(tls, 4).websocket(plain);
    load.wait_for_answers();
    for round in 0..3 {
        gateway.write("rules/rules.toml", &block(&format!("/new/{round}")));
        let (code, told) = json_of(&gateway, &["reload", "--confirm", "1s"]);
        assert_eq!(
            (code, &told["unconfirmed"]["returns_to"]),
            (Some(0), &json!(1)),
            "{told}"
        );
        gateway.wait_for_messages(RETURNED, round + 1);
        load.wait_for_answers();
        assert_eq!(
            (status(&gateway, "/old"), status(&gateway, &format!("/new/{round}"))),
            ("403".into(), "200".into())
        );
    }
    load.finish();
    gateway.wait_for_metric("portcullis_config_returns_total{cause=\"not_confirmed\"}", 3);
    assert_eq!(gateway.metric("portcullis_config_unconfirmed"), Some(0));
    assert_eq!(gateway.metric("portcullis_config_generation"), Some(1));
    let (_, status) = json_of(&gateway, &["status"]);
    assert_eq!(
        (&status["returned"]["from"], &status["returned"]["to"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(status["differs_from_disk"], true);
    let (code, late) = json_of(&gateway, &["confirm"]);
    assert_eq!((code, &late["result"]), (Some(1), &json!("nothing")));
    gateway.write("rules/rules.toml", &block("/old"));
    assert_eq!(json_of(&gateway, &["status"]).1["differs_from_disk"], false);
    // A generation is never given twice: records tell by it what judged them.
    assert_eq!(json_of(&gateway, &["reload"]).1["generation"], 5);
}

#[test]
fn confirmed_it_stays() {
    let gateway = start("", &block("/old"));
    gateway.write("rules/rules.toml", &block("/new"));
    let (code, said) = gateway.verb(&["reload", "--confirm", "1h"]);
    assert_eq!(code, Some(0));
    assert!(
        said.ends_with("generation 1 comes back in 1h, unless you run: portcullis confirm\n"),
        "{said}"
    );
    assert_eq!(gateway.metric("portcullis_config_unconfirmed"), Some(1));
    assert_eq!(
        gateway.verb(&["confirm"]),
        (Some(0), "confirmed: generation 2 stays in force\n".to_owned())
    );
    assert_eq!(gateway.metric("portcullis_config_unconfirmed"), Some(0));
    assert_eq!(json_of(&gateway, &["status"]).1["unconfirmed"], Value::Null);
    assert_eq!(status(&gateway, "/new"), "403");
    gateway.wait_for_message("configuration confirmed");
}

#[test]
fn a_reload_by_signal_meanwhile_takes_effect_and_confirms_nothing() {
    let gateway = start("", &block("/first"));
    gateway.write("rules/rules.toml", &block("/second"));
    assert_eq!(json_of(&gateway, &["reload", "--confirm", "1h"]).0, Some(0));
    gateway.write("rules/rules.toml", &block("/third"));
    gateway.reload();
    assert_eq!(status(&gateway, "/third"), "403");
    let (_, waits) = json_of(&gateway, &["status"]);
    assert_eq!(
        (&waits["unconfirmed"]["generation"], &waits["unconfirmed"]["returns_to"]),
        (&json!(3), &json!(1))
    );
    gateway.write("rules/rules.toml", "[[rule]]\n");
    gateway.reload_refused();
    gateway.write("rules/rules.toml", &block("/fourth"));
    assert_eq!(json_of(&gateway, &["reload", "--confirm", "1s"]).0, Some(0));
    gateway.wait_for_message(RETURNED);
    assert_eq!(
        (status(&gateway, "/first"), status(&gateway, "/third")),
        ("403".into(), "200".into())
    );
}

#[test]
fn nobody_takes_over_while_a_configuration_waits() {
    let gateway = start("", &block("/old"));
    gateway.write("rules/rules.toml", &block("/new"));
    assert_eq!(json_of(&gateway, &["reload", "--confirm", "1h"]).0, Some(0));
    let (code, said) = gateway.verb(&["upgrade"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("waits to be confirmed: run `portcullis confirm`"),
        "{said}"
    );
    let (code, said) = gateway.verb(&["run", "--takeover"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("waits to be confirmed"), "{said}");
    assert_eq!(status(&gateway, "/new"), "403");
}

#[test]
fn a_log_that_went_elsewhere_comes_back_with_the_configuration() {
    let gateway = start("", &block("/old"));
    let file = gateway.directory().join("portcullis.toml");
    let text = fs::read_to_string(&file).expect("it is there");
    gateway.write("portcullis.toml", &format!("{text}access = \"elsewhere.log\"\n"));
    assert_eq!(json_of(&gateway, &["reload", "--confirm", "1s"]).0, Some(0));
    gateway.wait_for_message(RETURNED);
    status(&gateway, "/after");
    gateway.wait_for_record(|record| record["url.path"] == "/after" || record["url"]["path"] == "/after");
}

#[test]
fn a_time_that_is_none_is_a_wrong_command_line() {
    let gateway = start("", &block("/old"));
    for time in ["5", "0s", "2d", "1500ms", "soon"] {
        let (code, said) = gateway.verb(&["reload", "--confirm", time]);
        assert_eq!(code, Some(2), "{time}: {said}");
    }
    assert_eq!(gateway.metric("portcullis_config_generation"), Some(1));
}

#[test]
fn a_reload_under_which_a_test_fails_is_refused() {
    let test = "[[test]]\nname = \"open\"\nurl = \"/open\"\nexpect = \"allow\"\n";
    let gateway = start("", &(block("/old") + test));
    gateway.write("rules/rules.toml", &(block("/open") + test));
    let (code, said) = gateway.verb(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("test \"open\" fails: it came to block by a (rule), status 403"),
        "{said}"
    );
    gateway.reload_refused();
    assert_eq!(
        (status(&gateway, "/open"), status(&gateway, "/old")),
        ("200".into(), "403".into())
    );
}

#[test]
fn a_reload_that_would_lock_us_out_is_refused() {
    let gateway = start("[reload]\nnever_block = [\"127.0.0.1\"]\n", &block("/old"));
    let locked = "[[ip_access]]\nid = \"oops\"\naction = \"block\"\nip = [\"127.0.0.0/8\"]\n";
    gateway.write("rules/rules.toml", locked);
    let (code, said) = gateway.verb(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("127.0.0.1 is never to be blocked, and would be at https://localhost/"),
        "{said}"
    );
    assert_eq!(status(&gateway, "/"), "200");
    // It admits nobody: what blocks elsewhere than at the root goes on to.
    assert_eq!(status(&gateway, "/old"), "403");
}

#[test]
fn the_guard_goes_back_when_those_who_came_before_are_refused() {
    let gateway = start(
        "[reload]\nguard = { factor = 5, networks = 20, window = \"1h\" }\n",
        &block("/old"),
    );
    let clients = 0..40;
    let mut kept = connect(gateway.address(0));
    let mut ask = |client: u32| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 198.51.{client}.7\r\n\r\n");
        kept.write_all(request.as_bytes()).expect("it is open");
        read_response(&mut kept)[9..12].to_owned()
    };
    for client in clients.clone() {
        assert_eq!(ask(client), "200");
    }
    let locked = "[[ip_access]]\nid = \"oops\"\naction = \"block\"\nip = [\"198.51.0.0/16\"]\n";
    gateway.write("rules/rules.toml", locked);
    assert_eq!(json_of(&gateway, &["reload", "--confirm", "1h"]).0, Some(0));
    // Networks that nobody saw before are no reason, however many.
    for client in 100..160 {
        assert_eq!(ask(client), "403");
    }
    for client in clients {
        ask(client);
    }
    let said = gateway.wait_for_message(RETURNED);
    assert!(
        said["why"]
            .as_str()
            .is_some_and(|why| why.contains("client networks that came before")),
        "{said}"
    );
    assert_eq!(ask(1), "200");
    gateway.wait_for_metric("portcullis_config_returns_total{cause=\"guard\"}", 1);
}
