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
use crate::domain::retention::Retention;
use crate::domain::rules::Rules;
use crate::domain::validate::Reason;
use crate::operators::context::{MayForget, State};
use crate::operators::counts::Delta;
use crate::operators::tally::Tally;
use crate::worker::Host;

use super::binding::Binding;
use super::followers::Followers;
use super::history::History;
use super::origin::{AfterEpoch, Origin};
use super::readable::{ReadError, Readable};
use super::set_aside::{SetAside, SetAsideList};

/// A complete epoch.
pub(crate) struct Complete {
    /// The epoch, and what is known after it.
    pub(crate) after: AfterEpoch,
    /// The number that the next record set aside gets.
    pub(crate) next_set_aside: u64,
    /// What it brought, a worker each.
    pub(crate) deltas: Vec<Delta>,
    bytes: usize,
    completed: Instant,
}

impl Complete {
    /// The epoch that an engine begins with.
    pub(crate) fn start(origin: &Origin) -> Self {
        Complete {
            after: origin.after.clone(),
            next_set_aside: origin.set_aside.next_number(),
            deltas: Vec::new(),
            bytes: 0,
            completed: Instant::now(),
        }
    }
}

/// What a reader takes hold of.
pub(crate) struct Held {
    pub(crate) complete: Arc<Complete>,
    pub(crate) workers: Vec<Arc<State>>,
    pub(crate) readable: Readable,
}

impl Held {
    /// What can be asked about at the epoch.
    pub(crate) fn retention(&self, rules: &Rules) -> Retention {
        self.complete.after.retention(rules)
    }
}

/// One worker's part of an epoch.
struct Part {
    worker: usize,
    delta: Delta,
    state: Arc<State>,
    tally: Tally,
}

/// Shared by the driver, the workers and the readers.
pub(crate) struct Timeline {
    state: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    rules: Rules,
    history: History,
    threads: Vec<Option<Thread>>,
    bindings: VecDeque<Binding>,
    /// Epochs that some workers have published.
    partial: BTreeMap<u64, Vec<Part>>,
    /// The state after the newest complete epoch, a worker each.
    latest: Vec<Arc<State>>,
    epochs: VecDeque<Arc<Complete>>,
    bytes: usize,
    followers: Followers,
    /// Who needs records set aside, and from which epoch on, though not the epochs themselves.
    holds: Followers,
    /// How often chunks have been written to files that may be held in their place.
    written: u64,
    set_aside: SetAsideList,
    lost: bool,
    stopped: bool,
}

impl Timeline {
    /// A timeline at a complete epoch, with the state after it, a worker each.
    pub(crate) fn new(
        rules: Rules,
        history: History,
        epoch: Complete,
        states: Vec<Arc<State>>,
        set_aside: SetAsideList,
    ) -> Self {
        let state = Inner {
            rules,
            history,
            threads: vec![None; states.len()],
            bindings: VecDeque::new(),
            partial: BTreeMap::new(),
            latest: states,
            epochs: VecDeque::from([Arc::new(epoch)]),
            bytes: 0,
            followers: Followers::default(),
            holds: Followers::default(),
            written: 0,
            set_aside,
            lost: false,
            stopped: false,
        };
        Timeline { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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
        Ok(Held { complete, workers: state.latest.clone(), readable })
    }

    /// The readable ones of some epochs, but for the one that the engine began with: what that brought is not known.
    pub(crate) fn readable_in(&self, epochs: Range<u64>) -> Vec<Arc<Complete>> {
        let state = self.lock();
        let known = |epoch: &&Arc<Complete>| epochs.contains(&epoch.after.epoch) && !epoch.deltas.is_empty();
        state.epochs.iter().filter(known).cloned().collect()
    }

    /// The first readable epoch whose positions reach all of `positions`.
    pub(crate) fn epoch_including(&self, positions: &[(u16, u64)]) -> Option<u64> {
        let state = self.lock();
        let reaches = |epoch: &Arc<Complete>| {
            positions
                .iter()
                .all(|(stream, offset)| epoch.after.positions.get(stream).is_some_and(|next| offset <= next))
        };
        let before = state.epochs.partition_point(|epoch| !reaches(epoch));
        state.epochs.get(before).map(|epoch| epoch.after.epoch)
    }

    /// The followers, who keep the epochs that they have not done with.
    pub(crate) fn followers<T>(&self, change: impl FnOnce(&mut Followers) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state.followers);
        let needed_from = state.records_needed_from();
        state.set_aside.let_go(needed_from);
        let forgotten = state.forget();
        drop(state);
        // What nobody else holds is freed outside of the lock.
        drop(forgotten);
        changed
    }

