//! The records of one file as they are, undecoded, one after the other.

use recount_dataflow::domain::validate::Violation;

use super::block::{Block, Shape};
use super::compression::{Compression, decompress, with_format};
use super::feed::{Feed, FeedError};
use super::input::Input;
use super::lines::Lines;
use super::messages::Messages;
use super::reader::{Cut, Cutter, failure};
use crate::error::SourceError;
use crate::format::Format;
use crate::json;

/// How much of a file is cut at once.
const BLOCK_BYTES: usize = 1 << 20;

/// One file, read from its beginning.
pub(crate) struct RawRecords {
    file: String,
    format: Format,
    compression: Compression,
    cutter: Box<dyn Cutter>,
    feed: Feed,
}

impl RawRecords {
    /// Opens a file, or standard input where the path is `-`.
    pub(crate) fn open(path: &str) -> Result<Self, SourceError> {
        let mut input = Input::find(path)?;
        let reader = input.open()?;
        let failed = |cause| failure(path, input.compression.unwrap_or(Compression::Plain), 0, cause);
        let (compression, reader) = decompress(reader, input.compression).map_err(failed)?;
        let (format, reader) = match input.format {
            Some(format) => (format, reader),
            None => with_format(reader).map_err(|cause| failure(path, compression, 0, cause))?,
        };
        let cutter: Box<dyn Cutter> = match format {
            Format::JsonLines => Box::new(Lines::new(0, BLOCK_BYTES)),
            Format::Protobuf => Box::new(Messages::new(0, BLOCK_BYTES)),
        };
        Ok(RawRecords { file: path.to_owned(), format, compression, cutter, feed: Feed::new(reader, None) })
    }

    /// How the file is written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The next records, whole and without newlines or lengths; a record that the file does not hold whole is a violation. `None`
    /// at the end.
    ///
    /// # Errors
    /// Where reading failed; what was read before has been handed out.
    pub(crate) fn next_block(&mut self) -> Result<Option<RawBlock>, SourceError> {
        // A file that is not followed never stalls.
        if let Cut::Block(block) = self.cutter.next(&mut self.feed) {
            return Ok(Some(RawBlock(block)));
        }
        match self.feed.take_failure() {
            None => Ok(None),
            Some(FeedError::Read(cause) | FeedError::Spool(cause)) => {
                Err(failure(&self.file, self.compression, self.feed.bytes(), cause))
            }
        }
    }
}

/// Some consecutive records of a file.
pub(crate) struct RawBlock(Block);

impl RawBlock {
    /// Hands out every record, in order, blank lines left out.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<&[u8], &Violation>> {
        let block = &self.0;
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let record = block.record_at(at)?;
                // A broken record is the only one of its block, however many of its bytes are kept.
                at += ((record.end - record.offset) as usize).max(1);
                match &block.shape {
                    Shape::Broken { violation, .. } => return Some(Err(violation)),
                    Shape::Lines if json::is_blank(record.payload) => {}
                    Shape::Lines | Shape::Messages => return Some(Ok(record.payload)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(name: &str, bytes: &[u8]) -> (Format, Vec<Result<Vec<u8>, String>>) {
        let mut file = tempfile::Builder::new().suffix(name).tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut records = RawRecords::open(file.path().to_str().unwrap()).unwrap();
        let mut all = Vec::new();
        while let Some(block) = records.next_block().unwrap() {
            let owned =
                |one: Result<&[u8], &Violation>| one.map(<[u8]>::to_vec).map_err(|broken| broken.detail.clone());
            all.extend(block.records().map(owned));
        }
        (records.format(), all)
    }

    #[test]
    fn records_come_as_they_are() {
        let (format, lines) = read(".jsonl", b"{}\n\n  \nrubbish\n{\"a\":1}");
        assert_eq!(format, Format::JsonLines);
        assert_eq!(lines, [Ok(b"{}".to_vec()), Ok(b"rubbish".to_vec()), Ok(b"{\"a\":1}".to_vec())]);
        let (format, messages) = read(".pb", &[2, 7, 7, 0, 1, 9, 5, 1]);
        assert_eq!(format, Format::Protobuf);
        assert_eq!(messages[..3], [Ok(vec![7, 7]), Ok(vec![]), Ok(vec![9])]);
        assert!(messages[3].as_ref().is_err_and(|broken| broken.contains("5 bytes")), "{messages:?}");
    }
}
