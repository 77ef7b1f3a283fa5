//! Checkpoint files in an object store: an S3-compatible bucket, Google's or Azure's.
//!
//! ```text
//! PREFIX/store.json        whose checkpoints these are; made once
//! PREFIX/writers/NNNNNNNN  the writer that came last
//! PREFIX/runs/             packs and manifests
//! PREFIX/runs-NNNNNN/      the same of generation N
//! ```
//! All names are made by put-if-absent, so of two that make the same one loses. What large files are made of can not be put that
//! way; they are packs, whose names hold the number of their writer, and `writers/` gives a number to one process alone, even where
//! a data directory was copied.
//!
//! A file is written whole to the data directory, then put, and then it has its name in both: what the process maps are copies in
//! `DIR/runs`. A copy goes when its object does. Who reads beside the process that writes takes nothing from its copies: he is to
//! find out whether the objects are whole.
//!
//! Every request has a time, and is repeated within it; a request that could not be made says so as [`Away`], and whoever writes
//! checkpoints tries again with the next one.
//!
//! [`Away`]: recount_dataflow::store::Away

mod client;
mod error;
mod owner;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

pub use error::BucketError;
pub use settings::{check, is_secret};
pub use store::BucketStore;
