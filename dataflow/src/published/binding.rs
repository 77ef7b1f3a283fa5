//! What is fixed of an epoch before any of its records is released.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::domain::fact::Position;
use crate::operators::context::Bound;
use crate::store::EpochBinding;

use super::set_aside::SetAside;

/// What is fixed of an epoch before any of its records is released. Its content never changes afterwards, so the answers at the
/// epoch do not either.
pub(crate) struct Binding {
    /// The epoch.
    pub(crate) epoch: u64,
    /// Watermarks and wall clock.
    pub(crate) bound: Bound,
    /// The next offset of every stream that has been read from, by stream.
    pub(crate) positions: BTreeMap<u16, u64>,
    /// The greatest time that any record has carried.
    pub(crate) event_ms_max: i64,
    /// Records delivered in the epoch.
    pub(crate) records_in: u64,
    /// Fields of its records that no version of the contract names.
    pub(crate) unknown_fields: u64,
    /// Records quarantined, and parked by the floor alone, in order of stream and offset.
    pub(crate) set_aside: Vec<SetAside>,
    /// The verdicts as they came: the ledger may park them yet.
    pub(crate) verdicts: HashMap<Position, Box<[u8]>>,
}

impl Binding {
    /// What of it has to be durable: the rest follows from the log.
    pub(crate) fn durable(&self) -> EpochBinding {
        EpochBinding {
            epoch: self.epoch,
            positions: self
                .positions
                .iter()
                .map(|(stream, offset)| Position { stream: *stream, offset: *offset })
                .collect(),
            watermark_ms: self.bound.watermark_after.watermark_ms(),
            wall_ms: self.bound.wall_ms,
            records_in: self.records_in,
        }
    }
}
