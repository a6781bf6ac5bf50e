//! A real browser: the refusal page as a person sees it, and hotlink protection by the headers that browsers send.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::harness::{Gateway, Origin, gateway::Setup};

const RULES: &str = r#"
[[hotlink]]
id = "pictures"
extensions = ["svg"]

[[rule]]
id = "closed"
expression = 'http.request.uri.path eq "/closed"'
action = "block"
"#;

fn start(origin: &Origin) -> Gateway {
    let config = format!(
        r#"
rules = ["rules.toml"]

[[listen]]
address = "127.0.0.1:0"
tls = true

[upstream.app]
servers = ["{}"]

[[site]]
name = "main"
hosts = ["shop.test"]
upstream = "app"
self_signed = true
"#,
        origin.url()
    );
    Setup::new(&config).file("rules.toml", RULES).start()
}

/// A page that shows what became of its picture: `loaded 20`, `failed`.
fn page_with(picture: &str) -> String {
    format!(
        "<!doctype html><p id=out>waiting</p><img src=\"{picture}\" \
         onload=\"out.textContent = 'loaded ' + this.naturalWidth\" onerror=\"out.textContent = 'failed'\">"
    )
}

const PICTURE: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"/>"#;

/// An origin with a picture, and a page that embeds the picture at an address.
fn origin(picture: impl Fn() -> String + Send + Sync + 'static) -> Origin {
    Origin::scripted(move |connection| {
        while let Some(head) = connection.read_head() {
            let (kind, body) = match head.split(' ').nth(1) {
                Some("/picture.svg") => ("image/svg+xml", PICTURE.to_owned()),
                Some(_) | None => ("text/html", page_with(&picture())),
            };
            let length = body.len();
            connection.write(
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes(),
            );
        }
    })
}

/// The document that headless Chromium makes of a page, with every `.test` host on this machine.
fn visit(url: &str) -> String {
    let found = [
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
        "/usr/local/bin/chromium",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists());
    let program =
        found.expect("Chromium is not installed: tests/run installs it, or install Debian's package chromium");
    let profile = tempfile::tempdir().expect("a directory");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", program])
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--ignore-certificate-errors", "--no-first-run", "--disable-sync"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
        ])
        .arg("--host-resolver-rules=MAP *.test 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", url])
        .output()
        .expect("timeout of the core utilities runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Chromium ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn record(gateway: &Gateway, path: &str) -> Value {
    gateway.wait_for_record(|record| record["url.path"] == path)
}

#[test]
fn a_refused_visitor_sees_why_and_the_request_id() {
    let origin = origin(String::new);
    let gateway = start(&origin);
    let shown = visit(&format!("https://shop.test:{}/closed", gateway.address(0).port()));
    let record = record(&gateway, "/closed");
    assert_eq!(
        (&record["event.reason"], &record["rule.id"]),
        (&json!("rule"), &json!("closed"))
    );
    let id = record["http.request.id"].as_str().expect("an id");
    for expected in [
        &format!("<dd class=\"whole\">{id}</dd>"),
        "<dt>Reason</dt><dd>rule",
        "<dd>shop.test</dd>",
    ] {
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_sites_own_page_shows_its_picture() {
    let origin = origin(|| "/picture.svg".to_owned());
    let gateway = start(&origin);
    let shown = visit(&format!("https://shop.test:{}/page", gateway.address(0).port()));
    assert!(shown.contains("loaded 20"), "{shown}");
    let record = record(&gateway, "/picture.svg");
    assert_eq!(
        (&record["event.action"], &record["http.response.status_code"]),
        (&json!("allow"), &json!(200))
    );
}

/// What the gateway recorded when another site's page embedded the picture with these attributes as well.
fn embedded_elsewhere(more: &'static str) -> Value {
    let own = origin(String::new);
    let gateway = start(&own);
    let picture = format!("https://shop.test:{}/picture.svg", gateway.address(0).port());
    let foreign = origin(move || format!("{picture}\"{more} title=\""));
    let shown = visit(&format!("http://thief.test:{}/", foreign.address().port()));
    assert!(shown.contains(">failed<"), "{shown}");
    assert_eq!(own.connections(), 0);
    let record = record(&gateway, "/picture.svg");
    assert_eq!(
        (&record["event.action"], &record["event.reason"], &record["rule.id"]),
        (&json!("block"), &json!("hotlink"), &json!("pictures"))
    );
    record
}

#[test]
fn a_picture_embedded_on_a_foreign_page_is_refused() {
    let record = embedded_elsewhere("");
    let referrer = record["http.request.referrer"].as_str();
    assert!(
        referrer.is_some_and(|referrer| referrer.starts_with("http://thief.test:")),
        "{record}"
    );
}

#[test]
fn a_foreign_page_that_hides_itself_is_refused_by_what_the_browser_says() {
    let record = embedded_elsewhere(" referrerpolicy=\"no-referrer\"");
    assert_eq!(record.get("http.request.referrer"), None);
}
