//! A sorted, immutable sequence of records.

use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;

use super::builder::RunBuilder;
use super::chunk::Chunk;
use super::record::Record;

/// Sorted records in chunks. Cloning shares them; nothing ever changes one.
pub(crate) struct Run<R> {
    chunks: Arc<[Arc<Chunk<R>>]>,
    len: usize,
}

impl<R> Clone for Run<R> {
    fn clone(&self) -> Self {
        Run { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<R: Record> Run<R> {
    /// A run from chunks in order, neither of which is empty.
    pub(crate) fn new(chunks: Vec<Arc<Chunk<R>>>) -> Self {
        let in_order = chunks.is_sorted_by(|before, after| before.hashes().1 <= after.hashes().0);
        assert!(in_order, "chunks of a run are out of order");
        let len = chunks.iter().map(|chunk| chunk.records().len()).sum();
        Run { chunks: chunks.into(), len }
    }

    /// The run of at most `len` records that are sorted by [`Record::order`]; `None` where there are none.
    pub(crate) fn from_sorted(len: usize, records: impl Iterator<Item = R>) -> Option<Self> {
        let mut builder = RunBuilder::new(len);
        builder.push_all(records);
        builder.finish()
    }

    /// The run of a slice of sorted records; `None` where it is empty.
    pub(crate) fn from_slice(records: &[R]) -> Option<Self> {
        let mut builder = RunBuilder::new(records.len());
        builder.extend(records);
        builder.finish()
    }

    /// The chunks, in order.
    pub(crate) fn chunks(&self) -> &[Arc<Chunk<R>>] {
        &self.chunks
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of its chunks.
    pub(crate) fn byte_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.byte_len()).sum()
    }

    /// Every record, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.chunks.iter().flat_map(|chunk| chunk.records())
    }

    /// The records of a key, in order, a slice for each chunk that holds some.
    pub(crate) fn find(&self, key: Fingerprint) -> impl Iterator<Item = &[R]> {
        let first = self.chunks.partition_point(|chunk| chunk.hashes().1 < key.hash);
        let holding = self.chunks[first..].iter().take_while(move |chunk| chunk.hashes().0 <= key.hash);
        holding.map(move |chunk| chunk.find(key)).filter(|records| !records.is_empty())
    }

    /// The part whose hashes lie in `[low, high]`; `None` where that is empty. Whole chunks are shared, cut ones copied.
    #[cfg_attr(not(test), expect(dead_code, reason = "what checkpoints and restoring stand on"))]
    pub(crate) fn slice(&self, low: u64, high: u64) -> Option<Run<R>> {
        let mut chunks = Vec::new();
        for chunk in self.chunks.iter() {
            let (first, last) = chunk.hashes();
            if low <= first && last <= high {
                chunks.push(Arc::clone(chunk));
            } else if first <= high && low <= last {
                let inside = |record: &&R| (low..=high).contains(&record.key().hash);
                let cut = Run::from_sorted(chunk.records().len(), chunk.records().iter().filter(inside).copied());
                chunks.extend(cut.iter().flat_map(|cut| cut.chunks().iter().cloned()));
            }
        }
        (!chunks.is_empty()).then(|| Run::new(chunks))
    }
}
