//! Recount as a program: the service over gRPC and HTTP, and the command line.
//!
//! `convert` is the border between the wire and the engine, `api` answers the contract's questions, `grpc` and `http` carry them,
//! `metrics` says how the service is doing, [`server`] starts and stops everything in one visible order, `store` is its data
//! directory, `sinks` what is published while it runs, `feed` and `watcher` are the threads between it and the engine, `config` turns
//! flags, environment and files into checked settings, `cli` has one file a command, `output` writes tables, [`allocator`] is told
//! when workers rest.

pub mod allocator;
pub mod api;
pub mod cli;
mod clock;
mod config;
pub mod convert;
mod evidence;
mod feed;
mod grpc;
mod http;
pub mod limits;
pub mod lineage;
mod metrics;
mod output;
pub mod server;
mod sinks;
mod store;
mod watcher;
