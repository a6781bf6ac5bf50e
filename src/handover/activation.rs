//! Socket activation: sockets that a service manager opened and passes to each process that it starts, as `LISTEN_FDS`,
//! `LISTEN_PID` and `LISTEN_FDNAMES` say (`sd_listen_fds(3)`).

use std::{env, io, net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;
use socket2::SockRef;

use super::passed::{FileIdentity, KeptElsewhere, Passed, PassedTcp, PassedUnix};

/// More is a mistake in the environment, which must not make us reserve memory for it.
const MOST: usize = 1024;
/// Descriptors begin after standard input, output and error.
const FIRST: usize = 3;

/// Why sockets that were passed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The number is none.
    #[error("`LISTEN_FDS` is `{0}`: expected how many sockets are passed, at most {MOST}")]
    Number(String),
    /// What is no listening stream socket.
    #[error("descriptor {descriptor}, passed by `LISTEN_FDS`, is no listening TCP or unix stream socket: {source}")]
    Socket {
        /// Its number.
        descriptor: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// The sockets that were passed to this very process. To be called before there are threads: the variables are removed, so
/// that no child takes them for its own.
///
/// # Errors
/// What was passed cannot be used: it is not ignored, someone meant it to be listened on.
pub fn activated() -> Result<Passed, ActivationError> {
    let Some(count) = count(env::var("LISTEN_PID").ok(), env::var("LISTEN_FDS").ok())? else {
        return Ok(Passed::default());
    };
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut descriptors = ListenFd::from_env();
    let mut passed = Passed::default();
    for index in 0..count {
        let failed = |source| ActivationError::Socket {
            descriptor: FIRST + index,
            source,
        };
        let socket = take(&mut descriptors, index).map_err(failed)?;
        passed
            .add(socket, names.get(index).copied().unwrap_or_default(), FIRST + index)
            .map_err(failed)?;
    }
    Ok(passed)
}

/// How many sockets are for this process. `LISTEN_PID` must be ours: a parent's variables may have come down to us.
fn count(pid: Option<String>, count: Option<String>) -> Result<Option<usize>, ActivationError> {
    let ours = pid.is_some_and(|pid| pid.parse::<u32>().is_ok_and(|pid| pid == std::process::id()));
    let Some(written) = count.filter(|_| ours) else {
        return Ok(None);
    };
    match written.parse::<usize>() {
        Ok(count @ 0..=MOST) => Ok(Some(count)),
        Ok(_) | Err(_) => Err(ActivationError::Number(written)),
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

fn take(descriptors: &mut ListenFd, index: usize) -> io::Result<Socket> {
    let gone = || io::Error::other("it is not there");
    match descriptors.take_tcp_listener(index) {
        Ok(tcp) => tcp.map(Socket::Tcp).ok_or_else(gone),
        Err(no_tcp) => match descriptors.take_unix_listener(index) {
            Ok(unix) => unix.map(Socket::Unix).ok_or_else(gone),
            Err(_) => Err(no_tcp),
        },
    }
}

impl Passed {
    fn add(&mut self, socket: Socket, name: &str, descriptor: usize) -> io::Result<()> {
        let described = |what: &dyn std::fmt::Display| match name {
            "" => format!("{what} (descriptor {descriptor})"),
            _ => format!("{what} (descriptor {descriptor}, `{name}`)"),
        };
        match socket {
            Socket::Tcp(socket) => {
                listens(&SockRef::from(&socket))?;
                let address = socket.local_addr()?;
                // A service manager may pass several of one address (`ReusePort=`): they are one listener's.
                let same = self.tcp.iter().find(|other| other.address == address);
                let group = same.map_or(descriptor, |other| other.group);
                self.tcp.push(PassedTcp {
                    socket,
                    kept: true,
                    purpose: None,
                    address,
                    group,
                    name: described(&address),
                });
            }
            Socket::Unix(listener) => {
                listens(&SockRef::from(&listener))?;
                let address = listener.local_addr()?;
                let path = address
                    .as_pathname()
                    .ok_or_else(|| io::Error::other("it has no path"))?;
                self.unix.push(PassedUnix {
                    kept: KeptElsewhere::new(true),
                    file: FileIdentity::of(path)?,
                    group: descriptor,
                    name: described(&path.display()),
                    listener,
                });
            }
        }
        Ok(())
    }
}

fn listens(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? {
        Ok(())
    } else {
        Err(io::Error::other("it does not listen"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pid: &str, fds: &str) -> Result<Option<usize>, String> {
        count(Some(pid.to_owned()), Some(fds.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_addressed_to_this_process_is_ours() {
        let (ours, other) = (std::process::id().to_string(), "1");
        assert_eq!(counted(&ours, "2"), Ok(Some(2)));
        assert_eq!(counted(other, "2"), Ok(None));
        assert_eq!(counted(other, "nonsense"), Ok(None));
        assert_eq!(count(None, Some("2".to_owned())).ok(), Some(None));
        assert_eq!(count(Some(ours), None).ok(), Some(None));
    }

    #[test]
    fn a_number_that_is_none_is_told() {
        let ours = std::process::id().to_string();
        for number in ["", "-1", "two", "1025", "99999999999999999999"] {
            let told = counted(&ours, number).expect_err("no number of sockets");
            assert!(told.contains("LISTEN_FDS") && told.contains("at most 1024"), "{told}");
        }
    }
}
