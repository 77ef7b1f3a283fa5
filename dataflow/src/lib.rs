//! The engine of Recount: events in, exact counts out, at every epoch.
//!
//! The rooms, each knowing only those to its left: `domain` (the rules) ← `trace` (runs), `operators` ← `graph` ← `worker` ←
//! `published` (what is complete) ← `read` (snapshots out) ← `engine` (epochs in). Sources build batches with [`intake`], push
//! them to an [`Engine`], and readers on any thread ask a [`Reader`].
//!
//! [`Engine`]: engine::Engine
//! [`Reader`]: read::Reader

pub mod checkpoint;
pub mod domain;
pub mod engine;
mod graph;
pub mod intake;
mod operators;
mod prefetch;
mod published;
pub mod read;
pub mod store;
mod trace;
mod worker;
