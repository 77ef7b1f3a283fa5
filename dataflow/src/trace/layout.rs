//! The bytes of a chunk, format version 1. All numbers are little-endian; every section starts on a multiple of 64 bytes, so a
//! file that is mapped at a page boundary can be read in place.
//!
//! | section | bytes | holds |
//! |---|---|---|
//! | header | 64 | [`Header`] |
//! | records | `len * record_bytes` | the records, in order |
//! | filter | `slots * 8`, or 0 where the kind of record has none | one 64-bit word a slot: which keys may be here |
//! | directory | `(slots + 1) * 2` | the number of the first record of each slot, and `len` |
//!
//! `slots = ceil(len / 4)`. The slot of a hash is its place in `[hash_low, hash_high]` on a scale of `slots`
//! ([`Scale`](super::scale::Scale)), so filter and directory are ordered as the records are. In the filter, a key sets four
//! bits of its slot's word, chosen by the low 32 bits of its fingerprint, six bits a piece. With k keys in a word a strange key
//! passes with probability `(1 - (63/64)^(4k))^4`; over the Poisson spread of four keys a word that comes to 0.7 %.

use bytemuck::{Pod, Zeroable};

use super::block::ALIGNMENT;
use super::record::Record;

/// Most records in a chunk.
pub(crate) const CHUNK_RECORDS: usize = 16_384;
/// Records a slot, on average.
const SLOT_RECORDS: usize = 4;
/// What a chunk begins with: "RCNT".
const MAGIC: u32 = u32::from_le_bytes(*b"RCNT");
/// The version of the layout.
pub(crate) const VERSION: u16 = 1;

const _: () = assert!(CHUNK_RECORDS <= u16::MAX as usize, "the directory counts records in 16 bits");

/// The first 64 bytes of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Header {
    magic: u32,
    version: u16,
    /// Which kind of record.
    pub(crate) schema: u16,
    /// The width of a record in bytes.
    pub(crate) record_bytes: u32,
    /// The number of records.
    pub(crate) len: u32,
    /// The first record's hash.
    pub(crate) hash_low: u64,
    /// The last record's hash.
    pub(crate) hash_high: u64,
    reserved: [u64; 4],
}

const _: () = assert!(size_of::<Header>() == ALIGNMENT, "the header fills one line");

/// Why bytes are not a chunk of the kind expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LayoutError {
    /// They do not begin as a chunk does.
    #[error("not a chunk: it begins with {0:#010x}")]
    Magic(u32),
    /// A later version wrote them.
    #[error("chunk format {0} is not known to this version, which reads format {VERSION}; use a newer Recount")]
    Version(u16),
    /// They hold another kind of record.
    #[error("the chunk holds records of schema {0}, {1} bytes each")]
    Schema(u16, u32),
    /// There are fewer bytes than the header says.
    #[error("the chunk has {actual} bytes; its header asks for {expected}")]
    Length {
        /// What is there.
        actual: usize,
        /// What should be.
        expected: usize,
    },
}

/// Where the sections of a chunk of `len` records lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Slots of filter and directory.
    pub(crate) slots: usize,
    /// Where the filter starts.
    pub(crate) filter_at: usize,
    /// Words of the filter: one a slot, or none.
    pub(crate) filter_words: usize,
    /// Where the directory starts.
    pub(crate) directory_at: usize,
    /// The whole length in bytes.
    pub(crate) bytes: usize,
}

/// Where the records start.
pub(crate) const RECORDS_AT: usize = ALIGNMENT;

impl Layout {
    /// The layout of `len` records of a kind.
    pub(crate) fn of<R: Record>(len: usize) -> Self {
        const { assert!(align_of::<R>() <= ALIGNMENT, "records are read in place") };
        let slots = len.div_ceil(SLOT_RECORDS).max(1);
        let filter_at = (RECORDS_AT + len * size_of::<R>()).next_multiple_of(ALIGNMENT);
        let filter_words = if R::FILTERED { slots } else { 0 };
        let directory_at = (filter_at + filter_words * size_of::<u64>()).next_multiple_of(ALIGNMENT);
        let bytes = (directory_at + (slots + 1) * size_of::<u16>()).next_multiple_of(ALIGNMENT);
        Layout { slots, filter_at, filter_words, directory_at, bytes }
    }
}

impl Header {
    /// The header of a chunk.
    pub(crate) fn of<R: Record>(len: usize, hash_low: u64, hash_high: u64) -> Self {
        Header {
            magic: MAGIC,
            version: VERSION,
            schema: R::SCHEMA,
            record_bytes: size_of::<R>() as u32,
            len: len as u32,
            hash_low,
            hash_high,
            reserved: [0; 4],
        }
    }

    /// The schema, the records' bytes and their width, of a chunk of another layout of records; `None` where it is too short.
    pub(crate) fn other_schema(bytes: &[u8]) -> Option<(u16, &[u8], usize)> {
        let header: Header = bytemuck::pod_read_unaligned(bytes.get(..ALIGNMENT)?);
        let width = header.record_bytes as usize;
        let records = bytes[RECORDS_AT..].get(..(header.len as usize).checked_mul(width)?)?;
        Some((header.schema, records, width))
    }

    /// Reads and checks the header of bytes that should be a chunk of a kind of record.
    pub(crate) fn check<R: Record>(bytes: &[u8]) -> Result<Header, LayoutError> {
        let short = LayoutError::Length { actual: bytes.len(), expected: ALIGNMENT };
        let header: Header = bytemuck::pod_read_unaligned(bytes.get(..ALIGNMENT).ok_or(short)?);
        let expected = Layout::of::<R>(header.len as usize).bytes;
        if header.magic != MAGIC {
            Err(LayoutError::Magic(header.magic))
        } else if header.version != VERSION {
            Err(LayoutError::Version(header.version))
        } else if header.schema != R::SCHEMA || header.record_bytes as usize != size_of::<R>() {
            Err(LayoutError::Schema(header.schema, header.record_bytes))
        } else if bytes.len() < expected {
            Err(LayoutError::Length { actual: bytes.len(), expected })
        } else {
            Ok(header)
        }
    }
}
