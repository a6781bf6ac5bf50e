//! `portcullis fmt`: lays out rules files and expressions, comments kept; the meaning never changes.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;

use super::{
    Exit, Output,
    line_diff::unified,
    session::{Session, plural},
};
use crate::{
    config,
    policy::{
        fault::{Fault, Faults, Place, Source},
        format,
        lang::layout,
    },
};

/// More than any rules file; a device must not fill the memory.
const LARGEST: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The files; `-` reads standard input. Without any, the rules files of the configuration
    files: Vec<PathBuf>,

    /// Write nothing: print what would change, and exit 1 if anything would
    #[arg(long)]
    check: bool,

    /// Read standard input and write the result to standard output: the same as `-`
    #[arg(long, conflicts_with = "files")]
    stdin: bool,

    /// Lay out this expression instead of files
    #[arg(short, long, value_name = "EXPRESSION", conflicts_with_all = ["files", "stdin", "check"])]
    expression: Option<String>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    if let Some(text) = &arguments.expression {
        return expression(text, session);
    }
    let reads_input = arguments.stdin || arguments.files.iter().any(|file| file.as_os_str() == "-");
    if reads_input && arguments.files.len() > 1 {
        session.complain("`-` stands alone: standard input and files cannot be formatted together");
        return Exit::CouldNot;
    }
    let pages = if reads_input {
        input()
            .map(|source| vec![source])
            .and_then(|sources| pages(&sources, &[]))
    } else {
        files(arguments, session).and_then(|paths| read(&paths).and_then(|sources| pages(&sources, &paths)))
    };
    match pages {
        Ok(pages) if arguments.check => check(&pages, session),
        Ok(pages) if reads_input => {
            pages.iter().for_each(|page| session.print(&page.text));
            Exit::Yes
        }
        Ok(pages) => write(&pages, session),
        Err(faults) => {
            session.told(&faults, "nothing is formatted");
            Exit::CouldNot
        }
    }
}

fn expression(text: &str, session: &Session) -> Exit {
    match layout(text, format::WIDTH) {
        Ok(lines) => {
            let text = lines.join("\n");
            match session.output {
                Output::Text => session.print(&format!("{text}\n")),
                Output::Json => session.print_json(&json!({ "ok": true, "expression": text })),
            }
            Exit::Yes
        }
        Err(diagnostic) => {
            let place = Place::new(&Source::new("<expression>", text), diagnostic.span);
            let fault = Fault::error(place, diagnostic.message).expected(diagnostic.expected);
            session.told(
                &[diagnostic.help.into_iter().fold(fault, Fault::help)],
                "nothing is formatted",
            );
            Exit::CouldNot
        }
    }
}

/// A text with how it should be.
struct Page {
    path: PathBuf,
    source: Arc<Source>,
    text: String,
}

impl Page {
    fn changes(&self) -> bool {
        self.source.text != self.text
    }
}

/// The files that were named, or those of the configuration.
fn files(arguments: &Arguments, session: &Session) -> Result<Vec<PathBuf>, Vec<Fault>> {
    if !arguments.files.is_empty() {
        return Ok(arguments.files.clone());
    }
    let path = session.config().map_err(|fault| vec![fault])?;
    config::rule_files(&path)
}

fn read(paths: &[PathBuf]) -> Result<Vec<Arc<Source>>, Vec<Fault>> {
    let mut faults = Faults::new();
    let read = |path: &PathBuf| config::text(path).map_err(|fault| faults.push(fault)).ok();
    let sources = paths.iter().filter_map(read).collect();
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    Ok(sources)
}

fn input() -> Result<Arc<Source>, Vec<Fault>> {
    let mut text = String::new();
    match io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text) {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read > LARGEST) => Err(vec![Fault::without_place(format!(
            "standard input is longer than {LARGEST} bytes"
        ))]),
        Ok(_) => Ok(Source::new("<stdin>", text)),
        Err(error) => Err(vec![Fault::without_place(format!(
            "cannot read standard input: {error}"
        ))]),
    }
}

/// All of them, or everything that is wrong with any.
fn pages(sources: &[Arc<Source>], paths: &[PathBuf]) -> Result<Vec<Page>, Vec<Fault>> {
    let mut faults = Faults::new();
    let mut pages = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        match format::format(source) {
            Ok(text) => pages.push(Page {
                path: paths.get(at).cloned().unwrap_or_default(),
                source: Arc::clone(source),
                text,
            }),
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.has_errors() {
        return Err(faults.into_sorted());
    }
    Ok(pages)
}

fn check(pages: &[Page], session: &Session) -> Exit {
    let changed: Vec<&Page> = pages.iter().filter(|page| page.changes()).collect();
    match session.output {
        Output::Text => {
            let differences = changed
                .iter()
                .map(|page| unified(&page.source.name, &page.source.text, &page.text));
            session.print(&differences.collect::<String>());
        }
        Output::Json => told_as_json(&changed, changed.is_empty(), session),
    }
    if changed.is_empty() { Exit::Yes } else { Exit::No }
}

fn write(pages: &[Page], session: &Session) -> Exit {
    let changed: Vec<&Page> = pages.iter().filter(|page| page.changes()).collect();
    for page in &changed {
        if let Err(error) = replace(&page.path, page.text.as_bytes()) {
            session.complain(&format!("cannot write `{}`: {error}", page.source.name));
            return Exit::CouldNot;
        }
    }
    match session.output {
        Output::Text => {
            let names = changed.iter().map(|page| format!("formatted {}\n", page.source.name));
            session.print(&names.collect::<String>());
            if changed.is_empty() {
                session.print(&format!("nothing to change ({})\n", plural(pages.len(), "file")));
            }
        }
        Output::Json => told_as_json(&changed, true, session),
    }
    Exit::Yes
}

fn told_as_json(changed: &[&Page], ok: bool, session: &Session) {
    let names: Vec<&str> = changed.iter().map(|page| page.source.name.as_str()).collect();
    session.print_json(&json!({ "ok": ok, "changed": names }));
}

/// Puts a new text in the place of a file, whole or not at all: a gateway that reloads meanwhile must not read half of it.
/// The file behind a link is replaced, not the link; mode and owner stay, as far as this user may set them.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that no `rules/*.toml` finds it.
    let beside = path.with_file_name(format!(".{name}.{}.fmt", std::process::id()));
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = fill(&mut new, text, &old).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn fill(new: &mut File, text: &[u8], old: &fs::Metadata) -> io::Result<()> {
    new.write_all(text)?;
    // Only the superuser can give a file away; what everyone may do is enough.
    let _ = fchown(&*new, Some(old.uid()), Some(old.gid()));
    new.set_permissions(old.permissions())?;
    new.sync_all()
}
