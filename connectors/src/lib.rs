//! Where Recount's records come from, and where what must outlive the process is kept.
//!
//! A [`Source`] hands out batches in the order of their records: a [`FileSource`] those of files and standard input, a
//! [`log::LogSource`] those that the service accepted. [`json`] and [`protobuf`] read one record at a time; a [`RawStore`] finds a raw
//! record again for an explanation. A [`data_dir::DataDir`] on a [`disk::Disk`] holds the [`log`], the [`bindings`] and the [`store`] of
//! checkpoints. With the feature `kafka`, the room of that name reaches Kafka; with `object-store`, checkpoints may be in a bucket.
//! [`workload`] makes records from a seed.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bindings;
mod checksum;
pub mod data_dir;
pub mod disk;
mod error;
mod field;
mod file;
mod format;
pub mod json;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log;
pub mod protobuf;
mod raw_store;
mod source;
pub mod store;
pub mod streams;
pub mod workload;

pub use error::SourceError;
#[cfg(fuzzing)]
pub use file::{CutRecord, cut_records};
pub use file::{FileSource, Progress, SourceSettings};
pub use format::{Decoded, Format, decode_one};
pub use raw_store::{RawError, RawRecord, RawStore};
pub use source::{Next, Source, Stopper, read_up_to};
