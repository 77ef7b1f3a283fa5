//! A block: consecutive records of one stream, as bytes.

use memchr::{memchr, memchr_iter};
use recount_dataflow::domain::validate::{RECORD_BYTES_MAX, Reason, Violation};
use recount_dataflow::intake::RawRecords;

use crate::protobuf::wire::take_varint;

/// Consecutive records of one stream, whole.
pub(super) struct Block {
    /// The stream's number.
    pub(super) stream: u16,
    /// Where the bytes start in the uncompressed stream.
    pub(super) offset: u64,
    /// The number of the first line (blank ones counted) or message, from 1.
    pub(super) first: u64,
    /// How many lines (blank ones counted) or messages there are.
    pub(super) count: u64,
    /// How the bytes are to be read.
    pub(super) shape: Shape,
    /// The records, with their newlines or lengths.
    pub(super) bytes: Vec<u8>,
}

/// How the bytes of a block are to be read.
pub(super) enum Shape {
    /// Lines; the last may lack its newline.
    Lines,
    /// Messages behind their lengths.
    Messages,
    /// One record that can not be decoded. The block's bytes are what is kept of it.
    Broken {
        /// What is wrong with it.
        violation: Violation,
        /// Its whole length in bytes.
        length: u64,
        /// The offset just past it.
        end: u64,
    },
}

/// A record in a block: where it starts, and its payload.
pub(super) struct Record<'a> {
    /// Where it starts in the uncompressed stream.
    pub(super) offset: u64,
    /// Its bytes, without newline or length.
    pub(super) payload: &'a [u8],
    /// The offset just past it.
    pub(super) end: u64,
}

impl Block {
    /// The record that starts at `at` in the block's bytes; `None` at their end.
    #[inline]
    pub(super) fn record_at(&self, at: usize) -> Option<Record<'_>> {
        let offset = self.offset + at as u64;
        // Of a broken record there may be nothing to keep, and it is a record all the same.
        if let Shape::Broken { end, .. } = self.shape {
            return (at == 0).then_some(Record { offset, payload: &self.bytes, end });
        }
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (payload, taken) = match &self.shape {
            Shape::Messages => {
                let mut body = rest;
                let length = take_varint(&mut body).expect("the reader cut the block behind a whole message") as usize;
                (&body[..length], rest.len() - body.len() + length)
            }
            Shape::Lines | Shape::Broken { .. } => match memchr(b'\n', rest) {
                Some(length) => (&rest[..length], length + 1),
                None => (rest, rest.len()),
            },
        };
        Some(Record { offset, payload, end: offset + taken as u64 })
    }

    /// How many records start in `[from, to)`, offsets in the uncompressed stream; `from` is the start of one.
    pub(super) fn records_between(&self, from: u64, to: u64) -> u64 {
        let (from, to) = ((from - self.offset) as usize, (to - self.offset) as usize);
        match self.shape {
            Shape::Lines => memchr_iter(b'\n', &self.bytes[from..to]).count() as u64,
            Shape::Messages => {
                let (mut at, mut records) = (from, 0);
                while at < to {
                    at = (self.record_at(at).expect("to lies in the block").end - self.offset) as usize;
                    records += 1;
                }
                records
            }
            Shape::Broken { .. } => 0,
        }
    }
}

impl RawRecords for Block {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        let at = offset.checked_sub(self.offset).expect("the record lies in the block") as usize;
        match self.record_at(at) {
            Some(record) => (record.payload, record.end),
            None => (&[], offset),
        }
    }
}

/// The violation of a record over the limit.
pub(super) fn too_long(length: u64) -> Violation {
    let detail =
        format!("the record has {length} bytes; at most {RECORD_BYTES_MAX} are allowed; its beginning is kept");
    Violation::new(Reason::RecordTooLong, detail)
}
