//! A bounded piece of a run: records, their filter and their directory, in one block of bytes.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::domain::fingerprint::Fingerprint;
use crate::store::{Mapped, Place};

use super::block::Block;
use super::layout::{CHUNK_RECORDS, Header, Layout, LayoutError, RECORDS_AT};
use super::record::Record;
use super::scale::Scale;

/// Up to [`CHUNK_RECORDS`] sorted records, never none, and immutable.
pub(crate) struct Chunk<R> {
    bytes: Bytes,
    header: Header,
    layout: Layout,
    scale: Scale,
    /// Where a file holds the same bytes, once one does.
    home: Mutex<Option<Place>>,
    /// The same records, read from that file: whoever holds this chunk for good takes that one instead.
    successor: OnceLock<Arc<Chunk<R>>>,
    record: PhantomData<R>,
}

/// Where a chunk's bytes are.
enum Bytes {
    /// In memory.
    Owned(Block),
    /// In a file that is mapped.
    Mapped {
        file: Arc<dyn Mapped>,
        at: usize,
        /// Filter and directory, in memory: a key that is not there touches no file.
        index: Block,
    },
}

impl<R: Record> Chunk<R> {
    fn new(bytes: Bytes, header: Header, home: Option<Place>) -> Self {
        let layout = Layout::of::<R>(header.len as usize);
        let scale = Scale::new(header.hash_low, header.hash_high, layout.slots);
        Chunk { bytes, header, layout, scale, home: Mutex::new(home), successor: OnceLock::new(), record: PhantomData }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(block) => block.bytes(),
            Bytes::Mapped { file, at, .. } => &file.bytes()[*at..],
        }
    }

    /// The bytes from the filter on.
    #[inline]
    fn index(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(block) => &block.bytes()[self.layout.filter_at..],
            Bytes::Mapped { index, .. } => index.bytes(),
        }
    }

    /// The records, in order.
    #[inline]
    pub(crate) fn records(&self) -> &[R] {
        let end = RECORDS_AT + self.header.len as usize * size_of::<R>();
        bytemuck::cast_slice(&self.bytes()[RECORDS_AT..end])
    }

    /// The first and the last hash.
    #[inline]
    pub(crate) fn hashes(&self) -> (u64, u64) {
        (self.header.hash_low, self.header.hash_high)
    }

    /// The slot of a hash that lies in [`hashes`](Chunk::hashes).
    #[inline(always)]
    pub(crate) fn slot(&self, hash: u64) -> usize {
        self.scale.slot(hash)
    }

    /// The filter's words, a slot each; none where the kind of record has no filter.
    #[inline]
    pub(crate) fn filter(&self) -> &[u64] {
        bytemuck::cast_slice(&self.index()[..self.layout.filter_words * size_of::<u64>()])
    }

    /// The directory: the first record of each slot, and the number of records.
    #[inline]
    pub(crate) fn directory(&self) -> &[u16] {
        let start = self.layout.directory_at - self.layout.filter_at;
        bytemuck::cast_slice(&self.index()[start..start + (self.layout.slots + 1) * size_of::<u16>()])
    }

    /// The records of a key whose hash lies in [`hashes`](Chunk::hashes), but for the first `skip` of the chunk; empty where there
    /// are none.
    pub(crate) fn find(&self, key: Fingerprint, skip: usize) -> &[R] {
        let slot = self.slot(key.hash);
        let mask = filter_mask(key);
        if R::FILTERED && self.filter()[slot] & mask != mask {
            return &[];
        }
        self.find_in_slot(slot, key, skip)
    }

    /// The records of a key that has passed the filter of its slot, but for the first `skip` of the chunk.
    #[inline]
    fn find_in_slot(&self, slot: usize, key: Fingerprint, skip: usize) -> &[R] {
        let records = &self.records()[self.slot_range(slot, skip)];
        let before = records.partition_point(|record| record.key() < key);
        leading(&records[before..], |record| record.key() == key)
    }

    /// Where the records of a slot lie, but for the first `skip` of the chunk.
    #[inline]
    pub(crate) fn slot_range(&self, slot: usize, skip: usize) -> Range<usize> {
        let directory = self.directory();
        (directory[slot] as usize).max(skip)..(directory[slot + 1] as usize).max(skip)
    }

    /// The size of its bytes.
    pub(crate) fn byte_len(&self) -> usize {
        self.layout.bytes
    }

    /// The bytes that it holds in memory.
    pub(crate) fn resident_bytes(&self) -> usize {
        match &self.bytes {
            Bytes::Owned(block) => block.bytes().len(),
            Bytes::Mapped { index, .. } => index.bytes().len(),
        }
    }

    /// The bytes that it holds in memory, where it is all in memory.
    pub(crate) fn loose_bytes(&self) -> usize {
        match &self.bytes {
            Bytes::Owned(block) => block.bytes().len(),
            Bytes::Mapped { .. } => 0,
        }
    }

    /// The chunk as a file holds it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes()[..self.layout.bytes]
    }

    /// Where a file holds the chunk; `None` while none does.
    pub(crate) fn home(&self) -> Option<Place> {
        *self.lock_home()
    }

    /// Says that a file holds the chunk now, and with it those that take its place.
    pub(crate) fn set_home(&self, place: Place) {
        *self.lock_home() = Some(place);
        if let Some(successor) = self.successor() {
            successor.set_home(place);
        }
    }

    /// Offers the chunk as its file holds it, with the index kept in memory, to whoever holds this one.
    pub(crate) fn succeed_by(&self, file: &Arc<dyn Mapped>) {
        let place = self.home().expect("a chunk is told its file before it is to be held from it");
        let index = index_of(self.as_bytes(), &self.layout);
        let bytes = Bytes::Mapped { file: Arc::clone(file), at: place.at as usize, index };
        // Where it has one already, that reads from a file that it moved from: a mapping outlives its file's name.
        let _ = self.successor.set(Arc::new(Chunk::new(bytes, self.header, Some(place))));
    }

    /// The chunk to hold in place of this one; `None` where this is it.
    pub(crate) fn successor(&self) -> Option<&Arc<Chunk<R>>> {
        self.successor.get()
    }

    fn lock_home(&self) -> MutexGuard<'_, Option<Place>> {
        self.home.lock().expect("nothing panics while it holds a place")
    }

    /// The chunk from such bytes, which stay where they are, but for a copy of its index.
    ///
    /// # Errors
    /// Where they are no chunk of this kind of record, or of a format of a later version.
    pub(crate) fn mapped(file: Arc<dyn Mapped>, place: Place) -> Result<Self, LayoutError> {
        let at = place.at as usize;
        let bytes = file.bytes().get(at..at + place.bytes as usize);
        let short = LayoutError::Length { actual: file.bytes().len(), expected: at + place.bytes as usize };
        let bytes = bytes.ok_or(short)?;
        let header = Header::check::<R>(bytes)?;
        let index = index_of(bytes, &Layout::of::<R>(header.len as usize));
        Ok(Chunk::new(Bytes::Mapped { file, at, index }, header, Some(place)))
    }
}

