//! The records of the arrangements and of the edges, but for [`Fact`], which is the domain's.
//!
//! | record | key | holds | needed until |
//! |---|---|---|---|
//! | [`Fact`] | click | a copy or a verdict | copies to `F - dedup_horizon`, verdicts to `F - max_future_skew` |
//! | [`VisitRecord`] | (ad, user), window | how many valid clicks | the start of the day that holds F |
//! | [`CountRecord`] | ad, window | six metrics, by epoch | the rows' retention |
//! | [`OverlapRecord`] | ad, larger window | users counted in more than one of its base windows | as the rows |
//! | [`CorrectionRecord`] | ad, window, epoch | a row before and after | as the rows |
//!
//! The rules alone decide what is needed; so far everything is also kept, for as long as the process lives.

mod corrections;
mod rows;
mod users;
mod visits;

pub(crate) use corrections::CorrectionRecord;
pub(crate) use rows::{CountRecord, PackedMetrics, RowUpdate};
pub(crate) use users::{OverlapRecord, UniqueUpdate};
pub(crate) use visits::{VisitRecord, VisitUpdate};

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::fact::Fact;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::window::Granularity;
use crate::trace::Record;
use crate::trace::record::rank;

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

    /// The granularity.
    pub(crate) fn granularity(self) -> Granularity {
        Granularity::ALL[(self.0 >> 28) as usize]
    }

    /// The window's number.
    pub(crate) fn window(self) -> u32 {
        self.0 & WINDOW_MAX
    }
}
