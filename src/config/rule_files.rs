//! Finds and reads the files that `rules` names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::files::{self, Files, display_name, is_pattern};
use crate::policy::{
    fault::{Fault, Faults, Source},
    table::Placed,
};

/// The files of `rules`, each once, glob by glob and then in byte order of their names.
pub(super) fn rule_sources(globs: &[Placed<String>], files: &mut Files, faults: &mut Faults) -> Vec<Arc<Source>> {
    let paths = paths(globs, files, faults);
    let mut read = |path: PathBuf| match files.read_text(&files.resolve(&path)) {
        Ok(source) => Some(source),
        Err(cause) => {
            let name = display_name(&files.resolve(&path));
            let named = globs.iter().find(|glob| path.as_path() == Path::new(&glob.value));
            let message = format!("cannot read `{name}`: {cause}");
            let unplaced = || match named.or_else(|| globs.first()) {
                Some(glob) => Fault::error(glob.place.clone(), message),
                None => Fault::without_place(message),
            };
            faults.push(cause.fault(&name).unwrap_or_else(unplaced));
            None
        }
    };
    paths.into_iter().filter_map(&mut read).collect()
}

/// Where the files are, unresolved.
pub(super) fn paths(globs: &[Placed<String>], files: &mut Files, faults: &mut Faults) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for glob in globs {
        match matching(glob, files) {
            Ok(found) => {
                let new: Vec<_> = found.into_iter().filter(|path| !paths.contains(path)).collect();
                paths.extend(new);
            }
            Err(fault) => faults.push(fault),
        }
    }
    paths
}

fn matching(glob: &Placed<String>, files: &mut Files) -> Result<Vec<PathBuf>, Fault> {
    let pattern = &glob.value;
    let fault = |message: String| Fault::error(glob.place.clone(), message);
    if pattern.is_empty() {
        return Err(fault("empty path".to_owned()).expected("expected a path or a glob such as \"rules/*.toml\""));
    }
    if pattern.contains("**") {
        return Err(fault("`**` is not supported".to_owned())
            .expected("`*` never crosses a `/`")
            .help("name each folder: `rules = [\"rules/*.toml\", \"rules/*/*.toml\"]`"));
    }
    let where_to = display_name(&files.resolve(pattern.as_ref()));
    if files.resolve(pattern.as_ref()).is_dir() {
        return Err(fault(format!("`{where_to}` is a directory"))
            .expected("expected files")
            .help(format!("write `\"{}/*.toml\"`", pattern.trim_end_matches('/'))));
    }
    let found = files.glob(pattern).map_err(|error| {
        fault(format!("cannot look for `{where_to}`: {}", files::reason(&error)))
            .expected("the folder must exist and be readable")
    })?;
    if !found.is_empty() {
        return Ok(found);
    }
    let fault = if is_pattern(pattern) {
        fault(format!("no file matches `{where_to}`")).expected("an empty folder of rules would be an open gate")
    } else {
        fault(format!("no such file: `{where_to}`")).expected("paths are relative to the folder of this file")
    };
    Err(fault.help("check the path or the mount; `rules = []` says that there are no rules"))
}
