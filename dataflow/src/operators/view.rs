//! Reading rows from runs: the one place that knows how a row is put together.
//!
//! A row of the base granularity is the sum of its records. A row of a larger one is the sum of its base windows, with
//! `unique_users = sum - overlap`. Days of the full engine are kept, and read as they are.

use std::ops::Range;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::Granularity;
use crate::trace::sweep::{self, Part, Wanted};
use crate::trace::{Record, Run};

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
    /// No rows.
    pub(crate) fn empty(windows: Windows) -> View {
        View { windows, base: Vec::new(), overlaps: Vec::new(), days: Vec::new(), corrections: Vec::new() }
    }

    /// What is known of some ads, sorted and distinct, as far as [`WindowsOfAd`] go: one pass over an arrangement, whatever is asked
    /// of each ad then.
    pub(crate) fn of_ads(&self, ads: &[WindowsOfAd]) -> OfAds<'_> {
        let summed = self.windows.summed();
        let per_day = self.windows.base.per(Granularity::Day);
        let base = |ad: &WindowsOfAd| Part {
            key: ad.ad,
            first: ad.first - ad.first % summed,
            last: ad.last - ad.last % summed + summed - 1,
        };
        let days = |ad: &WindowsOfAd| Part { key: ad.ad, first: ad.first / per_day, last: ad.last / per_day };
        let keys: Vec<Fingerprint> = ads.iter().map(|ad| ad.ad).collect();
        OfAds {
            base: Found::new(&ads.iter().map(base).collect::<Vec<_>>(), &self.base),
            overlaps: Found::new(&keys, &self.overlaps),
            days: Found::new(&ads.iter().map(days).collect::<Vec<_>>(), &self.days),
            corrections: Found::new(&keys, &self.corrections),
            of_ad: self.nothing(),
        }
    }

    /// The same, as far as rows of one granularity need it.
    pub(crate) fn rows_of_ads(&self, ads: &[Fingerprint], granularity: Granularity) -> OfAds<'_> {
        let Summed { base, overlaps, days } = self.summed(granularity);
        OfAds {
            base: Found::new(ads, base),
            overlaps: Found::new(ads, overlaps),
            days: Found::new(ads, days),
            corrections: Found::new(ads, &self.corrections),
            of_ad: self.nothing(),
        }
    }

    /// The same of one ad: one look-up an arrangement, whatever is asked of it then.
    pub(crate) fn rows_of_ad(&self, ad: Fingerprint, granularity: Granularity) -> OfAd<'_> {
        let Summed { base, overlaps, days } = self.summed(granularity);
        OfAd {
            windows: self.windows,
            base: slices(base, ad),
            overlaps: slices(overlaps, ad),
            days: slices(days, ad),
            corrections: slices(&self.corrections, ad),
        }
    }

    /// What rows of a granularity are the sums of.
    fn summed(&self, granularity: Granularity) -> Summed<'_> {
        match granularity {
            Granularity::Day if self.windows.days => Summed { base: &[], overlaps: &[], days: &self.days },
            granularity if granularity == self.windows.base => Summed { base: &self.base, overlaps: &[], days: &[] },
            _ => Summed { base: &self.base, overlaps: &self.overlaps, days: &[] },
        }
    }

    fn nothing(&self) -> OfAd<'_> {
        let windows = self.windows;
        OfAd { windows, base: Vec::new(), overlaps: Vec::new(), days: Vec::new(), corrections: Vec::new() }
    }
}

/// The runs that rows of one granularity are summed from.
struct Summed<'a> {
    base: &'a [Run<CountRecord>],
    overlaps: &'a [Run<OverlapRecord>],
    days: &'a [Run<CountRecord>],
}

/// Some base windows of an ad, whose rows of every size are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowsOfAd {
    /// The ad.
    pub(crate) ad: Fingerprint,
    /// The first window.
    pub(crate) first: u32,
    /// The last one.
    pub(crate) last: u32,
}

/// What is known of some ads, an ad after the other.
pub(crate) struct OfAds<'a> {
    base: Found<'a, CountRecord>,
    overlaps: Found<'a, OverlapRecord>,
    days: Found<'a, CountRecord>,
    corrections: Found<'a, CorrectionRecord>,
    of_ad: OfAd<'a>,
}

impl<'a> OfAds<'a> {
    /// What is known of the ad with this number. Numbers ascend from call to call.
    pub(crate) fn of_ad(&mut self, number: u32) -> &OfAd<'a> {
        self.base.take(number, &mut self.of_ad.base);
        self.overlaps.take(number, &mut self.of_ad.overlaps);
        self.days.take(number, &mut self.of_ad.days);
        self.corrections.take(number, &mut self.of_ad.corrections);
        &self.of_ad
    }
}

/// What one arrangement holds of some ads, by the number of the ad.
struct Found<'a, R> {
    slices: Vec<(u32, &'a [R])>,
    next: usize,
}

impl<'a, R: Record> Found<'a, R> {
    fn new(ads: &[impl Wanted], runs: &'a [Run<R>]) -> Self {
        Found { slices: sweep::look_up(ads, runs), next: 0 }
    }

    fn take(&mut self, number: u32, slices: &mut Vec<&'a [R]>) {
        let rest = &self.slices[self.next..];
        let before = rest.iter().take_while(|(other, _)| *other < number).count();
        let of_ad = rest[before..].iter().take_while(|(other, _)| *other == number);
        slices.clear();
        slices.extend(of_ad.map(|(_, slice)| *slice));
        self.next += before + slices.len();
    }
}

