//! When a checkpoint is written: after some time, or earlier where much has come in since, or the state takes much memory.

use std::sync::Arc;
use std::time::Duration;

use recount_dataflow::checkpoint::MemoryBudget;
use recount_dataflow::read::Reader;

/// When checkpoints are written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two.
    pub interval: Duration,
    /// Records after which one is written earlier: a start counts again what has come in since the last one.
    pub records: u64,
    /// Bytes of memory that the state has: files hold what is written, half of the budget in no file is reason enough to write, and
    /// all of it holds the feed back. `None` holds all in memory.
    pub memory_budget: Option<u64>,
}

/// What tells that a checkpoint is due before its time.
pub(super) struct EarlyCheckpoint {
    reader: Reader,
    records_max: u64,
    budget: Option<Arc<MemoryBudget>>,
    /// The records that had come in when the last one was begun.
    records_before: u64,
    /// Where the disk is full, or the object store away, size is no reason to ask it again all the time.
    is_heeded: bool,
}

impl EarlyCheckpoint {
    pub(super) fn new(pace: Pace, budget: Option<Arc<MemoryBudget>>, reader: Reader) -> Self {
        let records_before = records_in(&reader);
        EarlyCheckpoint { reader, records_max: pace.records, budget, records_before, is_heeded: true }
    }

    /// Whether so much has come in, or is in memory, that a checkpoint should be written now.
    pub(super) fn is_due(&self) -> bool {
        let is_large = || self.records_before.saturating_add(self.records_max) <= records_in(&self.reader);
        let is_short_of_memory = || self.budget.as_ref().is_some_and(|budget| budget.wants_checkpoint());
        self.is_heeded && (is_large() || is_short_of_memory())
    }

    /// A checkpoint is about to be written. Returns what has come in.
    pub(super) fn begin(&self) -> u64 {
        records_in(&self.reader)
    }

    /// It was written, with what had come in when it began; `None` where it could not be.
    pub(super) fn end(&mut self, records: Option<u64>) {
        self.is_heeded = records.is_some();
        if let Some(records) = records {
            self.records_before = records;
            self.budget.iter().for_each(|budget| budget.written());
        }
    }
}

fn records_in(reader: &Reader) -> u64 {
    reader.snapshot(None).expect("the newest complete epoch can be read").totals().records_in
}
