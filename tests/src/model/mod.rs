//! The naive model: it keeps every record and recounts everything from scratch after every epoch.
//!
//! Slow and obvious is right. Each epoch is judged by the watermark and the floor as they stood before it ([`admission`]);
//! the clicks are worked out from all copies accepted so far ([`groups`]); the rows from all clicks ([`rows`]); and the
//! corrections from the clicks and rows before and after ([`corrections`]). The section numbers are those of the contract.

mod admission;
mod corrections;
mod evidence;
mod groups;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use recount_dataflow::domain::cause::Cause;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::ledger::Totals;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::validate::Reason;
use recount_dataflow::domain::window::{Granularity, WindowState};

use crate::record::Record;

pub use evidence::{Evidence, Unmatched};
pub use groups::{Copy, Group, Id, Verdict, groups_of};
pub use rows::Eight;

/// A record where it was read.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// The record.
    pub record: Record,
    /// Where it was read.
    pub position: Position,
}

/// The key of a row. Rows sort by ad id (bytes), granularity, window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The ad.
    pub ad_id: Arc<str>,
    /// The window's size.
    pub granularity: Granularity,
    /// The window's first millisecond.
    pub start_ms: i64,
}

impl RowKey {
    /// The first millisecond after the window.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.granularity.size_ms()
    }
}

/// A row's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowValue {
    /// The metrics.
    pub metrics: Eight,
    /// Corrections so far.
    pub revision: u32,
}

/// One net change of a CLOSED window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The row.
    pub key: RowKey,
    /// The row before; `None` where it is new.
    pub before: Option<RowValue>,
    /// The row after.
    pub after: RowValue,
    /// Why.
    pub cause: Cause,
}

/// A record in no window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Why.
    pub reason: Reason,
    /// Where it was read.
    pub position: Position,
    /// The record as it came.
    pub payload: String,
}

/// W and F after an epoch (5). Both are there, or neither is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// W.
    pub watermark_ms: Option<i64>,
    /// F.
    pub floor_ms: Option<i64>,
}

impl Marks {
    /// The marks after an epoch in which the latest accepted click happened at `latest_ms`.
    fn after(self, latest_ms: Option<i64>, rules: &Rules) -> Marks {
        let Some(latest_ms) = latest_ms else { return self };
        let candidate_ms = latest_ms - rules.allowed_lateness_ms;
        let watermark_ms = self.watermark_ms.map_or(candidate_ms, |before_ms| before_ms.max(candidate_ms));
        let floor_ms = (watermark_ms - rules.correction_horizon_ms).div_euclid(60_000) * 60_000;
        Marks { watermark_ms: Some(watermark_ms), floor_ms: Some(floor_ms) }
    }

    /// Whether something that happened at `event_ms` is frozen.
    fn is_frozen(self, event_ms: i64) -> bool {
        self.floor_ms.is_some_and(|floor_ms| event_ms < floor_ms)
    }

    /// Whether a window's numbers are kept (6).
    pub fn is_row(self, key: &RowKey, rules: &Rules) -> bool {
        match (self.watermark_ms, rules.counts_retention_ms) {
            (Some(watermark_ms), Some(retention_ms)) => watermark_ms - retention_ms < key.end_ms(),
            _ => true,
        }
    }

    /// The state of a window by these marks.
    pub fn state_of(self, key: &RowKey) -> WindowState {
        match (self.watermark_ms, self.floor_ms) {
            (_, Some(floor_ms)) if key.end_ms() <= floor_ms => WindowState::Final,
            (Some(watermark_ms), _) if key.end_ms() <= watermark_ms => WindowState::Closed,
            _ => WindowState::Open,
        }
    }
}

/// Everything that can be asked about one epoch.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// W and F after the epoch.
    pub marks: Marks,
    /// Every row of every granularity.
    pub rows: BTreeMap<RowKey, RowValue>,
    /// The same, with those that are rows no more.
    all_rows: BTreeMap<RowKey, RowValue>,
    /// The epoch's corrections, by row key.
    pub corrections: Vec<Correction>,
    /// What the epoch set aside, in no order.
    pub set_aside: Vec<SetAside>,
    /// The conservation ledger.
    pub totals: Totals,
    /// How many copies and verdicts were accepted up to the epoch.
    accepted: (usize, usize),
}

/// The model of one history.
pub struct Model {
    rules: Rules,
    copies: Vec<Copy>,
    verdicts: Vec<Verdict>,
    states: Vec<State>,
}

