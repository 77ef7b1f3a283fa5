//! The timeline: which epochs are complete, and what of them can be read.
//!
//! Every worker publishes every epoch; when the last one has, the epoch is complete, its conservation ledger is checked, and
//! `upper` moves. `since` follows within the bounds of the settings. A lock is held for moments only: what is published are
//! shared runs.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::Thread;
use std::time::Instant;

use crate::domain::ledger::Totals;
use crate::domain::validate::Reason;
use crate::operators::context::Bound;
use crate::operators::counts::Delta;
use crate::operators::tally::Tally;
use crate::read::{ReadError, Readable, SetAside};
use crate::worker::{Host, Published};

use super::binding::Binding;
use super::sequencer::parked;
use super::set_aside::SetAsideList;
use super::settings::History;

/// A complete epoch.
pub(crate) struct Complete {
    /// The epoch.
    pub(crate) epoch: u64,
    /// Watermarks and wall clock.
    pub(crate) bound: Option<Bound>,
    /// The next offset of every stream, by stream.
    pub(crate) positions: BTreeMap<u16, u64>,
    /// The conservation ledger after it.
    pub(crate) totals: Totals,
    /// What it brought, a worker each.
    pub(crate) deltas: Vec<Delta>,
    bytes: usize,
    completed: Instant,
}

/// What a reader takes hold of.
pub(crate) struct Held {
    pub(crate) complete: Arc<Complete>,
    pub(crate) workers: Vec<Arc<Published>>,
    pub(crate) readable: Readable,
}

/// Shared by the driver, the workers and the readers.
pub(crate) struct Timeline {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    history: History,
    workers: usize,
    threads: Vec<Option<Thread>>,
    bindings: VecDeque<Binding>,
    /// Epochs that some workers have published.
    partial: BTreeMap<u64, Vec<(usize, Delta, Tally)>>,
    latest: Vec<Option<Arc<Published>>>,
    epochs: VecDeque<Arc<Complete>>,
    bytes: usize,
    set_aside: SetAsideList,
    lost: bool,
    stopped: bool,
}

impl Timeline {
    /// A timeline at epoch 0, which is empty and complete.
    pub(crate) fn new(history: History, workers: usize, stream_set_aside: bool) -> Self {
        let empty = Complete {
            epoch: 0,
            bound: None,
            positions: BTreeMap::new(),
            totals: Totals::default(),
            deltas: Vec::new(),
            bytes: 0,
            completed: Instant::now(),
        };
        let state = State {
            history,
            workers,
            threads: vec![None; workers],
            bindings: VecDeque::new(),
            partial: BTreeMap::new(),
            latest: vec![None; workers],
            epochs: VecDeque::from([Arc::new(empty)]),
            bytes: 0,
            set_aside: SetAsideList::new(stream_set_aside),
            lost: false,
            stopped: false,
        };
        Timeline { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panics here says so by being lost; what it leaves is still whole enough to report that.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The readable epochs.
    pub(crate) fn readable(&self) -> Readable {
        self.lock().readable()
    }

    /// Wakes the workers.
    pub(crate) fn wake(&self) {
        self.lock().threads.iter().flatten().for_each(Thread::unpark);
    }

    /// Fixes an epoch, before any of its records is released.
    pub(crate) fn bind(&self, binding: Binding) {
        self.lock().bindings.push_back(binding);
    }

    /// Says that a worker is gone; nothing will be complete any more.
    pub(crate) fn lose(&self) {
        let mut state = self.lock();
        state.lost = true;
        state.threads.iter().flatten().for_each(Thread::unpark);
        drop(state);
        self.changed.notify_all();
    }

    /// Says that no epoch will follow.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until `upper > epoch`.
    pub(crate) fn wait_for(&self, epoch: u64, deadline: Option<Instant>) -> Result<Readable, ReadError> {
        let mut state = self.lock();
        loop {
            let readable = state.readable();
            if epoch < readable.upper {
                return Ok(readable);
            }
            if state.lost || state.stopped {
                return Err(ReadError::Stopped);
            }
            state = match deadline {
                None => self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ReadError::DeadlineExceeded);
                    }
                    self.changed.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0
                }
            };
        }
    }

    /// Takes hold of an epoch; of the newest where none is named.
    pub(crate) fn hold(&self, as_of: Option<u64>) -> Result<Held, ReadError> {
        let state = self.lock();
        let readable @ Readable { since, upper } = state.readable();
        let as_of = as_of.unwrap_or(upper - 1);
        if as_of < since {
            return Err(ReadError::AsOfTooOld { as_of, since, upper });
        }
        if upper <= as_of {
            return Err(ReadError::AsOfTooNew { as_of, since, upper });
        }
        let complete = Arc::clone(&state.epochs[(as_of - since) as usize]);
        Ok(Held { complete, workers: state.latest.iter().flatten().cloned().collect(), readable })
    }

    /// The readable ones of some epochs.
    pub(crate) fn readable_in(&self, epochs: Range<u64>) -> Vec<Arc<Complete>> {
        let state = self.lock();
        state.epochs.iter().filter(|epoch| epochs.contains(&epoch.epoch)).cloned().collect()
    }

    /// The first readable epoch whose positions reach all of `positions`.
    pub(crate) fn epoch_including(&self, positions: &[(u16, u64)]) -> Option<u64> {
        let state = self.lock();
        let reaches = |epoch: &Arc<Complete>| {
            positions.iter().all(|(stream, offset)| epoch.positions.get(stream).is_some_and(|next| offset <= next))
        };
        let before = state.epochs.partition_point(|epoch| !reaches(epoch));
        state.epochs.get(before).map(|epoch| epoch.epoch)
    }

    /// The bounded lists of records set aside.
    pub(crate) fn set_aside<T>(&self, look: impl FnOnce(&mut SetAsideList) -> T) -> T {
        look(&mut self.lock().set_aside)
    }
}

