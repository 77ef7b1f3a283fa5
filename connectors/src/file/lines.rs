//! Cuts a stream of lines into blocks.

use memchr::{memchr, memchr_iter, memrchr};
use recount_dataflow::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX};

use super::block::{Block, Shape, too_long};
use super::feed::{Feed, Filled};
use super::reader::{Cut, Cutter};

/// Where a stream of lines has been cut so far.
pub(super) struct Lines {
    stream: u16,
    block_bytes: usize,
    /// Read and not yet cut.
    buffer: Vec<u8>,
    /// Where the buffer starts in the stream.
    offset: u64,
    /// The number of the buffer's first line, from 1.
    line: u64,
    /// A line that is too long, while its end is sought.
    long: Option<LongLine>,
}

struct LongLine {
    kept: Vec<u8>,
    length: u64,
}

impl Lines {
    pub(super) fn new(stream: u16, block_bytes: usize) -> Self {
        Lines { stream, block_bytes, buffer: Vec::new(), offset: 0, line: 1, long: None }
    }

    /// Cuts `length` bytes off the front of the buffer.
    fn cut(&mut self, length: usize) -> Cut {
        let rest = self.buffer[length..].to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(length);
        let open_line = u64::from(bytes.last() != Some(&b'\n'));
        let count = memchr_iter(b'\n', &bytes).count() as u64 + open_line;
        let offset = self.offset;
        self.offset += length as u64;
        let first = self.line;
        self.line += count;
        Cut::Block(Block { stream: self.stream, offset, first, count, shape: Shape::Lines, bytes })
    }

    /// Goes on to the end of a line that is too long, in bounded memory.
    fn pass_long(&mut self, feed: &mut Feed, mut long: LongLine) -> Cut {
        loop {
            let end = memchr(b'\n', &self.buffer);
            long.length += end.unwrap_or(self.buffer.len()) as u64;
            if let Some(end) = end {
                self.buffer.drain(..=end);
                return self.end_long(long, 1);
            }
            self.buffer.clear();
            match feed.fill(&mut self.buffer, self.block_bytes) {
                Filled::Enough => {}
                Filled::Whole if self.buffer.is_empty() => return self.end_long(long, 0),
                Filled::Failed if self.buffer.is_empty() => return Cut::End,
                Filled::Stalled if self.buffer.is_empty() => {
                    self.long = Some(long);
                    return Cut::Stalled;
                }
                Filled::Whole | Filled::Failed | Filled::Stalled => {}
            }
        }
    }

    fn end_long(&mut self, long: LongLine, newline: u64) -> Cut {
        let LongLine { kept, length } = long;
        let (offset, first) = (self.offset, self.line);
        self.offset += length + newline;
        self.line += 1;
        let shape = Shape::Broken { violation: too_long(length), length, end: self.offset };
        Cut::Block(Block { stream: self.stream, offset, first, count: 1, shape, bytes: kept })
    }
}

impl Cutter for Lines {
    fn next(&mut self, feed: &mut Feed) -> Cut {
        if let Some(long) = self.long.take() {
            return self.pass_long(feed, long);
        }
        let mut wanted = self.block_bytes;
        loop {
            let filled = feed.fill(&mut self.buffer, wanted);
            if let Some(end) = memrchr(b'\n', &self.buffer) {
                return self.cut(end + 1);
            }
            if self.buffer.len() > RECORD_BYTES_MAX {
                let kept = self.buffer[..RECORD_BYTES_KEPT].to_vec();
                return self.pass_long(feed, LongLine { kept, length: 0 });
            }
            match filled {
                Filled::Enough => wanted = (2 * self.buffer.len()).clamp(wanted + 1, RECORD_BYTES_MAX + 1),
                Filled::Stalled => return Cut::Stalled,
                Filled::Whole if !self.buffer.is_empty() => return self.cut(self.buffer.len()),
                Filled::Whole | Filled::Failed => return Cut::End,
            }
        }
    }
}
