//! What an engine is started with.

use crate::domain::fingerprint::HashKey;
use crate::domain::rules::Rules;
use crate::domain::window::Granularity;
use crate::published::History;

/// What an engine is started with. Only `rules` decides results.
#[derive(Clone)]
pub struct Settings {
    /// What counts.
    pub rules: Rules,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Records after which an epoch closes, at least 1.
    pub epoch_records: usize,
    /// Which granularities are kept.
    pub kept: KeptWindows,
    /// How far back a read can ask.
    pub history: History,
    /// Epochs that may be closed and not complete, at least 1.
    pub epochs_in_flight: usize,
    /// Merges of at least so many records are left to threads beside the workers, one for every two. Where merges are done
    /// decides nothing but speed.
    pub merge_beside_min: usize,
    /// What a worker does that comes to rest, besides what it does with its own memory: whoever has chosen the process's allocator may
    /// have it give back what it holds.
    pub at_rest: fn(),
    /// The store's key, from which ids get their fingerprints.
    pub key: HashKey,
    /// Whether every record set aside is kept for [`take_set_aside`](super::Engine::take_set_aside).
    pub stream_set_aside: bool,
}

/// Which granularities an engine keeps up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptWindows {
    /// All four.
    All,
    /// One alone, which is less work.
    Only(Granularity),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            rules: Rules::default(),
            workers: 1,
            epoch_records: 50_000,
            kept: KeptWindows::All,
            history: History::default(),
            epochs_in_flight: 2,
            merge_beside_min: 16_384,
            at_rest: || {},
            key: HashKey::new([0; 16]),
            stream_set_aside: false,
        }
    }
}
