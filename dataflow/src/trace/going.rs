//! A merge on its way, as a spine holds it: here, or with a thread beside.

use std::sync::{Arc, Mutex};
use std::{mem, thread};

use super::beside::{Beside, Errand};
use super::layout::CHUNK_RECORDS;
use super::merge::{Layer, Merge};
use super::record::Record;
use super::run::Run;

/// A merge on its way. While it is away it is seen as it was when it left.
pub(super) struct Going<R> {
    place: Place<R>,
    len: usize,
    runs: Vec<Run<R>>,
}

enum Place<R> {
    Here(Box<Merge<R>>),
    Away(Arc<Desk<R>>),
    /// It was taken back, and is not laid down yet.
    InHand,
}

/// Where a thread beside finds a merge. Whoever works at it holds the lock.
struct Desk<R>(Mutex<Piece<R>>);

struct Piece<R> {
    /// `None` once it was taken back.
    merge: Option<Box<Merge<R>>>,
    /// Records that are still to be read.
    fuel: usize,
}

impl<R: Record> Piece<R> {
    /// Goes on by a chunk at most, and says whether there is more to do.
    fn step(&mut self) -> bool {
        let Some(merge) = &mut self.merge else { return false };
        let now = self.fuel.min(CHUNK_RECORDS);
        merge.work(now);
        self.fuel -= now;
        0 < self.fuel && !merge.is_done()
    }
}

impl<R: Record> Errand for Desk<R> {
    fn run(&self) {
        let mut piece = self.0.lock().expect(UNHARMED);
        while piece.step() {
            // Nobody waits for this yet, and a reader may wait for a core.
            thread::yield_now();
        }
    }
}

/// A thread that panics at a merge takes the worker with it, and with that the engine.
const UNHARMED: &str = "a merge ended well";

impl<R: Record> Going<R> {
    /// A merge that has not begun.
    pub(super) fn new(merge: Merge<R>) -> Self {
        Going { len: merge.len(), runs: merge.runs().to_vec(), place: Place::Here(Box::new(merge)) }
    }

    /// Records of both sources when the merge began.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What the merge held when it was here last.
    pub(super) fn runs(&self) -> &[Run<R>] {
        &self.runs
    }

    /// Reads some more records, here or beside.
    pub(super) fn go_on(&mut self, fuel: usize, beside: &Beside) {
        let mut merge = self.take_back();
        self.place = if beside.takes(self.len) {
            let desk = Arc::new(Desk(Mutex::new(Piece { merge: Some(merge), fuel })));
            beside.give(Arc::<Desk<R>>::clone(&desk));
            Place::Away(desk)
        } else {
            merge.work(fuel);
            self.lay_down(merge)
        };
    }

    /// Brings the merge here, with all done that it was given away for.
    pub(super) fn fetch(&mut self) {
        let merge = self.take_back();
        self.place = self.lay_down(merge);
    }

    /// The one run where all is read, `None` where nothing is left of it; and the merge itself where more is to be read.
    pub(super) fn finish(self) -> Result<Option<Layer<R>>, Self> {
        match self.place {
            Place::Here(merge) if merge.is_done() => Ok(merge.finish()),
            _ => Err(self),
        }
    }

    /// Takes the chunks that files hold in place of those that memory does.
    pub(super) fn settle(&mut self) {
        let mut merge = self.take_back();
        merge.settle();
        self.place = self.lay_down(merge);
    }

    fn take_back(&mut self) -> Box<Merge<R>> {
        match mem::replace(&mut self.place, Place::InHand) {
            Place::Here(merge) => merge,
            Place::Away(desk) => {
                let mut piece = desk.0.lock().expect(UNHARMED);
                // Where no thread has come to it yet.
                while piece.step() {}
                piece.merge.take().expect("it lies there until it is taken back")
            }
            Place::InHand => unreachable!("what is taken back is laid down"),
        }
    }

    fn lay_down(&mut self, merge: Box<Merge<R>>) -> Place<R> {
        self.runs.clear();
        self.runs.extend_from_slice(merge.runs());
        Place::Here(merge)
    }
}
