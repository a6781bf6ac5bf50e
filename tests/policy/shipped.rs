//! The rules that the checkout ships load without a fault, and do what their comments say.

use std::{fs, path::Path, sync::Arc};

use portcullis::policy::{
    decision::Verdict,
    fault::{Faults, Source},
    lang::GeoKnown,
    phases::Scratch,
    policy::{ListFiles, Policy, PolicyEnvironment},
    testing::Request,
};

/// Reads lists as the configuration in `config/` does.
struct Checkout;

impl ListFiles for Checkout {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path);
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        Ok(Source::new(path.display().to_string(), text))
    }
}

fn shipped() -> Policy {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the shipped rules")
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    paths.sort();
    let sources: Vec<_> = paths
        .iter()
        .map(|path| {
            Source::new(
                path.display().to_string(),
                fs::read_to_string(path).expect("a readable file"),
            )
        })
        .collect();
    let mut faults = Faults::new();
    let environment = PolicyEnvironment {
        sites: &[crate::support::any_site()],
        geo: GeoKnown {
            asn: false,
            tor: false,
            ..GeoKnown::ALL
        },
        files: &Checkout,
        previous: None,
        now: crate::support::NOW,
    };
    let policy = Policy::compile(&sources, &environment, &mut faults);
    assert_eq!(faults, Faults::new());
    policy.expect("rules without a fault compile")
}

fn verdict(policy: &Policy, request: &Request) -> String {
    match policy.decide(&request.facts(), &mut Scratch::new()).verdict {
        Verdict::Allow { .. } => "allow".to_owned(),
        Verdict::Block { reason, rule } => {
            format!("{} {}", reason.as_str(), rule.map_or("-", |rule| rule.id.as_str()))
        }
    }
}

fn local(path: &str) -> Request {
    Request::get(&format!("https://localhost:8443{path}")).ip("127.0.0.1")
}

#[test]
fn the_tour_shows_each_kind_of_rule() {
    let policy = shipped();
    let geo = Request::get("https://geo.localhost:8443/").ip("127.0.0.1");
    for (request, expected) in [
        (local("/"), "allow"),
        (local("/").header("user-agent", "curl/8.9.1"), "allow"),
        (local("/").ip("127.0.0.66"), "ip_blocked try-blocked-address"),
        (local("/").ip("192.0.2.9"), "ip_blocked blocked-addresses"),
        (geo, "country_blocked try-unknown-country"),
        (local("/").country("KP"), "country_blocked embargo"),
        (local("/.git/config"), "rule hidden-files"),
        (local("/app/.ENV.local"), "rule hidden-files"),
        (local("/.well-known/security.txt"), "allow"),
        (local("/xmlrpc.php"), "rule wordpress-xmlrpc"),
        (local("/blog/XMLRPC.php/x"), "rule wordpress-xmlrpc"),
        (local("/xmlrpc.php5"), "allow"),
        (local("/admin"), "lockdown admin"),
        (local("/%61dmin/users"), "lockdown admin"),
        (local("/admin").ip("203.0.113.5"), "allow"),
        (local("/").header("user-agent", "sqlmap/1.8"), "user_agent scanners"),
        (
            local("/photo.jpg").header("referer", "https://evil.example/"),
            "hotlink images",
        ),
        (
            local("/x/hotlink-ok/photo.jpg").header("referer", "https://evil.example/"),
            "allow",
        ),
    ] {
        assert_eq!(verdict(&policy, &request), expected, "{request:?}");
    }
}

#[test]
fn every_kind_is_shown() {
    for (kind, count) in shipped().counts() {
        assert!(count > 0, "no [[{}]]", kind.as_str());
    }
}
