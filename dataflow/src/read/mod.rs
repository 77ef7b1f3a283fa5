//! Snapshots out: every read is the state at one epoch, and never stops a worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::domain::cause::Cause;
use crate::domain::fact::Position;
use crate::domain::ledger::Totals;
use crate::domain::metrics::{Metric, Metrics};
use crate::domain::validate::Reason;
use crate::domain::window::{Granularity, WindowState};
use crate::engine::StreamName;

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

/// A handle for reading; cheap to clone, for any thread.
#[derive(Clone)]
pub struct Reader {}

impl Reader {
    /// The readable epochs now.
    pub fn readable(&self) -> Readable {
        unimplemented!()
    }

    /// Waits until `epoch` is complete (`upper > epoch`); gives up at the deadline or when the engine stops.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`] and [`ReadError::Stopped`].
    pub fn wait_for(&self, epoch: u64, deadline: Instant) -> Result<Readable, ReadError> {
        let _ = (epoch, deadline);
        unimplemented!()
    }

    /// The first epoch whose bound positions reach every one of `positions` (next offsets by stream), or `None` while no
    /// readable epoch does.
    pub fn epoch_including(&self, positions: &[(u16, u64)]) -> Option<u64> {
        let _ = positions;
        unimplemented!()
    }

    /// The state at an epoch; the newest complete one where `as_of` is `None`.
    ///
    /// # Errors
    /// [`ReadError::AsOfTooOld`] and [`ReadError::AsOfTooNew`].
    pub fn snapshot(&self, as_of: Option<u64>) -> Result<Snapshot, ReadError> {
        let _ = as_of;
        unimplemented!()
    }

    /// Corrections of epochs in `[from_epoch, to_epoch)`, by epoch, then (ad id, granularity, window). They are kept as long as
    /// their rows, whatever `since` is.
    pub fn corrections(&self, from_epoch: u64, to_epoch: u64) -> Vec<Correction> {
        let _ = (from_epoch, to_epoch);
        unimplemented!()
    }

    /// Records set aside, oldest first: the first 1,000 of a reason are kept. `parked` chooses between parked and
    /// quarantined; `reason` narrows. Each has a number that grows; the list starts after `after`.
    pub fn set_aside(&self, parked: bool, reason: Option<&str>, after: u64, limit: usize) -> Vec<(u64, Arc<SetAside>)> {
        let _ = (parked, reason, after, limit);
        unimplemented!()
    }

    /// The names of the streams, by number.
    pub fn streams(&self) -> &[StreamName] {
        unimplemented!()
    }
}

/// The state at one epoch. It holds what it needs, so it answers alike for as long as it is held.
pub struct Snapshot {}

impl Snapshot {
    /// The epoch.
    pub fn as_of(&self) -> u64 {
        unimplemented!()
    }

    /// The readable epochs when the snapshot was taken.
    pub fn readable(&self) -> Readable {
        unimplemented!()
    }

    /// W after the epoch; `None` before the first accepted click.
    pub fn watermark_ms(&self) -> Option<i64> {
        unimplemented!()
    }

    /// The wall clock bound to the epoch, ms since 1970.
    pub fn wall_ms(&self) -> i64 {
        unimplemented!()
    }

    /// The next offset of every stream that has been read from, by stream number.
    pub fn positions(&self) -> Vec<(u16, u64)> {
        unimplemented!()
    }

    /// The conservation ledger.
    pub fn totals(&self) -> &Totals {
        unimplemented!()
    }

    /// The rows of one ad with window start in `[start_ms, end_ms)`, by window.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn rows(
        &self,
        ad_id: &str,
        granularity: Granularity,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Row>, ReadError> {
        let _ = (ad_id, granularity, start_ms, end_ms);
        unimplemented!()
    }

    /// Every row of a granularity, by (ad id bytes, window).
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn for_each_row(&self, granularity: Granularity, visit: impl FnMut(&Row)) -> Result<(), ReadError> {
        let _ = (granularity, visit);
        unimplemented!()
    }

    /// The ads with the most of a metric over `[start_ms, end_ms)`, descending, ties by ad id. The range is whole minutes.
    /// `unique_users` are known only where the range is one kept window, else they are 0.
    ///
    /// # Errors
    /// [`ReadError::NotKept`] where the engine does not keep what the range needs; [`ReadError::DeadlineExceeded`].
    pub fn top(
        &self,
        start_ms: i64,
        end_ms: i64,
        order_by: Metric,
        limit: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<(Arc<str>, Metrics)>, ReadError> {
        let _ = (start_ms, end_ms, order_by, limit, deadline);
        unimplemented!()
    }

    /// The net changes that take the state of the epoch before to this one, by (ad id, window). `ads` narrows to some ads.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn changes(&self, granularity: Granularity, ads: Option<&[&str]>) -> Result<Vec<RowChange>, ReadError> {
        let _ = (granularity, ads);
        unimplemented!()
    }

