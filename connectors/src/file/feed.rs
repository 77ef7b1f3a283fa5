//! The uncompressed bytes of one stream, as the cutters take them.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use super::shelf::Spool;

/// Bytes asked of the reader at once. A pipe gives less, and what is asked for is zeroed first.
const READ_BYTES: usize = 128 << 10;

/// The uncompressed bytes of one stream. Everything that passes through is spooled where somebody may want to read it again.
pub(super) struct Feed {
    reader: Box<dyn Read + Send>,
    spool: Option<Arc<Spool>>,
    bytes: u64,
    end: Option<End>,
}

/// How a stream ended.
enum End {
    /// With its last byte.
    Whole,
    /// With an error; `None` once it has been taken.
    Failed(Option<FeedError>),
}

/// Why a feed failed.
pub(super) enum FeedError {
    /// Reading or decompressing failed.
    Read(io::Error),
    /// Spooling failed.
    Spool(io::Error),
}

/// What a call to [`Feed::fill`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// The buffer holds what was asked for.
    Enough,
    /// There is no more for now; a followed file may grow.
    Stalled,
    /// That was the last byte of the stream.
    Whole,
    /// That was the last byte before reading failed; what is cut off is no record.
    Failed,
}

impl Feed {
    pub(super) fn new(reader: Box<dyn Read + Send>, spool: Option<Arc<Spool>>) -> Self {
        Feed { reader, spool, bytes: 0, end: None }
    }

    /// Reads until `buffer` holds `length` bytes or more, or there are no more.
    pub(super) fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> Filled {
        while self.end.is_none() && buffer.len() < length {
            let start = buffer.len();
            buffer.resize(length.min(start + READ_BYTES), 0);
            let read = self.reader.read(&mut buffer[start..]);
            buffer.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.end = Some(End::Whole),
                Ok(_) => self.spool(&buffer[start..]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Filled::Stalled,
                Err(error) => self.end = Some(End::Failed(Some(FeedError::Read(error)))),
            }
        }
        match self.end {
            _ if buffer.len() >= length => Filled::Enough,
            Some(End::Whole) => Filled::Whole,
            Some(End::Failed(_)) => Filled::Failed,
            None => Filled::Enough,
        }
    }

    /// Why the stream failed, once.
    pub(super) fn take_failure(&mut self) -> Option<FeedError> {
        match &mut self.end {
            Some(End::Failed(failure)) => failure.take(),
            _ => None,
        }
    }

    /// How many bytes have been read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn spool(&mut self, read: &[u8]) {
        self.bytes += read.len() as u64;
        if let Some(Err(error)) = self.spool.as_ref().map(|spool| spool.append(read)) {
            self.end = Some(End::Failed(Some(FeedError::Spool(error))));
        }
    }
}
