//! The application behind the gateway: its pools, its protocol, and a stand-in for it.

pub mod demo;
