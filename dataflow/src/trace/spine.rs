//! The runs of one arrangement, kept few.
//!
//! As in differential's spine, a run is merged with an older one that is not twice as long, so that there are as many as the state
//! has binary digits, and every record is copied that often. What differs is the pace. There a merge must be done before a third
//! run of its size comes, so all are hurried, and an epoch that sets off merges of every size takes several times as long as the one
//! before. Here a third run waits its turn, and merges take their time: each epoch does about the same.
//!
//! And a worker does not wait for them. What an epoch owes to large merges is given to threads beside it; the next epoch that brings
//! something looks for it, and does what nobody has begun.

use std::mem;

use super::beside::Beside;
use super::going::Going;
use super::merge::{Layer, Merge};
use super::record::{Horizon, Record};
use super::run::Run;

/// How fast merges go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Records read in each merge for every record inserted. With 1 a merge would end just when the next of its size begins, and
    /// all would be on their way at any time, each two runs to look into instead of one; with 4 it is a quarter of them.
    pub(crate) per_record: usize,
    /// At least so many records are read an insertion.
    pub(crate) piece_min: usize,
}

impl Pace {
    /// The least piece takes some tenths of a millisecond: what can be done at once is not put off, and in an arrangement that
    /// little goes into merges do not stand still.
    const USUAL: Pace = Pace { per_record: 4, piece_min: 32_768 };
}

/// A logarithmic number of runs, merged piece by piece with every insertion.
pub(crate) struct Spine<R> {
    pace: Pace,
    beside: Beside,
    /// Oldest first.
    slots: Vec<Slot<R>>,
    /// No read tells epochs below it apart.
    since: u64,
    /// What may be forgotten.
    horizon: Horizon,
    /// How often chunks had been written to files.
    written: u64,
}

enum Slot<R> {
    Layer(Layer<R>),
    Merge(Going<R>),
}

impl<R: Record> Spine<R> {
    /// An arrangement of some runs, whose merges may be given to threads beside.
    pub(crate) fn new(runs: Vec<Run<R>>, beside: &Beside) -> Self {
        Spine::paced(runs, beside, Pace::USUAL)
    }

    /// The same, at a pace of its own.
    pub(crate) fn paced(mut runs: Vec<Run<R>>, beside: &Beside, pace: Pace) -> Self {
        // In the order in which they would have grown here; how old their records are is not known: the next merge looks.
        runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        let slots = runs.into_iter().map(|run| Slot::Layer(Layer { run, age_min: i64::MIN })).collect();
        Spine { pace, beside: beside.clone(), slots, since: 0, horizon: Horizon::NONE, written: 0 }
    }

    /// Adds what an epoch brought.
    pub(crate) fn insert(&mut self, run: Option<Run<R>>) {
        self.collect();
        let Some(run) = run else { return };
        let age_min = run.iter().map(R::age).min().expect("a run is not empty");
        let piece = (self.pace.per_record * run.len()).max(self.pace.piece_min);
        let beside = self.beside.clone();
        self.change(|slot| slot.go_on(piece, &beside));
        self.slots.push(Slot::Layer(Layer { run, age_min }));
        while let Some(at) = self.next_pair() {
            self.begin(at, piece, &beside);
        }
    }

    /// Goes on with a merge by some records, and says whether there is more to be done: for times when nothing comes.
    pub(crate) fn tidy(&mut self, records: usize) -> bool {
        self.collect();
        let nobody = Beside::nobody();
        match self.slots.iter().rposition(|slot| matches!(slot, Slot::Merge(_))) {
            Some(at) => {
                let slot = self.slots.remove(at).go_on(records, &nobody);
                self.slots.splice(at..at, slot);
            }
            None => self.next_pair().into_iter().for_each(|at| self.begin(at, records, &nobody)),
        }
        self.next_pair().is_some() || self.slots.iter().any(|slot| matches!(slot, Slot::Merge(_)))
    }

    /// Says that no read asks for an epoch below `since` any more.
    pub(crate) fn set_since(&mut self, since: u64) {
        self.since = since;
    }

    /// Says what nobody asks about any more, and how often chunks have been written to files: where that is news, the files' are
    /// taken in place of those in memory.
    pub(crate) fn follow(&mut self, horizon: Horizon, written: u64) {
        self.horizon = horizon;
        if self.written != written {
            self.written = written;
            self.slots.iter_mut().for_each(Slot::settle);
        }
    }

    /// The runs, oldest first.
    pub(crate) fn runs(&self) -> Vec<Run<R>> {
        self.slots.iter().flat_map(Slot::runs).cloned().collect()
    }

    /// Where the next two layers are to be merged; of several places the one with the least to do. A layer is to be merged with its
    /// neighbour once it is not twice as long as any that came after it.
    fn next_pair(&self) -> Option<usize> {
        let mut newer_max = 0;
        let mut least: Option<(usize, usize)> = None;
        for at in (1..self.slots.len()).rev() {
            newer_max = newer_max.max(self.slots[at].len());
            if let [Slot::Layer(older), Slot::Layer(newer)] = &self.slots[at - 1..=at]
                && older.run.len() < 2 * newer_max
            {
                let to_do = older.run.len() + newer.run.len();
                least = least.filter(|(least, _)| *least <= to_do).or(Some((to_do, at - 1)));
            }
        }
        least.map(|(_, at)| at)
    }

    fn begin(&mut self, at: usize, piece: usize, beside: &Beside) {
        let mut pair = self.slots.drain(at..at + 2);
        let (Some(Slot::Layer(older)), Some(Slot::Layer(newer))) = (pair.next(), pair.next()) else {
            unreachable!("a pair is two layers")
        };
        drop(pair);
        let merge = Merge::new([older, newer], self.since, &self.horizon);
        self.slots.splice(at..at, Slot::Merge(Going::new(merge)).go_on(piece, beside));
    }

    /// Brings the merges here that are away.
    fn collect(&mut self) {
        self.change(|slot| match slot {
            Slot::Merge(mut going) => {
                going.fetch();
                Slot::finished(going)
            }
            layer => Some(layer),
        });
    }

    fn change(&mut self, change: impl FnMut(Slot<R>) -> Option<Slot<R>>) {
        self.slots = mem::take(&mut self.slots).into_iter().filter_map(change).collect();
    }
}

impl<R: Record> Slot<R> {
    /// Goes on with a merge by some records; `None` where it ends and nothing is left.
    fn go_on(self, records: usize, beside: &Beside) -> Option<Self> {
        match self {
            Slot::Merge(mut going) => {
                going.go_on(records, beside);
                Slot::finished(going)
            }
            layer => Some(layer),
        }
    }

    fn finished(going: Going<R>) -> Option<Self> {
        match going.finish() {
            Ok(layer) => layer.map(Slot::Layer),
            Err(going) => Some(Slot::Merge(going)),
        }
    }

    fn len(&self) -> usize {
        match self {
            Slot::Layer(layer) => layer.run.len(),
            Slot::Merge(going) => going.len(),
        }
    }

    fn runs(&self) -> &[Run<R>] {
        match self {
            Slot::Layer(layer) => std::slice::from_ref(&layer.run),
            Slot::Merge(going) => going.runs(),
        }
    }

    fn settle(&mut self) {
        match self {
            Slot::Layer(layer) => layer.settle(),
            Slot::Merge(going) => going.settle(),
        }
    }
}
