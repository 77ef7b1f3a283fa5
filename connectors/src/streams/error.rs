//! Why the list of streams can not be used.

use thiserror::Error;

use crate::data_dir::Fenced;
use crate::disk::DiskError;

/// Why the list of streams can not be used, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum StreamsError {
    /// A change of the list is damaged, or missing.
    #[error("{file}: is damaged ({what}); restore this file from a backup, the rest of the directory may be whole")]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// Epochs were bound to a stream that is not in the list.
    #[error(
        "{dir}: epochs are bound to stream {stream}, and the list has {known}: its newest file is missing; restore it from a backup, \
         the rest of the directory may be whole"
    )]
    Ends {
        /// The directory of the list.
        dir: String,
        /// The stream that was bound.
        stream: u16,
        /// How many streams there are in the list.
        known: usize,
    },
    /// More streams than can be numbered.
    #[error("there are more partitions than the {max} that one store can number; read some of them into another store")]
    TooMany {
        /// The most there can be.
        max: usize,
    },
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
