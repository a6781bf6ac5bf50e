//! A request's way from its head to its answer.

mod answer;
mod failures;
mod pipeline;
mod terms;
mod tunnel;
mod upload;

pub mod connection;
pub mod head;
pub mod headers;
pub mod pace;
pub mod refusal;
pub mod sites;

pub use self::{
    answer::{AnswerBody, AnswerError},
    pipeline::Gateway,
    terms::meters,
};
