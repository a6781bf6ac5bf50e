//! `portcullis healthcheck`: asks the running gateway whether it is ready. For containers that have no other program.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Exit, Output, session::Session};
use crate::config;

/// No answer of ours is longer.
const LONGEST_ANSWER: u64 = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The gateway's admin address, instead of the configuration's
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,

    /// How long to wait for the answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    timeout: u64,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let address = match arguments.admin.map_or_else(|| configured(session), Ok) {
        Ok(address) => reachable(address),
        Err(exit) => return exit,
    };
    match ready(address, Duration::from_secs(arguments.timeout.max(1))) {
        Ok((status, word)) => {
            let is_ready = status == 200;
            match session.output {
                Output::Text => session.print(&format!("{word}\n")),
                Output::Json => session.print_json(&json!({ "ok": is_ready, "state": word })),
            }
            if is_ready { Exit::Yes } else { Exit::No }
        }
        Err(error) => {
            session.complain(&format!("no gateway answers on {address}: {error}"));
            Exit::No
        }
    }
}

fn configured(session: &Session) -> Result<SocketAddr, Exit> {
    let path = session.config().map_err(|fault| vec![fault]);
    match path.and_then(|path| config::admin(&path)) {
        Ok(admin) => admin.address.ok_or_else(|| {
            session.complain("the configuration has no `[admin] address`; name one with --admin");
            Exit::CouldNot
        }),
        Err(faults) => {
            session.faults(&faults);
            Err(Exit::CouldNot)
        }
    }
}

/// Who listens everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// The status and the one word of `/readyz`.
fn ready(address: SocketAddr, timeout: Duration) -> io::Result<(u16, String)> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while (answer.len() as u64) < LONGEST_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => break,
            read => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("what answers there is no gateway"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let word = body.trim();
    ["ready", "starting", "draining"]
        .contains(&word)
        .then(|| (status, word.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    fn answering(answer: &'static str) -> io::Result<(u16, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut request = [0; 1024];
            let _read = stream.read(&mut request)?;
            stream.write_all(answer.as_bytes())
        });
        let found = ready(address, Duration::from_secs(20));
        server.join().expect("the server ends")?;
        found
    }

    #[test]
    fn the_gateways_word_is_taken() -> io::Result<()> {
        assert_eq!(answering("HTTP/1.1 200 OK\r\n\r\nready\n")?, (200, "ready".to_owned()));
        let draining = answering("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining\n")?;
        assert_eq!(draining, (503, "draining".to_owned()));
        Ok(())
    }

    #[test]
    fn another_server_is_not_taken_for_a_gateway() {
        assert!(answering("HTTP/1.1 200 OK\r\n\r\n<html>").is_err());
        assert!(answering("220 mail\r\n").is_err());
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_this_machine() {
        let at = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(at("0.0.0.0:9180"), "127.0.0.1:9180");
        assert_eq!(at("[::]:9180"), "[::1]:9180");
        assert_eq!(at("192.0.2.1:9180"), "192.0.2.1:9180");
    }
}
