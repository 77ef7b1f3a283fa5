//! One file, found and not yet read.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::compression::{Compression, of_name};
use crate::error::SourceError;
use crate::format::Format;

/// The path that means standard input.
pub(super) const STDIN: &str = "-";

/// One file, found and not yet read.
pub(super) struct Input {
    /// The path as given.
    pub(super) path: Arc<str>,
    /// What its name says of its records.
    pub(super) format: Option<Format>,
    /// What its name says of its compression.
    pub(super) compression: Option<Compression>,
    /// Its length where it is a regular file.
    pub(super) length: Option<u64>,
    /// What is no regular file stays open: a pipe can be opened only once.
    opened: Option<Box<dyn Read + Send>>,
}

impl Input {
    /// Finds a file, or standard input, and sees that it can be read. Regular files are not kept open, so that there may be
    /// more of them than a process may have open.
    pub(super) fn find(path: &str) -> Result<Self, SourceError> {
        let (format, compression) = of_name(path);
        let (length, opened): (_, Option<Box<dyn Read + Send>>) = match path {
            STDIN => (None, Some(Box::new(io::stdin()))),
            _ => {
                let file = File::open(path).map_err(|cause| SourceError::opening(path, cause))?;
                let metadata = file.metadata().map_err(|cause| SourceError::opening(path, cause))?;
                match metadata.file_type() {
                    kind if kind.is_dir() => return Err(SourceError::Directory { file: path.to_owned() }),
                    kind if kind.is_file() => (Some(metadata.len()), None),
                    _ => (None, Some(Box::new(file))),
                }
            }
        };
        Ok(Input { path: path.into(), format, compression, length, opened })
    }

    /// Its bytes.
    pub(super) fn open(&mut self) -> Result<Box<dyn Read + Send>, SourceError> {
        match self.opened.take() {
            Some(opened) => Ok(opened),
            None => match File::open(self.path.as_ref()) {
                Ok(file) => Ok(Box::new(file)),
                Err(cause) => Err(SourceError::opening(&self.path, cause)),
            },
        }
    }

    /// Whether it is a plain regular file of lines, which alone can be followed.
    pub(super) fn can_be_followed(&self) -> bool {
        self.length.is_some()
            && self.compression.is_none_or(|compression| compression == Compression::Plain)
            && self.format.is_none_or(|format| format == Format::JsonLines)
    }

    /// The name for messages.
    pub(super) fn shown_name(&self) -> Arc<str> {
        match self.path.as_ref() {
            STDIN => "stdin".into(),
            _ => self.path.clone(),
        }
    }
}

/// The reader of a file that is followed: at its end it stalls, and an error says where it got shorter.
pub(super) struct Tail {
    file: File,
    offset: u64,
}

impl Tail {
    pub(super) fn open(path: &str) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|cause| SourceError::opening(path, cause))?;
        Ok(Tail { file, offset: 0 })
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.offset += read as u64;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        let length = self.file.metadata()?.len();
        match length < self.offset {
            true => Err(io::Error::other(Shrunk { length })),
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// A followed file got shorter, to this length.
#[derive(Debug, thiserror::Error)]
#[error("the file was cut to {length} bytes")]
pub(super) struct Shrunk {
    pub(super) length: u64,
}
