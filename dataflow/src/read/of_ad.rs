//! The rows of one ad: a look-up in every run that may say something of them, and one pass over what is found.

use std::ops::Range;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::Granularity;
use crate::operators::records::{CountRecord, WindowCode};
use crate::operators::view::View;
use crate::trace::{Record, Run};

/// Which rows are asked for.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) granularity: Granularity,
    /// The numbers of the windows.
    pub(super) windows: Range<u32>,
    pub(super) as_of: u64,
}

/// Reads rows ad by ad, and keeps the room that this needs from one to the next.
#[derive(Default)]
pub(super) struct RowReader {
    rows: Vec<(u32, Metrics)>,
    /// Each correction's window and revision.
    revisions: Vec<(u32, u32)>,
}

impl RowReader {
    /// Hands out an ad's rows, by window: the window's number, the metrics, and the number of corrections so far.
    pub(super) fn for_each(
        &mut self,
        view: &View,
        ad: Fingerprint,
        asked: &Asked,
        mut visit: impl FnMut(u32, Metrics, u32),
    ) {
        self.rows.clear();
        self.revisions.clear();
        self.sum(view, ad, asked);
        if self.rows.is_empty() {
            return;
        }
        self.find_revisions(view, ad, asked);
        let mut revisions = self.revisions.iter().peekable();
        for of_window in self.rows.chunk_by(|a, b| a.0 == b.0) {
            let window = of_window[0].0;
            let metrics = of_window[1..].iter().fold(of_window[0].1, |sum, (_, change)| sum + *change);
            while revisions.next_if(|(corrected, _)| *corrected < window).is_some() {}
            if metrics.is_row() {
                let of_window = std::iter::from_fn(|| revisions.next_if(|(corrected, _)| *corrected == window));
                visit(window, metrics, of_window.map(|(_, revision)| *revision).max().unwrap_or(0));
            }
        }
    }

    /// Gathers what the rows are the sums of, by window.
    fn sum(&mut self, view: &View, ad: Fingerprint, asked: &Asked) {
        let Asked { granularity, windows, as_of } = asked;
        let kept = view.windows;
        if *granularity == Granularity::Day && kept.days {
            self.sum_records(&view.days, ad, windows.clone(), *as_of, 1);
        } else {
            let per = kept.base.per(*granularity);
            let of_base = windows.start.saturating_mul(per)..windows.end.saturating_mul(per);
            self.sum_records(&view.base, ad, of_base, *as_of, per);
            if *granularity != kept.base {
                for overlaps in view.overlaps.iter().flat_map(|run| run.find(ad)) {
                    let inside = between(overlaps, |overlap| overlap.window, codes(*granularity, windows));
                    let visible = inside.iter().filter(|overlap| overlap.epoch <= *as_of);
                    self.rows.extend(visible.map(|overlap| {
                        let users = Metrics { unique_users: -overlap.users, ..Metrics::default() };
                        (overlap.window.window(), users)
                    }));
                }
            }
        }
        if !self.rows.is_sorted_by_key(|(window, _)| *window) {
            self.rows.sort_by_key(|(window, _)| *window);
        }
    }

    /// Adds records of a range of windows, under the number of the window `per` times as large.
    fn sum_records(&mut self, runs: &[Run<CountRecord>], ad: Fingerprint, range: Range<u32>, as_of: u64, per: u32) {
        for records in runs.iter().flat_map(|run| run.find(ad)) {
            for record in between(records, |record| record.window, range.clone()) {
                if record.epoch > as_of {
                    continue;
                }
                let (window, metrics) = (record.window / per, record.metrics.widen());
                match self.rows.last_mut() {
                    Some((last, sum)) if *last == window => *sum += metrics,
                    _ => self.rows.push((window, metrics)),
                }
            }
        }
    }

    fn find_revisions(&mut self, view: &View, ad: Fingerprint, asked: &Asked) {
        let (first, last) = (self.rows[0].0, self.rows[self.rows.len() - 1].0);
        let range = codes(asked.granularity, &(first..last + 1));
        for corrections in view.corrections.iter().flat_map(|run| run.find(ad)) {
            let inside = between(corrections, |correction| correction.window, range.clone());
            let visible = inside.iter().filter(|correction| correction.epoch <= asked.as_of);
            self.revisions.extend(visible.map(|correction| (correction.window.window(), correction.revision)));
        }
        self.revisions.sort_unstable();
    }
}

/// The codes of numbered windows of one size.
fn codes(granularity: Granularity, windows: &Range<u32>) -> Range<WindowCode> {
    WindowCode::new(granularity, windows.start)..WindowCode::new(granularity, windows.end)
}

/// The records whose window lies in a range, of one ad's records in order.
pub(super) fn between<R: Record, W: Ord>(records: &[R], window: impl Fn(&R) -> W, range: Range<W>) -> &[R] {
    let start = records.partition_point(|record| window(record) < range.start);
    let len = records[start..].partition_point(|record| window(record) < range.end);
    &records[start..start + len]
}
