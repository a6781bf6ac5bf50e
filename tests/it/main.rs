//! The integration tests: each module is an area, and drives the real binary.

mod browser;
mod completions;
mod configs;
mod confirm;
mod events;
mod explain;
mod explain_docs;
mod fmt;
mod harness;
mod lint;
mod nginx;
mod promises;
mod records;
mod reload;
mod replay;
mod serving;
mod telemetry;
mod tls;
mod upgrade;
mod upstreams;
mod verbs;
