//! The runs of one arrangement, kept few by differential's spine.

use std::cell::Cell;
use std::rc::Rc;

use differential_dataflow::trace::implementations::spine_fueled;
use differential_dataflow::trace::{Description, Span, Trace as _, TraceReader as _};
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::Antichain;

use super::layer::Layer;
use super::record::{Horizon, Record};
use super::run::Run;

/// A logarithmic number of runs, merged in the background of insertions. Physical merging is never held back; which epochs stay
/// apart in it is said by [`set_since`](Spine::set_since).
pub(crate) struct Spine<R: Record> {
    spine: spine_fueled::Spine<Layer<R>>,
    /// How many runs were inserted.
    inserted: u64,
    /// What may be forgotten, for the merges that begin.
    horizon: Rc<Cell<Horizon>>,
    /// How often chunks had been written to files.
    written: u64,
}

impl<R: Record> Spine<R> {
    /// An arrangement, for an operator, of some runs.
    pub(crate) fn new(info: &OperatorInfo, mut runs: Vec<Run<R>>) -> Self {
        let inner = spine_fueled::Spine::with_effort(1, info.clone(), None, None);
        let mut spine = Spine { spine: inner, inserted: 0, horizon: Rc::new(Cell::new(Horizon::NONE)), written: 0 };
        // The largest go in first, as if they had grown here.
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        // How old their records are is not known: the next merge looks.
        runs.into_iter().for_each(|run| spine.insert_aged(run, i64::MIN));
        spine
    }

    /// Adds what an epoch brought.
    pub(crate) fn insert(&mut self, run: Option<Run<R>>) {
        let Some(run) = run else { return };
        let age_min = run.iter().map(R::age).min().expect("a run is not empty");
        self.insert_aged(run, age_min);
    }

    fn insert_aged(&mut self, run: Run<R>, age_min: i64) {
        // The spine asks that what is inserted says from when to when it is; that the intervals meet is all that matters.
        let lower = Antichain::from_elem(self.inserted);
        self.inserted += 1;
        let upper = Antichain::from_elem(self.inserted);
        let desc = Description::new(lower, upper.clone(), Antichain::from_elem(0));
        self.spine.insert(Span::new(desc, Some(Layer::new(run, age_min, &self.horizon))));
        self.spine.set_physical_compaction(upper.borrow());
    }

    /// Says that no read asks for an epoch below `since` any more.
    pub(crate) fn set_since(&mut self, since: u64) {
        self.spine.set_logical_compaction(Antichain::from_elem(since).borrow());
    }

    /// Says what nobody asks about any more, and how often chunks have been written to files: where that is news, the files' are
    /// taken in place of those in memory.
    pub(crate) fn follow(&mut self, horizon: Horizon, written: u64) {
        self.horizon.set(horizon);
        if self.written != written {
            self.written = written;
            self.spine.map_spans(|span| span.inner.iter().for_each(Layer::settle));
        }
    }

    /// The runs, oldest first.
    pub(crate) fn runs(&self) -> Vec<Run<R>> {
        let mut runs = Vec::new();
        self.spine.map_spans(|span| runs.extend(span.inner.iter().flat_map(Layer::runs)));
        runs
    }
}
