//! Reading rows from runs: the one place that knows how a row is put together.
//!
//! A row of the base granularity is the sum of its records. A row of a larger one is the sum of its base windows, with
//! `unique_users = sum - overlap`. Days of the full engine are kept, and read as they are.

use std::ops::Range;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::Granularity;
use crate::trace::Run;

use super::context::Windows;
use super::records::{CorrectionRecord, CountRecord, OverlapRecord, WindowCode};

/// One worker's rows, as runs that nobody changes.
#[derive(Clone)]
pub(crate) struct View {
    /// Which windows are kept.
    pub(crate) windows: Windows,
    /// Rows of the base granularity.
    pub(crate) base: Vec<Run<CountRecord>>,
    /// Overlaps of the larger granularities.
    pub(crate) overlaps: Vec<Run<OverlapRecord>>,
    /// Rows of days, users included; empty where days are not kept apart.
    pub(crate) days: Vec<Run<CountRecord>>,
    /// Corrections of every granularity.
    pub(crate) corrections: Vec<Run<CorrectionRecord>>,
}

impl View {
    /// The rows of an ad with window number in a range, as of an epoch, by window.
    pub(crate) fn rows(
        &self,
        ad: Fingerprint,
        granularity: Granularity,
        range: Range<u32>,
        as_of: u64,
    ) -> Vec<(u32, Metrics)> {
        let mut rows = Vec::new();
        if granularity == Granularity::Day && self.windows.days {
            sum_into(&mut rows, &self.days, ad, range, as_of, 1);
        } else {
            let per = self.windows.base.per(granularity);
            let base = range.start.saturating_mul(per)..range.end.saturating_mul(per);
            sum_into(&mut rows, &self.base, ad, base, as_of, per);
            if granularity != self.windows.base {
                self.subtract_overlaps(&mut rows, ad, granularity, range, as_of);
            }
        }
        fold(&mut rows);
        rows.retain(|(_, metrics)| !metrics.is_zero());
        rows
    }

    fn subtract_overlaps(
        &self,
        rows: &mut Vec<(u32, Metrics)>,
        ad: Fingerprint,
        granularity: Granularity,
        range: Range<u32>,
        as_of: u64,
    ) {
        for record in self.overlaps.iter().flat_map(|run| run.find(ad)).flatten() {
            let window = record.window.window();
            if record.window.granularity() == granularity && range.contains(&window) && record.epoch <= as_of {
                rows.push((window, Metrics { unique_users: -record.users, ..Metrics::default() }));
            }
        }
    }

    /// All corrections of an ad, as of an epoch, in no order.
    pub(crate) fn corrections_of(&self, ad: Fingerprint, as_of: u64) -> impl Iterator<Item = &CorrectionRecord> {
        let of_ad = self.corrections.iter().flat_map(move |run| run.find(ad)).flatten();
        of_ad.filter(move |record| record.epoch <= as_of)
    }
}

/// What is known of one ad's rows around some base windows, gathered by one look-up an arrangement.
pub(crate) struct OfAd<'a> {
    windows: Windows,
    /// Rows of the base granularity in every window that holds one of those asked for, by window.
    base: Vec<(u32, Metrics)>,
    overlaps: Vec<&'a OverlapRecord>,
    days: Vec<(u32, Metrics)>,
    corrections: Vec<&'a CorrectionRecord>,
}

impl<'a> OfAd<'a> {
    /// Gathers the newest state around a range of base windows, which is not empty.
    pub(crate) fn gather(view: &'a View, ad: Fingerprint, range: Range<u32>) -> Self {
        let windows = view.windows;
        // Days that are kept need no base windows.
        let largest = windows.all().filter(|size| !(windows.days && *size == Granularity::Day)).last();
        let widen = |size: Granularity| {
            let per = windows.base.per(size);
            (range.start / per, (range.end - 1) / per + 1, per)
        };
        let (mut base, mut days) = (Vec::new(), Vec::new());
        if let Some(largest) = largest {
            let (first, end, per) = widen(largest);
            sum_into(&mut base, &view.base, ad, first * per..end * per, u64::MAX, 1);
            fold(&mut base);
        }
        if windows.days {
            let (first, end, _) = widen(Granularity::Day);
            sum_into(&mut days, &view.days, ad, first..end, u64::MAX, 1);
            fold(&mut days);
        }
        let overlaps = view.overlaps.iter().flat_map(|run| run.find(ad)).flatten().collect();
        let corrections = view.corrections_of(ad, u64::MAX).collect();
        OfAd { windows, base, overlaps, days, corrections }
    }

    /// The row of one window that holds a base window of the range.
    pub(crate) fn row(&self, granularity: Granularity, window: u32) -> Metrics {
        if granularity == Granularity::Day && self.windows.days {
            let place = self.days.binary_search_by_key(&window, |(day, _)| *day);
            return place.map_or(Metrics::default(), |place| self.days[place].1);
        }
        let per = self.windows.base.per(granularity);
        let start = self.base.partition_point(|(base, _)| *base < window * per);
        let inside = self.base[start..].iter().take_while(|(base, _)| base / per == window);
        let mut sum = inside.fold(Metrics::default(), |sum, (_, metrics)| sum + *metrics);
        let code = WindowCode::new(granularity, window);
        sum.unique_users -=
            self.overlaps.iter().filter(|record| record.window == code).map(|record| record.users).sum::<i64>();
        sum
    }

    /// How many corrections a window has had.
    pub(crate) fn revision(&self, window: WindowCode) -> u32 {
        let of_window = self.corrections.iter().filter(|record| record.window == window);
        of_window.map(|record| record.revision).max().unwrap_or(0)
    }
}

/// Adds the records of an ad in a range of windows to `rows`, under the number of the window `per` times as large.
fn sum_into(
    rows: &mut Vec<(u32, Metrics)>,
    runs: &[Run<CountRecord>],
    ad: Fingerprint,
    range: Range<u32>,
    as_of: u64,
    per: u32,
) {
    for records in runs.iter().flat_map(|run| run.find(ad)) {
        let start = records.partition_point(|record| record.window < range.start);
        let inside = records[start..].iter().take_while(|record| record.window < range.end);
        let visible = inside.filter(|record| record.epoch <= as_of);
        rows.extend(visible.map(|record| (record.window / per, record.metrics.widen())));
    }
}

/// Sorts by window and sums equal ones.
pub(crate) fn fold(rows: &mut Vec<(u32, Metrics)>) {
    rows.sort_by_key(|(window, _)| *window);
    rows.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}
