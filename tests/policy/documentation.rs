//! What the documentation shows loads: every TOML block of README.md and docs/*.md, without a fault or a warning.
//!
//! A block of rule tables is compiled as a rule file, any other as a portcullis.toml; what an example leaves out (a site, a
//! listener, the lists that it names, certificates) is supplied. A block that cannot load on its own has the line
//! `<!-- not loaded: why -->` before it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::support::TextFiles;
use portcullis::{
    config,
    policy::{
        fault::{Fault, Faults, Source},
        lang::GeoKnown,
        policy::{ListFiles, Policy, PolicyEnvironment},
        site::{DefaultVerdict, HostPattern, SiteFacts},
    },
    promises,
};

const RULE_TABLES: [&str; 8] = [
    "ip_access",
    "geo",
    "rule",
    "lockdown",
    "user_agent",
    "hotlink",
    "list",
    "test",
];
/// The lists that examples name without showing them.
const LISTS: [(&str, &str, &str); 5] = [
    ("office", "ip", "\"203.0.113.7\""),
    ("partners", "ip", "\"198.51.100.0/24\""),
    ("cdn", "ip", "\"192.0.2.0/24\""),
    ("tor_exits", "ip", "\"192.0.2.1\""),
    ("hosting", "asn", "64496"),
];

/// A TOML block.
struct Example {
    /// `docs/rules.md:12`
    place: String,
    text: String,
    table: toml::Table,
}

impl Example {
    fn is_of_rules(&self) -> bool {
        !self.table.is_empty() && self.table.keys().all(|key| RULE_TABLES.contains(&key.as_str()))
    }

    fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Definitions of the lists that it names and does not define.
    fn missing_lists(&self) -> String {
        let defined = self.table.get("list").and_then(toml::Value::as_table);
        let missing = LISTS.iter().filter(|(name, ..)| {
            let defined = defined.is_some_and(|lists| lists.contains_key(*name));
            self.text.contains(&format!("${name}")) && !defined
        });
        missing.map(list).collect()
    }
}

fn list((name, kind, item): &(&str, &str, &str)) -> String {
    format!("\n[list.{name}]\nkind = \"{kind}\"\nitems = [{item}]\n")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn examples() -> Vec<Example> {
    let docs = fs::read_dir(root().join("docs")).expect("the documentation");
    let mut pages: Vec<PathBuf> = docs
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .chain([root().join("README.md")].into_iter().filter(|readme| readme.exists()))
        .collect();
    pages.sort();
    pages.iter().flat_map(|page| examples_of(page)).collect()
}

fn examples_of(page: &Path) -> Vec<Example> {
    let text = fs::read_to_string(page).expect("a readable page");
    let name = page
        .strip_prefix(root())
        .expect("a page of this project")
        .display()
        .to_string();
    let mut lines = text.lines().enumerate();
    let mut before = "";
    let mut examples = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.starts_with("```") {
            let block: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            if line == "```toml" && !before.starts_with("<!-- not loaded: ") {
                let (place, text) = (format!("{name}:{}", number + 1), block.join("\n"));
                let table = text
                    .parse()
                    .unwrap_or_else(|error| panic!("{place} is no TOML: {error}"));
                examples.push(Example { place, text, table });
            }
        }
        before = line;
    }
    examples
}

fn sites() -> [SiteFacts; 1] {
    [SiteFacts {
        name: "main".to_owned(),
        hosts: ["example.com", "*.example.com"]
            .map(|host| HostPattern::parse(host).expect("a host"))
            .into(),
        upstream: "app".to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    }]
}

/// Every list file holds an address.
struct AnyFile;

impl ListFiles for AnyFile {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        TextFiles(BTreeMap::from([(path.to_owned(), "203.0.113.0/24\n".to_owned())])).read(path)
    }
}

fn faults_of_rules(example: &Example) -> Vec<String> {
    let rules = format!("{}\n{}", example.text, example.missing_lists());
    let environment = PolicyEnvironment {
        sites: &sites(),
        geo: GeoKnown::ALL,
        files: &AnyFile,
        previous: None,
        now: crate::support::NOW,
    };
    let mut faults = Faults::new();
    Policy::compile(&[Source::new("example", rules)], &environment, &mut faults);
    told(&faults.into_sorted())
}

