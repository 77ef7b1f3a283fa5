//! Rows: the edge from `resolve` to `counts`, and what `counts` keeps.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::domain::cause::Causes;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::trace::record::rank;
use crate::trace::{Horizon, Record};

use super::older;

/// Changes of the six kept metrics of a row in one epoch, on the way. A sum that would not fit travels as two updates.
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

    /// A change of nothing but the number of users.
    pub(crate) fn of_users(users: i32) -> Self {
        PackedMetrics { unique_users: users, ..PackedMetrics::default() }
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

    /// The greatest change of any count, and of any money in millionths, either way.
    #[inline]
    fn magnitudes(&self) -> (u64, u64) {
        let counts = [self.received, self.gross_clicks, self.invalid_clicks, self.unique_users];
        let greatest = counts.map(i32::unsigned_abs).into_iter().fold(0, u32::max);
        (greatest.into(), self.spend_micros.unsigned_abs().max(self.invalid_spend_micros.unsigned_abs()))
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

/// The change of a row in an epoch; the sum over the epochs up to one is the row at that one. Few windows of an ad see more than a
/// handful of clicks, so counts have 16 bits and sums of money 40: what needs more is kept as several records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct CountRecord {
    ad_hash: u64,
    ad_low: u32,
    /// The window's number, in the granularity of the arrangement.
    pub(crate) window: u32,
    epoch_low: u32,
    spend_low: u32,
    invalid_spend_low: u32,
    epoch_high: u16,
    received: i16,
    gross_clicks: i16,
    invalid_clicks: i16,
    unique_users: i16,
    spend_high: i8,
    invalid_spend_high: i8,
}

const _: () =
    assert!(size_of::<CountRecord>() == 40, "nearly every click has a row of its own: each byte of it counts");

/// Most of one kind of money that a record holds, either way, in millionths.
const MICROS_MAX: i64 = (1 << 39) - 1;
/// Most of anything else.
const COUNT_MAX: i64 = i16::MAX as i64;

impl CountRecord {
    /// The change of one row in one epoch, as one record or as many as it needs; none where nothing changes.
    pub(crate) fn split(
        ad: Fingerprint,
        window: u32,
        epoch: u64,
        change: PackedMetrics,
    ) -> impl Iterator<Item = CountRecord> {
        let mut rest = change.widen();
        std::iter::from_fn(move || {
            let row = || CountRecord::zeroed().at(ad, window, epoch);
            match rest.is_zero() {
                true => None,
                false => row().with(&rest).inspect(|_| rest = Metrics::default()).or_else(|| {
                    let (now, later) = cut(rest);
                    rest = later;
                    row().with(&now)
                }),
            }
        })
    }

    /// How many records the change of a row takes, at most.
    #[inline]
    pub(crate) fn pieces(change: &PackedMetrics) -> usize {
        let (counts, micros) = change.magnitudes();
        counts.div_ceil(COUNT_MAX as u64).max(micros.div_ceil(MICROS_MAX as u64)) as usize
    }

    fn at(self, ad: Fingerprint, window: u32, epoch: u64) -> Self {
        assert!(epoch < 1 << 48, "epoch {epoch} needs more than 48 bits");
        let (epoch_low, epoch_high) = (epoch as u32, (epoch >> 32) as u16);
        CountRecord { ad_hash: ad.hash, ad_low: ad.low, window, epoch_low, epoch_high, ..self }
    }

    /// The same row and epoch with another change; `None` where it does not fit.
    #[inline]
    fn with(self, change: &Metrics) -> Option<Self> {
        let fits = |micros: i64| (-MICROS_MAX..=MICROS_MAX).contains(&micros);
        let narrow = |count: i64| i16::try_from(count).ok();
        if !fits(change.spend_micros) || !fits(change.invalid_spend_micros) {
            return None;
        }
        Some(CountRecord {
            received: narrow(change.received)?,
            gross_clicks: narrow(change.gross_clicks)?,
            invalid_clicks: narrow(change.invalid_clicks)?,
            unique_users: narrow(change.unique_users)?,
            spend_low: change.spend_micros as u32,
            spend_high: (change.spend_micros >> 32) as i8,
            invalid_spend_low: change.invalid_spend_micros as u32,
            invalid_spend_high: (change.invalid_spend_micros >> 32) as i8,
            ..self
        })
    }

    /// When the row changed; all epochs up to `since` are one.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u64 {
        u64::from(self.epoch_high) << 32 | u64::from(self.epoch_low)
    }

    /// The change.
    #[inline(always)]
    pub(crate) fn metrics(&self) -> Metrics {
        let micros = |high: i8, low: u32| i64::from(high) << 32 | i64::from(low);
        Metrics {
            received: self.received.into(),
            gross_clicks: self.gross_clicks.into(),
            invalid_clicks: self.invalid_clicks.into(),
            unique_users: self.unique_users.into(),
            spend_micros: micros(self.spend_high, self.spend_low),
            invalid_spend_micros: micros(self.invalid_spend_high, self.invalid_spend_low),
        }
    }
}

