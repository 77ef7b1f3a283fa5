//! The reader thread: files one after the other, decompressed, cut into blocks, and handed to the decode threads.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use recount_dataflow::intake::Batch;

use super::block::Block;
use super::compression::{Compression, decompress, with_format};
use super::feed::{Feed, FeedError};
use super::input::{Input, Shrunk, Tail};
use super::lines::Lines;
use super::messages::Messages;
use super::progress::{Counted, Progress};
use super::shelf::Shelf;
use crate::error::SourceError;
use crate::format::Format;

/// How long a followed file is left alone at its end.
const FOLLOW_POLL: Duration = Duration::from_millis(50);
/// Batches of one block that may wait for the caller.
const PIECES_MAX: usize = 2;

/// What cuts a stream into blocks.
pub(super) trait Cutter {
    /// The next block. After [`Cut::End`] there are none.
    fn next(&mut self, feed: &mut Feed) -> Cut;
}

/// What a cutter came to.
pub(super) enum Cut {
    /// Some whole records.
    Block(Block),
    /// No whole record for now.
    Stalled,
    /// The stream is over, whole or not.
    End,
}

/// A block and where its batches go.
pub(super) struct Job {
    pub(super) block: Block,
    pub(super) pieces: Sender<Piece>,
}

/// A batch of a block; the caller has to see the last one, or a decode thread was lost.
pub(super) struct Piece {
    pub(super) batch: Batch,
    pub(super) is_last: bool,
}

/// What the caller takes, in the order of the streams.
pub(super) enum Ordered {
    /// The batches of one block.
    Block(Receiver<Piece>),
    /// Reading failed here.
    Failed(SourceError),
    /// All is read.
    End,
}

/// The reader thread's work. Where a channel is closed, the source was dropped and nobody wants the rest.
pub(super) struct Reader {
    pub(super) inputs: Vec<Input>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) progress: Arc<Progress>,
    pub(super) block_bytes: usize,
    pub(super) follow: bool,
    pub(super) stopped: Arc<AtomicBool>,
    pub(super) jobs: Sender<Job>,
    pub(super) order: Sender<Ordered>,
}

/// Why a stream was left.
enum Leave {
    Failed(SourceError),
    Dropped,
}

impl From<SourceError> for Leave {
    fn from(error: SourceError) -> Self {
        Leave::Failed(error)
    }
}

impl Reader {
    pub(super) fn run(mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        let read = inputs.into_iter().enumerate().try_for_each(|(stream, input)| self.read(stream as u16, input));
        // Where nobody listens any more, nobody needs to be told.
        let _ = match read {
            Ok(()) => self.order.send(Ordered::End),
            Err(Leave::Failed(error)) => self.order.send(Ordered::Failed(error)),
            Err(Leave::Dropped) => Ok(()),
        };
    }

    fn read(&self, stream: u16, input: Input) -> Result<(), Leave> {
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let file = input.path.clone();
        let (compression, format, mut feed) = self.open(stream, input)?;
        let mut cutter: Box<dyn Cutter> = match format {
            Format::JsonLines => Box::new(Lines::new(stream, self.block_bytes)),
            Format::Protobuf => Box::new(Messages::new(stream, self.block_bytes)),
        };
        while !self.stopped.load(Ordering::Relaxed) {
            match cutter.next(&mut feed) {
                Cut::Block(block) => self.hand_out(block)?,
                Cut::Stalled => thread::sleep(FOLLOW_POLL),
                Cut::End => break,
            }
        }
        match feed.take_failure() {
            None => Ok(()),
            Some(FeedError::Read(cause)) => Err(failure(&file, compression, feed.bytes(), cause).into()),
            Some(FeedError::Spool(cause)) => Err(SourceError::Spool { file: file.as_ref().to_owned(), cause }.into()),
        }
    }

    fn open(&self, stream: u16, mut input: Input) -> Result<(Compression, Format, Feed), Leave> {
        let Input { format, compression, .. } = input;
        let path = input.path.clone();
        let reader: Box<dyn io::Read + Send> = match self.follow {
            true => Box::new(Tail::open(&path)?),
            false => input.open()?,
        };
        let reader = Box::new(Counted::new(reader, self.progress.clone()));
        let compression = if self.follow { Some(Compression::Plain) } else { compression };
        let (compression, reader) = decompress(reader, compression)
            .map_err(|cause| failure(&path, compression.unwrap_or(Compression::Plain), 0, cause))?;
        let (format, reader) = match format {
            Some(format) => (format, reader),
            None if self.follow => (Format::JsonLines, reader),
            None => with_format(reader).map_err(|cause| failure(&path, compression, 0, cause))?,
        };
        let spool = self.shelf.begin(stream, format, compression).map_err(|cause| {
            let file = path.as_ref().to_owned();
            SourceError::Spool { file, cause }
        })?;
        Ok((compression, format, Feed::new(reader, spool)))
    }

    /// Gives a block to the decode threads, and its place in the order to the caller.
    fn hand_out(&self, block: Block) -> Result<(), Leave> {
        let (pieces, batches) = bounded(PIECES_MAX);
        self.order.send(Ordered::Block(batches)).map_err(|_| Leave::Dropped)?;
        self.jobs.send(Job { block, pieces }).map_err(|_| Leave::Dropped)
    }
}

/// The error of reading on after `offset` bytes of the uncompressed stream.
pub(super) fn failure(file: &str, compression: Compression, offset: u64, cause: io::Error) -> SourceError {
    let file = file.to_owned();
    if let Some(Shrunk { length }) = cause.get_ref().and_then(|inner| inner.downcast_ref()) {
        return SourceError::Shrunk { file, length: *length, offset };
    }
    match (compression.name(), cause.kind()) {
        (Some(compression), ErrorKind::UnexpectedEof) => SourceError::Truncated { file, compression, offset },
        (None, ErrorKind::IsADirectory) => SourceError::Directory { file },
        (compression, _) => SourceError::Read { file, compression, offset, cause },
    }
}
