//! Several servers behind the gateway, real nginx: one is killed under load and comes back, one says that it is not well.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Gateway, exchange, load::Load, nginx::Nginx};

/// Far more than anything here takes, so that only a hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the harness's load expects of an origin, written in one piece.
const NAMING: &str = "location / { return 200 \"$request_method $request_uri\"; }\n";

fn config(servers: &[&Nginx], upstream: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    format!(
        r#"
workers = 2

[[listen]]
address = "127.0.0.1:0"
tls = true

[[listen]]
address = "127.0.0.1:0"

[admin]
address = "127.0.0.1:0"
socket = "admin.sock"

[upstream.app]
servers = [{}]
{upstream}

[[site]]
name = "main"
hosts = ["a.test"]
upstream = "app"
self_signed = true
"#,
        servers.join(", ")
    )
}

/// A sample of one server's, as the metrics show it.
fn sample(name: &str, server: &Nginx, more: &str) -> String {
    let server = server.url();
    format!("portcullis_upstream_server_{name}{{upstream=\"app\",server=\"{server}\"{more}}}")
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

/// The upstream's servers, as `status -o json` tells them.
fn servers(gateway: &Gateway) -> Vec<Value> {
    let (code, printed) = gateway.verb(&["-o", "json", "status"]);
    assert_eq!(code, Some(0), "{printed}");
    let status: Value = serde_json::from_str(&printed).expect("JSON");
    let servers = status["upstreams"][0]["servers"].as_array();
    servers.expect("a list").clone()
}

fn states(gateway: &Gateway) -> Vec<String> {
    let servers = servers(gateway).into_iter();
    servers
        .map(|server| server["addresses"][0]["state"].as_str().expect("a state").to_owned())
        .collect()
}

#[test]
fn a_server_that_dies_and_comes_back_under_load_costs_no_idempotent_request() {
    let (mut dying, steady) = (Nginx::start(NAMING, &[]), Nginx::start(NAMING, &[]));
    let resilient = "eject_after = 2\nejection_time = \"50ms\"\nmax_ejection_time = \"200ms\"\nslow_start = \"100ms\"";
    let gateway = Gateway::start(&config(&[&dying, &steady], resilient));
    let tls = gateway.address(0);
    let load = Load::new().http1(tls).http1(tls).http2(tls, 4);
    load.wait_for_answers();
    let requests = sample("requests_total", &dying, "");
    wait_until("both have served", || {
        !dying.asked().is_empty() && !steady.asked().is_empty()
    });

    dying.kill();
    let ejections = sample("ejections_total", &dying, "");
    wait_until("it is ejected", || gateway.metric(&ejections) >= Some(2));
    load.wait_for_answers();

    let served = dying.asked().len();
    dying.restart();
    wait_until("it serves again", || dying.asked().len() > served + 20);
    load.wait_for_answers();
    load.finish();
    wait_until("it is healthy", || states(&gateway) == ["healthy", "healthy"]);
    assert!(gateway.metric(&requests) > Some(20));
    assert_eq!(gateway.metric(&sample("ejections_total", &steady, "")), Some(0));
    assert_eq!(gateway.metric(&sample("requests_in_flight", &steady, "")), Some(0));
    let failed = gateway
        .end()
        .into_iter()
        .filter(|record| record["event.outcome"] != "success");
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<Value>::new());
}

/// Says that it is well as long as there is a file that says so.
const WELL: &str = "location = /healthz { if (!-f @folder/www/well) { return 503; } return 204; }\n\
    location / { return 200 \"$request_method $request_uri\"; }\n";
const CHECK: &str = "[upstream.app.health_check]\npath = \"/healthz\"\ninterval = \"100ms\"\nunhealthy_after = 2\n";

fn get(gateway: &Gateway) {
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answer = exchange(gateway.address(1), request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_server_that_says_it_is_not_well_is_asked_for_nothing_until_it_is() {
    let (ill, well) = (
        Nginx::start(WELL, &[("page", b"")]),
        Nginx::start(WELL, &[("well", b"")]),
    );
    let both = [&ill, &well];
    let gateway = Gateway::start(&config(&both, CHECK));
    wait_until("it is left out", || states(&gateway) == ["failing_check", "healthy"]);
    let failing = sample("addresses", &ill, ",state=\"failing_check\"");
    assert_eq!(gateway.metric(&failing), Some(1));
    assert!(gateway.metric(&sample("checks_total", &ill, ",result=\"failed\"")) >= Some(2));
    (0..10).for_each(|_| get(&gateway));
    let asked_for_pages = |nginx: &Nginx| nginx.asked().iter().filter(|line| line.ends_with(" / /")).count();
    wait_until("the log is written", || asked_for_pages(&well) == 10);
    assert_eq!(asked_for_pages(&ill), 0);

    // A reload forgets nothing: there is no moment in which it would be asked.
    gateway.write(
        "portcullis.toml",
        &written(&config(&both, &format!("retries = 2\n{CHECK}"))),
    );
    gateway.reload();
    assert_eq!(states(&gateway), ["failing_check", "healthy"]);
    let (_, shown) = gateway.verb(&["status"]);
    assert!(
        shown.contains(&format!("{}  failing check, 0 in flight", ill.url())),
        "{shown}"
    );

    fs::write(ill.folder().join("www/well"), "").expect("written");
    wait_until("it is back", || states(&gateway)[0] != "failing_check");
    wait_until("it serves", || {
        get(&gateway);
        asked_for_pages(&ill) > 0
    });
}

#[test]
fn what_checks_said_ends_with_them() {
    let ill = Nginx::start(WELL, &[]);
    let gateway = Gateway::start(&config(&[&ill], CHECK));
    wait_until("it fails its checks", || states(&gateway) == ["failing_check"]);
    // The only one is asked all the same.
    get(&gateway);
    gateway.write("portcullis.toml", &written(&config(&[&ill], "")));
    gateway.reload();
    wait_until("nobody says so any more", || states(&gateway) == ["healthy"]);
}

/// As the harness writes the first one.
fn written(config: &str) -> String {
    format!("rules = []\n{config}\n[log]\nformat = \"json\"\n")
}
