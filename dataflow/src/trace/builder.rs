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
}

impl<R: Record> RunBuilder<R> {
    /// An empty builder.
    pub(crate) fn new() -> Self {
        RunBuilder { sealed: Vec::new(), writer: None }
    }

    /// Appends a record that does not sort before the last one.
    pub(crate) fn push(&mut self, record: R) {
        let writer = self.writer();
        let len = writer.len();
        writer.room()[len] = record;
        writer.set_len(len + 1);
    }

    /// Appends records that are in order and do not sort before the last one.
    pub(crate) fn extend(&mut self, mut records: &[R]) {
        while !records.is_empty() {
            let writer = self.writer();
            let len = writer.len();
            let (now, later) = records.split_at(records.len().min(CHUNK_RECORDS - len));
            writer.room()[len..len + now.len()].copy_from_slice(now);
            writer.set_len(len + now.len());
            records = later;
        }
    }

    /// A writer that has room for at least one record.
    pub(crate) fn writer(&mut self) -> &mut ChunkWriter<R> {
        if self.writer.as_ref().is_some_and(|writer| writer.len() == CHUNK_RECORDS) {
            self.seal();
        }
        self.writer.get_or_insert_with(ChunkWriter::new)
    }

    /// The run; `None` where nothing was pushed.
    pub(crate) fn finish(mut self) -> Option<Run<R>> {
        self.seal();
        (!self.sealed.is_empty()).then(|| Run::new(self.sealed))
    }

    fn seal(&mut self) {
        self.sealed.extend(self.writer.take().and_then(ChunkWriter::seal).map(Arc::new));
    }
}
