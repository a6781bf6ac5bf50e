//! The admin socket as a file: made so that nobody but its owner can ever connect, and removed at the end.

use std::{
    fs::{self, DirBuilder, Metadata, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// A bound socket of mode 0600; dropping removes the file, if it still is ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: after another gateway took the path over, the file is not ours to remove.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds at `path`. What a gateway left there that ended abruptly is replaced; a socket that someone listens on, and
    /// any other file, is an error. A missing directory is made, for its owner alone.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        refuse_occupied(path)?;
        let (listener, bound) = bind_privately(parent, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: identity(&bound),
        })
    }

    /// Another handle of the listener.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the admin socket cannot be removed");
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
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
fn bind_privately(parent: &Path, path: &Path) -> io::Result<(UnixListener, Metadata)> {
    let private = parent.join(format!(".p{}", std::process::id()));
    // Left behind by a process of this number that ended abruptly.
    drop(fs::remove_dir_all(&private));
    DirBuilder::new().mode(0o700).create(&private)?;
    let inside = private.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        let metadata = fs::symlink_metadata(&inside)?;
        fs::rename(&inside, path)?;
        Ok((listener, metadata))
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
