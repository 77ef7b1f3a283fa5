//! Recount as a program: the service over gRPC, and the command line.
//!
//! `convert` is the border between the wire and the engine, `grpc` answers calls, `server` starts and stops everything in one
//! visible order, `config` turns flags, environment and files into checked settings, `cli` has one file a command.

pub mod convert;
mod evidence;
pub mod grpc;
pub mod limits;
pub mod lineage;
mod watcher;