    /// What one row is made of: the clicks whose copies lie in it, at most `limit` of them, by (event time, id).
    ///
    /// # Errors
    /// [`ReadError::NotKept`], [`ReadError::DeadlineExceeded`].
    pub fn explain(
        &self,
        ad_id: &str,
        granularity: Granularity,
        window_start_ms: i64,
        limit: usize,
        deadline: Option<Instant>,
    ) -> Result<Explanation, ReadError> {
        let _ = (ad_id, granularity, window_start_ms, limit, deadline);
        unimplemented!()
    }

    /// Verdicts that are remembered and have met no click, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`].
    pub fn unmatched_verdicts(&self, limit: usize, deadline: Option<Instant>) -> Result<Vec<Position>, ReadError> {
        let _ = (limit, deadline);
        unimplemented!()
    }
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The ad.
    pub ad_id: Arc<str>,
    /// The window's size.
    pub granularity: Granularity,
    /// The window's first millisecond, since 1970 UTC.
    pub window_start_ms: i64,
    /// The metrics.
    pub metrics: Metrics,
    /// The window's state by the watermark after the epoch.
    pub state: WindowState,
    /// Corrections so far.
    pub revision: u32,
}

/// One row's net change in an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// The row at the epoch before; `None` where there was none.
    pub before: Option<Row>,
    /// The row at the epoch; `None` where it is gone.
    pub after: Option<Row>,
}

/// One net change of a CLOSED window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The epoch.
    pub epoch: u64,
    /// The wall clock bound to it, ms since 1970.
    pub corrected_at_ms: i64,
    /// The row before; `None` where it is new.
    pub before: Option<Row>,
    /// The row after; `after.revision` numbers the corrections of a row from 1.
    pub after: Row,
    /// Why.
    pub cause: Cause,
}

/// A record in no window: quarantined, or parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Why.
    pub reason: Reason,
    /// What was found and what is asked for.
    pub detail: String,
    /// Where it was read.
    pub position: Position,
    /// The record as it came; its first 64 KiB where it is over 1 MiB.
    pub payload: Box<[u8]>,
    /// The record's whole length in bytes.
    pub payload_length: u64,
    /// The epoch it came in.
    pub epoch: u64,
    /// The wall clock bound to that epoch, ms since 1970.
    pub set_aside_at_ms: i64,
}

impl SetAside {
    /// Whether it was parked rather than quarantined.
    pub fn is_parked(&self) -> bool {
        matches!(self.reason, Reason::Late | Reason::VerdictLate)
    }
}

/// What one number is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The row; `None` where there is none.
    pub row: Option<Row>,
    /// One entry a click that has a copy in the row, by (event time, position) of that copy's click.
    pub clicks: Vec<ClickEvidence>,
    /// Whether there are more clicks than the limit let through.
    pub truncated: bool,
    /// The row's corrections, oldest first.
    pub revisions: Vec<Correction>,
}

/// A click, the copies beside it, and its verdicts. Strings are in the raw record at `position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClickEvidence {
    /// Where the copy that counts was read.
    pub position: Position,
    /// The ad of the copy that counts; it may differ from the row's where copies conflict.
    pub ad_id: Arc<str>,
    /// Its event time, ms since 1970.
    pub event_ms: i64,
    /// Its price in millionths.
    pub price_micros: i64,
    /// Whether the standing verdict is `INVALID`.
    pub invalid: bool,
    /// The other copies of its group, in copy order.
    pub other_copies: Vec<CopyEvidence>,
    /// The verdicts of its id, by time decided.
    pub verdicts: Vec<VerdictEvidence>,
}

/// A copy that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyEvidence {
    /// Where it was read.
    pub position: Position,
    /// Its ad.
    pub ad_id: Arc<str>,
    /// Its event time, ms since 1970.
    pub event_ms: i64,
    /// Whether it differs from the click in ad, user or price.
    pub conflicting: bool,
}

/// A verdict of a click.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerdictEvidence {
    /// Where it was read.
    pub position: Position,
    /// When it was decided, ms since 1970.
    pub decided_ms: i64,
    /// Whether it says `INVALID`.
    pub invalid: bool,
    /// Whether it is the standing one.
    pub stands: bool,
}

/// How long `wait_for` callers sleep at most between looks, for those that also watch something else.
pub const WAIT_STEP: Duration = Duration::from_millis(50);
