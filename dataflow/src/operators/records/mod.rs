//! The records of the arrangements and of the edges, but for [`Fact`], which is the domain's.
//!
//! | record | key | holds |
//! |---|---|---|
//! | [`Fact`] | click | a copy or a verdict |
//! | [`VisitRecord`] | (ad, user), window | how many valid clicks |
//! | [`CountRecord`] | ad, window | six metrics, by epoch |
//! | [`OverlapRecord`] | ad, larger window | users counted in more than one of its base windows |
//! | [`CorrectionRecord`] | ad, window, epoch | a row before and after |
//!
//! How long each is asked about is said by [`Retention`]; what is not goes when runs merge.

mod corrections;
mod older;
mod rows;
mod users;
mod visits;

pub(crate) use corrections::CorrectionRecord;
pub(crate) use rows::{CountRecord, PackedMetrics, RowUpdate};
pub(crate) use users::{OverlapRecord, UniqueUpdate};
pub(crate) use visits::{VisitRecord, VisitUpdate};

use std::cmp::Ordering;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::domain::fact::Fact;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::retention::Retention;
use crate::domain::window::Granularity;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

impl Record for Fact {
    const SCHEMA: u16 = 1;
    const FOLDS: bool = false;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        self.id()
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.id(), 0)
    }

    fn tie(&self, other: &Self) -> Ordering {
        self.position().cmp(&other.position())
    }

    fn age(&self) -> i64 {
        self.event_ms()
    }

    fn kept_from(horizon: &Horizon) -> i64 {
        horizon.retention.copies_from_ms.max(horizon.retention.verdicts_from_ms)
    }

    fn is_beyond(&self, horizon: &Horizon) -> bool {
        self.is_forgotten(&horizon.retention)
    }
}

/// A window of any granularity in one word: the granularity in the top four bits, the window's number in the rest. In a run,
/// windows of one granularity lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct WindowCode(u32);

/// The greatest number of a window, well beyond the year 2100 in minutes.
pub(crate) const WINDOW_MAX: u32 = (1 << 28) - 1;

impl WindowCode {
    /// The code of a numbered window.
    pub(crate) fn new(granularity: Granularity, window: u32) -> Self {
        assert!(window <= WINDOW_MAX, "window {window} needs more than 28 bits");
        WindowCode((granularity as u32) << 28 | window)
    }

    /// The codes of numbered windows of one size.
    pub(crate) fn range(granularity: Granularity, windows: &Range<u32>) -> Range<Self> {
        WindowCode::new(granularity, windows.start)..WindowCode::new(granularity, windows.end)
    }

    /// The granularity.
    pub(crate) fn granularity(self) -> Granularity {
        Granularity::ALL[(self.0 >> 28) as usize]
    }

    /// Whether the window is a row still.
    pub(crate) fn is_row(self, retention: &Retention) -> bool {
        retention.first_row(self.granularity()) <= self.window()
    }

    /// The window's number.
    pub(crate) fn window(self) -> u32 {
        self.0 & WINDOW_MAX
    }
}
