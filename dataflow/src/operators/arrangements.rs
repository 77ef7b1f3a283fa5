//! What one worker remembers: the arrangements that its operators fill, and how it was published last.

use std::cell::RefCell;
use std::rc::Rc;

use crate::domain::rules::Rules;
use crate::trace::Beside;

use super::context::{State, Windows};
use super::counts::Counts;
use super::ledger::Ledger;
use super::visits::Visits;

/// The arrangements of one worker, each filled by one operator. They live on the worker's thread.
pub(crate) struct Arrangements {
    /// Every click's copies and verdicts.
    pub(crate) ledger: RefCell<Ledger>,
    /// Valid clicks of every user of every ad.
    pub(crate) visits: RefCell<Visits>,
    /// Rows, overlaps and corrections.
    pub(crate) counts: RefCell<Counts>,
    /// The state as it was published last.
    pub(crate) published: RefCell<State>,
}

impl Arrangements {
    /// Arrangements of a state, whose merges may be given to threads beside.
    pub(crate) fn new(rules: Rules, windows: Windows, state: State, beside: &Beside) -> Rc<Self> {
        Rc::new(Arrangements {
            ledger: RefCell::new(Ledger::new(rules, windows.base, state.ledger.clone(), beside)),
            visits: RefCell::new(Visits::new(windows, state.visits.clone(), beside)),
            counts: RefCell::new(Counts::new(windows, state.view.clone(), beside)),
            published: RefCell::new(state),
        })
    }

    /// Goes on with merges by some records, and says whether there is more to be done: for times when nothing comes.
    pub(crate) fn tidy(&self, records: usize) -> bool {
        self.ledger.borrow_mut().tidy(records)
            || self.visits.borrow_mut().tidy(records)
            || self.counts.borrow_mut().tidy(records)
    }

    /// The published state as the arrangements hold it now. Every epoch that came in has to have been published.
    pub(crate) fn refreshed(&self) -> State {
        let (ledger, visits) = (self.ledger.borrow().runs(), self.visits.borrow().runs());
        let state = State { ledger, visits, view: self.counts.borrow().view() };
        *self.published.borrow_mut() = state.clone();
        state
    }
}
