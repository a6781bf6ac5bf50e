//! Loads every rule file of `tests/cases/faults`; each must be refused with exactly the faults in the `.txt` beside it.
//!
//! Add a broken file, run with `BLESS=1`, and read what was written beside it: would you know what to do? Files in `no_geo`
//! are loaded as if no geo source were configured. The sites are those of [`sites`].

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use portcullis::policy::{
    fault::Source,
    lang::GeoKnown,
    policy::ListFiles,
    site::{DefaultVerdict, HostPattern, SiteFacts},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/faults")
}

fn sites() -> Vec<SiteFacts> {
    let site = |name: &str, hosts: &[&str], upstream: &str| SiteFacts {
        name: name.to_owned(),
        hosts: hosts
            .iter()
            .map(|host| HostPattern::parse(host).expect("a host pattern"))
            .collect(),
        upstream: upstream.to_owned(),
        application: 0,
        default: DefaultVerdict::Forward,
    };
    crate::support::numbered(vec![
        site("main", &["example.com", "www.example.com"], "app"),
        site("shop", &["*.shop.example"], "app"),
        site("other", &["other.example"], "other"),
    ])
}

/// The files beside the cases.
struct Folder;

impl ListFiles for Folder {
    fn read(&self, path: &str) -> Result<Arc<Source>, String> {
        let text = fs::read_to_string(folder().join(path)).map_err(|_| "no such file".to_owned())?;
        Ok(Source::new(path, text))
    }
}

fn broken_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of faults");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

fn check(path: &Path, geo: GeoKnown) -> Result<(), String> {
    let name = path.file_name().expect("a file name").to_string_lossy();
    let text = fs::read_to_string(path).expect("a readable file");
    let (policy, faults) = crate::support::compile(&name, &text, &Folder, geo, &sites());
    if policy.is_some() {
        return Err(format!("{name} loads"));
    }
    let found = faults.join("\n") + "\n";
    let expected_at = path.with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected_at, &found).expect("a writable folder");
    }
    let expected = fs::read_to_string(&expected_at).unwrap_or_default();
    if found == expected {
        Ok(())
    } else {
        Err(format!("{name}: expected\n{expected}\nfound\n{found}"))
    }
}

#[test]
fn every_broken_file_is_refused_with_the_faults_beside_it() {
    let with_geo = broken_files(&folder()).into_iter().map(|path| (path, GeoKnown::ALL));
    let without = broken_files(&folder().join("no_geo"))
        .into_iter()
        .map(|path| (path, GeoKnown::NONE));
    let failures: Vec<String> = with_geo
        .chain(without)
        .filter_map(|(path, geo)| check(&path, geo).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
