//! Rows: the edge from `resolve` to `counts`, and what `counts` keeps.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::cause::Causes;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

/// Changes of the six kept metrics of a row, packed. A sum that would not fit is kept as two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct PackedMetrics {
    received: i32,
    gross_clicks: i32,
    invalid_clicks: i32,
    unique_users: i32,
    spend_micros: i64,
    invalid_spend_micros: i64,
}

impl PackedMetrics {
    /// One copy's or one user's change.
    pub(crate) fn new(metrics: Metrics) -> Self {
        let narrow = |count: i64| i32::try_from(count).expect("one epoch changes a row by less than 2^31");
        PackedMetrics {
            received: narrow(metrics.received),
            gross_clicks: narrow(metrics.gross_clicks),
            invalid_clicks: narrow(metrics.invalid_clicks),
            unique_users: narrow(metrics.unique_users),
            spend_micros: metrics.spend_micros,
            invalid_spend_micros: metrics.invalid_spend_micros,
        }
    }

    /// Changes the number of users.
    pub(crate) fn add_users(&mut self, users: i32) {
        self.unique_users += users;
    }

    /// The metrics, wide.
    #[inline]
    pub(crate) fn widen(&self) -> Metrics {
        Metrics {
            received: self.received.into(),
            gross_clicks: self.gross_clicks.into(),
            invalid_clicks: self.invalid_clicks.into(),
            unique_users: self.unique_users.into(),
            spend_micros: self.spend_micros,
            invalid_spend_micros: self.invalid_spend_micros,
        }
    }

    #[inline]
    fn try_add(&self, other: &Self) -> Option<Self> {
        Some(PackedMetrics {
            received: self.received.checked_add(other.received)?,
            gross_clicks: self.gross_clicks.checked_add(other.gross_clicks)?,
            invalid_clicks: self.invalid_clicks.checked_add(other.invalid_clicks)?,
            unique_users: self.unique_users.checked_add(other.unique_users)?,
            spend_micros: self.spend_micros.checked_add(other.spend_micros)?,
            invalid_spend_micros: self.invalid_spend_micros.checked_add(other.invalid_spend_micros)?,
        })
    }

    /// Adds a change, and says whether the sum fits.
    #[inline]
    pub(crate) fn fold(&mut self, other: &Self) -> bool {
        let sum = self.try_add(other);
        *self = sum.unwrap_or(*self);
        sum.is_some()
    }

    /// Whether nothing changes.
    pub(crate) fn is_zero(&self) -> bool {
        *self == PackedMetrics::default()
    }
}

/// An edge: the change of a row of a base window, with what touched it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowUpdate {
    ad_hash: u64,
    ad_low: u32,
    /// The number of the base window.
    pub(crate) window: u32,
    causes: u64,
    /// The change.
    pub(crate) metrics: PackedMetrics,
}

impl RowUpdate {
    /// The update of one row.
    pub(crate) fn new(ad: Fingerprint, window: u32, causes: Causes, metrics: PackedMetrics) -> Self {
        RowUpdate { ad_hash: ad.hash, ad_low: ad.low, window, causes: causes.bits().into(), metrics }
    }

    /// What touched the row.
    pub(crate) fn causes(&self) -> Causes {
        Causes::from_bits(self.causes as u8)
    }
}

impl Record for RowUpdate {
    const SCHEMA: u16 = 4;
    const FOLDS: bool = true;

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window)
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        let folded = self.metrics.fold(&other.metrics);
        self.causes |= if folded { other.causes } else { 0 };
        folded
    }

    /// An update that changes nothing here may still explain a change of a larger window's users: causes are something.
    fn is_zero(&self) -> bool {
        self.causes == 0 && self.metrics.is_zero()
    }
}

/// The change of a row in an epoch; the sum over the epochs up to one is the row at that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CountRecord {
    ad_hash: u64,
    ad_low: u32,
    /// The window's number, in the granularity of the arrangement.
    pub(crate) window: u32,
    /// When it changed; all epochs up to `since` are one.
    pub(crate) epoch: u64,
    /// The change.
    pub(crate) metrics: PackedMetrics,
}

impl CountRecord {
    /// The change of one row in one epoch.
    pub(crate) fn new(ad: Fingerprint, window: u32, epoch: u64, metrics: PackedMetrics) -> Self {
        CountRecord { ad_hash: ad.hash, ad_low: ad.low, window, epoch, metrics }
    }
}

impl Record for CountRecord {
    const SCHEMA: u16 = 5;
    const FOLDS: bool = true;
    /// Whoever asks for an ad knows that it has rows, and they lie in most runs.
    const FILTERED: bool = false;

    fn age(&self) -> i64 {
        self.window.into()
    }

    fn kept_from(horizon: &Horizon) -> i64 {
        horizon.first_window.into()
    }

    fn is_beyond(&self, horizon: &Horizon) -> bool {
        self.window < horizon.first_window
    }

    #[inline(always)]
    fn key(&self) -> Fingerprint {
        Fingerprint { hash: self.ad_hash, low: self.ad_low }
    }

    #[inline(always)]
    fn rank(&self) -> u128 {
        rank(self.key(), self.window)
    }

    #[inline]
    fn tie(&self, other: &Self) -> Ordering {
        self.epoch.cmp(&other.epoch)
    }

    #[inline]
    fn advance(&mut self, since: u64) {
        self.epoch = self.epoch.max(since);
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        self.metrics.fold(&other.metrics)
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.metrics.is_zero()
    }
}