impl Host for Timeline {
    fn register(&self, worker: usize, thread: Thread) {
        self.lock().threads[worker] = Some(thread);
    }

    fn since(&self) -> u64 {
        self.readable().since
    }

    fn is_lost(&self) -> bool {
        self.lock().lost
    }

    fn publish(&self, worker: usize, epoch: u64, delta: Delta, published: Published, tally: Tally) {
        let mut state = self.lock();
        state.latest[worker] = Some(Arc::new(published));
        state.partial.entry(epoch).or_default().push((worker, delta, tally));
        state.complete();
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn readable(&self) -> Readable {
        let since = self.epochs.front().map_or(0, |epoch| epoch.epoch);
        Readable { since, upper: since + self.epochs.len() as u64 }
    }

    /// Completes the epochs that every worker has published, in order.
    fn complete(&mut self) {
        while let Some(oldest) = self.partial.first_entry() {
            let epoch = *oldest.key();
            if epoch != self.readable_upper() || self.partial[&epoch].len() < self.workers {
                return;
            }
            let mut parts = self.partial.remove(&epoch).expect("it was just seen");
            parts.sort_by_key(|(worker, ..)| *worker);
            let binding = self.bindings.pop_front().expect("an epoch is bound before it is published");
            assert_eq!(binding.epoch, epoch, "epochs are bound and completed in one order");
            self.push(binding, parts);
            self.forget();
        }
    }

    fn readable_upper(&self) -> u64 {
        self.readable().upper
    }

    fn push(&mut self, binding: Binding, parts: Vec<(usize, Delta, Tally)>) {
        let mut totals = self.epochs.back().map_or_else(Totals::default, |epoch| epoch.totals.clone());
        let late_verdicts = count(&mut totals, &binding, &parts);
        totals.assert_conserved(binding.epoch);
        let Binding { epoch, bound, positions, mut set_aside, mut verdicts, .. } = binding;
        set_aside.extend(late_verdicts.into_iter().map(|position| {
            let payload = verdicts.remove(&position).expect("the binding keeps every verdict that was let through");
            parked(position, Reason::VerdictLate, payload, epoch, bound.wall_ms)
        }));
        set_aside.sort_by_key(|record: &SetAside| record.position);
        set_aside.into_iter().for_each(|record| self.set_aside.push(record));
        let deltas: Vec<Delta> = parts.into_iter().map(|(_, delta, _)| delta).collect();
        let bytes = deltas.iter().map(Delta::byte_len).sum();
        self.bytes += bytes;
        let completed = Instant::now();
        let complete = Complete { epoch, bound: Some(bound), positions, totals, deltas, bytes, completed };
        self.epochs.push_back(Arc::new(complete));
    }

    /// Drops the epochs that have left the history, but never the newest.
    fn forget(&mut self) {
        while self.epochs.len() > 1 {
            let oldest = &self.epochs[0];
            let keep = self.epochs.len() as u64 <= self.history.epochs
                && oldest.completed.elapsed() <= self.history.age
                && self.bytes <= self.history.bytes;
            if keep {
                return;
            }
            self.bytes -= oldest.bytes;
            self.epochs.pop_front();
        }
    }
}

/// Adds an epoch to the totals, and returns the verdicts that the ledger parked.
fn count(
    totals: &mut Totals,
    binding: &Binding,
    parts: &[(usize, Delta, Tally)],
) -> Vec<crate::domain::fact::Position> {
    totals.records_in += binding.records_in;
    totals.unknown_fields += binding.unknown_fields;
    for (reason, records) in binding.set_aside_by_reason(true) {
        *totals.parked.entry(reason).or_default() += records;
    }
    for (reason, records) in binding.set_aside_by_reason(false) {
        *totals.quarantined.entry(reason).or_default() += records;
    }
    let mut late_verdicts = Vec::new();
    for (_, _, tally) in parts {
        totals.received = add(totals.received, tally.received);
        totals.conflicting_copies = add(totals.conflicting_copies, tally.conflicting_copies);
        totals.verdicts += tally.verdicts;
        late_verdicts.extend_from_slice(&tally.parked);
    }
    if !late_verdicts.is_empty() {
        *totals.parked.entry(Reason::VerdictLate).or_default() += late_verdicts.len() as u64;
    }
    late_verdicts
}

fn add(total: u64, change: i64) -> u64 {
    total.checked_add_signed(change).unwrap_or_else(|| panic!("a total of {total} fell by {change}"))
}
