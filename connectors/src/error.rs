//! Why a source could not go on. Broken records are none of this: they are quarantined, and the stream goes on.

use std::io;

use thiserror::Error;

#[cfg(feature = "kafka")]
use crate::kafka::source::KafkaSourceError;
use crate::log::LogError;

/// An outside failure, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum SourceError {
    /// There is no such file.
    #[error("{file}: no such file; check the path, or use - for standard input")]
    NotFound {
        /// The path as given.
        file: String,
    },
    /// The path names a directory.
    #[error("{file}: is a directory; name the files in it, for example {file}/*.jsonl")]
    Directory {
        /// The path as given.
        file: String,
    },
    /// The file may not be read.
    #[error("{file}: permission denied; make it readable for this user")]
    PermissionDenied {
        /// The path as given.
        file: String,
    },
    /// The file could not be opened for another reason.
    #[error("{file}: can not be opened: {cause}")]
    Open {
        /// The path as given.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Compressed data end early.
    #[error(
        "{file}: the {compression} data end early, after {offset} bytes uncompressed; the whole records before that were \
         taken in; fetch the file again"
    )]
    Truncated {
        /// The path as given.
        file: String,
        /// How it is compressed.
        compression: &'static str,
        /// Bytes of the uncompressed stream that could be read.
        offset: u64,
    },
    /// Reading failed on the way, or compressed data are corrupt.
    #[error("{file}: reading failed after {offset} bytes{}: {cause}", uncompressed(*.compression))]
    Read {
        /// The path as given.
        file: String,
        /// How it is compressed; `None` where it is plain.
        compression: Option<&'static str>,
        /// Bytes of the (uncompressed) stream that could be read.
        offset: u64,
        /// What the system or the decompressor said.
        cause: io::Error,
    },
    /// The copy that is kept of a stream, for later look-ups, could not be written.
    #[error(
        "{file}: the temporary copy for explanations can not be written: {cause}; make room in the temporary directory"
    )]
    Spool {
        /// The path as given.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// Only one plain file of JSON lines can be followed.
    #[error("{file}: can not be followed; --follow takes one uncompressed .jsonl file")]
    Follow {
        /// The first path that stands in the way.
        file: String,
    },
    /// A followed file got shorter.
    #[error("{file}: was cut to {length} bytes while being followed at byte {offset}; start again to read it anew")]
    Shrunk {
        /// The path as given.
        file: String,
        /// Its length now.
        length: u64,
        /// How far it had been read.
        offset: u64,
    },
    /// More files than streams can be numbered.
    #[error("{files} files are too many for one run; at most {max} can be read")]
    TooManyFiles {
        /// How many were given.
        files: usize,
        /// How many can be read.
        max: usize,
    },
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Kafka could not be read on.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Kafka(Box<KafkaSourceError>),
    /// A thread could not be started.
    #[error("a reading thread can not be started: {cause}")]
    Thread {
        /// What the system said.
        cause: io::Error,
    },
}

#[cfg(feature = "kafka")]
impl From<KafkaSourceError> for SourceError {
    fn from(error: KafkaSourceError) -> Self {
        SourceError::Kafka(Box::new(error))
    }
}

fn uncompressed(compression: Option<&'static str>) -> String {
    compression.map_or_else(String::new, |compression| format!(" (uncompressed from {compression})"))
}

impl SourceError {
    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            SourceError::Open { cause, .. } | SourceError::Read { cause, .. } => {
                matches!(cause.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
            }
            _ => false,
        }
    }

    /// The error of opening `file`.
    pub(crate) fn opening(file: &str, cause: io::Error) -> Self {
        let file = file.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => SourceError::NotFound { file },
            io::ErrorKind::IsADirectory => SourceError::Directory { file },
            io::ErrorKind::PermissionDenied => SourceError::PermissionDenied { file },
            _ => SourceError::Open { file, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_to_do() {
        let opening = |kind: io::ErrorKind| SourceError::opening("a.jsonl", kind.into());
        let shown = |kind| opening(kind).to_string();
        assert_eq!(
            shown(io::ErrorKind::PermissionDenied),
            "a.jsonl: permission denied; make it readable for this user"
        );
        assert!(shown(io::ErrorKind::NotFound).starts_with("a.jsonl: no such file"));
        assert!(shown(io::ErrorKind::IsADirectory).starts_with("a.jsonl: is a directory"));
        assert!(opening(io::ErrorKind::TimedOut).is_retryable());
        assert!(!opening(io::ErrorKind::NotFound).is_retryable());
    }
}
