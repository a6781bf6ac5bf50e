//! The judge: facts in, decision out.
//!
//! Owns the rule kinds, the expression language, the evaluation order, and what a host, a path and a client IP are.
//! Refuses to know of sockets, files, clocks and async: everything it needs is an argument, so the same code judges live
//! traffic, a log line and a test. Nothing here can fail once compiled.

pub mod client;
pub mod countries;
pub mod decision;
pub mod described;
pub mod explain;
pub mod facts;
pub mod fault;
pub mod format;
mod ip_set;
pub mod lang;
pub mod lint;
pub mod list;
mod literal_scan;
pub mod network;
pub mod normalize;
pub mod phases;
pub mod plan;
#[expect(
    clippy::module_inception,
    reason = "the type `Policy` has its file, as every other has"
)]
pub mod policy;
pub mod rule;
pub mod rules;
pub mod site;
pub(crate) mod sorted;
pub mod stated;
mod strings;
pub mod table;
pub mod testing;
pub mod user_agents;
pub mod view;
