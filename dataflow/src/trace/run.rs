//! A sorted, immutable sequence of records.

use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;
use crate::store::{Mapped, Place};

use super::builder::RunBuilder;
use super::chunk::Chunk;
use super::layout::{Header, LayoutError};
use super::record::Record;

/// Sorted records in chunks. Cloning shares them; nothing ever changes one.
pub(crate) struct Run<R> {
    chunks: Arc<[Arc<Chunk<R>>]>,
    /// Records of the first chunk that are not of the run: they were merged into another.
    skip: usize,
    len: usize,
}

impl<R> Clone for Run<R> {
    fn clone(&self) -> Self {
        Run { chunks: Arc::clone(&self.chunks), ..*self }
    }
}

impl<R: Record> Run<R> {
    /// A run from chunks in order; `None` where there are none. The first `skip` records of the first chunk are not of the run.
    pub(crate) fn from_chunks(chunks: impl IntoIterator<Item = Arc<Chunk<R>>>, skip: usize) -> Option<Self> {
        let chunks: Arc<[Arc<Chunk<R>>]> = chunks.into_iter().collect();
        let in_order = chunks.is_sorted_by(|before, after| before.hashes().1 <= after.hashes().0);
        assert!(in_order, "chunks of a run are out of order");
        assert!(skip < chunks.first()?.records().len(), "a run begins within its first chunk");
        let len = chunks.iter().map(|chunk| chunk.records().len()).sum::<usize>() - skip;
        Some(Run { chunks, skip, len })
    }

    /// The run of chunks in files, but for the first `skip` records of the first: mapped, or where an earlier version wrote them
    /// in another layout, made anew in memory. `None` where there are no chunks.
    ///
    /// # Errors
    /// Where one is no chunk of this kind of record: which, and why.
    pub(crate) fn load(chunks: &[(Arc<dyn Mapped>, Place)], skip: usize) -> Result<Option<Self>, (Place, LayoutError)> {
        let mut loaded = Vec::with_capacity(chunks.len());
        let mut skip_left = skip;
        for (number, (file, place)) in chunks.iter().enumerate() {
            match Chunk::mapped(Arc::clone(file), *place) {
                Ok(chunk) => loaded.push(Arc::new(chunk)),
                Err(cause @ LayoutError::Schema(..)) => {
                    let skipped = if number == 0 { std::mem::take(&mut skip_left) } else { 0 };
                    let anew = older_records(&**file, *place, skipped).ok_or((*place, cause))?;
                    loaded.extend(Run::from_slice(&anew).into_iter().flat_map(|run| run.chunks.to_vec()));
                }
                Err(cause) => return Err((*place, cause)),
            }
        }
        Ok(Run::from_chunks(loaded, skip_left))
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

    /// How many records of the first chunk are not of the run.
    pub(crate) fn skip(&self) -> usize {
        self.skip
    }

    /// The chunks, in order, and for each how many of its records, from the front, are not of the run.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Arc<Chunk<R>>, usize)> {
        self.chunks.iter().zip(std::iter::once(self.skip).chain(std::iter::repeat(0)))
    }

    /// The records, in order, a slice a chunk.
    pub(crate) fn slices(&self) -> impl Iterator<Item = &[R]> {
        self.parts().map(|(chunk, skip)| &chunk.records()[skip..])
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes of its chunks.
    pub(crate) fn byte_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.byte_len()).sum()
    }

    /// The bytes that its chunks hold in memory.
    pub(crate) fn resident_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.resident_bytes()).sum()
    }

    /// The bytes of its chunks that are whole in memory.
    pub(crate) fn loose_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.loose_bytes()).sum()
    }

    /// Every record, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.slices().flatten()
    }

    /// The records of a key, in order, a slice for each chunk that holds some.
    pub(crate) fn find(&self, key: Fingerprint) -> impl Iterator<Item = &[R]> {
        let first = self.chunks.partition_point(|chunk| chunk.hashes().1 < key.hash);
        let holding = self.parts().skip(first).take_while(move |(chunk, _)| chunk.hashes().0 <= key.hash);
        holding.map(move |(chunk, skip)| chunk.find(key, skip)).filter(|records| !records.is_empty())
    }

    /// The records whose hashes lie in `[low, high]`, in order, a slice for each chunk that holds some.
    pub(crate) fn within(&self, low: u64, high: u64) -> impl Iterator<Item = &[R]> {
        let first = self.chunks.partition_point(|chunk| chunk.hashes().1 < low);
        let holding = self.parts().skip(first).take_while(move |(chunk, _)| chunk.hashes().0 <= high);
        holding.map(move |(chunk, skip)| {
            let records = &chunk.records()[skip..];
            let start = records.partition_point(|record| record.key().hash < low);
            let end = records.partition_point(|record| record.key().hash <= high);
            &records[start..end]
        })
    }

    /// The part whose hashes lie in `[low, high]`; `None` where that is empty. Whole chunks are shared, cut ones copied.
    pub(crate) fn slice(&self, low: u64, high: u64) -> Option<Run<R>> {
        let (first, last) = (self.chunks[0].hashes().0, self.chunks[self.chunks.len() - 1].hashes().1);
        if low <= first && last <= high {
            return Some(self.clone());
        }
        let mut chunks = Vec::new();
        for (chunk, skip) in self.parts() {
            let (first, last) = chunk.hashes();
            if skip == 0 && low <= first && last <= high {
                chunks.push(Arc::clone(chunk));
            } else if first <= high && low <= last {
                let inside = |record: &&R| (low..=high).contains(&record.key().hash);
                let records = &chunk.records()[skip..];
                let cut = Run::from_sorted(records.len(), records.iter().filter(inside).copied());
                chunks.extend(cut.iter().flat_map(|cut| cut.chunks().iter().cloned()));
            }
        }
        Run::from_chunks(chunks, 0)
    }
}

/// The records of a chunk of an earlier layout, but for the first `skip`; `None` where it is none.
fn older_records<R: Record>(file: &dyn Mapped, place: Place, skip: usize) -> Option<Vec<R>> {
    let bytes = file.bytes().get(place.at as usize..(place.at + place.bytes) as usize)?;
    let (schema, records, width) = Header::other_schema(bytes)?;
    R::from_older(schema, records.get(skip * width..)?)
}