/// As much of a change as one record holds, and what is left.
fn cut(change: Metrics) -> (Metrics, Metrics) {
    let count = |count: i64| count.clamp(-COUNT_MAX, COUNT_MAX);
    let money = |micros: i64| micros.clamp(-MICROS_MAX, MICROS_MAX);
    let now = Metrics {
        received: count(change.received),
        gross_clicks: count(change.gross_clicks),
        invalid_clicks: count(change.invalid_clicks),
        unique_users: count(change.unique_users),
        spend_micros: money(change.spend_micros),
        invalid_spend_micros: money(change.invalid_spend_micros),
    };
    (now, change - now)
}

impl Record for CountRecord {
    const SCHEMA: u16 = 9;
    const FOLDS: bool = true;
    /// Whoever asks for an ad knows that it has rows, and they lie in most runs.
    const FILTERED: bool = false;

    fn from_older(schema: u16, records: &[u8]) -> Option<Vec<Self>> {
        older::counts(schema, records)
    }

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
        self.epoch().cmp(&other.epoch())
    }

    #[inline]
    fn advance(&mut self, since: u64) {
        let epoch = self.epoch().max(since);
        (self.epoch_low, self.epoch_high) = (epoch as u32, (epoch >> 32) as u16);
    }

    #[inline]
    fn fold(&mut self, other: &Self) -> bool {
        let sum = self.with(&(self.metrics() + other.metrics()));
        *self = sum.unwrap_or(*self);
        sum.is_some()
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.metrics().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Run;

    const AD: Fingerprint = Fingerprint { hash: 7, low: 8 };

    fn change(clicks: i64, spend_micros: i64) -> PackedMetrics {
        PackedMetrics::new(Metrics {
            received: clicks,
            gross_clicks: clicks,
            spend_micros,
            invalid_spend_micros: -spend_micros,
            ..Metrics::default()
        })
    }

    #[test]
    fn a_change_of_any_size_is_kept_whole() {
        let micros = [0, 1, -1, MICROS_MAX, -MICROS_MAX, MICROS_MAX + 1, 7 * MICROS_MAX, -3 * MICROS_MAX - 5];
        for clicks in [0, 1, -1, COUNT_MAX, -COUNT_MAX - 1, 3 * COUNT_MAX, 1_000_000, -1_000_000] {
            for spend in micros {
                let change = change(clicks, spend);
                let records: Vec<CountRecord> = CountRecord::split(AD, 5, (1 << 48) - 1, change).collect();
                let sum = records.iter().fold(Metrics::default(), |sum, record| sum + record.metrics());
                assert_eq!(sum, change.widen(), "{clicks} clicks, {spend} micros");
                assert!(
                    records.len() <= CountRecord::pieces(&change),
                    "{clicks} clicks, {spend} micros: {}",
                    records.len()
                );
                assert!(records.iter().all(|record| (record.epoch(), record.key()) == ((1 << 48) - 1, AD)));
            }
        }
    }

    #[test]
    fn what_does_not_fit_one_record_stays_two() {
        let one = |clicks, micros| CountRecord::split(AD, 5, 3, change(clicks, micros)).next().expect("it changes");
        for (a, b) in
            [(one(COUNT_MAX, 0), one(1, 0)), (one(1, MICROS_MAX), one(1, 1)), (one(1, -MICROS_MAX), one(1, -1))]
        {
            let mut sum = a;
            assert!(!sum.fold(&b), "{a:?} and {b:?}");
            assert_eq!(sum, a);
        }
        let mut sum = one(COUNT_MAX, MICROS_MAX);
        assert!(sum.fold(&one(-COUNT_MAX, -MICROS_MAX)) && sum.is_zero());
    }

    #[test]
    fn a_run_holds_a_change_that_needs_many_records() {
        let change = change(1_000_000, 0);
        let run = Run::from_sorted(CountRecord::pieces(&change), CountRecord::split(AD, 5, 3, change));
        let run = run.expect("there are records");
        let received: i64 = run.find(AD).flatten().map(|record| record.metrics().received).sum();
        assert_eq!((received, run.len()), (1_000_000, 31));
    }
}
