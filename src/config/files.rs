//! Reads files relative to the directory of `portcullis.toml`, resolves globs, and notices files that change meanwhile.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::policy::fault::{Fault, Place, Source};

/// No file of a configuration is larger; a device or a runaway list must not fill the memory.
const LARGEST: u64 = 256 << 20;

/// The files of one load, with what each looked like when it was read.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    digests: BTreeMap<PathBuf, u64>,
    listings: Vec<Listing>,
}

/// What a load was made of, to tell whether the files still say the same.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// Files that were read as text, by their contents.
    texts: BTreeMap<PathBuf, (Option<Stamp>, u64)>,
    /// Files that others read, by their length and time.
    others: BTreeMap<PathBuf, Option<Stamp>>,
    listings: Vec<Listing>,
}

/// The names in a folder that a pattern found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listing {
    folder: PathBuf,
    pattern: String,
    names: Vec<OsString>,
}

impl Listing {
    fn read(folder: PathBuf, pattern: &str) -> io::Result<Self> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name();
            if matches(pattern, &name.to_string_lossy()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self {
            folder,
            pattern: pattern.to_owned(),
            names,
        })
    }
}

impl OnDisk {
    /// Whether a load would be made of something else now. Reads those files again that were touched.
    pub fn differs(&self) -> bool {
        let text_differs = |(path, (stamp, digest)): (&PathBuf, &(Option<Stamp>, u64))| {
            Stamp::of(path) != *stamp && !fs::read(path).is_ok_and(|bytes| digest_of(&bytes) == *digest)
        };
        let other_differs = |(path, stamp): (&PathBuf, &Option<Stamp>)| {
            let seen = |stamp: &Option<Stamp>| stamp.map(|stamp| (stamp.length, stamp.modified));
            seen(&Stamp::of(path)) != seen(stamp)
        };
        let listing_differs =
            |listing: &Listing| Listing::read(listing.folder.clone(), &listing.pattern).ok().as_ref() != Some(listing);
        self.texts.iter().any(text_differs)
            || self.others.iter().any(other_differs)
            || self.listings.iter().any(listing_differs)
    }
}

/// Two contents that differ have different digests, as far as chance goes.
fn digest_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// What tells one version of a file from the next; following links, so that a swapped `..data` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Files {
    /// Reads relative to `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            stamps: BTreeMap::new(),
            digests: BTreeMap::new(),
            listings: Vec::new(),
        }
    }

    /// What was read, to be compared with what is there later.
    pub(super) fn remembered(self) -> OnDisk {
        let folders: Vec<&PathBuf> = self.listings.iter().map(|listing| &listing.folder).collect();
        let mut on_disk = OnDisk::default();
        for (path, stamp) in self.stamps {
            match self.digests.get(&path) {
                Some(digest) => drop(on_disk.texts.insert(path, (stamp, *digest))),
                None if folders.contains(&&path) => {}
                None => drop(on_disk.others.insert(path, stamp)),
            }
        }
        on_disk.listings = self.listings;
        on_disk
    }

    /// Where a path of the configuration leads.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Remembers how a file or directory looks now, without reading it: for those whom others read. The path is a resolved
    /// one.
    pub fn watch(&mut self, path: &Path) {
        // The first look counts: a file that changed between two readings has changed.
        if !self.stamps.contains_key(path) {
            self.stamps.insert(path.to_owned(), Stamp::of(path));
        }
    }

    /// Whether a file looks different from when it was first looked at: what was read may not belong together.
    pub fn have_changed(&self) -> bool {
        self.stamps.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    /// A text file at a resolved path, known by the name that the operator would type.
    ///
    /// # Errors
    /// In words that follow "cannot read `path`:".
    pub fn read_text(&mut self, path: &Path) -> Result<Arc<Source>, ReadError> {
        self.watch(path);
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(ReadError::Directory);
        }
        if !metadata.is_file() {
            return Err(ReadError::NotAFile);
        }
        if metadata.len() > LARGEST {
            return Err(ReadError::TooLarge);
        }
        let bytes = fs::read(path)?;
        self.digests.insert(path.to_owned(), digest_of(&bytes));
        let text = String::from_utf8(bytes).map_err(|error| ReadError::NotText {
            offset: error.utf8_error().valid_up_to(),
            shown: Source::new(display_name(path), String::from_utf8_lossy(error.as_bytes())),
        })?;
        // Some editors mark UTF-8 with a byte order mark; it is no part of the text.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Source::new(display_name(path), text))
    }

    /// The files that `pattern` names, unresolved, in byte order of their names. `*` is any run of characters and `?` any one, never
    /// a `/`; a name that begins with a dot matches only a pattern that begins with one.
    ///
    /// # Errors
    /// Where a directory cannot be read.
    pub fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for component in Path::new(pattern).components() {
            let Component::Normal(name) = component else {
                found.iter_mut().for_each(|path| path.push(component));
                continue;
            };
            let name = name.to_string_lossy();
            if !is_pattern(&name) {
                found.iter_mut().for_each(|path| path.push(name.as_ref()));
                continue;
            }
            let mut next = Vec::new();
            for folder in &found {
                next.extend(self.entries(folder, &name)?);
            }
            found = next;
        }
        found.retain(|path| fs::symlink_metadata(self.resolve(path)).is_ok());
        Ok(found)
    }

    fn entries(&mut self, folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let resolved = self.resolve(folder);
        self.watch(&resolved);
        let listing = Listing::read(resolved, pattern)?;
        let found = listing.names.iter().map(|name| folder.join(name)).collect();
        self.listings.push(listing);
        Ok(found)
    }
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("{}", reason(.0))]
    Io(#[from] io::Error),
    /// It is a directory.
    #[error("it is a directory")]
    Directory,
    /// A device, a socket, a pipe.
    #[error("it is not a regular file")]
    NotAFile,
    /// Beyond the largest size that is read.
    #[error("it is larger than 256 MiB")]
    TooLarge,
    /// Bytes that are no UTF-8.
    #[error("it is not UTF-8 text (byte {offset})")]
    NotText {
        /// The first bad byte.
        offset: usize,
        /// The text with a replacement character for every bad byte.
        shown: Arc<Source>,
    },
}

