//! How a history is delivered: what must not matter (8).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::KeptWindows;

use crate::record::Record;

/// How a history is delivered.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Worker threads.
    pub workers: usize,
    /// Streams, at least 1.
    pub streams: u16,
    /// How epochs are cut.
    pub cut: Cut,
    /// The most records of a batch, at least 1.
    pub batch_records: usize,
    /// Decides the order inside each epoch; `None` leaves it.
    pub shuffle: Option<u64>,
    /// What the engine keeps.
    pub kept: KeptWindows,
    /// Whether every stream has an intake of its own.
    pub intake_per_stream: bool,
    /// How many epochs may be in flight.
    pub epochs_in_flight: usize,
    /// How many epochs stay readable. Where they are few, the engine forgets what the contract lets it forget, and every
    /// epoch is compared as soon as it is complete.
    pub history_epochs: u64,
}

/// More epochs than any history has.
pub const ALL_EPOCHS: u64 = 1 << 40;

/// How epochs are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Where the records' labels differ: each epoch is closed by hand.
    Labels,
    /// After so many records, by the engine itself; batches go on across epochs.
    Every(usize),
}

impl Plan {
    /// The plainest one.
    pub fn plain(workers: usize) -> Plan {
        Plan {
            workers,
            streams: 1,
            cut: Cut::Labels,
            batch_records: usize::MAX,
            shuffle: None,
            kept: KeptWindows::All,
            intake_per_stream: false,
            epochs_in_flight: 4,
            history_epochs: ALL_EPOCHS,
        }
    }

    /// The granularities that the engine keeps.
    pub fn granularities(&self) -> Vec<Granularity> {
        match self.kept {
            KeptWindows::All => Granularity::ALL.to_vec(),
            KeptWindows::Only(granularity) => vec![granularity],
        }
    }

    /// The records of each epoch.
    pub(super) fn cut(&self, records: &[Record]) -> Vec<Vec<Record>> {
        match self.cut {
            Cut::Labels => records.chunk_by(|one, next| one.label == next.label).map(<[Record]>::to_vec).collect(),
            Cut::Every(size) => records.chunks(size).map(<[Record]>::to_vec).collect(),
        }
    }

    /// Puts the records of an epoch in the plan's order.
    pub(super) fn shuffle(&self, epoch: u64, records: &mut [Record]) {
        if let Some(seed) = self.shuffle {
            records.shuffle(&mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(epoch)));
        }
    }
}
