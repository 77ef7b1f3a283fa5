//! Where Recount's records come from: decoders, files, and the seeded workload.
//!
//! A [`FileSource`] reads files and standard input, on threads of its own, and hands out batches in the order of their
//! records. [`json`] and [`protobuf`] read one record at a time; [`RawStore`] finds a raw record again for an explanation. [`workload`] makes
//! records from a seed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checksum;
pub mod data_dir;
pub mod disk;
mod error;
mod field;
mod file;
mod format;
pub mod json;
pub mod log;
pub mod protobuf;
pub mod workload;

pub use error::SourceError;
pub use file::{FileSource, Next, Progress, RawError, RawRecord, RawStore, SourceSettings, Stopper};
pub use format::{Decoded, Format, decode_one};
