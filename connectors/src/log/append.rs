//! What one client appends.

use recount_dataflow::domain::validate::RECORD_BYTES_MAX;

use super::format::{APPEND_BYTES_MAX, FRAME_BYTES, Frame};
use super::{AppendError, Log};
use crate::checksum::Checksum;
use crate::format::Format;

/// Records that are appended together: all become durable at once, and lie in one partition one behind the other.
pub struct Append {
    checksum: Checksum,
    arrival_ms: i64,
    records: u32,
    body: Vec<u8>,
}

impl Append {
    pub(super) fn new(checksum: Checksum, arrival_ms: i64) -> Self {
        Append { checksum, arrival_ms, records: 0, body: Vec::new() }
    }

    /// Adds a record, given without newline or length.
    ///
    /// # Errors
    /// Where it is over 1 MiB, or where the append would be over 16 MiB; it is not added then.
    pub fn push(&mut self, format: Format, record: &[u8]) -> Result<(), AppendError> {
        if record.len() > RECORD_BYTES_MAX {
            return Err(AppendError::RecordTooLong { bytes: record.len(), bytes_max: RECORD_BYTES_MAX });
        }
        let bytes = self.body.len() + FRAME_BYTES + record.len();
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::AppendTooLong { bytes, bytes_max: APPEND_BYTES_MAX });
        }
        let frame = Frame { length: record.len(), format, checksum: self.checksum.of(record) };
        self.body.extend_from_slice(&frame.to_bytes());
        self.body.extend_from_slice(record);
        self.records += 1;
        Ok(())
    }

    /// How many records there are.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Bytes, and their checksum: computed by who appends, so that the one thread that commits does not have to.
    pub(super) fn seal(self) -> Sealed {
        Sealed {
            body_checksum: self.checksum.of(&self.body),
            arrival_ms: self.arrival_ms,
            records: self.records,
            body: self.body,
        }
    }
}

/// An append that waits to be written.
pub(super) struct Sealed {
    pub(super) body: Vec<u8>,
    pub(super) body_checksum: u32,
    pub(super) arrival_ms: i64,
    pub(super) records: u32,
}

/// Where an append is, now that it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The partition, which is the number of its stream.
    pub partition: u16,
    /// The offset just past its last record. A reader that has come this far has seen it whole.
    pub end: u64,
}

impl Log {
    /// Begins an append of records that arrived at this time, ms since 1970.
    pub fn begin(&self, arrival_ms: i64) -> Append {
        Append::new(self.checksum(), arrival_ms)
    }
}
