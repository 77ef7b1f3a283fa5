//! Events from files and standard input.
//!
//! ```text
//! reader thread          decode threads               the caller
//! bytes ──▶ blocks ──┬─▶ records ─▶ batches ──▶ │ a channel a block │ ──▶ batches in order
//!                    └─ the block's channel ──────── in order ───────────▲
//! ```
//!
//! The reader decompresses and cuts the stream into blocks of about a mebibyte, on the boundaries of records. Decode threads
//! turn blocks into batches, each into the channel that the reader made for its block; the caller takes the channels in the
//! reader's order. So the order, and all that a batch holds, never depend on the number of threads. Every channel is bounded,
//! and dropping the [`FileSource`] closes them, which ends the threads.

mod block;
mod compression;
mod decode;
mod feed;
#[cfg(fuzzing)]
mod fuzzing;
mod input;
mod lines;
mod messages;
mod progress;
#[cfg(feature = "kafka")]
mod raw_records;
mod reader;
mod shelf;
mod source;

pub(crate) use compression::{Compression, of_name};
#[cfg(fuzzing)]
pub use fuzzing::{CutRecord, cut_records};
pub use progress::Progress;
#[cfg(feature = "kafka")]
pub(crate) use raw_records::RawRecords;
pub use source::{FileSource, SourceSettings};
