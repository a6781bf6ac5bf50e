//! How an answer of ours is represented: which media type a client is given, and how values are escaped in it.
//!
//! A leaf: knows headers and text, nothing of refusals or origins.

pub mod accept;
pub mod address;
pub mod escape;