    /// Those who keep the records set aside from an epoch on; a hold may begin with an epoch that has left the history.
    pub(crate) fn holds<T>(&self, change: impl FnOnce(&mut Followers) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state.holds);
        let needed_from = state.records_needed_from();
        state.set_aside.let_go(needed_from);
        changed
    }

    /// How many complete epochs the slowest follower has not done with, and whether they take more memory than the history, or the
    /// records that they set aside, may.
    pub(crate) fn held_back(&self) -> (u64, bool) {
        let state = self.lock();
        let Some(next) = state.followers.slowest() else { return (0, false) };
        let Readable { since, upper } = state.readable();
        // The newest epoch stays anyway, however large it is.
        let is_large = next <= since && next + 1 < upper && state.history.bytes < state.bytes;
        let is_large = is_large || next + 1 < upper && state.set_aside.is_overfull();
        (upper.saturating_sub(next), is_large)
    }

    /// Says that chunks have been written to files that may be held in their place.
    pub(crate) fn settle(&self) {
        self.lock().written += 1;
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

    fn may_forget(&self) -> MayForget {
        let inner = self.lock();
        let oldest = &inner.epochs[0].after;
        MayForget { since: oldest.epoch, retention: oldest.retention(&inner.rules), written: inner.written }
    }

    fn is_lost(&self) -> bool {
        self.lock().lost
    }

    fn publish(&self, worker: usize, epoch: u64, delta: Delta, state: State, tally: Tally) {
        let part = Part { worker, delta, state: Arc::new(state), tally };
        let mut inner = self.lock();
        inner.partial.entry(epoch).or_default().push(part);
        let replaced = inner.complete();
        drop(inner);
        // What nobody else holds is freed outside of the lock.
        drop(replaced);
        self.changed.notify_all();
    }

    fn refresh(&self, worker: usize, state: State) {
        let mut state = Arc::new(state);
        let mut inner = self.lock();
        // What it has published of an epoch that is not complete would be in it.
        let is_ahead = |parts: &Vec<Part>| parts.iter().any(|part| part.worker == worker);
        if !inner.partial.values().any(is_ahead) {
            std::mem::swap(&mut inner.latest[worker], &mut state);
        }
        drop(inner);
        // What nobody else holds is freed outside of the lock.
        drop(state);
    }
}

impl Inner {
    fn readable(&self) -> Readable {
        let since = self.epochs.front().map_or(0, |epoch| epoch.after.epoch);
        Readable { since, upper: since + self.epochs.len() as u64 }
    }

    /// The first epoch whose records set aside somebody has not done with.
    fn records_needed_from(&self) -> u64 {
        let slowest = [&self.followers, &self.holds].into_iter().filter_map(Followers::slowest).min();
        slowest.unwrap_or(u64::MAX)
    }

