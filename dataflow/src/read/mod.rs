//! Snapshots out: every read is the state at one epoch, and never stops a worker.

mod answer;
mod digest;
mod explain;
mod of_ad;
mod of_ads;
mod reader;
mod rows;
mod sizes;
mod snapshot;
mod sums;
mod top;
mod unmatched;

pub use answer::{
    ClickEvidence, CopyEvidence, Correction, Explanation, Row, RowChange, SetAside, SetAsideSizes, VerdictEvidence,
};
pub use digest::Digest;
pub use reader::{Follower, Reader, SetAsideHold};
pub use rows::Ad;
pub use sizes::ArrangementSize;
pub use snapshot::Snapshot;
pub use unmatched::{UnmatchedPage, UnmatchedPlace};

pub(crate) use reader::{Shared, Streams};

use std::time::Instant;

use thiserror::Error;

use crate::domain::window::Granularity;

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

/// The readable epochs, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// The oldest epoch that can be read.
    pub since: u64,
    /// The first epoch that is not complete.
    pub upper: u64,
}

/// Refuses to go on behind the deadline.
fn check(deadline: Option<Instant>) -> Result<(), ReadError> {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Err(ReadError::DeadlineExceeded),
        _ => Ok(()),
    }
}
