//! The rows of one ad: one pass over what its runs hold of it.

use std::ops::Range;

use crate::domain::metrics::Metrics;
use crate::domain::window::Granularity;
use crate::operators::records::{CountRecord, WindowCode};
use crate::operators::view::OfAd;
use crate::trace::Record;

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
    rows: Vec<AdRow>,
}

/// A row, or a part of one.
#[derive(Clone, Copy)]
pub(super) struct AdRow {
    /// The window's number.
    pub(super) window: u32,
    /// Corrections so far.
    pub(super) revision: u32,
    pub(super) metrics: Metrics,
}

impl AdRow {
    fn new(window: u32, metrics: Metrics) -> Self {
        AdRow { window, revision: 0, metrics }
    }
}

impl RowReader {
    /// An ad's rows, by window. Among them may be some that are no rows ([`Metrics::is_row`]).
    pub(super) fn read(&mut self, of_ad: &OfAd<'_>, asked: &Asked) -> &[AdRow] {
        self.rows.clear();
        self.sum(of_ad, asked);
        self.count_corrections(of_ad, asked);
        &self.rows
    }

    /// Sums the rows, by window.
    fn sum(&mut self, of_ad: &OfAd<'_>, asked: &Asked) {
        let Asked { granularity, windows, as_of } = asked;
        let kept = of_ad.windows;
        if *granularity == Granularity::Day && kept.days {
            self.sum_records(&of_ad.days, windows.clone(), *as_of, 1);
        } else {
            let per = kept.base.per(*granularity);
            let of_base = windows.start.saturating_mul(per)..windows.end.saturating_mul(per);
            self.sum_records(&of_ad.base, of_base, *as_of, per);
            if *granularity != kept.base {
                for overlaps in &of_ad.overlaps {
                    let inside = between(overlaps, |overlap| overlap.window, codes(*granularity, windows));
                    let visible = inside.iter().filter(|overlap| overlap.epoch <= *as_of);
                    self.rows.extend(visible.map(|overlap| {
                        let users = Metrics { unique_users: -overlap.users, ..Metrics::default() };
                        AdRow::new(overlap.window.window(), users)
                    }));
                }
            }
        }
        if !self.rows.is_sorted_by_key(|row| row.window) {
            self.rows.sort_by_key(|row| row.window);
        }
        self.rows.dedup_by(|part, row| {
            let same = part.window == row.window;
            if same {
                row.metrics += part.metrics;
            }
            same
        });
    }

    /// Adds records of a range of windows, under the number of the window `per` times as large.
    fn sum_records(&mut self, slices: &[&[CountRecord]], range: Range<u32>, as_of: u64, per: u32) {
        for records in slices {
            for record in between(records, |record| record.window, range.clone()) {
                if record.epoch() > as_of {
                    continue;
                }
                let (window, metrics) = (record.window / per, record.metrics());
                match self.rows.last_mut() {
                    Some(row) if row.window == window => row.metrics += metrics,
                    _ => self.rows.push(AdRow::new(window, metrics)),
                }
            }
        }
    }

    /// Numbers the rows by their newest corrections, walking over both side by side.
    fn count_corrections(&mut self, of_ad: &OfAd<'_>, asked: &Asked) {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return };
        let range = codes(asked.granularity, &(first.window..last.window + 1));
        for corrections in &of_ad.corrections {
            let mut rows = self.rows.iter_mut().peekable();
            for correction in between(corrections, |correction| correction.window, range.clone()) {
                while rows.next_if(|row| row.window < correction.window.window()).is_some() {}
                if let Some(row) = rows.peek_mut().filter(|row| row.window == correction.window.window())
                    && correction.epoch <= asked.as_of
                {
                    row.revision = row.revision.max(correction.revision);
                }
            }
        }
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