    /// Completes the epochs that every worker has published, in order, and returns what they replace.
    fn complete(&mut self) -> (Vec<Arc<State>>, Vec<Arc<Complete>>) {
        let (mut states, mut epochs) = (Vec::new(), Vec::new());
        loop {
            let epoch = self.readable().upper;
            if self.partial.get(&epoch).is_none_or(|parts| parts.len() < self.latest.len()) {
                return (states, epochs);
            }
            let mut parts = self.partial.remove(&epoch).expect("it was just seen");
            parts.sort_by_key(|part| part.worker);
            let binding = self.bindings.pop_front().expect("an epoch is bound before it is published");
            assert_eq!(binding.epoch, epoch, "epochs are bound and completed in one order");
            states.append(&mut self.latest);
            self.latest = parts.iter().map(|part| Arc::clone(&part.state)).collect();
            self.push(binding, parts);
            epochs.append(&mut self.forget());
        }
    }

    fn push(&mut self, binding: Binding, parts: Vec<Part>) {
        let newest = &self.epochs.back().expect("the newest epoch stays").after;
        let (mut totals, mut corrections) = (newest.totals.clone(), newest.corrections.clone());
        let late_verdicts = count(&mut totals, &binding, &parts);
        for (cause, added) in parts.iter().flat_map(|part| &part.tally.corrections) {
            *corrections.entry(*cause).or_default() += added;
        }
        totals.assert_conserved(binding.epoch);
        let Binding { epoch, bound, positions, event_ms_max, mut set_aside, mut verdicts, .. } = binding;
        set_aside.extend(late_verdicts.into_iter().map(|position| {
            let payload = verdicts.remove(&position).expect("the binding keeps every verdict that was let through");
            SetAside::parked(position, Reason::VerdictLate, payload, epoch, bound.wall_ms)
        }));
        set_aside.sort_by_key(|record: &SetAside| record.position);
        let needed_from = self.records_needed_from();
        self.set_aside.pass(bound.wall_ms);
        set_aside.into_iter().for_each(|record| self.set_aside.push(record, needed_from));
        self.set_aside.let_go(needed_from);
        let deltas: Vec<Delta> = parts.into_iter().map(|part| part.delta).collect();
        let bytes = deltas.iter().map(Delta::byte_len).sum();
        self.bytes += bytes;
        let complete = Complete {
            after: AfterEpoch { epoch, bound, positions, event_ms_max, totals, corrections },
            next_set_aside: self.set_aside.next_number(),
            deltas,
            bytes,
            completed: Instant::now(),
        };
        self.epochs.push_back(Arc::new(complete));
    }

    /// Takes out the epochs that have left the history, but never the newest, and none that a follower needs.
    fn forget(&mut self) -> Vec<Arc<Complete>> {
        let mut forgotten = Vec::new();
        while self.epochs.len() > 1 {
            let oldest = &self.epochs[0];
            let is_recent = self.epochs.len() as u64 <= self.history.epochs
                && oldest.completed.elapsed() <= self.history.age
                && self.bytes <= self.history.bytes;
            if is_recent || self.followers.need(oldest.after.epoch) {
                break;
            }
            self.bytes -= oldest.bytes;
            forgotten.extend(self.epochs.pop_front());
        }
        forgotten
    }
}

/// Adds an epoch to the totals, and returns the verdicts that the ledger parked.
fn count(totals: &mut Totals, binding: &Binding, parts: &[Part]) -> Vec<crate::domain::fact::Position> {
    totals.records_in += binding.records_in;
    totals.unknown_fields += binding.unknown_fields;
    binding.set_aside.iter().for_each(|record| totals.set_aside(record.reason, 1));
    let mut late_verdicts = Vec::new();
    for Part { tally, .. } in parts {
        totals.received = add(totals.received, tally.received);
        totals.gross_clicks = add(totals.gross_clicks, tally.gross_clicks);
        totals.conflicting_copies = add(totals.conflicting_copies, tally.conflicting_copies);
        totals.verdicts += tally.verdicts;
        late_verdicts.extend_from_slice(&tally.parked);
    }
    if !late_verdicts.is_empty() {
        totals.set_aside(Reason::VerdictLate, late_verdicts.len() as u64);
    }
    late_verdicts
}

fn add(total: u64, change: i64) -> u64 {
    total.checked_add_signed(change).unwrap_or_else(|| panic!("a total of {total} fell by {change}"))
}
