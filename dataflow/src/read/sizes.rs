//! How much is remembered.

use crate::published::ArrangementSize;
use crate::trace::{Record, Run};

use super::Snapshot;

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
