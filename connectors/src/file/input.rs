//! One file, found and opened, not yet read.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use super::compression::{Compression, of_name};
use crate::error::SourceError;
use crate::format::Format;

/// The path that means standard input.
pub(super) const STDIN: &str = "-";

/// One file, found and opened, not yet read.
pub(super) struct Input {
    /// The path as given.
    pub(super) path: Arc<str>,
    /// What its name says of its records.
    pub(super) format: Option<Format>,
    /// What its name says of its compression.
    pub(super) compression: Option<Compression>,
    /// Its length where it is a regular file.
    pub(super) length: Option<u64>,
    /// Its bytes.
    pub(super) reader: Box<dyn Read + Send>,
}

impl Input {
    /// Opens a file, or standard input.
    pub(super) fn open(path: &str) -> Result<Self, SourceError> {
        let (format, compression) = of_name(path);
        let (length, reader): (_, Box<dyn Read + Send>) = match path {
            STDIN => (None, Box::new(io::stdin())),
            _ => {
                let file = File::open(path).map_err(|cause| SourceError::opening(path, cause))?;
                let metadata = file.metadata().map_err(|cause| SourceError::opening(path, cause))?;
                if metadata.is_dir() {
                    return Err(SourceError::Directory { file: path.to_owned() });
                }
                (metadata.is_file().then_some(metadata.len()), Box::new(file))
            }
        };
        Ok(Input { path: path.into(), format, compression, length, reader })
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
