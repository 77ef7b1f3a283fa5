//! Raw records again, long after they were read: for explanations.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::format::Format;
use crate::log::LogError;

/// Why a raw record can not be had.
#[derive(Debug, Error)]
pub enum RawError {
    /// No such stream has been read from.
    #[error("stream {stream} has not been read from")]
    UnknownStream {
        /// The number asked for.
        stream: u16,
    },
    /// The stream was compressed or came from a pipe, and no copy of it is kept.
    #[error("{file}: the records of a compressed file or a pipe are not kept; turn spooling on to explain them")]
    NotKept {
        /// The path as given.
        file: String,
    },
    /// The file does not hold a record there any more.
    #[error("{file}: no record starts at byte {offset}; has the file been changed?")]
    Gone {
        /// The path as given.
        file: String,
        /// The offset asked for.
        offset: u64,
    },
    /// The topic does not hold the record any more.
    #[error(
        "{place}: no record is at offset {offset} any more; retention or compaction removed it, or the topic was made anew or cut"
    )]
    NotInTopic {
        /// The topic and the partition.
        place: String,
        /// The offset asked for.
        offset: u64,
    },
    /// Kafka could not be asked.
    #[error("{place}: the record at offset {offset} can not be read: {what}")]
    Kafka {
        /// The topic and the partition.
        place: String,
        /// The offset asked for.
        offset: u64,
        /// What is the matter.
        what: String,
    },
    /// The log does not hold it whole any more.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Reading failed.
    #[error("{file}: the record at byte {offset} can not be read: {cause}")]
    Read {
        /// The path as given.
        file: String,
        /// The offset asked for.
        offset: u64,
        /// What the system said.
        cause: io::Error,
    },
}

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// How it is written; [`decode_one`](crate::decode_one) reads it.
    pub format: Format,
    /// Its bytes, without newline or length; the first 64 KiB where it is over 1 MiB.
    pub bytes: Vec<u8>,
}

/// Reads raw records again, by stream and offset. Plain files are read where they are, so they must not be changed in place;
/// other streams only where they were spooled; the log is read in its segments. For any thread; it outlives its source.
#[derive(Clone)]
pub struct RawStore {
    records: Arc<dyn FindRecord>,
}

/// A kind of place where records can be found again.
pub(crate) trait FindRecord: Send + Sync {
    /// The record of the stream with this number that starts at `offset`.
    fn find(&self, stream: u16, offset: u64) -> Result<RawRecord, RawError>;
}

impl RawStore {
    pub(crate) fn new(records: Arc<dyn FindRecord>) -> Self {
        RawStore { records }
    }

    /// The record of the stream with this number that starts at `offset`.
    ///
    /// # Errors
    /// Where the stream was not kept, or does not hold such a record any more.
    pub fn record(&self, stream: u16, offset: u64) -> Result<RawRecord, RawError> {
        self.records.find(stream, offset)
    }
}
