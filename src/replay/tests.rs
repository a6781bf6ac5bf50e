//! Logs put to configurations: what is counted as what.

use std::fs;

use super::{judge::Kind, report::Report, sides::Stated, *};
use crate::{config, policy::normalize::Host, snapshot::Snapshot};

const RULES: &str = r#"
[[ip_access]]
id = "office"
action = "allow"
ip = ["203.0.113.0/24"]

[[rule]]
id = "xmlrpc"
expression = 'http.request.uri.path eq "/xmlrpc.php"'
action = "block"

[[rule]]
id = "debug"
expression = 'http.request.headers["x-debug"][0] eq "1" and http.request.uri.path eq "/debug"'
action = "block"

[[user_agent]]
id = "scanners"
action = "block"
contains = ["sqlmap"]
"#;

/// A configuration in a folder of its own.
fn loaded(rules: &str, hosts: &[&[&str]], more: &str) -> Snapshot {
    let folder = tempfile::tempdir().expect("a directory");
    let sites: String = hosts
        .iter()
        .enumerate()
        .map(|(n, hosts)| format!("[[site]]\nname = \"s{n}\"\nhosts = {hosts:?}\nupstream = \"app\"\n"))
        .collect();
    let config = format!(
        "rules = [\"rules.toml\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [\"builtin:demo\"]\n{more}\n{sites}"
    );
    fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let path = folder.path().join("portcullis.toml");
    fs::write(&path, config).expect("written");
    match config::load(&path, Timestamp(1_790_000_000), None) {
        Ok((snapshot, _)) => snapshot,
        Err(faults) => panic!("{faults:?}"),
    }
}

/// What became of the requests of a log: how many of each kind, in words.
fn replayed(after: &Snapshot, before: Option<&Snapshot>, stated: Stated, log: &str) -> String {
    let options = Options {
        samples: 3,
        program: "portcullis".to_owned(),
        redact_query: vec!["token".to_owned()],
        ..Options::default()
    };
    let mut replay = Replay::new(Judge::new(after, before, stated), options);
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), log).expect("written");
    replay
        .file(file.path(), &Consumed::default(), &mut || {})
        .expect("read");
    let tally = replay.tally();
    let mut words: Vec<String> = Vec::new();
    for kind in Kind::ALL {
        if let Some(noted) = tally.kinds.get(&kind) {
            let rules = noted
                .by_rule
                .first(9)
                .into_iter()
                .map(|(rule, count)| format!("{rule} {count}"));
            words.push(format!("{}: {}", kind.as_str(), rules.collect::<Vec<_>>().join(", ")));
            let needs = noted.needs.values().flatten().map(String::as_str).collect::<Vec<_>>();
            if !needs.is_empty() {
                words.push(format!("needs: {}", needs.join(", ")));
            }
        }
    }
    words.extend(tally.unchanged.iter().map(|(what, count)| format!("{what}: {count}")));
    words.extend(
        tally
            .not_compared
            .iter()
            .map(|((_, what), count)| format!("not compared: {what} {count}")),
    );
    if tally.unreadable > 0 {
        words.push(format!("unreadable: {}", tally.unreadable));
    }
    words.join("; ")
}

/// A record of ours.
fn ours(action: &str, rule: Option<&str>, client: &str, target: &str, agent: &str) -> String {
    let rule = rule.map(|rule| format!("\"rule.id\":\"{rule}\",")).unwrap_or_default();
    format!(
        "{{\"@timestamp\":\"2026-11-26T04:48:25.123Z\",\"event.action\":\"{action}\",{rule}\"client.ip\":\"{client}\",\
         \"http.request.method\":\"GET\",\"url.scheme\":\"https\",\"url.domain\":\"example.com\",\"url.original\":\"{target}\",\
         \"http.version\":\"2\",\"user_agent.original\":\"{agent}\"}}\n"
    )
}

fn combined(client: &str, target: &str) -> String {
    format!("{client} - - [26/Nov/2026:04:48:25 +0000] \"GET {target} HTTP/1.1\" 403 3 \"-\" \"x\"\n")
}

