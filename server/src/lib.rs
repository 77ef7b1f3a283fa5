//! Recount as a program: the service over gRPC, and the command line.
//!
//! `convert` is the border between the wire and the engine, `grpc` answers calls, [`server`] starts and stops everything in one
//! visible order, `feed` and `watcher` are the threads between it and the engine, `config` turns flags, environment and files
//! into checked settings, `cli` has one file a command, `output` writes tables.

pub mod cli;
mod config;
pub mod convert;
mod evidence;
mod feed;
pub mod grpc;
pub mod limits;
pub mod lineage;
mod output;
pub mod server;
mod watcher;
