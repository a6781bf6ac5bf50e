//! The rule tables: each kind in its own file, from parsed TOML with its places to rules.

mod expires;
mod hosts;
mod response;
mod spans;
mod text;