impl ReadError {
    /// The fault of a file of this name, where the cause has a place of its own.
    pub(super) fn fault(&self, name: &str) -> Option<Fault> {
        match self {
            Self::NotText { offset, shown } => Some(
                Fault::error(
                    Place::new(shown, *offset..*offset + char::REPLACEMENT_CHARACTER.len_utf8()),
                    format!("`{name}` is not UTF-8 text"),
                )
                .expected("no character begins with this byte")
                .help("save the file as UTF-8"),
            ),
            Self::Io(_) | Self::Directory | Self::NotAFile | Self::TooLarge => None,
        }
    }
}

/// The system's words without its number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a path's component has wildcards.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a file name matches a pattern of `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands and how much it has swallowed: on a mismatch it swallows one more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            Some(_) | None => match star {
                Some((at, swallowed)) => {
                    p = at + 1;
                    n = swallowed + 1;
                    star = Some((at, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The path as the operator would type it: `config/../rules/geo.toml` is `rules/geo.toml`, where no link makes a difference.
pub fn display_name(path: &Path) -> String {
    let mut short = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir if matches!(short.components().next_back(), Some(Component::Normal(_))) => {
                short.pop();
            }
            Component::CurDir => {}
            Component::ParentDir | Component::Normal(_) | Component::RootDir | Component::Prefix(_) => {
                short.push(component);
            }
        }
    }
    let same = match (fs::canonicalize(&short), fs::canonicalize(path)) {
        (Ok(short), Ok(long)) => short == long,
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    };
    let shown = if same && !short.as_os_str().is_empty() {
        &short
    } else {
        path
    };
    shown.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a directory");
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, name).expect("written");
        }
        folder
    }

    fn names(folder: &Path, pattern: &str) -> Vec<String> {
        let found = Files::new(folder).glob(pattern).expect("readable");
        found.iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn globs_give_byte_order_and_no_dotfiles() {
        let folder = folder(&[
            "rules/b.toml",
            "rules/a.toml",
            "rules/B.toml",
            "rules/.a.toml.swp",
            "rules/.x.toml",
            "rules/a.toml~",
        ]);
        assert_eq!(
            names(folder.path(), "rules/*.toml"),
            ["rules/B.toml", "rules/a.toml", "rules/b.toml"]
        );
        assert_eq!(
            names(folder.path(), "rules/?.tom*"),
            ["rules/B.toml", "rules/a.toml", "rules/a.toml~", "rules/b.toml"]
        );
        assert_eq!(names(folder.path(), "rules/a.toml"), ["rules/a.toml"]);
        assert_eq!(names(folder.path(), "rules/c*.toml"), [] as [&str; 0]);
        assert_eq!(names(folder.path(), "absent.toml"), [] as [&str; 0]);
    }

    #[test]
    fn wildcards_work_in_folders_too() {
        let folder = folder(&["sites/a/rules.toml", "sites/b/rules.toml", "sites/b/other.toml"]);
        assert_eq!(
            names(folder.path(), "sites/*/rules.toml"),
            ["sites/a/rules.toml", "sites/b/rules.toml"]
        );
    }

    #[test]
    fn a_mounted_config_map_is_read_once_and_its_swap_shows() {
        let folder = folder(&["..one/geo.toml", "..two/geo.toml"]);
        symlink("..one", folder.path().join("..data")).expect("linked");
        symlink("..data/geo.toml", folder.path().join("geo.toml")).expect("linked");
        let mut files = Files::new(folder.path());
        assert_eq!(files.glob("*.toml").expect("readable"), [PathBuf::from("geo.toml")]);
        assert_eq!(
            files.read_text(&folder.path().join("geo.toml")).expect("readable").text,
            "..one/geo.toml"
        );
        assert!(!files.have_changed());
        symlink("..two", folder.path().join("..tmp")).expect("linked");
        fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).expect("swapped");
        assert!(files.have_changed());
    }

    #[test]
    fn an_appearing_file_is_a_change() {
        let folder = folder(&["a.toml"]);
        let mut files = Files::new(folder.path());
        files.glob("*.toml").expect("readable");
        assert!(!files.have_changed());
        fs::write(folder.path().join("b.toml"), "").expect("written");
        assert!(files.have_changed());
    }

    #[test]
    fn what_was_read_is_told_from_what_is_there_now() {
        let folder = folder(&["a.toml", "b.mmdb"]);
        let mut files = Files::new(folder.path());
        files.glob("*.toml").expect("readable");
        files.read_text(&folder.path().join("a.toml")).expect("readable");
        files.watch(&folder.path().join("b.mmdb"));
        let read = files.remembered();
        assert!(!read.differs());
        fs::write(folder.path().join("a.toml"), "a.toml").expect("written");
        fs::write(folder.path().join("unrelated"), "").expect("written");
        assert!(!read.differs(), "the same contents, written again");
        fs::write(folder.path().join("a.toml"), "other").expect("written");
        assert!(read.differs());
        fs::write(folder.path().join("a.toml"), "a.toml").expect("written");
        fs::write(folder.path().join("c.toml"), "").expect("written");
        assert!(read.differs(), "one more that the pattern finds");
        fs::remove_file(folder.path().join("c.toml")).expect("removed");
        assert!(!read.differs());
        fs::write(folder.path().join("b.mmdb"), "a newer one").expect("written");
        assert!(read.differs());
    }

    #[test]
    fn what_is_no_text_file_says_so() {
        let folder = folder(&["a/b"]);
        fs::write(folder.path().join("latin"), b"caf\xe9").expect("written");
        let mut files = Files::new(folder.path());
        let mut said = |path: &str| {
            files
                .read_text(&folder.path().join(path))
                .expect_err("unreadable")
                .to_string()
        };
        assert_eq!(said("a"), "it is a directory");
        assert_eq!(said("absent"), "no such file");
        assert_eq!(said("latin"), "it is not UTF-8 text (byte 3)");
        assert_eq!(said("/dev/null"), "it is not a regular file");
    }

    #[test]
    fn names_are_shown_without_detours() {
        let folder = folder(&["config/portcullis.toml", "rules/geo.toml"]);
        let path = folder.path().join("config/../rules/./geo.toml");
        assert_eq!(
            display_name(&path),
            folder.path().join("rules/geo.toml").display().to_string()
        );
    }

    proptest! {
        #[test]
        fn a_star_anywhere_in_a_name_matches_it(name in "[a-z]{1,8}", at in 0_usize..8, cut in 0_usize..8) {
            let at = at.min(name.len());
            let end = (at + cut).min(name.len());
            let pattern = format!("{}*{}", &name[..at], &name[end..]);
            prop_assert!(matches(&pattern, &name));
        }

        #[test]
        fn a_pattern_without_wildcards_matches_itself_alone(a in "[a-z.]{1,6}", b in "[a-z.]{1,6}") {
            prop_assert_eq!(matches(&a, &b), a == b);
        }
    }
}
