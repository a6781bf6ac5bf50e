use std::{fs, net::SocketAddr};

use super::{
    settings::{GeoSource, LogTarget, Protocol, TlsVersion},
    *,
};

const NOW: Timestamp = Timestamp(1_767_225_600);

/// A folder of files, loaded.
fn load_files(files: &[(&str, &str)]) -> Result<(Snapshot, Vec<String>), Vec<String>> {
    let folder = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }
    let told = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect();
    load_with(&folder.path().join("portcullis.toml"), NOW, None, &|_| None)
        .map(|(snapshot, warnings)| (snapshot, told(warnings)))
        .map_err(told)
}

fn load_text(text: &str) -> Result<(Snapshot, Vec<String>), Vec<String>> {
    load_files(&[("portcullis.toml", text)])
}

const SMALL: &str = r#"
rules = []
[[listen]]
address = "127.0.0.1:8080"
[upstream.app]
servers = ["http://127.0.0.1:3000"]
[[site]]
hosts = ["*"]
upstream = "app"
"#;

#[test]
fn the_smallest_configuration_has_every_default() {
    let (snapshot, warnings) = load_text(SMALL).expect("it loads");
    assert_eq!(warnings, [] as [String; 0]);
    assert_eq!(snapshot.generation, 1);
    let settings = &snapshot.settings;
    assert_eq!(settings.limits, limits::DEFAULTS);
    assert_eq!(settings.geoip.country, Some(GeoSource::Builtin));
    assert_eq!(settings.log.access, LogTarget::Stdout);
    assert_eq!(settings.listeners[0].protocol, Protocol::Plain);
    assert_eq!(settings.sites[0].facts.name, "default");
    assert_eq!(settings.client_ip.trusted_proxies.ranges(), 0);
}

#[test]
fn the_example_of_the_documentation_is_read_as_written() {
    let text = r#"
rules = []
[[listen]]
address = "127.0.0.1:8443"
tls = true
min_tls = "1.3"
proxy_protocol = ["10.0.0.0/8"]
health = "/healthz"
[[listen]]
address = "127.0.0.1:8080"
redirect = { port = 8443 }
[admin]
address = "127.0.0.1:9180"
socket = "run/admin.sock"
[client_ip]
trusted_proxies = ["192.0.2.0/24", "2001:db8::1"]
header = "CF-Connecting-IP"
[geoip]
country = "off"
[upstream.app]
servers = ["http://127.0.0.1:3000", "https://app.internal"]
response_timeout = "2m"
[[site]]
name = "main"
hosts = ["example.com", "*.example.com"]
upstream = "app"
self_signed = true
status = 404
disclose = "rule"
default = "block"
encoded_slashes = "keep"
merge_slashes = false
not_found = { body = "gone", content_type = "text/html", headers = { Server = "nginx" } }
[limits]
body_bytes = "10MiB"
total_timeout = "5m"
min_rate = "off"
[headers]
remove = []
country = "X-Country"
response = { Strict-Transport-Security = "max-age=63072000" }
[log]
access = "off"
level = "info,hyper=warn"
"#;
    let (snapshot, _) = load_text(text).expect("it loads");
    let settings = &snapshot.settings;
    let address: SocketAddr = "127.0.0.1:8443".parse().expect("an address");
    assert_eq!(settings.listeners[0].address, address);
    let min = TlsVersion::Tls13;
    assert_eq!(settings.listeners[0].protocol, Protocol::Tls { min });
    assert_eq!(settings.listeners[1].protocol, Protocol::Redirect { port: 8443 });
    assert_eq!(settings.client_ip.trusted_proxies.ranges(), 2);
    assert_eq!(settings.upstreams["app"].response_timeout, Duration::from_secs(120));
    assert_eq!(settings.limits.body_bytes, Some(10 << 20));
    assert_eq!(settings.limits.min_rate, 0);
    let site = &settings.sites[0];
    assert_eq!(site.not_found.headers.len(), 1);
    assert!(site.paths.keep_encoded_slashes && !site.paths.merge_slashes);
    assert!(
        settings
            .admin
            .socket
            .as_ref()
            .is_some_and(|socket| socket.is_absolute())
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let text = SMALL
        .replace("rules = []", "rules = [\"rules/*.toml\"]\nworkrs = 2")
        .replace("\"app\"", "\"ap\"");
    let faults = load_text(&text).expect_err("three faults").join("\n");
    for part in ["cannot look for", "did you mean `workers`?", "unknown upstream `ap`"] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
}

#[test]
fn a_syntax_error_does_not_hide_behind_what_it_makes_missing() {
    let faults = load_text("rules = [\n[[listen]]\n").expect_err("invalid");
    assert!(faults.iter().all(|fault| fault.contains("invalid TOML")), "{faults:?}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    use proptest::prelude::*;
    let lines = proptest::collection::vec(proptest::sample::select(SMALL.lines().collect::<Vec<_>>()), 0..12);
    proptest!(ProptestConfig::with_cases(48), |(lines in lines, noise in "\\PC{0,12}", at in 0_usize..12)| {
        let mut lines: Vec<&str> = lines;
        lines.insert(at.min(lines.len()), &noise);
        let _ = load_text(&lines.join("\n")).is_ok();
    });
}

#[test]
fn an_edit_keeps_what_it_does_not_touch() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, SMALL).expect("written");
    let (first, _) = load_with(&path, NOW, None, &|_| None).expect("it loads");
    fs::write(&path, format!("{SMALL}status = 451\n")).expect("written");
    let (second, _) = load_with(&path, NOW, Some(&first), &|_| None).expect("it loads");
    assert_eq!(second.generation, 2);
    assert!(std::sync::Arc::ptr_eq(&first.sites[0].origin, &second.sites[0].origin));
}

