//! Aligned bytes, recycled.
//!
//! The first touch of fresh memory costs more than all the work that follows, so blocks of the common sizes go back to a
//! process-wide pool when the last owner drops them, whichever thread that is on.

use std::sync::Mutex;

use bytemuck::{Pod, Zeroable};

/// Alignment of blocks and of the sections inside them, in bytes.
pub(crate) const ALIGNMENT: usize = 64;
/// Blocks smaller than this are cheap to allocate and are not pooled, in bytes.
const POOLED_BYTES_MIN: usize = 64 << 10;
/// Free memory that the pool holds back at most, in bytes.
const POOL_BYTES_MAX: usize = 128 << 20;

/// A cache line: what gives a block its alignment.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGNMENT]);

/// A fixed number of bytes, aligned to [`ALIGNMENT`]. Contents are whatever the last owner left.
pub(crate) struct Block {
    lines: Vec<Line>,
}

struct Pool {
    free: Vec<Vec<Line>>,
    bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), bytes: 0 });

impl Block {
    /// A block of at least `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let count = bytes.div_ceil(ALIGNMENT);
        let recycled = if bytes < POOLED_BYTES_MIN { None } else { Block::recycle(count) };
        Block { lines: recycled.unwrap_or_else(|| vec![Line::zeroed(); count]) }
    }

    fn recycle(count: usize) -> Option<Vec<Line>> {
        let mut pool = POOL.lock().expect("nothing panics while it holds the pool");
        let index = pool.free.iter().rposition(|lines| lines.len() == count)?;
        pool.bytes -= count * ALIGNMENT;
        Some(pool.free.swap_remove(index))
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
        let bytes = self.lines.len() * ALIGNMENT;
        if bytes < POOLED_BYTES_MIN {
            return;
        }
        let Ok(mut pool) = POOL.lock() else { return };
        if pool.bytes + bytes <= POOL_BYTES_MAX {
            pool.bytes += bytes;
            pool.free.push(std::mem::take(&mut self.lines));
        }
    }
}
