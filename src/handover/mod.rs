//! Listening sockets that a process is given instead of binding them: by a service manager that keeps them, or by the
//! gateway that runs to the one that succeeds it.
//!
//! A socket that changes hands is never closed in between, so a client that the kernel connected, and nobody accepted yet,
//! waits for the successor. Two gateways that merely listened side by side would lose those: what waits in the queue of one
//! socket is reset with it.
//!
//! Owns how sockets come in ([`Passed`]), what is said between the two gateways ([`protocol`](self)), and how the running
//! one starts its successor ([`Succession`]). Refuses to know what is served on a socket and how serving ends: whoever runs
//! the gateway does that, when told of a [`Departure`].
//!
//! # What the two say
//! On the admin socket, a line of JSON each time. The first two are understood by every version:
//! ```text
//! successor   {"verb":"takeover","protocol":1,"version":"0.2.0"}
//! running     {"protocol":1,"version":"0.1.0","sockets":[{"purpose":"listener","address":"[::]:443","count":2,"kept":false},…]}
//!             | {"error":"…"}                                          the sockets themselves come with it (SCM_RIGHTS)
//! successor   {"ready":{"taken":[0,…]}}   its workers accept           | {"failed":"…"}: the running one goes on
//! running     {"yours":{}}                it accepts no more           | {"error":"…"}
//! ```
//! An end of the connection before `ready` means failed. The protocol's number changes when a version that does not know the
//! change would do harm; what is merely new is a field that older versions do not read.

mod activation;
mod descriptors;
mod passed;
mod protocol;
mod succession;
mod successor;

pub use self::{
    activation::{ActivationError, activated},
    passed::{FileIdentity, KeptElsewhere, Passed, PassedTcp, PassedUnix, Purpose},
    protocol::{Opening, PROTOCOL},
    succession::{Departure, Offered, Program, Succession, Successor, takeover_arguments},
    successor::{AskError, Predecessor},
};

#[cfg(test)]
mod tests;
