//! Batches, read back from a partition's segments.

use std::sync::Arc;

use recount_dataflow::intake::RawRecords;

use super::LogError;
use super::format::{FRAME_BYTES, Frame, HEADER_BYTES, Header};
use super::view::{LogView, Span};
use super::window::Window;
use crate::data_dir::FileName;
use crate::disk::{DiskFile, OrDiskError as _, read_up_to};

/// Bytes read at a time; a longer batch is read whole.
const CHUNK_BYTES: usize = 1 << 20;
/// Records of one chunk, about.
const CHUNK_RECORDS: u32 = 16_384;
/// Bytes read at a time where headers alone are looked at.
const WALK_BYTES: usize = 64 << 10;

/// Some consecutive batches, whole. Their checksums hold.
pub(super) struct Chunk {
    /// The offset of the first byte.
    base: u64,
    bytes: Vec<u8>,
    pub(super) batches: Vec<Header>,
}

/// A record in a chunk.
pub(super) struct Record<'a> {
    pub(super) offset: u64,
    pub(super) frame: Frame,
    pub(super) payload: &'a [u8],
    /// The offset just past it.
    pub(super) end: u64,
}

impl Chunk {
    /// The record whose frame starts at `offset`; `None` where there is none.
    pub(super) fn record_at(&self, offset: u64) -> Option<Record<'_>> {
        let bytes = self.bytes.get(offset.checked_sub(self.base)? as usize..)?;
        let frame = Frame::read(bytes)?;
        let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + frame.length)?;
        Some(Record { offset, frame, payload, end: offset + (FRAME_BYTES + frame.length) as u64 })
    }
}

impl RawRecords for Chunk {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        self.record_at(offset).map_or((&[], offset), |record| (record.payload, record.end))
    }
}

/// Reads a partition's batches, one behind the other.
pub(super) struct BatchReader {
    view: Arc<LogView>,
    partition: u16,
    /// The offset of the next header.
    next: u64,
    open: Option<(FileName, Arc<dyn DiskFile>)>,
}

impl BatchReader {
    /// A reader at the batch in which a record starts at `position`, or at the end of which it is.
    ///
    /// # Errors
    /// Where the log does not reach back, or forth, to the position, and where no record starts or ends there.
    pub(super) fn at(view: Arc<LogView>, partition: u16, position: u64) -> Result<BatchReader, LogError> {
        let end = view.end(partition);
        if end < position {
            return Err(LogError::Ends { place: view.place(partition), offset: position, end });
        }
        let mut reader = BatchReader { view, partition, next: position, open: None };
        if position < end {
            reader.find(position)?;
        }
        Ok(reader)
    }

    /// The offset of the next header.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Walks to the batch that holds a position.
    fn find(&mut self, position: u64) -> Result<(), LogError> {
        let span = self.view.locate(self.partition, position)?;
        let file = self.file(&span)?;
        let view = Arc::clone(&self.view);
        let mut window = Window::new(view.disk(), &span.path, &*file, span.segment.start).reading(WALK_BYTES);
        let mut offset = span.segment.start;
        while offset < position {
            let header = Header::read(window.get(offset, HEADER_BYTES)?, offset, view.checksum());
            let header = header.ok_or_else(|| self.damaged(&span, offset, "there is no batch"))?;
            if position < header.end() {
                self.next = offset;
                return self.check_record(&span, header, position);
            }
            offset = header.end();
        }
        self.next = position;
        Ok(())
    }

    /// Refuses a position in the middle of a record.
    fn check_record(&mut self, span: &Span, header: Header, position: u64) -> Result<(), LogError> {
        let chunk = self.read_chunk(span)?;
        let mut offset = header.body();
        while offset < position {
            let record = chunk.record_at(offset).ok_or_else(|| self.damaged(span, offset, NOT_FILLED))?;
            offset = record.end;
        }
        match offset == position {
            true => Ok(()),
            false => Err(LogError::NoRecord { place: self.view.place(self.partition), offset: position }),
        }
    }

    /// The next batches, which have to be durable.
    pub(super) fn read(&mut self) -> Result<Chunk, LogError> {
        let span = self.view.locate(self.partition, self.next)?;
        let chunk = self.read_chunk(&span)?;
        self.next = chunk.batches.last().expect("a chunk holds a batch").end();
        Ok(chunk)
    }

    fn read_chunk(&mut self, span: &Span) -> Result<Chunk, LogError> {
        let file = self.file(span)?;
        let left = (span.limit - self.next) as usize;
        let mut bytes = self.read_bytes(span, &*file, left.min(CHUNK_BYTES))?;
        let first = self.header(span, &bytes, self.next)?;
        let first_bytes = (first.end() - first.offset) as usize;
        if bytes.len() < first_bytes {
            bytes = self.read_bytes(span, &*file, first_bytes)?;
        }
        let (mut batches, mut records, mut offset) = (Vec::new(), 0, self.next);
        while offset < span.limit && records < CHUNK_RECORDS {
            let from = (offset - self.next) as usize;
            if bytes.len() < from + HEADER_BYTES {
                break;
            }
            let header = self.header(span, &bytes[from..], offset)?;
            let Some(body) = bytes.get(from + HEADER_BYTES..(header.end() - self.next) as usize) else { break };
            if self.view.checksum().of(body) != header.body_checksum {
                return Err(self.damaged(span, offset, "the checksum of a batch does not hold"));
            }
            batches.push(header);
            records += header.records;
            offset = header.end();
        }
        bytes.truncate((offset - self.next) as usize);
        Ok(Chunk { base: self.next, bytes, batches })
    }

    fn read_bytes(&self, span: &Span, file: &dyn DiskFile, length: usize) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; length];
        let read = read_up_to(file, &mut bytes, self.next - span.segment.start);
        let read = read.or_disk_error(self.view.disk(), &span.path, "can not be read")?;
        match read == length {
            true => Ok(bytes),
            false => Err(self.damaged(span, self.next + read as u64, "it ends here and did not before")),
        }
    }

    fn header(&self, span: &Span, bytes: &[u8], offset: u64) -> Result<Header, LogError> {
        let header = Header::read(bytes, offset, self.view.checksum());
        let header = header.filter(|header| header.end() <= span.limit && header.records > 0);
        header.ok_or_else(|| self.damaged(span, offset, "a batch's header does not hold"))
    }

    /// The segment, which stays open until another is read.
    fn file(&mut self, span: &Span) -> Result<Arc<dyn DiskFile>, LogError> {
        if let Some((segment, file)) = &self.open
            && *segment == span.segment
        {
            return Ok(Arc::clone(file));
        }
        let file = self.view.disk().open(&span.path);
        let file = file.or_disk_error(self.view.disk(), &span.path, "can not be opened")?;
        self.open = Some((span.segment, Arc::clone(&file)));
        Ok(file)
    }

    /// The error of bytes that were durable and do not hold.
    pub(super) fn damaged(&self, span: &Span, offset: u64, what: &'static str) -> LogError {
        LogError::Damaged {
            file: self.view.disk().place(&span.path),
            at: offset - span.segment.start,
            partition: self.partition,
            offset,
            what,
        }
    }
}

/// What is wrong with a batch whose checksum holds.
const NOT_FILLED: &str = "a batch's records do not fill it";
