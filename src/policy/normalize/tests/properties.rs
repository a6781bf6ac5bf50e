//! What holds for every path, and an oracle: origins of many makes, written apart from the code that is tested, must never
//! see a path that is not among the readings.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

/// Paths of the pieces that parsers disagree on.
fn tricky_path() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "/", "/", "/", "//", "a", "admin", "B", ".", "..", "...", "%2e", "%2E.", "%252e", "%2f", "%2F", "%252f",
        "%25252F", "%5c", "%255c", "\\", ";", ";x=1", "%3b", "%253B", "%25", "%", "%2", "25", "%61", "%2561", "%c3%a9",
        "%c0%af", "%25c3", "%3f", "%253F", "%23", "%20", "%00", "%2500", "é", "#", " ", "+", "%2B", "%7e", "~",
    ];
    vec(select(PIECES), 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn any_options() -> impl Strategy<Value = PathOptions> {
    (any::<bool>(), any::<bool>()).prop_map(|(keep_encoded_slashes, merge_slashes)| PathOptions {
        keep_encoded_slashes,
        merge_slashes,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_panics(raw in any::<String>(), options in any_options()) {
        let _ = Target::parse(&raw, options);
        let _ = Target::parse(&format!("/{raw}"), options);
        let _ = Host::parse(&raw);
    }

    #[test]
    fn a_canonical_path_is_its_own_canonical_path(raw in tricky_path(), options in any_options()) {
        if let Ok(target) = Target::parse(&raw, options) {
            let again = Target::parse(target.forwarded(), options).expect("what was forwarded is well-formed");
            prop_assert_eq!(again.forwarded(), target.forwarded());
            prop_assert_eq!(again.other_readings(), target.other_readings());
        }
    }

    #[test]
    fn a_canonical_path_holds_nothing_to_normalize(raw in tricky_path(), options in any_options()) {
        if let Ok(target) = Target::parse(&raw, options) {
            let path = target.path();
            prop_assert!(path.starts_with('/'));
            prop_assert!(!options.merge_slashes || !path.contains("//"), "{}", path);
            prop_assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{}", path);
            prop_assert!(path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\'), "{}", path);
            for (at, _) in path.match_indices('%') {
                let escape = &path[at + 1..at + 3];
                prop_assert_eq!(escape.to_ascii_uppercase(), escape);
                let byte = u8::from_str_radix(escape, 16).expect("two digits");
                prop_assert!(!byte.is_ascii_alphanumeric() && !b"-._~\\".contains(&byte), "{}", path);
                prop_assert!(options.keep_encoded_slashes || byte != b'/', "{}", path);
            }
        }
    }

    #[test]
    fn readings_are_few_absolute_and_different(raw in tricky_path(), options in any_options()) {
        if let Ok(target) = Target::parse(&raw, options) {
            let mut all: Vec<&str> = target.other_readings().iter().map(String::as_str).collect();
            all.push(target.path());
            prop_assert!(all.iter().all(|reading| reading.starts_with('/')), "{:?}", all);
            prop_assert!(all.len() <= MAX_READINGS);
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), count);
        }
    }

    #[test]
    fn no_known_origin_reads_a_path_that_was_not_judged(raw in tricky_path(), options in any_options()) {
        for (name, steps) in ORIGINS {
            check_origin(name, steps, &raw, options)?;
        }
    }

    #[test]
    fn no_combination_of_steps_reads_a_path_that_was_not_judged(
        raw in tricky_path(),
        options in any_options(),
        steps in vec(select(STEPS), 0..7),
    ) {
        check_origin("some origin", &steps, &raw, options)?;
    }
}

fn check_origin(name: &str, steps: &[Step], raw: &str, options: PathOptions) -> Result<(), TestCaseError> {
    let Ok(target) = Target::parse(raw, options) else {
        return Ok(());
    };
    let mut seen = target.path().as_bytes().to_vec();
    for step in steps {
        if *step != DecodeButSlash || options.keep_encoded_slashes {
            seen = step.take(&seen);
        }
    }
    let judged = |path: &str| path.as_bytes() == seen;
    prop_assert!(
        judged(target.path()) || target.other_readings().iter().any(|reading| judged(reading)),
        "{name} reads {raw} as {:?}; judged were {} and {:?}",
        String::from_utf8_lossy(&seen),
        target.path(),
        target.other_readings(),
    );
    Ok(())
}

use Step::{BackslashIsSlash, Decode, DecodeButSlash, DropParameters, DropQuery, MergeSlashes, ResolveDots};

/// What origins do to a path, each in the order of its kind.
const ORIGINS: &[(&str, &[Step])] = &[
    ("a router over raw paths", &[]),
    ("a router over decoded paths", &[Decode]),
    ("nginx", &[Decode, MergeSlashes, ResolveDots]),
    ("nginx with merge_slashes off", &[Decode, ResolveDots]),
    (
        "Apache with AllowEncodedSlashes NoDecode",
        &[DecodeButSlash, MergeSlashes, ResolveDots],
    ),
    (
        "Tomcat",
        &[DropParameters, Decode, BackslashIsSlash, MergeSlashes, ResolveDots],
    ),
    ("Jetty", &[DropParameters, Decode, ResolveDots]),
    ("Spring over decoded paths", &[Decode, DropParameters, MergeSlashes]),
    ("IIS", &[Decode, BackslashIsSlash, MergeSlashes, ResolveDots]),
    (
        "IIS before 2001",
        &[Decode, ResolveDots, Decode, BackslashIsSlash, ResolveDots],
    ),
    (
        "a decoder behind a decoder",
        &[Decode, MergeSlashes, ResolveDots, Decode, MergeSlashes, ResolveDots],
    ),
    (
        "Tomcat behind nginx that sends $uri",
        &[
            Decode,
            MergeSlashes,
            ResolveDots,
            DropQuery,
            DropParameters,
            Decode,
            BackslashIsSlash,
            MergeSlashes,
            ResolveDots,
        ],
    ),
];

const STEPS: &[Step] = &[
    Decode,
    DecodeButSlash,
    DropParameters,
    BackslashIsSlash,
    MergeSlashes,
    ResolveDots,
    DropQuery,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Decode,
    DecodeButSlash,
    DropParameters,
    BackslashIsSlash,
    MergeSlashes,
    ResolveDots,
    DropQuery,
}

impl Step {
    fn take(self, path: &[u8]) -> Vec<u8> {
        match self {
            Decode => decoded(path, |_| true),
            DecodeButSlash => decoded(path, |byte| byte != b'/'),
            DropParameters => dropped_parameters(path),
            BackslashIsSlash => path.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect(),
            MergeSlashes => {
                let mut merged = path.to_vec();
                merged.dedup_by(|b, a| *a == b'/' && *b == b'/');
                merged
            }
            ResolveDots => resolved_dots(path),
            DropQuery => {
                let end = path.iter().position(|b| matches!(b, b'?' | b'#'));
                path[..end.unwrap_or(path.len())].to_vec()
            }
        }
    }
}

fn decoded(path: &[u8], decodes: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let hex = escape.filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.map(|two| u8::from_str_radix(two, 16).expect("hexadecimal")) {
            Some(byte) if *first == b'%' && decodes(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn dropped_parameters(path: &[u8]) -> Vec<u8> {
    let mut dropping = false;
    let keep = |b: &&u8| {
        dropping = match **b {
            b'/' => false,
            b';' => true,
            _ => dropping,
        };
        !dropping
    };
    path.iter().filter(keep).copied().collect()
}

/// RFC 3986 §5.2.4, from its text.
fn resolved_dots(path: &[u8]) -> Vec<u8> {
    let mut input = path.to_vec();
    let mut output = Vec::new();
    while !input.is_empty() {
        if input.starts_with(b"/./") {
            input.drain(..2);
        } else if input == b"/." {
            input = b"/".to_vec();
        } else if input.starts_with(b"/../") || input == b"/.." {
            let rest = input.split_off(3);
            input = if rest.is_empty() { b"/".to_vec() } else { rest };
            let last = output.iter().rposition(|b| *b == b'/').unwrap_or(0);
            output.truncate(last);
        } else {
            let next = input[1..]
                .iter()
                .position(|b| *b == b'/')
                .map_or(input.len(), |at| at + 1);
            output.extend(input.drain(..next));
        }
    }
    output
}
