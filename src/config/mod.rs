//! Reads files into settings and rules, gathering every fault with its place.
//!
//! Owns `portcullis.toml`: its tables one file each, its defaults, what its tables must agree on, and the reading of every
//! file that it names. [`load`] compiles all of it into a [`Snapshot`], or says everything that is wrong. Refuses to know of
//! sockets and the network: a load that succeeds here is one that `portcullis check` would call good.

mod checks;
mod compile;
pub mod files;
mod interpolate;
mod limits;
mod listen;
mod reload;
mod resilience;
mod rule_files;
pub mod settings;
pub mod show;
mod site;
mod traffic;
mod upstream;
mod values;
mod written;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use toml::de::DeValue;

use self::{files::Files, interpolate::Variables, settings::Admin};
use crate::{
    policy::{
        fault::{Fault, Faults, Source},
        rule::Timestamp,
        table::{Table, parse},
    },
    snapshot::Snapshot,
};

/// How often files that change while they are read are read again.
const ATTEMPTS: u32 = 5;
/// How long whoever is writing gets to finish.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads the configuration at `path` and everything that it names, and compiles it. `previous` is the snapshot in force:
/// what did not change is taken from it. Comes back with the warnings. Blocks on files; never touches the network.
///
/// # Errors
/// Everything that is wrong, by file and position; at least one fault is an error.
pub fn load(path: &Path, now: Timestamp, previous: Option<&Snapshot>) -> Result<(Snapshot, Vec<Fault>), Vec<Fault>> {
    load_with(path, now, previous, &|name| std::env::var(name).ok())
}

fn load_with(
    path: &Path,
    now: Timestamp,
    previous: Option<&Snapshot>,
    variables: Variables<'_>,
) -> Result<(Snapshot, Vec<Fault>), Vec<Fault>> {
    for _ in 0..ATTEMPTS {
        let mut files = Files::new(folder(path));
        let mut faults = Faults::new();
        let snapshot = attempt(path, now, previous, variables, &mut files, &mut faults);
        if files.have_changed() {
            // What was read may not belong together: half a deployment is no configuration.
            thread::sleep(PAUSE);
            continue;
        }
        return match snapshot {
            Some(snapshot) if !faults.has_errors() => {
                let on_disk = files.remembered();
                Ok((Snapshot { on_disk, ..snapshot }, faults.into_sorted()))
            }
            Some(_) | None => Err(faults.into_sorted()),
        };
    }
    let fault = Fault::without_place("the files kept changing while they were read");
    Err(vec![fault.help("reload again when whatever writes them has finished")])
}

/// `[admin]` alone: how to reach the gateway that runs with this configuration, whose other parts may not load.
///
/// # Errors
/// The file cannot be read, or `[admin]` is faulty.
pub fn admin(path: &Path) -> Result<Admin, Vec<Fault>> {
    let mut files = Files::new(folder(path));
    let mut faults = Faults::new();
    let source = read_main(path, &mut files).map_err(|fault| vec![fault])?;
    let mut syntax = Faults::new();
    let mut document = parse(&source, &mut syntax);
    if syntax.has_errors() && !document.get_ref().contains_key("admin") {
        // It may be what does not parse that hides `[admin]`.
        return Err(syntax.into_sorted());
    }
    if let Some((_, admin)) = document.get_mut().iter_mut().find(|(key, _)| key.get_ref() == "admin")
        && let DeValue::Table(table) = admin.get_mut()
    {
        let variables = |name: &str| std::env::var(name).ok();
        interpolate::interpolate(table, &source, &variables, &mut files, &mut faults);
    }
    let mut table = Table::new(&source, "portcullis.toml", document.span(), document.get_ref());
    let section = table
        .value("admin")
        .and_then(|value| value.table("[admin]", &mut faults));
    let mut admin = listen::admin(section, &mut faults).admin;
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    admin.socket = admin.socket.map(|socket| files.resolve(&socket));
    Ok(admin)
}

/// The files that `rules` of the configuration at `path` names; its other parts may not load.
///
/// # Errors
/// The file cannot be read or parsed, or `rules` is faulty.
pub fn rule_files(path: &Path) -> Result<Vec<PathBuf>, Vec<Fault>> {
    let mut files = Files::new(folder(path));
    let mut faults = Faults::new();
    let source = read_main(path, &mut files).map_err(|fault| vec![fault])?;
    let mut document = parse(&source, &mut faults);
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    let variables = |name: &str| std::env::var(name).ok();
    // What is missing elsewhere is not asked about; a glob with a hole in it finds nothing, and that is told.
    interpolate::interpolate(document.get_mut(), &source, &variables, &mut files, &mut Faults::new());
    let mut table = Table::new(&source, "portcullis.toml", document.span(), document.get_ref());
    let globs = written::rules(&mut table, &mut faults).unwrap_or_default();
    let paths = rule_files::paths(&globs, &mut files, &mut faults);
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    Ok(paths.iter().map(|path| files.resolve(path)).collect())
}

/// A text file that someone named on the command line.
///
/// # Errors
/// It cannot be read, or is no text.
pub fn text(path: &Path) -> Result<Arc<Source>, Fault> {
    Files::new(".").read_text(path).map_err(|cause| {
        let name = path.display().to_string();
        let unplaced = || Fault::without_place(format!("cannot read `{name}`: {cause}"));
        cause.fault(&name).unwrap_or_else(unplaced)
    })
}

/// A duration as the configuration writes it: `5m`, `1h30m`, `500ms`.
///
/// # Errors
/// Why it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    values::written_duration(text)
}

/// The directory that every relative path is relative to.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn read_main(path: &Path, files: &mut Files) -> Result<Arc<Source>, Fault> {
    files.read_text(path).map_err(|cause| {
        let name = path.display().to_string();
        cause.fault(&name).unwrap_or_else(|| {
            Fault::without_place(format!("cannot read `{name}`: {cause}"))
                .help("name the configuration with `-c FILE` or PORTCULLIS_CONFIG")
        })
    })
}

/// One reading. `None` only with an error among the faults.
fn attempt(
    path: &Path,
    now: Timestamp,
    previous: Option<&Snapshot>,
    variables: Variables<'_>,
    files: &mut Files,
    faults: &mut Faults,
) -> Option<Snapshot> {
    let source = read_main(path, files).map_err(|fault| faults.push(fault)).ok()?;
    let mut document = parse(&source, faults);
    let syntax = faults.has_errors();
    let incomplete = interpolate::interpolate(document.get_mut(), &source, variables, files, faults);
    let table = Table::new(&source, "portcullis.toml", document.span(), document.get_ref());
    let mut found = Faults::new();
    let written = written::written(table, &mut found);
    checks::check(&written, &mut found);
    if syntax {
        // What does not parse seems missing as well; only the cause is worth a word.
        return None;
    }
    let own = |fault: &Fault| {
        fault
            .place
            .as_ref()
            .is_none_or(|place| !incomplete.contains(&place.span))
    };
    faults.extend(found.into_iter().filter(own));
    compile::compile(written, now, previous, files, faults)
}

#[cfg(test)]
mod tests;