#[test]
fn proxies_may_come_from_a_list_of_the_rules() {
    let text = format!(
        "{}[client_ip]\ntrusted_proxies = [\"$cdn\"]\n",
        SMALL.replace("[]", "[\"r.toml\"]")
    );
    let rules = "[list.cdn]\nkind = \"ip\"\nitems = [\"192.0.2.0/24\", \"198.51.100.0/24\"]\n";
    let (snapshot, _) = load_files(&[("portcullis.toml", &text), ("r.toml", rules)]).expect("it loads");
    assert_eq!(snapshot.settings.client_ip.trusted_proxies.ranges(), 2);
    let faults = load_files(&[("portcullis.toml", &text), ("r.toml", &rules.replace("cdn", "cnd"))]);
    let faults = faults.expect_err("unknown").join("\n");
    assert!(
        faults.contains("there is no list `$cdn`") && faults.contains("did you mean `cnd`?"),
        "{faults}"
    );
}

/// The keys that the readers know, by table: an unknown key in each makes them say it.
fn known_keys() -> std::collections::BTreeMap<String, Vec<String>> {
    let text = r#"
zz = 1
[[listen]]
zz = 1
redirect = { zz = 1 }
[admin]
zz = 1
[client_ip]
zz = 1
[geoip]
zz = 1
[upstream.NAME]
zz = 1
[upstream.NAME.health_check]
zz = 1
[[site]]
zz = 1
certificates = [{ zz = 1 }]
pages = { zz = 1 }
not_found = { zz = 1 }
[limits]
zz = 1
[headers]
zz = 1
[log]
zz = 1
[reload]
zz = 1
never_block = [{ zz = 1 }]
guard = { zz = 1 }
"#;
    let source = Source::new("c.toml", text);
    let mut faults = Faults::new();
    let document = parse(&source, &mut faults);
    let table = Table::new(&source, "Top of the file", document.span(), document.get_ref());
    written::written(table, &mut faults);
    let known = |fault: &Fault| {
        let table = fault.message.strip_prefix("unknown key `zz` in ")?.trim_matches('`');
        let keys = fault.help.iter().find_map(|help| help.strip_prefix("known keys: "))?;
        let mut keys: Vec<String> = keys.split(", ").map(str::to_owned).collect();
        keys.sort();
        Some((table.to_owned(), keys))
    };
    faults.iter().filter_map(known).collect()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_one() {
    let text = include_str!("../../docs/configuration.md");
    let mut documented = std::collections::BTreeMap::<String, Vec<String>>::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            table = heading.trim_matches('`').to_owned();
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            documented.entry(table.clone()).or_default().push(key.to_owned());
        }
    }
    documented.values_mut().for_each(|keys| keys.sort());
    assert_eq!(known_keys(), documented);
}
