//! How much is remembered.

use crate::trace::{Record, Run};

use super::Snapshot;

/// The size of one arrangement, over all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrangementSize {
    /// Its name.
    pub name: &'static str,
    /// Its records.
    pub records: u64,
    /// The bytes of its chunks, in memory or mapped.
    pub bytes: u64,
    /// The bytes of those that are in memory.
    pub resident_bytes: u64,
    /// The bytes of chunks that are whole in memory: a checkpoint can take their place.
    pub loose_bytes: u64,
    /// Its runs.
    pub runs: u64,
}

impl Snapshot {
    /// The size of every arrangement, and of the ads' names.
    pub fn state_bytes(&self) -> Vec<ArrangementSize> {
        let states = || self.workers.iter();
        vec![
            size("ledger", states().flat_map(|state| &state.ledger)),
            size("visits", states().flat_map(|state| &state.visits)),
            size("rows", states().flat_map(|state| &state.view.base)),
            size("days", states().flat_map(|state| &state.view.days)),
            size("overlaps", states().flat_map(|state| &state.view.overlaps)),
            size("corrections", states().flat_map(|state| &state.view.corrections)),
            self.shared.dictionary.size(),
        ]
    }
}

fn size<'a, R: Record>(name: &'static str, runs: impl Iterator<Item = &'a Run<R>>) -> ArrangementSize {
    let mut size = ArrangementSize { name, records: 0, bytes: 0, resident_bytes: 0, loose_bytes: 0, runs: 0 };
    for run in runs {
        size.records += run.len() as u64;
        size.bytes += run.byte_len() as u64;
        size.resident_bytes += run.resident_bytes() as u64;
        size.loose_bytes += run.loose_bytes() as u64;
        size.runs += 1;
    }
    size
}
