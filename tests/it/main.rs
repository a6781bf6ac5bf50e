//! The integration tests: each module is an area, and drives the real binary.

mod browser;
mod completions;
mod configs;
mod fmt;
mod harness;
mod lint;
mod nginx;
mod records;
mod reload;
mod serving;
mod telemetry;
mod tls;
mod upgrade;
mod upstreams;
mod verbs;
