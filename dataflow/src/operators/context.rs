//! What the operators of one worker share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::domain::fact::Fact;
use crate::domain::retention::Retention;
use crate::domain::rules::Rules;
use crate::domain::watermark::Watermark;
use crate::domain::window::Granularity;
use crate::trace::{Horizon, Run};

use super::records::VisitRecord;
use super::tally::Tally;
use super::view::View;

/// Which windows the engine keeps: the base, and what is derived from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Every row is a sum of rows of this size.
    pub(crate) base: Granularity,
    /// The larger sizes that can be asked for; their sums are taken from the base, their users have overlaps.
    pub(crate) larger: &'static [Granularity],
    /// Whether the sums of days are kept as well: whole days of all ads are read at once.
    pub(crate) days: bool,
}

impl Windows {
    /// All four granularities.
    pub(crate) const ALL: Windows = Windows {
        base: Granularity::Minute,
        larger: &[Granularity::FiveMinutes, Granularity::Hour, Granularity::Day],
        days: true,
    };

    /// One granularity alone.
    pub(crate) fn only(granularity: Granularity) -> Windows {
        Windows { base: granularity, larger: &[], days: false }
    }

    /// Every size that can be asked for, smallest first.
    pub(crate) fn all(self) -> impl Iterator<Item = Granularity> {
        std::iter::once(self.base).chain(self.larger.iter().copied())
    }

    /// How many base windows a row is the sum of, at most: those of days may be kept.
    pub(crate) fn summed(self) -> u32 {
        let is_summed = |larger: &&Granularity| !self.days || **larger != Granularity::Day;
        self.base.per(*self.larger.iter().rfind(is_summed).unwrap_or(&self.base))
    }

    /// Whether a size can be asked for.
    pub(crate) fn keeps(self, granularity: Granularity) -> bool {
        self.all().any(|kept| kept == granularity)
    }
}

/// What the operators are told of an epoch. It is bound before the epoch's records are released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// W and F before the epoch: what its records are judged by.
    pub(crate) watermark_before: Watermark,
    /// W and F after it.
    pub(crate) watermark_after: Watermark,
    /// The wall clock, ms since 1970.
    pub(crate) wall_ms: i64,
}

/// What the engine around a worker lets it do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayForget {
    /// The oldest epoch that a read can ask for: older ones need not be told apart.
    pub(crate) since: u64,
    /// What can be asked about at that epoch and after it: the rest may be forgotten.
    pub(crate) retention: Retention,
    /// How often chunks have been written to files that may be held in their place.
    pub(crate) written: u64,
}

impl MayForget {
    /// Everything has to stay as it is.
    pub(crate) const NONE: MayForget = MayForget { since: 0, retention: Retention::ALL, written: 0 };

    /// The same, as an arrangement is told.
    pub(crate) fn horizon(&self, first_window: u32) -> Horizon {
        Horizon { retention: self.retention, first_window }
    }
}

/// What the operators of one worker share. It lives on the worker's thread; nothing of it is a channel between workers.
pub(crate) struct Context {
    /// What counts.
    pub(crate) rules: Rules,
    /// What the engine around the worker lets it do.
    pub(crate) may_forget: Cell<MayForget>,
    /// The bindings of the epochs that are not complete.
    pub(crate) bindings: RefCell<BTreeMap<u64, Bound>>,
    /// What the operators before the last have done, of the epochs that are not complete.
    pub(crate) upstream: RefCell<BTreeMap<u64, Upstream>>,
}

/// What the operators before the last have done in one epoch, as far as they had anything to do.
#[derive(Default)]
pub(crate) struct Upstream {
    /// What was counted.
    pub(crate) tally: Tally,
    /// The ledger after the epoch; `None` where it is as it was.
    pub(crate) ledger: Option<Vec<Run<Fact>>>,
    /// The visits after the epoch; `None` where they are as they were.
    pub(crate) visits: Option<Vec<Run<VisitRecord>>>,
}

/// All that one worker remembers, as runs that nobody changes: what a reader reads, what a checkpoint writes, and what a worker
/// that goes on from one begins with.
#[derive(Clone)]
pub(crate) struct State {
    /// Every click's copies and verdicts.
    pub(crate) ledger: Vec<Run<Fact>>,
    /// Valid clicks of every user of every ad.
    pub(crate) visits: Vec<Run<VisitRecord>>,
    /// Rows, overlaps, corrections; the records carry epochs, so they answer for older ones too.
    pub(crate) view: View,
}

impl State {
    /// Nothing is remembered.
    pub(crate) fn empty(windows: Windows) -> State {
        State { ledger: Vec::new(), visits: Vec::new(), view: View::empty(windows) }
    }
}

/// Where a worker begins: the state after an epoch.
pub(crate) struct Start {
    /// The epoch.
    pub(crate) epoch: u64,
    /// The worker's share of the state.
    pub(crate) state: State,
}

impl Context {
    /// What can be asked about by the marks that an epoch is judged by.
    pub(crate) fn retention_before(&self, epoch: u64) -> Retention {
        let bindings = self.bindings.borrow();
        let bound = bindings.get(&epoch).expect("an epoch is bound before its records are released");
        Retention::at(bound.watermark_before, &self.rules)
    }

    /// The context of a new worker.
    pub(crate) fn new(rules: Rules) -> Rc<Self> {
        Rc::new(Context {
            rules,
            may_forget: Cell::new(MayForget::NONE),
            bindings: RefCell::default(),
            upstream: RefCell::default(),
        })
    }
}
