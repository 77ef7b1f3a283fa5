//! Writing sorted records into a run.

use std::sync::Arc;

use super::chunk::{Chunk, ChunkWriter};
use super::layout::CHUNK_RECORDS;
use super::record::Record;
use super::run::Run;

/// Takes records in order and cuts them into chunks.
pub(crate) struct RunBuilder<R> {
    sealed: Vec<Arc<Chunk<R>>>,
    writer: Option<ChunkWriter<R>>,
    /// How many records are still to come, at most.
    expected: usize,
}

impl<R: Record> RunBuilder<R> {
    /// A builder of a run of at most `expected` records.
    pub(crate) fn new(expected: usize) -> Self {
        RunBuilder { sealed: Vec::new(), writer: None, expected }
    }

    /// Appends records that are in order and do not sort before the last one.
    pub(crate) fn push_all(&mut self, records: impl Iterator<Item = R>) {
        // Told to go through itself, an iterator of iterators becomes a loop in a loop.
        records.for_each(|record| self.writer().push(record));
    }

    /// Appends records that are in order and do not sort before the last one.
    pub(crate) fn extend(&mut self, mut records: &[R]) {
        while !records.is_empty() {
            let (room, len) = self.writer().room();
            let (now, later) = records.split_at(records.len().min(room.len() - *len));
            room[*len..*len + now.len()].copy_from_slice(now);
            *len += now.len();
            records = later;
        }
    }

    /// A writer that has room for at least one record.
    #[inline]
    pub(crate) fn writer(&mut self) -> &mut ChunkWriter<R> {
        if self.writer.as_ref().is_none_or(ChunkWriter::is_full) {
            self.open();
        }
        self.writer.as_mut().expect("one was just opened")
    }

    /// The run; `None` where nothing was pushed.
    pub(crate) fn finish(mut self) -> Option<Run<R>> {
        self.seal();
        Run::from_chunks(self.sealed, 0)
    }

    /// Seals the chunk being written if it is full, and hands out what is sealed.
    pub(crate) fn take_full(&mut self) -> Option<Vec<Arc<Chunk<R>>>> {
        if self.writer.as_ref().is_some_and(ChunkWriter::is_full) {
            self.seal();
        }
        (!self.sealed.is_empty()).then(|| std::mem::take(&mut self.sealed))
    }

    #[cold]
    fn open(&mut self) {
        self.seal();
        assert!(0 < self.expected, "a run was given more records than were expected");
        let capacity = self.expected.min(CHUNK_RECORDS);
        self.expected -= capacity;
        self.writer = Some(ChunkWriter::new(capacity));
    }

    fn seal(&mut self) {
        self.sealed.extend(self.writer.take().and_then(ChunkWriter::seal).map(Arc::new));
    }
}
