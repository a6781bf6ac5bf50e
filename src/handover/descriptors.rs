//! A line of text and any number of descriptors through a unix socket.

use std::{
    io::{self, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    io::retry_on_intr,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

/// Descriptors in one message; the kernel takes 253.
const BATCH: usize = 64;
/// Descriptors in all, and the longest line: far more than a gateway has, and no more than we want to hold.
const MOST: usize = 8192;
const LONGEST: usize = 1 << 20;

/// Sends descriptors, each batch with a space, and then the line.
pub(super) fn send(mut stream: &UnixStream, line: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    for batch in descriptors.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(io::Error::other("no room for descriptors"));
        }
        let flags = SendFlags::NOSIGNAL;
        retry_on_intr(|| sendmsg(stream.as_fd(), &[IoSlice::new(b" ")], &mut control, flags))?;
    }
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Receives a line and the descriptors that came with it.
pub(super) fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 4096];
        let received = retry_on_intr(|| {
            let mut into = [IoSliceMut::new(&mut bytes)];
            recvmsg(stream.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other(
                "not all sockets came through: is the limit of open files reached?",
            ));
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend(&bytes[..received.bytes]);
        if descriptors.len() > MOST || line.len() > LONGEST {
            return Err(io::Error::other("it says more than a gateway does"));
        }
        if line.ends_with(b"\n") {
            let line = String::from_utf8(line).map_err(io::Error::other)?;
            return Ok((line.trim().to_owned(), descriptors));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsFd};

    use super::*;

    #[test]
    fn more_descriptors_than_one_message_takes_come_through_in_order() -> io::Result<()> {
        let (one, other) = UnixStream::pair()?;
        let listeners: Vec<_> = (0..150)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<io::Result<_>>()?;
        let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
        let line = format!("{{\"long\":\"{}\"}}", "x".repeat(10_000));
        send(&one, &line, &descriptors)?;
        let (received, descriptors) = receive(&other)?;
        assert_eq!(received, line);
        let address = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let theirs: Vec<_> = descriptors
            .into_iter()
            .map(|descriptor| address(&TcpListener::from(descriptor)))
            .collect::<io::Result<_>>()?;
        let ours: Vec<_> = listeners.iter().map(address).collect::<io::Result<_>>()?;
        assert_eq!(theirs, ours);
        Ok(())
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() -> io::Result<()> {
        let (mut one, other) = UnixStream::pair()?;
        one.write_all(b"half a line")?;
        drop(one);
        let error = receive(&other).expect_err("no whole line");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        Ok(())
    }
}
