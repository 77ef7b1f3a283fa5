//! Counts: the rows of every ad, and the end of the graph.
//!
//! In: changes of rows and of users, by ad. Out: nothing into the graph; every complete epoch is published to readers. State:
//! the rows by epoch, kept apart from `since` on, so that one set of runs answers for every readable epoch; overlaps and
//! corrections likewise.

use std::rc::Rc;

use timely::dataflow::Stream;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::domain::rules::DAY_MS;
use crate::domain::window::Granularity;
use crate::trace::sort::{Sorter, fold_sorted};
use crate::trace::{Record as _, Run, Spine};

use super::context::{Bound, Context, Windows};
use super::correct::corrections;
use super::inbox::Inbox;
use super::packet::{Packet, by_hash_range};
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

/// Where complete epochs go.
pub(crate) trait Publish {
    /// Takes one worker's part of an epoch: what it brought, the state after it, and what was counted of it.
    fn publish(&mut self, epoch: u64, delta: Delta, view: View, tally: Tally);
}

/// The arrangements, and what decides over them.
pub(crate) struct Counts {
    windows: Windows,
    base: Spine<CountRecord>,
    overlaps: Spine<OverlapRecord>,
    days: Spine<CountRecord>,
    corrections: Spine<CorrectionRecord>,
    rows_sorter: Sorter<RowUpdate>,
    users_sorter: Sorter<UniqueUpdate>,
}

impl Counts {
    /// Empty arrangements.
    pub(crate) fn new(windows: Windows, info: &OperatorInfo) -> Self {
        Counts {
            windows,
            base: Spine::new(info),
            overlaps: Spine::new(info),
            days: Spine::new(info),
            corrections: Spine::new(info),
            rows_sorter: Sorter::new(),
            users_sorter: Sorter::new(),
        }
    }

    /// Takes in the changes of an epoch, in any order, and returns what they come to, with the number of copies they add.
    /// Reads ask for no epoch below `since`.
    pub(crate) fn apply(
        &mut self,
        epoch: u64,
        mut rows: Vec<RowUpdate>,
        mut users: Vec<UniqueUpdate>,
        bound: &Bound,
        since: u64,
    ) -> (Delta, i64) {
        let base = self.windows.base;
        users.retain(|update| {
            let is_base = update.window.granularity() == base;
            if is_base {
                let change = PackedMetrics::of_users(update.users as i32);
                rows.push(RowUpdate::new(update.key(), update.window.window(), Default::default(), change));
            }
            !is_base
        });
        self.rows_sorter.sort(&mut rows);
        fold_sorted(&mut rows);
        self.users_sorter.sort(&mut users);
        fold_sorted(&mut users);

        let corrected = corrections(epoch, bound, &rows, &users, &self.view());
        let count = |row: &RowUpdate| CountRecord::new(row.key(), row.window, epoch, row.metrics);
        let changed = rows.iter().filter(|row| !row.metrics.is_zero());
        let delta = Delta {
            base: Run::from_sorted(changed.map(count)),
            overlaps: Run::from_sorted(users.iter().map(|update| OverlapRecord::new(update, epoch))),
            corrections: sorted_corrections(corrected),
        };
        let received = rows.iter().map(|row| row.metrics.widen().received).sum();
        self.insert(epoch, since, &delta, self.windows.days.then(|| days(epoch, base, &rows, &users)).flatten());
        (delta, received)
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

    fn insert(&mut self, epoch: u64, since: u64, delta: &Delta, days: Option<Run<CountRecord>>) {
        self.base.set_since(since);
        self.overlaps.set_since(since);
        self.days.set_since(since);
        self.base.insert(epoch, delta.base.clone());
        self.overlaps.insert(epoch, delta.overlaps.clone());
        self.days.insert(epoch, days);
        self.corrections.insert(epoch, delta.corrections.clone());
    }
}

fn sorted_corrections(mut corrections: Vec<CorrectionRecord>) -> Option<Run<CorrectionRecord>> {
    corrections.sort_unstable_by(CorrectionRecord::order);
    Run::from_slice(&corrections)
}

/// The changes of days: sums over their base windows, less the overlaps.
fn days(epoch: u64, base: Granularity, rows: &[RowUpdate], overlaps: &[UniqueUpdate]) -> Option<Run<CountRecord>> {
    const { assert!(DAY_MS == Granularity::Day.size_ms()) };
    let per = base.per(Granularity::Day);
    let day = |row: &RowUpdate| CountRecord::new(row.key(), row.window / per, epoch, row.metrics);
    let mut days: Vec<CountRecord> = rows.iter().map(day).collect();
    let of_days = overlaps.iter().filter(|update| update.window.granularity() == Granularity::Day);
    let overlap = |update: &UniqueUpdate| {
        let users = i32::try_from(-update.users).expect("one epoch changes a row by less than 2^31");
        CountRecord::new(update.key(), update.window.window(), epoch, PackedMetrics::of_users(users))
    };
    let sorted = days.len();
    days.extend(of_days.map(overlap));
    if sorted < days.len() {
        days.sort_by(CountRecord::order);
    }
    fold_sorted(&mut days);
    Run::from_slice(&days)
}

/// Keeps the rows and publishes every complete epoch.
pub(crate) fn counts<'s>(
    rows: Stream<'s, u64, Packet<RowUpdate>>,
    users: Stream<'s, u64, Packet<UniqueUpdate>>,
    context: &Rc<Context>,
    mut publisher: impl Publish + 'static,
) {
    let context = Rc::clone(context);
    let mut builder = OperatorBuilder::new("Counts".to_owned(), rows.scope());
    let mut counts = Counts::new(context.windows, &builder.operator_info());
    let mut rows_input = builder.new_input(rows, by_hash_range());
    let mut users_input = builder.new_input(users, by_hash_range());
    builder.build(move |_| {
        let (mut rows, mut users) = (Inbox::new(0), Inbox::new(0));
        let mut next = 1;
        move |frontiers| {
            rows.take_in(&mut rows_input);
            users.take_in(&mut users_input);
            // Once both inputs are closed nothing is left: every epoch was passed before they were.
            let uppers = frontiers.iter().filter_map(|input| input.frontier().first().copied());
            let Some(upper) = uppers.min() else { return };
            while next < upper {
                let bound = context.bindings.borrow_mut().remove(&next);
                let bound = bound.expect("an epoch is bound before its records are released");
                let (delta, received) =
                    counts.apply(next, rows.remove(next), users.remove(next), &bound, context.since.get());
                let mut tally = context.tallies.borrow_mut().remove(&next).unwrap_or_default();
                tally.received = received;
                publisher.publish(next, delta, counts.view(), tally);
                next += 1;
            }
        }
    });
}
