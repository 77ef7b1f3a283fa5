//! What the tests of Recount share: a naive model that recounts everything from scratch, random histories, a harness that
//! holds the engine against the model, and the idiomatic differential graph as a second opinion.
//!
//! The model is written from the contract alone. Of the product it uses types to compare with, and none of the rules.

#![allow(clippy::unwrap_used)]

pub mod daemon;
pub mod disk;
pub mod durable;
pub mod harness;
pub mod history;
pub mod idiomatic;
pub mod kafka;
pub mod mem_store;
pub mod model;
pub mod pipeline;
mod process;
pub mod record;
pub mod s3;
pub mod script;
