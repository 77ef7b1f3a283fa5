//! Bindings on disk: what was fixed of every epoch, durable before anything of the epoch is seen.
//!
//! Bindings lie one behind the other in files that are named by the first epoch in them and by who wrote them. Each is synced
//! before the next is written, so a torn one can only be the last; a writer starts a file of its own behind what it finds.

mod format;
mod reader;
mod sink;

use thiserror::Error;

use crate::data_dir::Fenced;
use crate::disk::DiskError;

pub use reader::{Bindings, delete_bindings_below, newest_behind, newest_bound, positions_after};
pub use sink::BindingLog;

/// Why bindings can not be opened or read.
#[derive(Debug, Error)]
pub enum BindingError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// Bindings that were durable are not what was written.
    #[error(
        "{file}: is damaged at byte {at}: {what}; restore the file from a backup, or rebuild the store from its log"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// They do not reach back that far.
    #[error("{dir}: the binding of epoch {epoch} is gone, they start at epoch {start}; is a file missing?")]
    Gone {
        /// The directory.
        dir: String,
        /// The epoch asked for.
        epoch: u64,
        /// The oldest there is.
        start: u64,
    },
    /// They do not reach as far as a checkpoint does.
    #[error(
        "{dir}: epoch {epoch} has a checkpoint, and its binding is gone, they end before epoch {next}; restore the missing file \
         from a backup, or rebuild the store from its log"
    )]
    Ends {
        /// The directory.
        dir: String,
        /// The epoch that was bound.
        epoch: u64,
        /// The first epoch that is not bound.
        next: u64,
    },
}