fn slices<R: Record>(runs: &[Run<R>], ad: Fingerprint) -> Vec<&[R]> {
    runs.iter().flat_map(|run| run.find(ad)).collect()
}

/// A row of one ad, or a part of one.
#[derive(Clone, Copy)]
pub(crate) struct AdRow {
    /// The window's number.
    pub(crate) window: u32,
    /// Corrections so far; 0 until they are counted.
    pub(crate) revision: u32,
    /// The metrics.
    pub(crate) metrics: Metrics,
}

impl AdRow {
    fn new(window: u32, metrics: Metrics) -> Self {
        AdRow { window, revision: 0, metrics }
    }
}

/// The records of one ad. Each slice is in the order of windows and then of epochs, so a viral ad is searched, not scanned.
pub(crate) struct OfAd<'a> {
    /// Which windows are kept.
    pub(crate) windows: Windows,
    /// Of the base granularity.
    pub(crate) base: Vec<&'a [CountRecord]>,
    /// Of the larger granularities.
    pub(crate) overlaps: Vec<&'a [OverlapRecord]>,
    /// Of days, where they are kept apart.
    pub(crate) days: Vec<&'a [CountRecord]>,
    /// Of every granularity.
    pub(crate) corrections: Vec<&'a [CorrectionRecord]>,
}

impl<'a> OfAd<'a> {
    /// The rows of numbered windows, as of an epoch, by window.
    pub(crate) fn rows(&self, granularity: Granularity, windows: Range<u32>, as_of: u64) -> Vec<AdRow> {
        let mut rows = Vec::new();
        self.sum(granularity, &windows, as_of, &mut rows);
        rows.retain(|row| !row.metrics.is_zero());
        rows
    }

    /// Puts the same rows together in `rows`, which holds none. Among them may be some that are no rows ([`Metrics::is_row`]).
    pub(crate) fn sum(&self, granularity: Granularity, windows: &Range<u32>, as_of: u64, rows: &mut Vec<AdRow>) {
        if granularity == Granularity::Day && self.windows.days {
            sum_records(rows, &self.days, windows.clone(), as_of, 1);
        } else {
            let per = self.windows.base.per(granularity);
            let base = windows.start.saturating_mul(per)..windows.end.saturating_mul(per);
            sum_records(rows, &self.base, base, as_of, per);
            if granularity != self.windows.base {
                for records in &self.overlaps {
                    let inside = between(records, |record| record.window, WindowCode::range(granularity, windows));
                    let visible = inside.iter().filter(|record| record.epoch <= as_of);
                    rows.extend(visible.map(|record| AdRow::new(record.window.window(), record.metrics())));
                }
            }
        }
        if !rows.is_sorted_by_key(|row| row.window) {
            rows.sort_by_key(|row| row.window);
        }
        rows.dedup_by(|part, row| {
            let same = part.window == row.window;
            if same {
                row.metrics += part.metrics;
            }
            same
        });
    }

    /// The newest row of one window.
    pub(crate) fn newest(&self, granularity: Granularity, window: u32) -> Metrics {
        let rows = self.rows(granularity, window..window + 1, u64::MAX);
        rows.first().map_or(Metrics::default(), |row| row.metrics)
    }

    /// The newest correction of a row, as of an epoch.
    pub(crate) fn last_correction(&self, window: WindowCode, as_of: u64) -> Option<&'a CorrectionRecord> {
        let last = self.corrections.iter().filter_map(|records| {
            let end = records.partition_point(|record| (record.window, record.epoch) <= (window, as_of));
            records[..end].last().filter(|record| record.window == window)
        });
        last.max_by_key(|record| record.epoch)
    }

    /// All corrections of a row, as of an epoch, oldest first.
    pub(crate) fn corrections(&self, window: WindowCode, as_of: u64) -> Vec<&'a CorrectionRecord> {
        let of_window = self.corrections.iter().flat_map(|records| {
            let start = records.partition_point(|record| record.window < window);
            records[start..].iter().take_while(|record| record.window == window)
        });
        let mut corrections: Vec<_> = of_window.filter(|record| record.epoch <= as_of).collect();
        corrections.sort_by_key(|record| record.epoch);
        corrections
    }
}

/// The records whose window lies in a range, of one ad's records in order.
pub(crate) fn between<R, W: Ord>(records: &[R], window: impl Fn(&R) -> W, range: Range<W>) -> &[R] {
    let start = records.partition_point(|record| window(record) < range.start);
    let len = records[start..].partition_point(|record| window(record) < range.end);
    &records[start..start + len]
}

/// Adds records of a range of windows to `rows`, under the number of the window `per` times as large.
fn sum_records(rows: &mut Vec<AdRow>, slices: &[&[CountRecord]], range: Range<u32>, as_of: u64, per: u32) {
    for records in slices {
        for record in between(records, |record| record.window, range.clone()) {
            if record.epoch() > as_of {
                continue;
            }
            let (window, metrics) = (record.window / per, record.metrics());
            match rows.last_mut() {
                Some(row) if row.window == window => row.metrics += metrics,
                _ => rows.push(AdRow::new(window, metrics)),
            }
        }
    }
}
