//! Real user agents and patterns of crawlers, which `benches/run` takes from packages and writes into a folder.

use std::{fs, io, path::Path};

/// What the folder holds.
#[derive(Debug)]
pub struct Agents {
    /// Browsers' strings, the most frequent ones.
    pub browsers: Vec<String>,
    /// Strings of crawlers and browsers.
    pub real: Vec<String>,
    /// `[[user_agent]]` rules, one a pattern.
    pub rules: String,
}

impl Agents {
    /// Reads the folder.
    ///
    /// # Errors
    /// A file is missing.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let lines = |name| Ok::<_, io::Error>(read(folder, name)?.lines().map(str::to_owned).collect());
        Ok(Self {
            browsers: lines("browsers.txt")?,
            real: lines("real.txt")?,
            rules: read(folder, "rules.toml")?,
        })
    }
}

fn read(folder: &Path, name: &str) -> io::Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
