//! Why a checkpoint could not be written or read.

use std::io;

use thiserror::Error;

use crate::store::Away;

/// An outside failure, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The store did not do what was asked of it.
    #[error("{name}: {action} failed: {cause}")]
    Store {
        /// The file.
        name: String,
        /// What was asked.
        action: &'static str,
        /// What the system said.
        cause: io::Error,
    },
    /// Another process writes checkpoints here.
    #[error("checkpoint {number} was written by another process: this one has lost the data directory, and must stop")]
    Fenced {
        /// The number that was taken.
        number: u64,
    },
    /// Another process writes in this one's place, or it can not be known that none does.
    #[error("no checkpoint is written any more: {cause}")]
    Replaced {
        /// What was found.
        cause: io::Error,
    },
    /// A file is not what was written.
    #[error("{name}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A later version wrote the file.
    #[error("{name}: format {format} is not known to this version, which reads format {known}; use a newer Recount")]
    Format {
        /// The file.
        name: String,
        /// Its format.
        format: u16,
        /// The newest known.
        known: u16,
    },
    /// There are checkpoints, and none can be used.
    #[error(
        "none of the {count} checkpoints can be used (the newest: {newest}); restore the files from a backup, or make all \
         anew from the log with `recount rebuild`"
    )]
    NoneUsable {
        /// How many there are.
        count: usize,
        /// What is wrong with the newest.
        newest: String,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint {number}; `recount checkpoint list` shows those there are")]
    NotFound {
        /// The number asked for.
        number: u64,
    },
}

impl CheckpointError {
    /// Whether the same may succeed later with this process going on: where the disk is full, room may be made, and what is away may
    /// come back.
    pub fn is_retryable(&self) -> bool {
        let CheckpointError::Store { cause, .. } = self else { return false };
        Away::is(cause)
            || matches!(
                cause.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::Interrupted
            )
    }

    /// Whether the file is to blame, so that an older checkpoint may do.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            CheckpointError::Damaged { .. } | CheckpointError::NotFound { .. } => true,
            CheckpointError::Store { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    pub(crate) fn damaged(name: &str, what: impl Into<String>) -> Self {
        CheckpointError::Damaged { name: name.to_owned(), what: what.into() }
    }

    pub(crate) fn store(name: &str, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| CheckpointError::Store { name: name.to_owned(), action, cause }
    }
}
