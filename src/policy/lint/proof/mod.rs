//! Proofs about conditions: that one never holds, that one covers another, that two never hold together.
//!
//! Sound and incomplete: what is proven is true of every request, and a test holds it against the interpreter; what is not
//! proven may be true all the same. Knows expressions and lists, nothing of rules.

mod cases;
mod domain;
mod intervals;
mod named;
mod pattern;
mod reading;
mod regexes;
mod texts;

#[cfg(test)]
pub(super) mod tests;

pub(super) use cases::{Case, Cases, Subject};
pub(super) use domain::{Domain, Values};
pub(super) use intervals::Addresses;
pub(super) use pattern::Pattern;
pub(super) use reading::{Known, Reader};
pub(super) use texts::{OneOf, is_open_to};
