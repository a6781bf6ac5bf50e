//! A request's way from its head to its answer.

pub mod connection;
pub mod pace;
pub mod refusal;
