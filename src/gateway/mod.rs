//! A request's way from its head to its answer.

pub mod connection;
pub mod head;
pub mod headers;
pub mod pace;
pub mod refusal;
pub mod sites;
