//! The gateway end to end, in this process: real sockets on both sides, raw bytes where HTTP libraries would hide what
//! matters.

mod bodies;
mod floods;
mod forwarding;
mod framing;
mod http2;
mod nginx;
mod origins;
mod stack;
mod streams;
mod tunnels;
