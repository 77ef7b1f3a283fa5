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
    ClickEvidence, CopyEvidence, Correction, Explanation, Row, RowChange, SetAsideSizes, VerdictEvidence,
};
pub use digest::Digest;
pub use reader::{Follower, Reader, SetAsideHold};
pub use rows::Ad;
pub use snapshot::Snapshot;
pub use unmatched::{UnmatchedPage, UnmatchedPlace};

pub use crate::published::{ArrangementSize, ReadError, Readable, SetAside};

use std::time::Instant;

/// Refuses to go on behind the deadline.
fn check(deadline: Option<Instant>) -> Result<(), ReadError> {
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Err(ReadError::DeadlineExceeded),
        _ => Ok(()),
    }
}
