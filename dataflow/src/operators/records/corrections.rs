//! Corrections, as `counts` keeps them.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::cause::Causes;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::WindowState;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

use super::{PackedMetrics, WindowCode, older};

/// One correction. Epochs are kept apart for as long as the row lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CorrectionRecord {
    ad_hash: u64,
    ad_low: u32,
    /// Which window.
    pub(crate) window: WindowCode,
    /// When it was corrected.
    pub(crate) epoch: u64,
    /// The row's corrections so far, this one included.
    pub(crate) revision: u32,
    causes: u16,
    is_final: u16,
    /// The wall clock bound to the epoch, ms since 1970.
    pub(crate) wall_ms: i64,
    before: [i64; 6],
    change: PackedMetrics,
}

impl CorrectionRecord {
    /// The first correction of one row.
    pub(crate) fn new(ad: Fingerprint, window: WindowCode, epoch: u64, before: Metrics, change: Metrics) -> Self {
        CorrectionRecord {
            ad_hash: ad.hash,
            ad_low: ad.low,
            window,
            epoch,
            revision: 1,
            before: before.to_words(),
            change: PackedMetrics::new(change),
            ..CorrectionRecord::zeroed()
        }
    }

    /// The same with what else is known of it: why it was, and the state that the epoch left its window in.
    pub(crate) fn with(self, revision: u32, causes: Causes, state: WindowState, wall_ms: i64) -> Self {
        let is_final = u16::from(state == WindowState::Final);
        CorrectionRecord { revision, causes: causes.bits().into(), is_final, wall_ms, ..self }
    }

    /// The same with all that [`with`](CorrectionRecord::with) once said of it.
    pub(super) fn as_it_was(self, revision: u32, causes: u16, is_final: u16, wall_ms: i64) -> Self {
        CorrectionRecord { revision, causes, is_final, wall_ms, ..self }
    }

    /// The state that the epoch left its window in.
    pub(crate) fn state(&self) -> WindowState {
        if self.is_final == 0 { WindowState::Closed } else { WindowState::Final }
    }

    /// What touched the row.
    pub(crate) fn causes(&self) -> Causes {
        Causes::from_bits(self.causes as u8)
    }

    /// The row before.
    pub(crate) fn before(&self) -> Metrics {
        Metrics::from_words(self.before)
    }

    /// The row after.
    pub(crate) fn after(&self) -> Metrics {
        self.before() + self.change.widen()
    }
}

impl Record for CorrectionRecord {
    const SCHEMA: u16 = 10;
    const FOLDS: bool = false;

    fn from_older(schema: u16, records: &[u8]) -> Option<Vec<Self>> {
        older::corrections(schema, records)
    }

    // Windows of several sizes have no common measure: each is looked at.
    fn age(&self) -> i64 {
        i64::MIN
    }

    fn kept_from(horizon: &Horizon) -> i64 {
        horizon.retention.rows_after_ms
    }

    fn is_beyond(&self, horizon: &Horizon) -> bool {
        !self.window.is_row(&horizon.retention)
    }

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window.0)
    }

    #[inline]
    fn tie(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch)
    }
}
