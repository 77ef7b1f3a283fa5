//! Cuts a stream of length-delimited messages into blocks.

use recount_dataflow::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX, Reason, Violation};

use super::block::{Block, Shape, too_long};
use super::feed::{Feed, Filled};
use super::reader::{Cut, Cutter};
use crate::protobuf::wire::{WireError, take_varint};

/// Where a stream of messages has been cut so far.
pub(super) struct Messages {
    stream: u16,
    block_bytes: usize,
    /// Read and not yet cut.
    buffer: Vec<u8>,
    /// Where the buffer starts in the stream.
    offset: u64,
    /// The number of the buffer's first message, from 1.
    message: u64,
}

/// What the front of the buffer is.
enum Front {
    /// This many bytes hold this many whole messages.
    Whole { bytes: usize, count: u64 },
    /// A message that needs this many bytes in the buffer.
    Wants(usize),
    /// A message that is too long.
    Long { prefix: usize, length: u64 },
    /// A length that can not be read.
    Corrupt,
}

impl Messages {
    pub(super) fn new(stream: u16, block_bytes: usize) -> Self {
        Messages { stream, block_bytes, buffer: Vec::new(), offset: 0, message: 1 }
    }

    fn front(&self) -> Front {
        let (mut rest, mut bytes, mut count) = (self.buffer.as_slice(), 0, 0);
        let stop = loop {
            let mut body = rest;
            let length = match take_varint(&mut body) {
                Ok(length) => length,
                Err(WireError::Ends) => break Front::Wants(rest.len() + 1),
                Err(_) => break Front::Corrupt,
            };
            let prefix = rest.len() - body.len();
            if length > RECORD_BYTES_MAX as u64 {
                break Front::Long { prefix, length };
            }
            match body.split_at_checked(length as usize) {
                Some((_, after)) => rest = after,
                None => break Front::Wants(prefix + length as usize),
            }
            bytes += prefix + length as usize;
            count += 1;
        };
        match count {
            0 => stop,
            count => Front::Whole { bytes, count },
        }
    }

    /// Cuts the whole messages off the front of the buffer.
    fn cut(&mut self, length: usize, count: u64) -> Cut {
        let rest = self.buffer[length..].to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(length);
        let (offset, first) = (self.offset, self.message);
        self.offset += length as u64;
        self.message += count;
        Cut::Block(Block { stream: self.stream, offset, first, count, shape: Shape::Messages, bytes })
    }

    /// Passes over one record that can not be decoded: `prefix` bytes, then `length` or all that are left. What is kept of it
    /// is as much as a record may have, or the beginning of a longer one. `None` where reading failed on the way.
    fn pass(&mut self, feed: &mut Feed, prefix: usize, length: Option<u64>) -> Option<(Vec<u8>, u64, u64)> {
        let (start, mut passed) = (self.offset, 0);
        self.offset += prefix as u64;
        self.buffer.drain(..prefix);
        let mut kept = Vec::new();
        while length != Some(passed) {
            let left = length.map_or(usize::MAX, |length| usize::try_from(length - passed).unwrap_or(usize::MAX));
            let filled = feed.fill(&mut self.buffer, self.block_bytes.min(left));
            let taken = self.buffer.len().min(left);
            if taken == 0 {
                if filled == Filled::Failed {
                    return None;
                }
                break;
            }
            kept.extend(self.buffer[..taken].iter().take(RECORD_BYTES_MAX + 1 - kept.len()));
            self.buffer.drain(..taken);
            passed += taken as u64;
        }
        if kept.len() > RECORD_BYTES_MAX {
            kept.truncate(RECORD_BYTES_KEPT);
        }
        self.offset += passed;
        Some((kept, start, passed))
    }

    fn broken(&mut self, bytes: Vec<u8>, start: u64, length: u64, violation: Violation) -> Cut {
        let shape = Shape::Broken { violation, length, end: self.offset };
        let first = self.message;
        self.message += 1;
        Cut::Block(Block { stream: self.stream, offset: start, first, count: 1, shape, bytes })
    }

    fn pass_long(&mut self, feed: &mut Feed, prefix: usize, length: u64) -> Cut {
        let Some((bytes, start, passed)) = self.pass(feed, prefix, Some(length)) else { return Cut::End };
        let violation = match passed == length {
            true => too_long(length),
            false => cut_short(length, passed),
        };
        self.broken(bytes, start, passed, violation)
    }

    fn pass_corrupt(&mut self, feed: &mut Feed) -> Cut {
        let Some((bytes, start, passed)) = self.pass(feed, 0, None) else { return Cut::End };
        let detail = format!(
            "expected the length of a message at byte {start}, found no varint; the rest of the stream, {passed} bytes, can \
             not be read"
        );
        self.broken(bytes, start, passed, Violation::new(Reason::Unreadable, detail))
    }

    /// The last message lacks bytes.
    fn pass_cut(&mut self, feed: &mut Feed) -> Cut {
        let mut body = self.buffer.as_slice();
        let (prefix, length) = match take_varint(&mut body) {
            Ok(length) => (self.buffer.len() - body.len(), length),
            Err(_) => (0, 0),
        };
        let Some((bytes, start, passed)) = self.pass(feed, prefix, None) else { return Cut::End };
        let violation = match prefix {
            0 => Violation::new(Reason::Unreadable, "the stream ends inside the length of a message"),
            _ => cut_short(length, passed),
        };
        self.broken(bytes, start, passed, violation)
    }
}

fn cut_short(length: u64, passed: u64) -> Violation {
    let detail = format!("expected a message of {length} bytes, found the end of the stream after {passed}");
    Violation::new(Reason::Unreadable, detail)
}

impl Cutter for Messages {
    fn next(&mut self, feed: &mut Feed) -> Cut {
        let mut wanted = self.block_bytes;
        loop {
            let filled = feed.fill(&mut self.buffer, wanted);
            if self.buffer.is_empty() && filled != Filled::Enough {
                return Cut::End;
            }
            match (self.front(), filled) {
                (Front::Whole { bytes, count }, _) => return self.cut(bytes, count),
                (Front::Long { prefix, length }, _) => return self.pass_long(feed, prefix, length),
                (Front::Corrupt, _) => return self.pass_corrupt(feed),
                (Front::Wants(bytes), Filled::Enough) => wanted = bytes,
                (Front::Wants(_), Filled::Whole) => return self.pass_cut(feed),
                // Messages are not followed, so nothing stalls.
                (Front::Wants(_), Filled::Failed | Filled::Stalled) => return Cut::End,
            }
        }
    }
}
