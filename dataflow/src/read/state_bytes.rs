//! How large the state is.

use crate::trace::{Record, Run};

use super::Snapshot;

/// What is remembered, in bytes of records and of what finds them, by arrangement, over all workers. Bytes of mapped files are
/// counted like those in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateBytes {
    /// Copies and verdicts of every click.
    pub ledger: usize,
    /// Valid clicks of every user of every ad.
    pub visits: usize,
    /// Rows of the smallest windows.
    pub rows: usize,
    /// Users that larger windows would count twice.
    pub overlaps: usize,
    /// Rows of days.
    pub days: usize,
    /// Corrections.
    pub corrections: usize,
}

impl StateBytes {
    /// Each arrangement by its name.
    pub fn by_arrangement(&self) -> [(&'static str, usize); 6] {
        [
            ("ledger", self.ledger),
            ("visits", self.visits),
            ("rows", self.rows),
            ("overlaps", self.overlaps),
            ("days", self.days),
            ("corrections", self.corrections),
        ]
    }

    /// All of them together.
    pub fn total(&self) -> usize {
        self.by_arrangement().iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Snapshot {
    /// How large the state is that the snapshot reads from: the newest when it was taken, whatever its epoch.
    pub fn state_bytes(&self) -> StateBytes {
        let mut bytes = StateBytes::default();
        for worker in &self.workers {
            bytes.ledger += sum(&worker.ledger);
            bytes.visits += sum(&worker.visits);
            bytes.rows += sum(&worker.view.base);
            bytes.overlaps += sum(&worker.view.overlaps);
            bytes.days += sum(&worker.view.days);
            bytes.corrections += sum(&worker.view.corrections);
        }
        bytes
    }
}

fn sum<R: Record>(runs: &[Run<R>]) -> usize {
    runs.iter().map(Run::byte_len).sum()
}
