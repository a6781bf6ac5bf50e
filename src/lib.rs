//! Portcullis: a self-hosted access gateway. Judges every request, forwards what is allowed, says why it refuses the rest.

pub mod admin;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod geo;
pub mod policy;
pub mod reload;
pub mod represent;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod upstream;
