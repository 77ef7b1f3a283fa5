//! A bound on the memory of the state.
//!
//! A checkpoint gives memory back: what it has written is held in its files from then on. So a state that takes more memory than it
//! should asks for a checkpoint early, and where checkpoints are slower than records come in, whoever feeds the engine waits for
//! them. What has to stay in memory, filters and directories of what files hold, can not be given back: the bound is on what is
//! *loose*, in no file, and never below a quarter of the budget, or a state that has outgrown it would stand still.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::read::Reader;

/// How often the state is looked at: after so long, or so many records.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_RECORDS: u64 = 50_000;

/// A bound on the memory of one engine's state; shared by what feeds it and what writes its checkpoints.
pub struct MemoryBudget {
    bytes: u64,
    reader: Reader,
    seen: Mutex<Seen>,
    changed: Condvar,
    held_us: AtomicU64,
}

/// What was seen of checkpoints and of the state.
struct Seen {
    /// How many checkpoints were written since the start, or found to have nothing to write.
    count: u64,
    /// When the state was looked at last, and how many records had come in.
    looked: Option<(Instant, u64)>,
}

/// The memory that a state takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMemory {
    /// Bytes that no file holds, or that are not held from it yet.
    pub loose_bytes: u64,
    /// Bytes that stay in memory beside what files hold.
    pub index_bytes: u64,
}

impl MemoryBudget {
    /// A bound of so many bytes on the state of the engine behind `reader`.
    pub fn new(bytes: u64, reader: Reader) -> Self {
        let seen = Mutex::new(Seen { count: 0, looked: None });
        MemoryBudget { bytes, reader, seen, changed: Condvar::new(), held_us: AtomicU64::new(0) }
    }

    /// What it allows, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the newest state takes.
    pub fn taken(&self) -> StateMemory {
        let newest = self.reader.snapshot(None).expect("the newest complete epoch can be read");
        let sizes = newest.state_bytes();
        let loose_bytes = sizes.iter().map(|arrangement| arrangement.loose_bytes).sum();
        let resident: u64 = sizes.iter().map(|arrangement| arrangement.resident_bytes).sum();
        StateMemory { loose_bytes, index_bytes: resident - loose_bytes }
    }

    /// Whether a checkpoint should be written now: it takes time, and more comes in meanwhile.
    pub fn wants_checkpoint(&self) -> bool {
        let taken = self.taken();
        self.room(taken) / 2 < taken.loose_bytes
    }

    /// Whether more is in memory than may be. It is asked between batches: the state is looked at now and then, and in between this
    /// says no. Where it says yes, close the open epoch and let the engine complete it, so that workers let go of what files hold,
    /// and [`hold`](MemoryBudget::hold).
    pub fn is_due(&self) -> bool {
        let records = self.reader.hold_newest().complete.after.totals.records_in;
        let mut seen = self.lock();
        if seen.looked.is_some_and(|(looked, had)| looked.elapsed() < LOOK && records < had + LOOK_RECORDS) {
            return false;
        }
        seen.looked = Some((Instant::now(), records));
        drop(seen);
        self.is_over()
    }

    /// Waits while more is in memory than may be, until the next checkpoint is written; the next epoch lets go of what that holds.
    /// Returns whether it waited.
    pub fn hold(&self, is_stopped: impl Fn() -> bool) -> bool {
        let count = self.lock().count;
        let mut waited = false;
        while !is_stopped() && self.is_over() {
            waited = true;
            let began = Instant::now();
            let stays = |seen: &mut Seen| seen.count == count;
            let waiting = self.changed.wait_timeout_while(self.lock(), LOOK, stays);
            let (seen, _) = waiting.unwrap_or_else(|poisoned| poisoned.into_inner());
            self.held_us.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            if seen.count != count {
                break;
            }
        }
        waited
    }

    /// A checkpoint was written, or there was nothing to write.
    pub fn written(&self) {
        self.lock().count += 1;
        self.changed.notify_all();
    }

    /// How long feeding was held back, since the start.
    pub fn held(&self) -> Duration {
        Duration::from_micros(self.held_us.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        let taken = self.taken();
        self.room(taken) < taken.loose_bytes
    }

    /// What may be loose.
    fn room(&self, taken: StateMemory) -> u64 {
        self.bytes.saturating_sub(taken.index_bytes).max(self.bytes / 4)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
