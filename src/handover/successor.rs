//! The side of the gateway that takes over.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    descriptors,
    passed::{KeptElsewhere, Passed, PassedTcp, PassedUnix, Purpose},
    protocol::{Answer, Offer, OfferedSockets, PROTOCOL, Verdict},
};

/// The running gateway answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The last answer is a few words.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No gateway runs there.
    #[error("no gateway listens there")]
    Nobody,
    /// It said no.
    #[error("the running gateway does not hand over: {0}")]
    Refused(String),
    /// It could not be talked to.
    #[error("the running gateway cannot be talked to: {0}")]
    Broken(#[from] io::Error),
}

/// The gateway that runs, until it has handed over.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    version: String,
}

impl Predecessor {
    /// Asks the gateway on an admin socket for its listening sockets. It goes on accepting on them.
    ///
    /// # Errors
    /// There is none, or it does not give them.
    pub fn ask(socket: &Path) -> Result<(Self, Passed), AskError> {
        let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Nobody,
            _ => AskError::Broken(error),
        })?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let opening = json!({ "verb": "takeover", "protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION") });
        stream.write_all(format!("{opening}\n").as_bytes())?;
        let (line, descriptors) = descriptors::receive(&stream)?;
        let offer = understood(&line)?;
        let passed = passed(&offer, descriptors)?;
        let version = offer.version;
        Ok((Self { stream, version }, passed))
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Says that this gateway accepts connections now on what it took, and waits until the other accepts no more.
    ///
    /// # Errors
    /// It did not let go: it goes on, and this gateway has to end.
    pub fn release(mut self, passed: &Passed) -> Result<(), String> {
        self.hear_release(passed.taken.clone())?;
        passed.lent.iter().for_each(KeptElsewhere::unset);
        Ok(())
    }

    fn hear_release(&mut self, taken: Vec<usize>) -> Result<(), String> {
        let ended = |error: io::Error| format!("the running gateway ended before it handed over: {error}");
        self.say(&Verdict::Ready { taken }).map_err(ended)?;
        let mut line = String::new();
        match BufReader::new((&self.stream).take(LONGEST_ANSWER)).read_line(&mut line) {
            // It heard, and is gone: nobody else serves.
            Ok(0) => Ok(()),
            Ok(_) => match serde_json::from_str(&line) {
                Ok(Answer::Yours {}) => Ok(()),
                Ok(Answer::Error(why)) => Err(format!("the running gateway does not hand over: {why}")),
                Err(error) => Err(format!("the running gateway said what makes no sense: {error}")),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                // Both accept: no connection is lost by that, one would be by leaving it to a gateway that hangs.
                tracing::warn!("the running gateway does not say that it hands over");
                Ok(())
            }
            Err(error) => Err(ended(error)),
        }
    }

    /// Says why this gateway does not start. The other goes on.
    pub fn failed(mut self, why: &str) {
        // It sees the end in any case.
        let _gone = self.say(&Verdict::Failed(why.to_owned()));
    }

    fn say(&mut self, verdict: &Verdict) -> io::Result<()> {
        let line = serde_json::to_string(verdict)?;
        self.stream.write_all(format!("{line}\n").as_bytes())
    }
}

fn understood(line: &str) -> Result<Offer, AskError> {
    let refused = |why: &str| AskError::Refused(why.to_owned());
    let answer: Value = serde_json::from_str(line).map_err(io::Error::other)?;
    if let Some(why) = answer.get("error").and_then(Value::as_str) {
        return Err(refused(why));
    }
    if answer.get("protocol").and_then(Value::as_u64) != Some(u64::from(PROTOCOL)) {
        return Err(refused("it speaks another protocol than this version"));
    }
    serde_json::from_value(answer).map_err(|error| refused(&error.to_string()))
}

fn passed(offer: &Offer, descriptors: Vec<OwnedFd>) -> io::Result<Passed> {
    let announced = offer.sockets.iter().map(|sockets| sockets.count);
    let announced = announced.fold(0_usize, usize::saturating_add);
    if announced != descriptors.len() {
        let came = descriptors.len();
        return Err(io::Error::other(format!(
            "it announced {announced} sockets, and {came} came"
        )));
    }
    let mut descriptors = descriptors.into_iter();
    let mut passed = Passed::default();
    for (group, sockets) in offer.sockets.iter().enumerate() {
        for socket in descriptors.by_ref().take(sockets.count) {
            passed.add_offered(group, sockets, socket)?;
        }
    }
    Ok(passed)
}

impl Passed {
    fn add_offered(&mut self, group: usize, sockets: &OfferedSockets, socket: OwnedFd) -> io::Result<()> {
        if !socket2::SockRef::from(&socket).is_listener()? {
            return Err(io::Error::other("it handed over what does not listen"));
        }
        let kept = sockets.kept;
        match (sockets.purpose, sockets.address, sockets.file) {
            (Purpose::Listener | Purpose::Admin, Some(address), _) => self.tcp.push(PassedTcp {
                socket: TcpListener::from(socket),
                kept,
                purpose: Some(sockets.purpose),
                address,
                group,
                name: address.to_string(),
            }),
            (Purpose::AdminSocket, _, Some(file)) => {
                let until_released = KeptElsewhere::new(true);
                if !kept {
                    self.lent.push(until_released.clone());
                }
                self.unix.push(PassedUnix {
                    listener: UnixListener::from(socket),
                    kept: until_released,
                    file,
                    group,
                    name: "the admin socket".to_owned(),
                });
            }
            (Purpose::Listener | Purpose::Admin, None, _) | (Purpose::AdminSocket, _, None) => {
                return Err(io::Error::other("it handed over a socket without saying where it is"));
            }
        }
        Ok(())
    }
}