impl Model {
    /// Works out every epoch of a history: `epochs[0]` holds the records of epoch 1.
    pub fn new(rules: Rules, epochs: &[Vec<Delivered>]) -> Model {
        let states = vec![State::default()];
        let mut model = Model { rules, copies: Vec::new(), verdicts: Vec::new(), states };
        for records in epochs {
            model.add_epoch(records);
        }
        model
    }

    /// The newest epoch.
    pub fn last_epoch(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    /// The state as of an epoch.
    pub fn state(&self, as_of: u64) -> &State {
        &self.states[as_of as usize]
    }

    /// The clicks with a copy in a row as of an epoch, by (event time, position) of the click.
    pub fn explain(&self, as_of: u64, key: &RowKey) -> Vec<Evidence> {
        let (copies, verdicts) = self.state(as_of).accepted;
        evidence::explain(&self.copies[..copies], &self.verdicts[..verdicts], &self.rules, key)
    }

    /// The verdicts that are remembered as of an epoch and have met no click.
    pub fn unmatched_verdicts(&self, as_of: u64) -> Unmatched {
        let (copies, verdicts) = self.state(as_of).accepted;
        let floor_ms = self.state(as_of).marks.floor_ms;
        evidence::unmatched(&self.copies[..copies], &self.verdicts[..verdicts], &self.rules, floor_ms)
    }

    /// The first event time at which a click is still remembered as of an epoch; `None` before there is a floor.
    pub fn remembered_from_ms(&self, as_of: u64) -> Option<i64> {
        self.state(as_of).marks.floor_ms.map(|floor_ms| floor_ms - self.rules.dedup_horizon_ms)
    }

    fn add_epoch(&mut self, records: &[Delivered]) {
        let before = self.states.last().unwrap();
        let judged = admission::judge(records, before.marks, &self.rules, &self.copies, &self.verdicts);

        let groups_before = groups_of(&self.copies, &self.verdicts, &self.rules);
        let mut copies = self.copies.clone();
        copies.extend(judged.copies.iter().cloned());
        let mut verdicts = self.verdicts.clone();
        verdicts.extend(judged.verdicts.iter().cloned());
        let groups_after = groups_of(&copies, &verdicts, &self.rules);

        // A copy is compared with the earliest of its group that is remembered when it comes.
        let asked_ms = before.marks.floor_ms.map(|floor_ms| floor_ms - 2 * self.rules.dedup_horizon_ms);
        let conflicting = |copies: &[Copy]| -> i64 {
            let asked = |copy: &&Copy| asked_ms.is_none_or(|asked_ms| asked_ms <= copy.event_ms);
            let copies: Vec<Copy> = copies.iter().filter(asked).cloned().collect();
            let groups = groups_of(&copies, &[], &self.rules);
            groups.values().flatten().map(|group| group.conflicting().count() as i64).sum()
        };
        let conflicting = conflicting(&copies) - conflicting(&self.copies);

        let latest_ms = judged.copies.iter().map(|copy| copy.event_ms).max();
        let metrics = rows::recount(&groups_after);
        let touched = corrections::touched(&groups_before, &groups_after, self.copies.len());
        let (all_rows, corrections) = corrections::revise(before, metrics, &touched);
        let marks = before.marks.after(latest_ms, &self.rules);
        let mut rows = all_rows.clone();
        rows.retain(|key, _| marks.is_row(key, &self.rules));
        let state = State {
            marks,
            rows,
            all_rows,
            corrections,
            totals: Totals {
                gross_clicks: groups_after.values().map(Vec::len).sum::<usize>() as u64,
                ..totals(&before.totals, records, &judged, conflicting)
            },
            set_aside: judged.set_aside,
            accepted: (copies.len(), verdicts.len()),
        };
        self.copies = copies;
        self.verdicts = verdicts;
        self.states.push(state);
    }
}

fn totals(before: &Totals, records: &[Delivered], judged: &admission::Judged, conflicting: i64) -> Totals {
    let mut totals = before.clone();
    totals.records_in += records.len() as u64;
    totals.received += judged.copies.len() as u64;
    totals.verdicts += judged.verdicts.len() as u64;
    for set_aside in &judged.set_aside {
        let parked = matches!(set_aside.reason, Reason::Late | Reason::VerdictLate);
        let by_reason = if parked { &mut totals.parked } else { &mut totals.quarantined };
        *by_reason.entry(set_aside.reason).or_default() += 1;
    }
    totals.conflicting_copies = totals.conflicting_copies.checked_add_signed(conflicting).unwrap();
    totals
}
