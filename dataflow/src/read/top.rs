//! The ads with the most of a metric.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::{Metric, Metrics};
use crate::domain::window::Granularity;
use crate::operators::records::CountRecord;
use crate::operators::view::View;
use crate::trace::{Record as _, Run};

use super::{ReadError, Snapshot};

/// Ads summed between two looks at the clock.
const ADS_BETWEEN_LOOKS: usize = 4_096;

impl Snapshot {
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
        let windows = self.shared.windows;
        let one_window =
            windows.all().find(|size| start_ms + size.size_ms() == end_ms && start_ms % size.size_ms() == 0);
        // Where days are kept a whole day is read from them; all else is summed from the base windows.
        let size = if windows.days && one_window == Some(Granularity::Day) { Granularity::Day } else { windows.base };
        if start_ms % size.size_ms() != 0 || end_ms % size.size_ms() != 0 {
            return Err(ReadError::NotKept { granularity: Granularity::Minute });
        }
        let range = super::rows::starting_in(size, start_ms, end_ms);
        let users_from_rows = one_window.filter(|one| *one != size);
        let mut ads = Vec::new();
        for worker in &self.workers {
            let runs = if size == windows.base { &worker.view.base } else { &worker.view.days };
            let sums = Sums { runs, range: range.clone(), as_of: self.as_of(), deadline };
            sums.for_each(|ad, mut metrics| {
                if order_by == Metric::UniqueUsers {
                    metrics.unique_users = users(&worker.view, ad, metrics, users_from_rows, start_ms, self.as_of());
                }
                ads.push((metrics.get(order_by), ad));
            })?;
        }
        let winners = self.best(ads, limit);
        let answer = winners.into_iter().map(|(ad_id, ad)| {
            let view = self.view_of(ad).expect("an ad with rows has an owner");
            let rows = view.rows(ad, size, range.clone(), self.as_of());
            let mut metrics = rows.into_iter().fold(Metrics::default(), |sum, (_, metrics)| sum + metrics);
            metrics.unique_users = match one_window {
                Some(_) => users(view, ad, metrics, users_from_rows, start_ms, self.as_of()),
                None => 0,
            };
            (ad_id, metrics)
        });
        Ok(answer.collect())
    }

    /// The `limit` ads with the greatest values, descending, ties by name.
    fn best(&self, mut ads: Vec<(i64, Fingerprint)>, limit: usize) -> Vec<(Arc<str>, Fingerprint)> {
        if limit == 0 {
            return Vec::new();
        }
        if limit < ads.len() {
            // Ties with the last place are decided by name, so all of them stay in for now.
            let (_, (last, _), _) = ads.select_nth_unstable_by_key(limit - 1, |(value, _)| Reverse(*value));
            let last = *last;
            ads.retain(|(value, _)| *value >= last);
        }
        let named = ads.into_iter().map(|(value, ad)| (Reverse(value), self.shared.dictionary.name(ad), ad));
        let mut named: Vec<_> = named.collect();
        named.sort_unstable();
        named.truncate(limit);
        named.into_iter().map(|(_, name, ad)| (name, ad)).collect()
    }
}

/// The users of an ad over the range: its sum's own, or those of the one larger window that the range is.
fn users(view: &View, ad: Fingerprint, sum: Metrics, larger: Option<Granularity>, start_ms: i64, as_of: u64) -> i64 {
    let Some(larger) = larger else { return sum.unique_users };
    let window = larger.window_of(start_ms);
    view.rows(ad, larger, window..window + 1, as_of).first().map_or(0, |(_, metrics)| metrics.unique_users)
}

/// The sums of every ad over a range of windows.
struct Sums<'a> {
    runs: &'a [Run<CountRecord>],
    range: Range<u32>,
    as_of: u64,
    deadline: Option<Instant>,
}

impl Sums<'_> {
    /// Calls `visit` for every ad with a row in the range, in the order of fingerprints: all runs are read side by side.
    fn for_each(&self, mut visit: impl FnMut(Fingerprint, Metrics)) -> Result<(), ReadError> {
        let mut cursors: Vec<Cursor<'_>> = self.runs.iter().filter_map(Cursor::new).collect();
        let mut ads = 0_usize;
        while let Some(ad) = cursors.iter().map(|cursor| cursor.key).min() {
            let mut sum = Metrics::default();
            cursors.retain_mut(|cursor| {
                cursor.key != ad
                    || cursor.take(|record| {
                        if self.range.contains(&record.window) && record.epoch <= self.as_of {
                            sum += record.metrics.widen();
                        }
                    })
            });
            if sum.is_row() {
                visit(ad, sum);
            }
            ads += 1;
            if ads.is_multiple_of(ADS_BETWEEN_LOOKS) && self.deadline.is_some_and(|deadline| deadline <= Instant::now())
            {
                return Err(ReadError::DeadlineExceeded);
            }
        }
        Ok(())
    }
}

/// A place in a run.
struct Cursor<'a> {
    /// The ad of the record at the place.
    key: Fingerprint,
    records: &'a [CountRecord],
    later: &'a [Arc<crate::trace::chunk::Chunk<CountRecord>>],
}

impl<'a> Cursor<'a> {
    fn new(run: &'a Run<CountRecord>) -> Option<Self> {
        let (first, later) = run.chunks().split_first()?;
        Some(Cursor { key: first.records()[0].key(), records: first.records(), later })
    }

    /// Passes the records of the ad at the place; says whether any records are left.
    fn take(&mut self, mut pass: impl FnMut(&CountRecord)) -> bool {
        loop {
            let len = self.records.iter().take_while(|record| record.key() == self.key).count();
            self.records[..len].iter().for_each(&mut pass);
            self.records = &self.records[len..];
            if let Some(next) = self.records.first() {
                self.key = next.key();
                return true;
            }
            let Some((first, later)) = self.later.split_first() else { return false };
            (self.records, self.later) = (first.records(), later);
            if self.records[0].key() != self.key {
                self.key = self.records[0].key();
                return true;
            }
        }
    }
}
