//! Where an engine begins.

use std::collections::BTreeMap;

use crate::domain::cause::Cause;
use crate::domain::ledger::Totals;
use crate::domain::retention::Retention;
use crate::domain::rules::Rules;
use crate::domain::watermark::Watermark;
use crate::operators::context::{Bound, State, Windows};
use crate::operators::packet::range_of;
use crate::operators::view::View;
use crate::trace::{Record, Run};

use super::dictionary::Dictionary;
use super::set_aside::SetAsideList;

/// What is known after one epoch, beside what the workers remember.
#[derive(Clone)]
pub(crate) struct AfterEpoch {
    /// The epoch.
    pub(crate) epoch: u64,
    /// Watermarks and wall clock.
    pub(crate) bound: Bound,
    /// The next offset of every stream that has been read from, by stream.
    pub(crate) positions: BTreeMap<u16, u64>,
    /// The greatest time that any record has carried.
    pub(crate) event_ms_max: i64,
    /// The conservation ledger.
    pub(crate) totals: Totals,
    /// All corrections up to it, by cause.
    pub(crate) corrections: BTreeMap<Cause, u64>,
}

impl AfterEpoch {
    /// Epoch 0: no record has come, and no clock was bound.
    pub(crate) fn nothing(rules: &Rules) -> Self {
        let watermark = Watermark::new(rules);
        AfterEpoch {
            epoch: 0,
            bound: Bound { watermark_before: watermark, watermark_after: watermark, wall_ms: 0 },
            positions: BTreeMap::new(),
            event_ms_max: 0,
            totals: Totals::default(),
            corrections: BTreeMap::new(),
        }
    }

    /// What can be asked about at the epoch.
    pub(crate) fn retention(&self, rules: &Rules) -> Retention {
        Retention::at(self.bound.watermark_after, rules)
    }
}

/// All that is known after one epoch: what an engine goes on from. A [`Checkpoint`](crate::checkpoint::Checkpoint) turns into one.
pub struct Origin {
    /// The number of the checkpoint that it was read from.
    pub(crate) restored_from: Option<u64>,
    /// The epoch, and what is known after it.
    pub(crate) after: AfterEpoch,
    /// What the workers remembered, as many as there were.
    pub(crate) states: Vec<State>,
    /// The names of the ads.
    pub(crate) dictionary: Dictionary,
    /// The records in no window.
    pub(crate) set_aside: SetAsideList,
}

impl Origin {
    /// Epoch 0: nothing is known.
    pub(crate) fn empty(rules: &Rules, set_aside: SetAsideList) -> Self {
        Origin {
            restored_from: None,
            after: AfterEpoch::nothing(rules),
            states: Vec::new(),
            dictionary: Dictionary::new(),
            set_aside,
        }
    }

    /// What each of `workers` remembers: the part of every run that lies in its range of the hashes.
    pub(crate) fn deal(&self, workers: usize, windows: Windows) -> Vec<State> {
        let share = |worker| {
            let mut share = State::empty(windows);
            for State { ledger, visits, view } in &self.states {
                let View { base, overlaps, days, corrections, .. } = view;
                let range = range_of(worker, workers);
                cut(&mut share.ledger, ledger, range);
                cut(&mut share.visits, visits, range);
                cut(&mut share.view.base, base, range);
                cut(&mut share.view.overlaps, overlaps, range);
                cut(&mut share.view.days, days, range);
                cut(&mut share.view.corrections, corrections, range);
            }
            share
        };
        (0..workers).map(share).collect()
    }
}

fn cut<R: Record>(share: &mut Vec<Run<R>>, runs: &[Run<R>], (low, high): (u64, u64)) {
    share.extend(runs.iter().filter_map(|run| run.slice(low, high)));
}
