//! A file's way to its records without its threads, for fuzz targets, which walk it very often.

use std::io::Cursor;

use super::block::{Record, Shape};
use super::compression::{Compression, decompress};
use super::feed::Feed;
use super::lines::Lines;
use super::messages::Messages;
use super::reader::{Cut, Cutter};
use crate::format::Format;

/// A record as it was cut off: where it starts, where the next one does, its bytes, and whether it can be decoded at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutRecord {
    /// Where it starts in the uncompressed stream.
    pub offset: u64,
    /// The offset just past it.
    pub end: u64,
    /// What is kept of it.
    pub payload: Vec<u8>,
    /// Whether it is too long, or cut short.
    pub is_broken: bool,
}

/// The records of a file's bytes, blank lines among them, read in blocks of about so many bytes; and whether it was read to its
/// end. `name` says what it holds, as a file's does.
///
/// # Panics
/// Where a block does not start where the one before ended, or says wrongly how many records it has.
pub fn cut_records(name: &str, bytes: &[u8], block_bytes: usize) -> (Vec<CutRecord>, bool) {
    let (format, compression) = super::of_name(name);
    let Ok((_, reader)) = decompress(Box::new(Cursor::new(bytes.to_vec())), compression.or(Some(Compression::Plain)))
    else {
        return (Vec::new(), false);
    };
    let mut feed = Feed::new(reader, None);
    let mut cutter: Box<dyn Cutter> = match format.unwrap_or(Format::JsonLines) {
        Format::JsonLines => Box::new(Lines::new(0, block_bytes)),
        Format::Protobuf => Box::new(Messages::new(0, block_bytes)),
    };
    let (mut records, mut offset, mut number) = (Vec::new(), 0, 1);
    while let Cut::Block(block) = cutter.next(&mut feed) {
        assert_eq!((block.first, block.offset >= offset), (number, true), "blocks follow each other");
        let (mut at, mut count) = (0, 0);
        while let Some(Record { offset: start, payload, end }) = block.record_at(at) {
            let is_broken = matches!(block.shape, Shape::Broken { .. });
            records.push(CutRecord { offset: start, end, payload: payload.to_vec(), is_broken });
            (at, offset) = (at + (end - start) as usize, end);
            count += 1;
        }
        assert_eq!(count, block.count, "a block knows how many records it has");
        number += count;
    }
    (records, feed.take_failure().is_none())
}
