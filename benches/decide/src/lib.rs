//! What the binaries `decide-timing` and `decide-memory` have in common: generated rules, lists and requests, the same on every machine,
//! and the two judges that are asked about them.
//!
//! Owns no figure: series of raw rounds leave as JSON, and whoever runs the binaries makes medians and targets of them.

pub mod agents;
pub mod gate;
pub mod heads;
pub mod lists;
pub mod measures;
pub mod meets;
pub mod peer;
pub mod random;
pub mod rounds;
pub mod rules;
