//! What waits for the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::append::{Appended, Sealed};
use super::format::HEADER_BYTES;
use super::{AppendError, LogFailure};

/// When to come again where too much waits: the queue drains at the speed of the disk.
const BUSY_RETRY_AFTER: Duration = Duration::from_millis(100);
/// Bytes of one commit, about: what a disk takes in a few tens of milliseconds.
const COMMIT_BYTES_MAX: usize = 16 << 20;

/// Called once, when the append is durable or refused.
pub(super) type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// An append and who waits for it.
pub(super) struct Waiting {
    pub(super) sealed: Sealed,
    pub(super) done: Done,
}

impl Waiting {
    /// Bytes that it takes in the log.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.sealed.body.len()
    }
}

/// The bounded queue between those who append and the one who commits.
pub(super) struct Queue {
    bytes_max: usize,
    state: Mutex<State>,
    /// There is something to do.
    filled: Condvar,
}

struct State {
    waiting: VecDeque<Waiting>,
    /// Of those that wait, and of those that are being written.
    bytes: usize,
    appends: usize,
    end: End,
}

/// Whether appends are taken.
enum End {
    Open,
    Closing,
    Ended(Arc<LogFailure>),
}

/// What the committer is to do.
pub(super) enum Work {
    /// Write these.
    Commit(Vec<Waiting>),
    /// Nothing came until the deadline.
    Idle,
    /// Nothing will come.
    Close,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, appends: 0, end: End::Open };
        Queue { bytes_max, state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Takes an append, or hands it back.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), (Waiting, AppendError)> {
        let mut state = self.state();
        let refusal = match &state.end {
            End::Open if state.bytes > 0 && state.bytes + waiting.bytes() > self.bytes_max => {
                Some(AppendError::Busy { bytes: state.bytes, retry_after: BUSY_RETRY_AFTER })
            }
            End::Open => None,
            End::Closing => Some(AppendError::Stopped(Arc::new(LogFailure::Closed))),
            End::Ended(failure) => Some(AppendError::Stopped(Arc::clone(failure))),
        };
        if let Some(refusal) = refusal {
            drop(state);
            return Err((waiting, refusal));
        }
        let was_below = state.bytes < COMMIT_BYTES_MAX;
        state.bytes += waiting.bytes();
        state.appends += 1;
        state.waiting.push_back(waiting);
        // The committer sleeps until something waits, and then at most until a commit is full.
        let wakes = state.waiting.len() == 1 || was_below && COMMIT_BYTES_MAX <= state.bytes;
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// What to do next. Something that waits is left until `not_before`, to be joined by others, unless a commit is full; where
    /// nothing waits, `Idle` comes at `idle_at`.
    pub(super) fn next(&self, not_before: Instant, idle_at: Option<Instant>) -> Work {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let is_due = not_before <= now || state.bytes >= COMMIT_BYTES_MAX || !matches!(state.end, End::Open);
            let wake_at = match (state.waiting.is_empty(), &state.end) {
                (false, _) if is_due => return Work::Commit(state.take_commit()),
                (true, End::Closing | End::Ended(_)) => return Work::Close,
                (true, End::Open) if idle_at.is_some_and(|at| at <= now) => return Work::Idle,
                (true, End::Open) => idle_at,
                (false, _) => Some(not_before),
            };
            state = match wake_at {
                None => self.filled.wait(state).expect(UNPOISONED),
                Some(at) => self.filled.wait_timeout(state, at - now).expect(UNPOISONED).0,
            };
        }
    }

    /// Some of the appends that were handed out are done with.
    pub(super) fn release(&self, appends: usize, bytes: usize) {
        let mut state = self.state();
        state.appends -= appends;
        state.bytes -= bytes;
    }

    /// Takes nothing more; what waits is still committed.
    pub(super) fn close(&self) {
        let mut state = self.state();
        if let End::Open = state.end {
            state.end = End::Closing;
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Takes nothing more, and hands out what waits, to be refused.
    pub(super) fn fail(&self, failure: &Arc<LogFailure>) -> Vec<Waiting> {
        let mut state = self.state();
        state.end = End::Ended(Arc::clone(failure));
        let waiting: Vec<Waiting> = state.waiting.drain(..).collect();
        state.bytes = 0;
        state.appends = 0;
        waiting
    }

    /// Appends that wait, and their bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.appends, state.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "nothing panics while it holds the queue";

impl State {
    /// The first append, and as many more as fit a commit.
    fn take_commit(&mut self) -> Vec<Waiting> {
        let mut bytes = 0;
        let fits = self.waiting.iter().take_while(|waiting| {
            bytes += waiting.bytes();
            bytes <= COMMIT_BYTES_MAX
        });
        let count = fits.count().max(1);
        self.waiting.drain(..count).collect()
    }
}