/// A copy of the filter and the directory in a chunk's bytes.
fn index_of(chunk: &[u8], layout: &Layout) -> Block {
    let index = &chunk[layout.filter_at..layout.bytes];
    let mut block = Block::new(index.len());
    block.bytes_mut()[..index.len()].copy_from_slice(index);
    block
}

/// The records at the front for which a condition holds that holds for a prefix, found in the logarithm of their number: mostly
/// there is one, or a few.
#[inline]
pub(crate) fn leading<R>(records: &[R], holds: impl Fn(&R) -> bool) -> &[R] {
    let mut step = 1;
    while step <= records.len() && holds(&records[step - 1]) {
        step *= 2;
    }
    let (from, to) = (step / 2, records.len().min(step));
    &records[..from + records[from..to].partition_point(holds)]
}

/// The bits that a key sets in its slot's word.
#[inline(always)]
pub(crate) fn filter_mask(key: Fingerprint) -> u64 {
    let bit = |shift: u32| 1_u64 << ((key.low >> shift) & 63);
    bit(0) | bit(6) | bit(12) | bit(18)
}

/// Chunks that expect as many records are written into whole, recycled blocks.
const RECYCLED_MIN: usize = CHUNK_RECORDS / 4;

/// A chunk being written: records go straight into the block that the chunk will own.
pub(crate) struct ChunkWriter<R> {
    block: Block,
    capacity: usize,
    len: usize,
    record: PhantomData<R>,
}

