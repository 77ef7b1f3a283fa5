//! Counts: the rows of every ad.
//!
//! In: changes of rows and of users, by ad. Out: what they come to in an epoch. State: the rows by epoch, kept apart from `since`
//! on, so that one set of runs answers for every readable epoch; overlaps and corrections likewise.

use crate::domain::window::Granularity;
use crate::trace::sort::merge_sorted;
use crate::trace::{Beside, Record as _, Run, Spine};

use super::context::{Bound, MayForget, Windows};
use super::correct::corrections;
use super::records::{CorrectionRecord, CountRecord, OverlapRecord, PackedMetrics, RowUpdate, UniqueUpdate};
use super::tally::Tally;
use super::view::View;

/// What an epoch brought to one worker: one run an arrangement.
#[derive(Clone)]
pub(crate) struct Delta {
    /// Changed rows of the base granularity.
    pub(crate) base: Option<Run<CountRecord>>,
    /// Changed overlaps.
    pub(crate) overlaps: Option<Run<OverlapRecord>>,
    /// Corrections.
    pub(crate) corrections: Option<Run<CorrectionRecord>>,
}

impl Delta {
    /// The bytes of its runs.
    pub(crate) fn byte_len(&self) -> usize {
        let base = self.base.as_ref().map_or(0, Run::byte_len);
        let overlaps = self.overlaps.as_ref().map_or(0, Run::byte_len);
        base + overlaps + self.corrections.as_ref().map_or(0, Run::byte_len)
    }
}

/// The arrangements, and what decides over them.
pub(crate) struct Counts {
    windows: Windows,
    base: Spine<CountRecord>,
    overlaps: Spine<OverlapRecord>,
    days: Spine<CountRecord>,
    corrections: Spine<CorrectionRecord>,
}

impl Counts {
    /// Arrangements of some rows, whose merges may be given to threads beside.
    pub(crate) fn new(windows: Windows, rows: View, beside: &Beside) -> Self {
        Counts {
            windows,
            base: Spine::new(rows.base, beside),
            overlaps: Spine::new(rows.overlaps, beside),
            days: Spine::new(rows.days, beside),
            corrections: Spine::new(rows.corrections, beside),
        }
    }

    /// Takes in the changes of an epoch, each piece sorted and folded, returns what they come to, and tallies it. `may_forget` says
    /// what need not be kept apart.
    pub(crate) fn apply(
        &mut self,
        epoch: u64,
        rows: Vec<Vec<RowUpdate>>,
        users: Vec<Vec<UniqueUpdate>>,
        bound: &Bound,
        may_forget: &MayForget,
        tally: &mut Tally,
    ) -> Delta {
        let mut rows = merge_sorted(rows);
        let overlaps = add_users(&mut rows, merge_sorted(users), self.windows.base);
        let corrected = corrections(epoch, bound, &rows, &overlaps, &self.view());
        for correction in &corrected {
            *tally.corrections.entry(correction.causes().cause()).or_default() += 1;
        }
        let pieces = rows.iter().map(|row| CountRecord::pieces(&row.metrics)).sum();
        let count = |row: &RowUpdate| CountRecord::split(row.key(), row.window, epoch, row.metrics);
        let overlap = |update: &UniqueUpdate| OverlapRecord::new(update, epoch);
        let delta = Delta {
            base: Run::from_sorted(pieces, rows.iter().flat_map(count)),
            overlaps: Run::from_sorted(overlaps.len(), overlaps.iter().map(overlap)),
            corrections: sorted_corrections(corrected),
        };
        for metrics in rows.iter().map(|row| row.metrics.widen()) {
            tally.received += metrics.received;
            tally.gross_clicks += metrics.gross_clicks;
        }
        let days = if self.windows.days { days(epoch, self.windows.base, &rows, &overlaps, pieces) } else { None };
        self.follow(may_forget);
        self.insert(&delta, days);
        delta
    }

