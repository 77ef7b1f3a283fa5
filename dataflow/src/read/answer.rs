//! What answers are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::cause::Cause;
use crate::domain::fact::Position;
use crate::domain::metrics::Metrics;
use crate::domain::validate::Reason;
use crate::domain::window::{Granularity, WindowState};
use crate::published::first_bytes;

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

impl Row {
    /// By what rows of any size are listed: the ad id, the size, the window. Names lie all over memory, so the first bytes come
    /// before them, and decide nearly always.
    pub(super) fn place(&self) -> (u128, Arc<str>, Granularity, i64) {
        (first_bytes(&self.ad_id), Arc::clone(&self.ad_id), self.granularity, self.window_start_ms)
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

/// The records set aside that are kept, and those that are not any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAsideSizes {
    /// What the kept ones take in memory, about, in bytes.
    pub bytes: u64,
    /// How many had to go, for their age or for want of room, by reason.
    pub dropped: BTreeMap<Reason, u64>,
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