#[test]
fn what_was_decided_then_is_compared_with_what_would_be_decided() {
    let after = loaded(RULES, &[&["example.com"]], "");
    for (line, expected) in [
        (ours("allow", None, "192.0.2.1", "/", "x"), "allowed: 1"),
        (
            ours("allow", None, "192.0.2.1", "/xmlrpc.php", "x"),
            "newly blocked: xmlrpc 1",
        ),
        (
            ours("allow", None, "192.0.2.1", "/%78mlrpc.php?a", "x"),
            "newly blocked: xmlrpc 1",
        ),
        (
            ours("block", Some("gone"), "192.0.2.1", "/", "x"),
            "newly allowed: gone 1",
        ),
        (
            ours("block", Some("xmlrpc"), "192.0.2.1", "/xmlrpc.php", "x"),
            "blocked: 1",
        ),
        (
            ours("block", Some("old"), "192.0.2.1", "/", "sqlmap"),
            "other rule: old -> scanners 1",
        ),
        (
            ours("block", None, "203.0.113.1", "/xmlrpc.php", "x"),
            "newly allowed: (site default) 1",
        ),
        (ours("allow", Some("office"), "203.0.113.1", "/", "x"), "allowed: 1"),
        (
            ours("allow", Some("hq"), "203.0.113.1", "/", "x"),
            "other rule: hq -> office 1",
        ),
        (ours("reject", None, "192.0.2.1", "/", "x"), "not compared: malformed 1"),
        (ours("answer", None, "192.0.2.1", "/", "x"), "not compared:  1"),
        // Its path options, or its hosts, changed since then.
        (
            ours("allow", None, "192.0.2.1", "/a%2fb", "x"),
            "newly blocked: (malformed) 1",
        ),
        (
            ours("allow", None, "192.0.2.1", "/", "x").replace("example.com", "other.example"),
            "newly blocked: (unknown_host) 1",
        ),
    ] {
        assert_eq!(replayed(&after, None, Stated::default(), &line), expected, "{line}");
    }
}

#[test]
fn what_the_log_does_not_say_is_unknown_and_never_empty() {
    let after = loaded(RULES, &[&["example.com"]], "");
    for (line, expected) in [
        // No header of this name is in the log.
        (
            ours("allow", None, "192.0.2.1", "/debug", "x"),
            "undecided: debug 1; needs: http.request.headers[\"x-debug\"]",
        ),
        // An address that is let in skips the rule: nothing depends on it.
        (
            ours("allow", Some("office"), "203.0.113.1", "/debug", "x"),
            "allowed: 1",
        ),
        // Blocked in any case.
        (
            ours("allow", None, "192.0.2.1", "/debug", "sqlmap"),
            "newly blocked: scanners 1",
        ),
        // A redacted value in the query, which no rule reads.
        (ours("allow", None, "192.0.2.1", "/?token=REDACTED", "x"), "allowed: 1"),
        // The path itself is not as it was sent.
        (
            ours("allow", None, "192.0.2.1", "/a;token=REDACTED", "x"),
            "undecided: xmlrpc 1; needs: http.request.uri.path",
        ),
        (
            ours("allow", None, "192.0.2.1", "/", "a\u{fffd}b"),
            "undecided: scanners 1; needs: http.user_agent",
        ),
    ] {
        assert_eq!(replayed(&after, None, Stated::default(), &line), expected, "{line}");
    }
}

#[test]
fn a_change_of_rules_that_nothing_depends_on_is_none_even_where_verdicts_are_unknown() {
    let before = loaded(RULES, &[&["example.com"]], "");
    let after = loaded(&RULES.replace("xmlrpc.php", "xmlrpc2.php"), &[&["example.com"]], "");
    for (line, expected) in [
        // Blocked or not as the header says, before and after.
        (ours("allow", None, "192.0.2.1", "/debug", "x"), "depends: 1"),
        (ours("allow", None, "192.0.2.1", "/", "x"), "allowed: 1"),
        (
            ours("allow", None, "192.0.2.1", "/xmlrpc.php", "x"),
            "newly allowed: xmlrpc 1",
        ),
        (
            ours("allow", None, "192.0.2.1", "/xmlrpc2.php", "x"),
            "newly blocked: xmlrpc 1",
        ),
        // What the log says was decided is not asked.
        (ours("block", Some("other"), "192.0.2.1", "/", "sqlmap"), "blocked: 1"),
        (combined("192.0.2.1", "/xmlrpc2.php"), "newly blocked: xmlrpc 1"),
    ] {
        let told = replayed(&after, Some(&before), Stated::default(), &line);
        assert_eq!(told, expected, "{line}");
    }
    let without = loaded(&RULES.replace("x-debug", "x-trace"), &[&["example.com"]], "");
    let line = ours("allow", None, "192.0.2.1", "/debug", "x");
    assert_eq!(
        replayed(&without, Some(&before), Stated::default(), &line),
        "undecided: debug 1; needs: http.request.headers[\"x-trace\"]"
    );
}

#[test]
fn a_list_that_changed_makes_another_question_of_the_same_expression() {
    let rules = |agent: &str| {
        format!(
            "[list.agents]\nkind = \"string\"\nitems = [\"{agent}\"]\n\
             [[rule]]\nid = \"listed\"\naction = \"block\"\nexpression = 'http.request.headers[\"x-agent\"][0] in $agents'\n"
        )
    };
    let [one, same, other] = ["a", "a", "b"].map(|agent| loaded(&rules(agent), &[&["*"]], ""));
    let line = ours("allow", None, "192.0.2.1", "/", "x");
    assert_eq!(replayed(&same, Some(&one), Stated::default(), &line), "depends: 1");
    assert!(replayed(&other, Some(&one), Stated::default(), &line).starts_with("undecided: listed 1"));
}

