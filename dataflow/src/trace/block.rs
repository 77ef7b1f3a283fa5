//! Aligned bytes, recycled.
//!
//! The first touch of fresh memory costs more than all the work that follows: merging writes every record some ten times over,
//! and without recycling each time is a first touch. So blocks of whole chunks go back to a process-wide pool when the last
//! owner drops them, whichever thread that is on. The pool grows with the state and is let go when the workers rest.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapMut, MmapOptions};

/// Alignment of blocks and of the sections inside them, in bytes.
pub(crate) const ALIGNMENT: usize = 64;
/// What the pool may always hold back, in bytes.
const FREE_BYTES_MIN: usize = 64 << 20;

/// A cache line: what gives a block on the heap its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// A number of bytes, aligned to [`ALIGNMENT`]. Contents are whatever the last owner left.
pub(crate) struct Block {
    memory: Memory,
}

/// Where a block's bytes are.
enum Memory {
    /// On the heap: of a size that will not be asked for again.
    Heap(Vec<Line>),
    /// Whole pages from the system, which go back to it as soon as the pool lets go of them. `None` once the pool has them.
    Pages(Option<MmapMut>),
}

/// The free blocks, and how much is in use. Sizes are few: one for each kind of record.
struct Pool {
    /// By length.
    free: BTreeMap<usize, Vec<MmapMut>>,
    free_bytes: usize,
    used_bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), free_bytes: 0, used_bytes: 0 });

impl Block {
    /// A block of at least `bytes` bytes, of a size that will not be asked for again.
    pub(crate) fn new(bytes: usize) -> Self {
        Block { memory: Memory::Heap(vec![Line::zeroed(); bytes.div_ceil(ALIGNMENT)]) }
    }

    /// A block of at least `bytes` bytes, of a size that many blocks have.
    ///
    /// # Panics
    /// Where the system has no memory left, as any allocation does.
    pub(crate) fn recycled(bytes: usize) -> Self {
        let recycled = Pool::lock().take(bytes);
        // All of it will be written: touching it at once costs half of touching it page by page.
        let fresh = || MmapOptions::new().len(bytes).populate().map_anon();
        let fresh = || fresh().unwrap_or_else(|cause| panic!("{bytes} bytes of memory: {cause}"));
        Block { memory: Memory::Pages(Some(recycled.unwrap_or_else(fresh))) }
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Heap(lines) => bytemuck::cast_slice(lines),
            Memory::Pages(pages) => pages.as_ref().expect("a block has its pages until it is dropped"),
        }
    }

    /// The bytes, to write.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Memory::Pages(pages) => pages.as_mut().expect("a block has its pages until it is dropped"),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Memory::Pages(pages) = &mut self.memory {
            // What the pool does not want is unmapped outside of its lock.
            let surplus = pages.take().and_then(|pages| Pool::lock().put(pages));
            drop(surplus);
        }
    }
}

impl Pool {
    fn lock() -> MutexGuard<'static, Pool> {
        POOL.lock().expect("nothing panics while it holds the pool")
    }

    fn take(&mut self, bytes: usize) -> Option<MmapMut> {
        self.used_bytes += bytes;
        let pages = self.free.get_mut(&bytes)?.pop()?;
        self.free_bytes -= bytes;
        Some(pages)
    }

    /// Takes a block back, and returns it where it holds enough: large merges free at once more than the small ones after them
    /// use.
    fn put(&mut self, pages: MmapMut) -> Option<MmapMut> {
        let bytes = pages.len();
        self.used_bytes -= bytes;
        if FREE_BYTES_MIN.max(self.used_bytes / 2) < self.free_bytes + bytes {
            return Some(pages);
        }
        self.free_bytes += bytes;
        self.free.entry(bytes).or_default().push(pages);
        None
    }
}

/// Gives the free blocks back to the system.
pub(crate) fn release_free() {
    let mut pool = Pool::lock();
    pool.free_bytes = 0;
    let free = std::mem::take(&mut pool.free);
    drop(pool);
    drop(free);
}
