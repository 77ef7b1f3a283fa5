//! Single records of the log, for explanations.

use std::sync::Arc;

use super::LogError;
use super::format::{FRAME_BYTES, Frame};
use super::view::LogView;
use crate::disk::{OrDiskError as _, read_up_to};
use crate::raw_store::{FindRecord, RawError, RawRecord};

/// Bytes read at first; most records are shorter.
const GUESS_BYTES: usize = 1 << 10;

/// Finds records by their offset alone.
pub(super) struct LogRecords {
    pub(super) view: Arc<LogView>,
}

impl FindRecord for LogRecords {
    fn find(&self, stream: u16, offset: u64) -> Result<RawRecord, RawError> {
        if self.view.partitions() <= stream {
            return Err(RawError::UnknownStream { stream });
        }
        let gone = || RawError::Gone { file: self.view.place(stream), offset };
        if self.view.end(stream) <= offset {
            return Err(gone());
        }
        let span = self.view.locate(stream, offset)?;
        let disk = self.view.disk();
        let file =
            disk.open(&span.path).or_disk_error(disk, &span.path, "can not be opened").map_err(LogError::from)?;
        let left = (span.limit - offset) as usize;
        let at = offset - span.segment.start;
        let read = |length: usize| {
            let mut bytes = vec![0; length.min(left)];
            let read = read_up_to(&*file, &mut bytes, at);
            bytes.truncate(read.or_disk_error(disk, &span.path, "can not be read").map_err(LogError::from)?);
            Ok::<_, RawError>(bytes)
        };
        let mut bytes = read(GUESS_BYTES)?;
        let frame = Frame::read(&bytes).ok_or_else(gone)?;
        let end = FRAME_BYTES + frame.length;
        if bytes.len() < end {
            bytes = read(end)?;
        }
        // A record carries its own checksum, so no batch has to be looked for.
        let payload = bytes.get(FRAME_BYTES..end).filter(|payload| self.view.checksum().of(payload) == frame.checksum);
        Ok(RawRecord { format: frame.format, bytes: payload.ok_or_else(gone)?.to_vec() })
    }
}
