//! Which epochs can be read, and why one could not be.

use thiserror::Error;

use crate::domain::window::Granularity;

/// The readable epochs, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// The oldest epoch that can be read.
    pub since: u64,
    /// The first epoch that is not complete.
    pub upper: u64,
}

/// Why a read could not be answered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The epoch has left the history.
    #[error("epoch {as_of} can not be read any more; readable epochs are [{since}, {upper})")]
    AsOfTooOld {
        /// The epoch asked for.
        as_of: u64,
        /// The oldest readable epoch.
        since: u64,
        /// The first epoch that is not complete.
        upper: u64,
    },
    /// The epoch is not complete yet.
    #[error("epoch {as_of} is not complete yet; readable epochs are [{since}, {upper})")]
    AsOfTooNew {
        /// The epoch asked for.
        as_of: u64,
        /// The oldest readable epoch.
        since: u64,
        /// The first epoch that is not complete.
        upper: u64,
    },
    /// The engine keeps one granularity, and it is another.
    #[error("{granularity:?} windows are not kept by this engine")]
    NotKept {
        /// The granularity asked for.
        granularity: Granularity,
    },
    /// The deadline passed.
    #[error("the deadline passed before the answer was complete")]
    DeadlineExceeded,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}