#[test]
fn requests_of_other_servers_count_as_ones_that_passed() {
    let after = loaded(RULES, &[&["example.com"]], "");
    let log = combined("192.0.2.1", "/")
        + &combined("192.0.2.1", "/xmlrpc.php")
        + "nonsense\n\n"
        + &combined("192.0.2.1", "/a\\\\b");
    assert_eq!(
        replayed(&after, None, Stated::default(), &log),
        "newly blocked: xmlrpc 1; allowed: 1; not compared: malformed: backslash in the path 1; unreadable: 1"
    );
}

const TWO_SITES: &str = r#"
[[rule]]
id = "shop-only"
hosts = ["shop.example.com"]
expression = 'http.request.uri.path eq "/x"'
action = "block"

[[rule]]
id = "everywhere"
expression = 'http.request.uri.path eq "/y"'
action = "block"
"#;

#[test]
fn a_host_that_the_log_does_not_name_may_be_any_of_the_sites() {
    let after = loaded(TWO_SITES, &[&["example.com"], &["shop.example.com"]], "");
    let with = |host: &str| Stated {
        host: Host::parse(host).ok(),
        ..Stated::default()
    };
    let told = |stated: Stated, target: &str| replayed(&after, None, stated, &combined("192.0.2.1", target));
    assert_eq!(
        told(Stated::default(), "/x"),
        "undecided: shop-only 1; needs: http.host"
    );
    assert_eq!(told(Stated::default(), "/y"), "newly blocked: everywhere 1");
    assert_eq!(told(Stated::default(), "/"), "allowed: 1");
    assert_eq!(told(with("example.com"), "/x"), "allowed: 1");
    assert_eq!(told(with("shop.example.com"), "/x"), "newly blocked: shop-only 1");
    assert_eq!(
        told(with("nowhere.example"), "/x"),
        "not compared: unknown_host: no site has this host 1"
    );
}

#[test]
fn the_client_of_a_trusted_proxy_is_whom_it_names_or_unknown() {
    let after = loaded(
        RULES,
        &[&["example.com"]],
        "[client_ip]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    );
    let line = combined("10.0.0.1", "/xmlrpc.php");
    let main = |forwarded: &str| line.replace("\"x\"\n", &format!("\"x\" \"{forwarded}\"\n"));
    let told = |line: &str| replayed(&after, None, Stated::default(), line);
    assert_eq!(told(&main("203.0.113.9")), "allowed: 1");
    assert_eq!(told(&main("192.0.2.9")), "newly blocked: xmlrpc 1");
    assert_eq!(told(&line), "undecided: office 1; needs: ip.src");
}

#[test]
fn rules_expire_at_the_time_of_the_record_unless_another_is_named() {
    let rules = "[[rule]]\nid = \"old\"\naction = \"block\"\nexpires = 2026-12-01\nexpression = 'http.request.uri.path eq \"/\"'\n";
    let after = loaded(rules, &[&["*"]], "");
    let line = ours("allow", None, "192.0.2.1", "/", "x");
    let at = |now: Option<i64>| Stated {
        now: now.map(Timestamp),
        ..Stated::default()
    };
    assert_eq!(replayed(&after, None, at(None), &line), "newly blocked: old 1");
    assert_eq!(replayed(&after, None, at(Some(1_800_000_000)), &line), "allowed: 1");
}

#[test]
fn examples_show_no_value_that_is_never_logged() {
    let after = loaded(RULES, &[&["example.com"]], "");
    let options = Options {
        samples: 3,
        program: "portcullis".to_owned(),
        redact_query: vec!["token".to_owned()],
        ..Options::default()
    };
    let mut replay = Replay::new(Judge::new(&after, None, Stated::default()), options);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = combined("192.0.2.1", "/xmlrpc.php?token=s3cret&a=it's")
        .replace("\"-\"", "\"https://x.example/?token=s3cret\"");
    fs::write(file.path(), line).expect("written");
    replay
        .file(file.path(), &Consumed::default(), &mut || {})
        .expect("read");
    let report = Report {
        tally: replay.tally(),
        formats: replay.formats(),
        files: 1,
        after: "portcullis.toml".to_owned(),
        before: None,
        assumed_host: replay.judge().assumed_host().map(|host| host.authority().to_owned()),
        unknown: replay.judge().unknown().iter().cloned().collect(),
        notes: Vec::new(),
        top: 10,
        samples: 3,
    };
    for shown in [report.text(), report.json().to_string()] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let text = report.text();
    assert!(
        text.contains(
            "portcullis explain \"https://example.com/xmlrpc.php?token=REDACTED&a=it's\" --ip 192.0.2.1 -H 'User-Agent: x' \
             -H 'Referer: https://x.example/' --at 2026-11-26T04:48:25Z\n"
        ),
        "{text}"
    );
}
