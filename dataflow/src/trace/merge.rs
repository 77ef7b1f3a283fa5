//! A run as the spine holds it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::chunk::Chunk;
use super::record::{Horizon, Record};
use super::run::Run;

/// A run in a spine. While it is merged away it gives back what was read of it, chunk by chunk, and readers see what is left
/// together with what was written: a merge of any size takes hardly more memory than its sources. Clones share one state.
pub(crate) struct Layer<R> {
    /// Records when the layer was made; the spine accounts in these, however far a merge has come.
    len: usize,
    /// No record is of a lesser [`age`](Record::age).
    age_min: i64,
    /// What the spine may forget.
    horizon: Rc<Cell<Horizon>>,
    state: Rc<RefCell<State<R>>>,
}

struct State<R> {
    /// What is written of the merge that this layer is the older source of.
    merged: Vec<Arc<Chunk<R>>>,
    /// What is left to read.
    rest: VecDeque<Arc<Chunk<R>>>,
    /// Records at the front of `rest` that were read.
    skip: usize,
    /// Both as runs, until they change.
    runs: Option<Vec<Run<R>>>,
}

impl<R> Clone for Layer<R> {
    fn clone(&self) -> Self {
        Layer { len: self.len, age_min: self.age_min, horizon: Rc::clone(&self.horizon), state: Rc::clone(&self.state) }
    }
}

impl<R: Record> Layer<R> {
    /// The layer of a run of which no record is of a lesser age.
    pub(crate) fn new(run: Run<R>, age_min: i64, horizon: &Rc<Cell<Horizon>>) -> Self {
        let rest = run.chunks().iter().cloned().collect();
        let state = State { merged: Vec::new(), rest, skip: run.skip(), runs: None };
        Layer {
            len: run.len(),
            age_min,
            horizon: Rc::clone(horizon),
            state: Rc::new(RefCell::new(State { runs: Some(vec![run]), ..state })),
        }
    }

    /// Records when the layer was made.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes the chunks that files hold in place of those that memory does.
    pub(super) fn settle(&self) {
        let mut state = self.state.borrow_mut();
        let State { merged, rest, runs, .. } = &mut *state;
        for chunk in merged.iter_mut().chain(rest) {
            let successor = chunk.successor().cloned();
            if let Some(successor) = successor {
                *chunk = successor;
                *runs = None;
            }
        }
    }

    /// What the spine may forget.
    pub(super) fn horizon(&self) -> &Rc<Cell<Horizon>> {
        &self.horizon
    }

    /// No record is of a lesser age.
    pub(super) fn age_min(&self) -> i64 {
        self.age_min
    }

    /// What the layer holds now, as runs that nobody changes.
    pub(crate) fn runs(&self) -> Vec<Run<R>> {
        self.state.borrow_mut().runs().clone()
    }

    /// Looks at what is left to read: the chunks, and how many records of the first were read.
    pub(super) fn with_rest<T>(&self, look: impl FnOnce(&VecDeque<Arc<Chunk<R>>>, usize) -> T) -> T {
        let state = self.state.borrow();
        look(&state.rest, state.skip)
    }

    /// Gives back what was read: `chunks` whole ones, and `skip` records of the next.
    pub(super) fn give_back(&self, chunks: usize, skip: usize) {
        let mut state = self.state.borrow_mut();
        state.rest.drain(..chunks);
        state.skip = skip;
        state.runs = None;
    }

    /// Takes in what was written of the merge.
    pub(super) fn write(&self, chunks: impl IntoIterator<Item = Arc<Chunk<R>>>) {
        let mut state = self.state.borrow_mut();
        state.merged.extend(chunks);
        state.runs = None;
    }

    /// Takes out all that was written of the merge.
    pub(super) fn take_merged(&self) -> Vec<Arc<Chunk<R>>> {
        let mut state = self.state.borrow_mut();
        state.runs = None;
        std::mem::take(&mut state.merged)
    }
}

impl<R: Record> State<R> {
    fn runs(&mut self) -> &Vec<Run<R>> {
        let (merged, rest, skip) = (&self.merged, &self.rest, self.skip);
        self.runs.get_or_insert_with(|| {
            let merged = Run::from_chunks(merged.iter().cloned(), 0);
            let rest = Run::from_chunks(rest.iter().cloned(), skip);
            merged.into_iter().chain(rest).collect()
        })
    }
}
