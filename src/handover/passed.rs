//! Sockets that came from somebody else, until what they are for is found.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::MetadataExt, net::UnixListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

/// Whether another process has a listening socket as well. Then the connections that wait in its queue are not ours to take
/// when we end, and its file is not ours to remove.
#[derive(Debug, Clone, Default)]
pub struct KeptElsewhere(Arc<AtomicBool>);

impl KeptElsewhere {
    /// As it is at the beginning.
    pub fn new(kept: bool) -> Self {
        Self(Arc::new(AtomicBool::new(kept)))
    }

    /// From now on another process has it.
    pub fn set(&self) {
        self.0.store(true, Relaxed);
    }

    /// From now on it is ours alone.
    pub(super) fn unset(&self) {
        self.0.store(false, Relaxed);
    }

    /// Whether another process has it.
    pub fn is_kept(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What a socket is for. A running gateway says so; a service manager does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// `[[listen]]`
    Listener,
    /// `[admin] address`
    Admin,
    /// `[admin] socket`
    AdminSocket,
}

/// The file of a unix socket, by device and inode: a path may lead to another file by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity(u64, u64);

impl FileIdentity {
    /// Of the file at a path; a link is not followed.
    ///
    /// # Errors
    /// There is none, or it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|file| Self(file.dev(), file.ino()))
    }
}

/// A socket of a TCP listener.
#[derive(Debug)]
pub struct PassedTcp {
    /// The socket.
    pub socket: TcpListener,
    /// Its giver keeps it, too.
    pub kept: bool,
    pub(super) purpose: Option<Purpose>,
    /// As it was configured (a port may be 0), or as it is bound.
    pub(super) address: SocketAddr,
    /// Sockets of one listener have one number.
    pub(super) group: usize,
    /// For messages.
    pub(super) name: String,
}

/// A unix socket.
#[derive(Debug)]
pub struct PassedUnix {
    /// The socket.
    pub listener: UnixListener,
    /// Its giver keeps it, too: a running gateway until it has handed over, so that a start that fails leaves it its file.
    pub kept: KeptElsewhere,
    pub(super) file: FileIdentity,
    pub(super) group: usize,
    pub(super) name: String,
}

/// All that a process was given and has not yet found a use for.
#[derive(Debug, Default)]
pub struct Passed {
    pub(super) tcp: Vec<PassedTcp>,
    pub(super) unix: Vec<PassedUnix>,
    pub(super) taken: Vec<usize>,
    /// Of sockets that are ours alone once the running gateway has handed over.
    pub(super) lent: Vec<KeptElsewhere>,
}

impl Passed {
    /// The sockets of a listener with this address, if there are any: those of the first, if several have it.
    pub fn take_listener(&mut self, address: SocketAddr) -> Vec<PassedTcp> {
        self.take_tcp(Purpose::Listener, address)
    }

    /// The socket for `[admin] address`.
    pub fn take_admin(&mut self, address: SocketAddr) -> Option<PassedTcp> {
        self.take_tcp(Purpose::Admin, address).into_iter().next()
    }

    /// The socket whose file is at this path.
    pub fn take_admin_socket(&mut self, path: &Path) -> Option<PassedUnix> {
        let file = FileIdentity::of(path).ok()?;
        let place = self.unix.iter().position(|passed| passed.file == file)?;
        let passed = self.unix.swap_remove(place);
        self.taken.push(passed.group);
        Some(passed)
    }

    /// What nobody took, in words.
    pub fn left(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|passed| &passed.name);
        tcp.chain(self.unix.iter().map(|passed| &passed.name))
            .cloned()
            .collect()
    }

    /// Whether anything was passed that is still here.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.unix.is_empty()
    }

    fn take_tcp(&mut self, purpose: Purpose, address: SocketAddr) -> Vec<PassedTcp> {
        let fits =
            |passed: &PassedTcp| passed.address == address && passed.purpose.is_none_or(|passed| passed == purpose);
        let Some(group) = self.tcp.iter().find(|passed| fits(passed)).map(|first| first.group) else {
            return Vec::new();
        };
        self.taken.push(group);
        self.tcp.extract_if(.., |passed| passed.group == group).collect()
    }
}

#[cfg(test)]
impl Passed {
    /// Sockets of one listener, as a gateway or a service manager passes them.
    pub(crate) fn of_listener(address: SocketAddr, sockets: Vec<TcpListener>, kept: bool) -> Self {
        let passed = |socket| PassedTcp {
            socket,
            kept,
            purpose: None,
            address,
            group: 0,
            name: address.to_string(),
        };
        Self {
            tcp: sockets.into_iter().map(passed).collect(),
            ..Self::default()
        }
    }
}
