//! The TOML example in each rule kind's documentation loads.

use std::{fs, path::Path, sync::Arc};

use portcullis::policy::{fault::Source, lang::GeoKnown, policy::ListFiles, rule::Kind};

/// Any list file that an example names.
struct AnyFile;

impl ListFiles for AnyFile {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        Ok(Source::new(path, "203.0.113.7\n"))
    }
}

/// The `toml` blocks of a module's documentation.
fn examples(source: &str) -> Vec<String> {
    let doc = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = doc.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let text = text.join("\n");
    let blocks = text.split("```toml\n").skip(1);
    blocks
        .filter_map(|block| block.split("```").next().map(str::to_owned))
        .collect()
}

#[test]
fn every_kind_documents_itself_with_an_example_that_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy/rules");
    let modules = Kind::ALL.map(|kind| match kind {
        Kind::Rule => "custom",
        kind => kind.as_str(),
    });
    for module in modules.into_iter().chain(["lists"]) {
        let source = fs::read_to_string(folder.join(format!("{module}.rs"))).expect("a module of this name");
        let examples = examples(&source);
        assert!(!examples.is_empty(), "{module}.rs has no example");
        for example in examples {
            let (policy, faults) =
                crate::support::compile(module, &example, &AnyFile, GeoKnown::ALL, &[crate::support::any_site()]);
            assert!(policy.is_some(), "{}\n{example}", faults.join("\n"));
            assert_eq!(faults, [""; 0], "{example}");
        }
    }
}
