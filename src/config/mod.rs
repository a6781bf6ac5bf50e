//! Reads files into settings and rules, gathering every fault with its place.

pub mod settings;