    /// Goes on with a merge by some records, and says whether there is more to be done.
    pub(crate) fn tidy(&mut self, records: usize) -> bool {
        self.base.tidy(records)
            || self.overlaps.tidy(records)
            || self.days.tidy(records)
            || self.corrections.tidy(records)
    }

    /// The state, as runs that nobody changes.
    pub(crate) fn view(&self) -> View {
        View {
            windows: self.windows,
            base: self.base.runs(),
            overlaps: self.overlaps.runs(),
            days: self.days.runs(),
            corrections: self.corrections.runs(),
        }
    }

    fn follow(&mut self, may_forget: &MayForget) {
        let MayForget { since, retention, written } = *may_forget;
        self.base.follow(may_forget.horizon(retention.first_base(self.windows.base)), written);
        self.days.follow(may_forget.horizon(retention.first_row(Granularity::Day)), written);
        self.overlaps.follow(may_forget.horizon(0), written);
        self.corrections.follow(may_forget.horizon(0), written);
        self.base.set_since(since);
        self.overlaps.set_since(since);
        self.days.set_since(since);
    }

    fn insert(&mut self, delta: &Delta, days: Option<Run<CountRecord>>) {
        self.base.insert(delta.base.clone());
        self.overlaps.insert(delta.overlaps.clone());
        self.days.insert(days);
        self.corrections.insert(delta.corrections.clone());
    }
}

fn sorted_corrections(mut corrections: Vec<CorrectionRecord>) -> Option<Run<CorrectionRecord>> {
    corrections.sort_unstable_by(CorrectionRecord::order);
    Run::from_slice(&corrections)
}

/// Adds the users of the base windows to their rows, and returns the overlaps. Users change only where a click does, so each
/// such change has a row to go to.
fn add_users(rows: &mut [RowUpdate], users: Vec<UniqueUpdate>, base: Granularity) -> Vec<UniqueUpdate> {
    let mut overlaps = Vec::new();
    let mut rows = rows.iter_mut();
    for update in users {
        if update.window.granularity() != base {
            overlaps.push(update);
            continue;
        }
        let window = update.window.window();
        let row = rows.find(|row| row.window == window && row.key() == update.key());
        let row = row.expect("users of a row change only where its clicks do");
        row.metrics.add_users(users_of(&update));
    }
    overlaps
}

fn users_of(update: &UniqueUpdate) -> i32 {
    i32::try_from(update.users).expect("one epoch changes a row by less than 2^31")
}

/// The changes of days: sums over their base windows, which come to `pieces` records, less the overlaps.
fn days(
    epoch: u64,
    base: Granularity,
    rows: &[RowUpdate],
    overlaps: &[UniqueUpdate],
    pieces: usize,
) -> Option<Run<CountRecord>> {
    let per = base.per(Granularity::Day);
    let mut of_days = overlaps.iter().filter(|update| update.window.granularity() == Granularity::Day).peekable();
    let same_day = |a: &RowUpdate, b: &RowUpdate| a.window / per == b.window / per && a.key() == b.key();
    let summed = rows.chunk_by(same_day).flat_map(|of_day| {
        let (ad, day) = (of_day[0].key(), of_day[0].window / per);
        let mut sum = of_day[0].metrics;
        for row in &of_day[1..] {
            assert!(sum.fold(&row.metrics), "one epoch changes a row by less than 2^31");
        }
        if let Some(overlap) = of_days.next_if(|overlap| overlap.key() == ad && overlap.window.window() == day) {
            sum.add_users(-users_of(overlap));
        }
        CountRecord::split(ad, day, epoch, sum)
    });
    // A sum takes no more records than what it is a sum of.
    let of_overlaps = |overlap: &UniqueUpdate| CountRecord::pieces(&PackedMetrics::of_users(users_of(overlap)));
    let days = Run::from_sorted(pieces + overlaps.iter().map(of_overlaps).sum::<usize>(), summed);
    assert!(of_days.next().is_none(), "the users of a day changed and none of its rows did");
    days
}
