//! Why the log refuses, or ends.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::data_dir::Fenced;
use crate::disk::DiskError;

/// Why an append was refused. Nothing of it was acknowledged, and with [`AppendError::Stopped`] alone it may be in the log.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The record is longer than any may be.
    #[error("the record has {bytes} bytes; at most {bytes_max} are allowed")]
    RecordTooLong {
        /// Its bytes.
        bytes: usize,
        /// The most a record may have.
        bytes_max: usize,
    },
    /// The records together are longer than one append may be.
    #[error("the append has {bytes} bytes; at most {bytes_max} are allowed; send it in pieces")]
    AppendTooLong {
        /// Its bytes.
        bytes: usize,
        /// The most an append may have.
        bytes_max: usize,
    },
    /// More waits for the disk than may wait.
    #[error("{bytes} bytes wait for the disk already; try again in {retry_after:?}")]
    Busy {
        /// Bytes that wait.
        bytes: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk is full. Appends are taken again as soon as there is room.
    #[error("{place}: the disk is full; make room; try again in {retry_after:?}")]
    DiskFull {
        /// The file that could not be written.
        place: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The log has ended: it was closed, or it failed.
    #[error("the log takes nothing more: {0}")]
    Stopped(Arc<LogFailure>),
}

impl AppendError {
    /// When the same append may succeed, with nothing changed by who sent it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AppendError::Busy { retry_after, .. } | AppendError::DiskFull { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

/// Why the log ended. What was acknowledged is durable; what was not may be there after a restart, or not.
#[derive(Debug, Error)]
pub enum LogFailure {
    /// It was closed.
    #[error("it was closed")]
    Closed,
    /// The disk failed.
    #[error("{0}; restart when the disk is well, nothing that was acknowledged is lost")]
    Disk(#[from] DiskError),
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// A partition has no addresses left.
    #[error("{place}: the partition is full after 2^48 bytes; start a new store")]
    PartitionFull {
        /// The partition's directory.
        place: String,
    },
}

/// Why the log can not be opened or read.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// Bytes that were durable are not what was written.
    #[error(
        "{file}: is damaged at byte {at} (offset {offset} of partition {partition}): {what}; restore the file from a \
         backup, or rebuild the store from its events"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where in the file.
        at: u64,
        /// The partition.
        partition: u16,
        /// The offset in the partition.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The log does not reach back that far.
    #[error("{place}: offset {offset} is gone, the log starts at {start}; retention took it, or files are missing")]
    Gone {
        /// The partition's directory.
        place: String,
        /// The offset asked for.
        offset: u64,
        /// The oldest there is.
        start: u64,
    },
    /// The log does not reach that far.
    #[error("{place}: offset {offset} was bound, but the log ends at {end}; a file is missing or was cut: restore it")]
    Ends {
        /// The partition's directory.
        place: String,
        /// The offset asked for.
        offset: u64,
        /// The end.
        end: u64,
    },
    /// A position is in the middle of a record.
    #[error("{place}: no record starts or ends at offset {offset}; the position is not from this log")]
    NoRecord {
        /// The partition's directory.
        place: String,
        /// The offset asked for.
        offset: u64,
    },
    /// A thread could not be started.
    #[error("a thread of the log can not be started: {0}")]
    Thread(std::io::Error),
}
