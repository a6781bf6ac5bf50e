//! Starts the program, speaks to it, and plays its origin.

#![allow(dead_code, reason = "a toolbox: not every test uses every tool")]

pub(crate) mod client;
pub(crate) mod gateway;
pub(crate) mod load;
pub(crate) mod nginx;
pub(crate) mod origin;

pub(crate) use self::{
    client::{Tls, curl, exchange, h2_get},
    gateway::Gateway,
    origin::Origin,
};
