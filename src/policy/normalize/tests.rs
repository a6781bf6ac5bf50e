mod properties;

use super::*;

const KEEP: PathOptions = PathOptions {
    keep_encoded_slashes: true,
    merge_slashes: true,
};
const NO_MERGE: PathOptions = PathOptions {
    keep_encoded_slashes: false,
    merge_slashes: false,
};

/// A path's fate in the words of the case files.
fn fate(raw: &str, options: PathOptions) -> String {
    match Target::parse(raw, options) {
        Ok(target) => {
            let mut others = target.other_readings().to_vec();
            others.sort();
            others.insert(0, target.path().to_owned());
            others.join("  |  ")
        }
        Err(malformed) => format!("refused: {malformed}"),
    }
}

#[test]
fn paths_become_what_the_cases_say() {
    let mut options = PathOptions::default();
    for line in include_str!("../../../tests/cases/paths.txt").lines() {
        match line {
            "[default]" => options = PathOptions::default(),
            "[encoded_slashes = \"keep\"]" => options = KEEP,
            "[merge_slashes = false]" => options = NO_MERGE,
            _ if line.is_empty() || line.starts_with("# ") || line == "#" => {}
            _ => {
                let (raw, expected) = line.split_once("  =>  ").expect("RAW  =>  FATE");
                let mut parts: Vec<&str> = expected.split("  |  ").collect();
                parts[1..].sort_unstable();
                assert_eq!(fate(raw, options), parts.join("  |  "), "{raw}");
            }
        }
    }
}

#[test]
fn hosts_become_what_the_cases_say() {
    for line in include_str!("../../../tests/cases/hosts.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (raw, expected) = line.split_once("  =>  ").expect("RAW  =>  FATE");
        let fate = match Host::parse(raw.trim_matches('`')) {
            Ok(host) => format!("{}  |  {}", host.name, host.authority()),
            Err(malformed) => format!("refused: {malformed}"),
        };
        assert_eq!(fate, expected, "{raw}");
    }
}

#[test]
fn the_query_is_forwarded_byte_for_byte() {
    let target = Target::parse("/%61/../b?x=%zz&y=%2e%2E//;\\?", PathOptions::default()).expect("well-formed");
    assert_eq!(target.raw(), "/%61/../b?x=%zz&y=%2e%2E//;\\?");
    assert_eq!(target.raw_path(), "/%61/../b");
    assert_eq!(target.path(), "/b");
    assert_eq!(target.query(), "x=%zz&y=%2e%2E//;\\?");
    assert_eq!(target.forwarded(), "/b?x=%zz&y=%2e%2E//;\\?");
}

#[test]
fn an_empty_query_keeps_its_question_mark() {
    let target = Target::parse("/a?", PathOptions::default()).expect("well-formed");
    assert_eq!((target.forwarded(), target.query()), ("/a?", ""));
}

#[test]
fn what_no_query_may_hold_is_refused() {
    for raw in ["/?a b", "/?a\r\nx: y", "/?\0", "/?\x7f", "/?é", "/?a#b"] {
        assert!(Target::parse(raw, PathOptions::default()).is_err(), "{raw:?}");
    }
}

#[test]
fn deep_encoding_costs_no_more_than_the_bound() {
    let raw = format!("/%{}41", "25".repeat(30_000));
    let refused = Target::parse(&raw, PathOptions::default()).expect_err("too deep");
    assert_eq!(refused.detail, "the path is percent-encoded too many times");
}

#[test]
fn a_path_with_too_many_readings_is_refused_whole() {
    let refused = Target::parse("/a;1/b%3B2/c%253B3/d%25253B4/e%3F5", PathOptions::default()).expect_err("too many");
    assert_eq!(refused.detail, "the path can be read in too many ways");
}
