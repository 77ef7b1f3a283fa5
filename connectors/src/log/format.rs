//! The bytes of the log. A partition is one endless string of bytes, and an *offset* is the address of a byte in it; files
//! (segments) hold consecutive pieces of it. It is made of batches, each what one client appended:
//!
//! | at | what (little-endian) |
//! |---|---|
//! | 0..4 | `RCL1` |
//! | 4..8 | bytes of the body, which follows the header |
//! | 8..12 | records in it |
//! | 12..16 | checksum of the body |
//! | 16..24 | arrival, ms since 1970 |
//! | 24..32 | offset of this header |
//! | 32..40 | offset up to which the partition was durable when this was written |
//! | 40..44 | the writer's epoch |
//! | 44..48 | checksum of the 44 bytes before |
//!
//! The body is records, each behind a frame of 8 bytes: its length (24 bits), its format (8 bits), its checksum (32 bits). So
//! one record can be read, and trusted, without its batch. The offset of a record is where its frame starts; the *next
//! offset* is just past the record, which at the end of a batch is where the next batch's header starts.

use recount_dataflow::domain::validate::RECORD_BYTES_MAX;

use crate::checksum::Checksum;
use crate::format::Format;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 48;
/// Bytes of a record's frame.
pub(crate) const FRAME_BYTES: usize = 8;
/// Bytes of the largest body: one append.
pub const APPEND_BYTES_MAX: usize = 16 << 20;
/// The first bytes of a header.
pub(crate) const MAGIC: &[u8; 4] = b"RCL1";

const _: () = assert!(RECORD_BYTES_MAX < 1 << 24, "a record's length fits the 24 bits that a frame has for it");
const _: () = assert!(RECORD_BYTES_MAX + FRAME_BYTES <= APPEND_BYTES_MAX, "every record can be appended");
const _: () = assert!(APPEND_BYTES_MAX <= u32::MAX as usize, "a body's length fits 32 bits");

/// What precedes a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_bytes: u32,
    pub(crate) records: u32,
    pub(crate) body_checksum: u32,
    pub(crate) arrival_ms: i64,
    pub(crate) offset: u64,
    pub(crate) durable: u64,
    pub(crate) writer: u32,
}

impl Header {
    /// The offset of the first record.
    pub(crate) fn body(&self) -> u64 {
        self.offset + HEADER_BYTES as u64
    }

    /// The offset just past the batch.
    pub(crate) fn end(&self) -> u64 {
        self.body() + u64::from(self.body_bytes)
    }

    pub(crate) fn to_bytes(self, checksum: Checksum) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(MAGIC);
        put(&self.body_bytes.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&self.body_checksum.to_le_bytes());
        put(&self.arrival_ms.to_le_bytes());
        put(&self.offset.to_le_bytes());
        put(&self.durable.to_le_bytes());
        put(&self.writer.to_le_bytes());
        let sum = checksum.of(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header at `offset`; `None` where the bytes are none.
    pub(crate) fn read(bytes: &[u8], offset: u64, checksum: Checksum) -> Option<Header> {
        let (header, sum) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - 4);
        let mut rest = header.strip_prefix(MAGIC)?;
        if u32::from_le_bytes(sum.try_into().ok()?) != checksum.of(header) {
            return None;
        }
        let found = Header {
            body_bytes: take_u32(&mut rest)?,
            records: take_u32(&mut rest)?,
            body_checksum: take_u32(&mut rest)?,
            arrival_ms: take_u64(&mut rest)? as i64,
            offset: take_u64(&mut rest)?,
            durable: take_u64(&mut rest)?,
            writer: take_u32(&mut rest)?,
        };
        (found.offset == offset && found.body_bytes as usize <= APPEND_BYTES_MAX).then_some(found)
    }
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    bytes.split_off(..4).map(|taken| u32::from_le_bytes(taken.try_into().expect("4 bytes were taken")))
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    bytes.split_off(..8).map(|taken| u64::from_le_bytes(taken.try_into().expect("8 bytes were taken")))
}

/// What precedes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) length: usize,
    pub(crate) format: Format,
    pub(crate) checksum: u32,
}

impl Frame {
    pub(crate) fn to_bytes(self) -> [u8; FRAME_BYTES] {
        let format = match self.format {
            Format::JsonLines => 1,
            Format::Protobuf => 2_u32,
        };
        let mut bytes = [0; FRAME_BYTES];
        bytes[..4].copy_from_slice(&(self.length as u32 | format << 24).to_le_bytes());
        bytes[4..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// The frame at the front; `None` where the bytes are none.
    pub(crate) fn read(bytes: &[u8]) -> Option<Frame> {
        let mut rest = bytes;
        let word = take_u32(&mut rest)?;
        let format = match word >> 24 {
            1 => Format::JsonLines,
            2 => Format::Protobuf,
            _ => return None,
        };
        let length = (word & 0x00ff_ffff) as usize;
        (length <= RECORD_BYTES_MAX).then_some(Frame { length, format, checksum: take_u32(&mut rest)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_frames_are_what_was_written_and_nothing_else() {
        let checksum = Checksum::new(7);
        let header = Header {
            body_bytes: 300,
            records: 3,
            body_checksum: 9,
            arrival_ms: -5,
            offset: 1 << 40,
            durable: 77,
            writer: 2,
        };
        let bytes = header.to_bytes(checksum);
        assert_eq!(Header::read(&bytes, 1 << 40, checksum), Some(header));
        assert_eq!(Header::read(&bytes, 1 << 41, checksum), None, "another place");
        assert_eq!(Header::read(&bytes, 1 << 40, Checksum::new(8)), None, "another store");
        for bit in 0..8 * HEADER_BYTES {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&flipped, 1 << 40, checksum), None, "bit {bit}");
        }
        let frame = Frame { length: RECORD_BYTES_MAX, format: Format::Protobuf, checksum: 5 };
        assert_eq!(Frame::read(&frame.to_bytes()), Some(frame));
        assert_eq!(Frame::read(&[0; 8]), None);
    }
}