impl<R: Record> ChunkWriter<R> {
    /// A writer with room for some records.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(0 < capacity && capacity <= CHUNK_RECORDS, "a chunk with room for {capacity} records");
        let block = if capacity < RECYCLED_MIN {
            Block::new(Layout::of::<R>(capacity).bytes)
        } else {
            Block::recycled(Layout::of::<R>(CHUNK_RECORDS).bytes)
        };
        ChunkWriter { block, capacity, len: 0, record: PhantomData }
    }

    /// Whether there is no room left.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// All the room for records, and how many of its places are written; write the next ones and raise the number.
    #[inline]
    pub(crate) fn room(&mut self) -> (&mut [R], &mut usize) {
        let end = RECORDS_AT + self.capacity * size_of::<R>();
        (bytemuck::cast_slice_mut(&mut self.block.bytes_mut()[RECORDS_AT..end]), &mut self.len)
    }

    /// Writes the next record.
    #[inline]
    pub(crate) fn push(&mut self, record: R) {
        let (room, len) = self.room();
        room[*len] = record;
        *len += 1;
    }

    /// Completes the chunk: `None` where nothing was written.
    pub(crate) fn seal(mut self) -> Option<Chunk<R>> {
        let len = self.len;
        if len == 0 {
            return None;
        }
        let layout = Layout::of::<R>(len);
        // A chunk that is short for its block gives it back and lives in one of its own size.
        if layout.bytes < self.block.bytes().len() / 2 {
            let mut block = Block::new(layout.bytes);
            let end = RECORDS_AT + len * size_of::<R>();
            block.bytes_mut()[RECORDS_AT..end].copy_from_slice(&self.block.bytes()[RECORDS_AT..end]);
            self.block = block;
        }
        let (head, rest) = self.block.bytes_mut().split_at_mut(RECORDS_AT);
        let (records, rest) = rest.split_at_mut(layout.filter_at - RECORDS_AT);
        let (filter, directory) = rest.split_at_mut(layout.directory_at - layout.filter_at);
        let records: &[R] = bytemuck::cast_slice(&records[..len * size_of::<R>()]);
        let filter = bytemuck::cast_slice_mut(&mut filter[..layout.filter_words * size_of::<u64>()]);
        let directory = bytemuck::cast_slice_mut(&mut directory[..(layout.slots + 1) * size_of::<u16>()]);
        let header = Header::of::<R>(len, records[0].key().hash, records[len - 1].key().hash);
        let scale = Scale::new(header.hash_low, header.hash_high, layout.slots);
        index(records, scale, filter, directory);
        head.copy_from_slice(bytemuck::bytes_of(&header));
        Some(Chunk::new(Bytes::Owned(self.block), header, None))
    }
}

/// Fills filter and directory of sorted records. How many records a slot has can not be predicted, so nothing branches on it.
fn index<R: Record>(records: &[R], scale: Scale, filter: &mut [u64], directory: &mut [u16]) {
    filter.fill(0);
    directory.fill(0);
    for (number, record) in records.iter().enumerate() {
        let key = record.key();
        let slot = scale.slot(key.hash);
        if R::FILTERED {
            filter[slot] |= filter_mask(key);
        }
        // The last record of a slot has the last word.
        directory[slot + 1] = number as u16 + 1;
    }
    // A slot without records ends where the one before it does.
    directory.iter_mut().fold(0, |end, entry| {
        *entry = end.max(*entry);
        *entry
    });
}
