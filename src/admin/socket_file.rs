//! The admin socket as a file: made so that nobody but its owner can ever connect, and removed at the end.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::handover::{FileIdentity, KeptElsewhere, Offered, PassedUnix, Purpose};

/// What the system can bind or connect to (`sun_path` less its final NUL).
const LONGEST: usize = 107;
/// What [`bind_privately`] binds lies so much deeper than the socket's folder: `/.p`, a process id, `/s`.
const PRIVATE: usize = "/.p4194304/s".len();
const LONGEST_FOLDER: usize = LONGEST - PRIVATE;

/// Why a socket cannot be had at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// The path itself.
    #[error("expected at most {LONGEST} bytes, these are {0}")]
    Path(usize),
    /// The folder: the socket is made in a private one below it.
    #[error("expected a folder of at most {LONGEST_FOLDER} bytes, this one has {0}")]
    Folder(usize),
}

/// Whether a socket can be had at a path, as far as its length goes.
///
/// # Errors
/// What is too long.
pub fn check_length(path: &Path) -> Result<(), TooLong> {
    let (whole, folder) = (path.as_os_str().len(), folder(path).as_os_str().len());
    if whole > LONGEST {
        Err(TooLong::Path(whole))
    } else if folder > LONGEST_FOLDER {
        Err(TooLong::Folder(folder))
    } else {
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A bound socket of mode 0600; dropping removes the file, if it still is ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// After another gateway put a file of its own there, it is not ours to remove.
    identity: FileIdentity,
    /// Nor is it after another process was given the socket.
    kept: KeptElsewhere,
}

impl SocketFile {
    /// Binds at `path`. What a gateway left there that ended abruptly is replaced; a socket that someone listens on, and
    /// any other file, is an error. A missing directory is made, for its owner alone.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let parent = folder(path);
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        refuse_occupied(path)?;
        let (listener, bound) = bind_privately(parent, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: bound,
            kept: KeptElsewhere::default(),
        })
    }

    /// Takes a socket whose file is at `path` already. Nobody but its owner may be able to connect: a service manager makes
    /// sockets for everyone unless it is told otherwise.
    pub(super) fn adopt(passed: PassedUnix, path: &Path) -> io::Result<Self> {
        let identity = FileIdentity::of(path)?;
        let mode = fs::symlink_metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "the socket that was passed has mode {mode:04o}: others could use it; write `SocketMode=0600` in its unit"
                ),
            ));
        }
        passed.listener.set_nonblocking(true)?;
        Ok(Self {
            listener: passed.listener,
            path: path.to_owned(),
            identity,
            kept: passed.kept,
        })
    }

    /// Another handle, for a gateway that takes over.
    pub(super) fn offered(&self) -> io::Result<Offered> {
        Ok(Offered {
            purpose: Purpose::AdminSocket,
            address: None,
            file: Some(self.identity),
            sockets: vec![self.listener.try_clone()?.into()],
            kept: self.kept.clone(),
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle of the listener.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_there = FileIdentity::of(&self.path).is_ok_and(|found| found == self.identity);
        if is_there
            && !self.kept.is_kept()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the admin socket cannot be removed");
        }
    }
}

fn refuse_occupied(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is in the way",
        ));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another gateway listens on it",
        )),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("something is in the way: {error}"),
        )),
    }
}

/// A socket gets its mode only after it is bound. Until then it lies in a directory that nobody else can enter, so there
/// is no moment at which another user could connect; the rename replaces a stale socket in one step.
fn bind_privately(parent: &Path, path: &Path) -> io::Result<(UnixListener, FileIdentity)> {
    let private = parent.join(format!(".p{}", std::process::id()));
    // Left behind by a process of this number that ended abruptly.
    drop(fs::remove_dir_all(&private));
    DirBuilder::new().mode(0o700).create(&private)?;
    let inside = private.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        let identity = FileIdentity::of(&inside)?;
        fs::rename(&inside, path)?;
        Ok((listener, identity))
    });
    drop(fs::remove_dir_all(&private));
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_connect() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("run/admin.sock");
        let _file = SocketFile::bind(&path)?;
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(directory.path().join("run"))?.permissions().mode() & 0o777,
            0o700
        );
        let names: Vec<_> = fs::read_dir(directory.path().join("run"))?
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        assert_eq!(names, ["admin.sock"]);
        Ok(())
    }

    #[test]
    fn a_path_of_the_longest_folder_binds_and_a_longer_one_is_told_before() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let filling = LONGEST_FOLDER - directory.path().as_os_str().len() - 1;
        let path = directory.path().join("d".repeat(filling)).join("s");
        assert_eq!(check_length(&path), Ok(()));
        drop(SocketFile::bind(&path)?);
        let longer = directory.path().join("d".repeat(filling + 1)).join("s");
        assert_eq!(check_length(&longer), Err(TooLong::Folder(LONGEST_FOLDER + 1)));
        assert_eq!(check_length(Path::new(&"s".repeat(108))), Err(TooLong::Path(108)));
        Ok(())
    }

    #[test]
    fn a_socket_that_someone_listens_on_is_not_taken_away() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("admin.sock");
        let _file = SocketFile::bind(&path)?;
        let second = SocketFile::bind(&path).map(drop).map_err(|error| error.to_string());
        assert_eq!(second, Err("another gateway listens on it".to_owned()));
        assert!(UnixStream::connect(&path).is_ok());
        Ok(())
    }

    #[test]
    fn a_stale_socket_is_replaced() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path)?);
        let _file = SocketFile::bind(&path)?;
        assert!(UnixStream::connect(&path).is_ok());
        Ok(())
    }

    #[test]
    fn another_file_is_left_alone() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious")?;
        assert!(SocketFile::bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path)?, "precious");
        Ok(())
    }

    #[test]
    fn it_is_removed_at_the_end_unless_another_took_its_place() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("admin.sock");
        drop(SocketFile::bind(&path)?);
        assert!(!path.exists());

        let first = SocketFile::bind(&path)?;
        fs::remove_file(&path)?;
        let _second = UnixListener::bind(&path)?;
        drop(first);
        assert!(path.exists());
        Ok(())
    }
}
