//! Aligned bytes, recycled.
//!
//! The first touch of fresh memory costs more than all the work that follows: merging writes every record some ten times over,
//! and without recycling each time is a first touch. So blocks of whole chunks go back to a process-wide pool when the last
//! owner drops them, whichever thread that is on. The pool grows with the state and is let go when the workers rest.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable};

/// Alignment of blocks and of the sections inside them, in bytes.
pub(crate) const ALIGNMENT: usize = 64;
/// What the pool may always hold back, in bytes.
const FREE_BYTES_MIN: usize = 64 << 20;

/// A cache line: what gives a block its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// A fixed number of bytes, aligned to [`ALIGNMENT`]. Contents are whatever the last owner left.
pub(crate) struct Block {
    lines: Vec<Line>,
    pooled: bool,
}

/// The free blocks, and how much is in use. Sizes are few: one for each kind of record.
struct Pool {
    /// By size, in lines.
    free: BTreeMap<usize, Vec<Vec<Line>>>,
    free_bytes: usize,
    used_bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: BTreeMap::new(), free_bytes: 0, used_bytes: 0 });

impl Block {
    /// A block of at least `bytes` bytes, of a size that will not be asked for again.
    pub(crate) fn new(bytes: usize) -> Self {
        Block { lines: vec![Line::zeroed(); bytes.div_ceil(ALIGNMENT)], pooled: false }
    }

    /// A block of at least `bytes` bytes, of a size that many blocks have.
    pub(crate) fn recycled(bytes: usize) -> Self {
        let count = bytes.div_ceil(ALIGNMENT);
        let recycled = Pool::lock().take(count);
        Block { lines: recycled.unwrap_or_else(|| vec![Line::zeroed(); count]), pooled: true }
    }

    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    /// The bytes, to write.
    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.pooled {
            Pool::lock().put(std::mem::take(&mut self.lines));
        }
    }
}

impl Pool {
    fn lock() -> MutexGuard<'static, Pool> {
        POOL.lock().expect("nothing panics while it holds the pool")
    }

    fn take(&mut self, count: usize) -> Option<Vec<Line>> {
        self.used_bytes += count * ALIGNMENT;
        let lines = self.free.get_mut(&count)?.pop()?;
        self.free_bytes -= count * ALIGNMENT;
        Some(lines)
    }

    /// Takes a block back. Large merges free at once more than the small ones after them use: what is beyond a share is let go.
    fn put(&mut self, lines: Vec<Line>) {
        let bytes = lines.len() * ALIGNMENT;
        self.used_bytes -= bytes;
        if self.free_bytes + bytes <= FREE_BYTES_MIN.max(self.used_bytes / 2) {
            self.free_bytes += bytes;
            self.free.entry(lines.len()).or_default().push(lines);
        }
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