/// What the tests beside documented rules come to.
fn faults_of_tests(example: &Example) -> Vec<String> {
    const CONFIG: &str = "rules = [\"rules.toml\"]\n[[listen]]\naddress = \"127.0.0.1:8080\"\n\
        [upstream.app]\nservers = [\"http://127.0.0.1:3000\"]\n[[site]]\nhosts = [\"example.com\"]\nupstream = \"app\"\n";
    let folder = tempfile::tempdir().expect("a directory");
    let rules = format!("{}\n{}", example.text, example.missing_lists());
    fs::write(folder.path().join("portcullis.toml"), CONFIG).expect("a written file");
    fs::write(folder.path().join("rules.toml"), rules).expect("a written file");
    let loaded = config::load(&folder.path().join("portcullis.toml"), crate::support::NOW, None);
    match loaded.and_then(promises::held) {
        Ok((_, warnings)) => told(&warnings),
        Err(faults) => told(&faults),
    }
}

fn faults_of_configuration(example: &Example) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a written file");
    };
    write("portcullis.toml", completed(example).as_bytes());
    write(
        "rules/lists.toml",
        LISTS.iter().map(list).collect::<String>().as_bytes(),
    );
    for page in ["pages/403.html", "pages/403.json"] {
        write(page, &fs::read(root().join(page)).expect("a shipped page"));
    }
    for (cert, key) in certificates(&example.table) {
        let hosts = vec!["example.com".to_owned(), "*.example.com".to_owned()];
        let made = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
        write(&cert, made.cert.pem().as_bytes());
        write(&key, made.signing_key.serialize_pem().as_bytes());
    }
    match config::load(&folder.path().join("portcullis.toml"), crate::support::NOW, None) {
        Ok((_, warnings)) => told(&warnings),
        Err(faults) => told(&faults),
    }
}

/// The certificate and key files that its sites name.
fn certificates(table: &toml::Table) -> Vec<(String, String)> {
    let sites = table.get("site").and_then(toml::Value::as_array);
    let certificates = sites
        .into_iter()
        .flatten()
        .filter_map(|site| site.get("certificates")?.as_array());
    let file = |entry: &toml::Value, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    certificates
        .flatten()
        .filter_map(|entry| Some((file(entry, "cert")?, file(entry, "key")?)))
        .collect()
}

/// The example with what a configuration must have besides, and with databases that exist.
fn completed(example: &Example) -> String {
    let mut text = String::new();
    if !example.has("rules") {
        text += "rules = [\"rules/*.toml\"]\n";
    }
    for line in example.text.lines() {
        text += &with_database(line);
        text.push('\n');
        if line.trim_end() == "[[site]]" && !example.text.contains("\nhosts") {
            text += "hosts = [\"example.com\", \"*.example.com\"]\nupstream = \"app\"\n";
        }
    }
    if !example.has("listen") {
        text += "[[listen]]\naddress = \"127.0.0.1:8080\"\n";
    }
    if !example.has("upstream") {
        text += "[upstream.app]\nservers = [\"http://127.0.0.1:3000\"]\n";
    }
    if !example.has("site") {
        text += "[[site]]\nhosts = [\"*\"]\nupstream = \"app\"\nself_signed = true\n";
    }
    text
}

/// `"/any/where/GeoLite2-ASN.mmdb"` becomes the fixture of its kind.
fn with_database(line: &str) -> String {
    let Some(end) = line.find(".mmdb\"") else {
        return line.to_owned();
    };
    let Some(start) = line[..end].rfind('"') else {
        return line.to_owned();
    };
    let fixture = if line[start..end].contains("ASN") {
        "asn"
    } else {
        "country"
    };
    let path = root().join(format!("tests/fixtures/geo/{fixture}"));
    format!("{}\"{}{}", &line[..start], path.display(), &line[end..])
}

fn told(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn every_example_loads_without_a_fault_or_a_warning() {
    let examples = examples();
    let mut wrong = Vec::new();
    for example in &examples {
        let faults = if example.is_of_rules() && example.has("test") {
            faults_of_tests(example)
        } else if example.is_of_rules() {
            faults_of_rules(example)
        } else {
            faults_of_configuration(example)
        };
        if !faults.is_empty() {
            wrong.push(format!("{}:\n  {}", example.place, faults.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(examples.len() > 10, "only {} examples were found", examples.len());
}
