//! Why an object store could not be used.

use std::io;
use std::time::Duration;

use recount_dataflow::store::Away;
use thiserror::Error;

use crate::disk::{DiskError, is_full};

/// An outside failure, in words for the person who has to act. No message holds a secret.
#[derive(Debug, Error)]
pub enum BucketError {
    /// A request was not answered, or refused, for as long as it was repeated.
    #[error("{object}: can not be {action}: {cause} (tried {tries} times in {} ms); {advice}", .took.as_millis())]
    Away {
        /// The object.
        object: String,
        /// What was to be done.
        action: &'static str,
        /// What the object store said last.
        cause: String,
        /// How often it was asked.
        tries: u32,
        /// For how long.
        took: Duration,
        /// What helps.
        advice: &'static str,
    },
    /// There is no such object.
    #[error("{object}: there is no such object")]
    NotFound {
        /// The object.
        object: String,
    },
    /// There is such an object already, and nothing is ever overwritten.
    #[error("{object}: is there already")]
    Taken {
        /// The object.
        object: String,
    },
    /// The prefix belongs to another store.
    #[error(
        "{place}: holds the checkpoints of another store ({found}; this one is {ours}); choose another prefix for \
         store.checkpoints"
    )]
    OtherStore {
        /// The bucket and the prefix.
        place: String,
        /// The other store.
        found: String,
        /// The store of the data directory.
        ours: String,
    },
    /// Nobody has written here yet.
    #[error("{place}: holds no checkpoints of any store; check store.checkpoints")]
    NoStore {
        /// The bucket and the prefix.
        place: String,
    },
    /// The object that says whose the prefix is can not be read.
    #[error("{object}: is damaged ({what}); check whether store.checkpoints names the right prefix")]
    OwnerDamaged {
        /// The object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// A later writer was here, whom the data directory does not know.
    #[error(
        "{place}: writer {newest} was here, and this data directory has come to writer {writer} only: it is a copy, or an old \
         backup, of the one that writes here; use that one, or another prefix for store.checkpoints"
    )]
    Copied {
        /// The bucket and the prefix.
        place: String,
        /// This process.
        writer: u32,
        /// The newest writer.
        newest: u32,
    },
    /// The object store overwrites what it was told to leave alone.
    #[error(
        "{place}: the object store overwrites an object though it was asked to make it only if absent (If-None-Match), so two \
         writers could not be kept apart; use one that honours it"
    )]
    Unconditional {
        /// The bucket and the prefix.
        place: String,
    },
    /// The settings can not be used.
    #[error("store.checkpoints: {0}")]
    Settings(String),
    /// What a request runs on can not be started.
    #[error("threads for the object store can not be started: {0}")]
    Thread(io::Error),
    /// A copy in the data directory could not be written or read.
    #[error("{0}")]
    Copy(io::Error),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl BucketError {
    /// Whether the same call may succeed later with nothing changed here.
    pub fn is_retryable(&self) -> bool {
        match self {
            BucketError::Away { .. } => true,
            BucketError::Copy(cause) => is_full(cause) || Away::is(cause),
            BucketError::Disk(error) => error.is_full(),
            _ => false,
        }
    }
}

impl From<BucketError> for io::Error {
    fn from(error: BucketError) -> io::Error {
        match error {
            BucketError::Copy(cause) => cause,
            BucketError::Away { .. } => io::Error::other(Away(error.to_string())),
            BucketError::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
            BucketError::Taken { .. } => io::Error::new(io::ErrorKind::AlreadyExists, error),
            error => io::Error::other(error),
        }
    }
}
