//! How long syncs take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of a sync's duration, in microseconds; a last bucket has no bound.
pub const SYNC_BUCKETS_US: [u64; 12] =
    [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 1_000_000];

/// Durations of syncs, as they are counted.
#[derive(Debug, Default)]
pub(crate) struct SyncClock {
    sum_us: AtomicU64,
    buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
}

impl SyncClock {
    pub(crate) fn observe(&self, took: Duration) {
        let us = took.as_micros() as u64;
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        self.buckets[SYNC_BUCKETS_US.partition_point(|&bound| bound < us)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> SyncTimes {
        let buckets = std::array::from_fn(|number| self.buckets[number].load(Ordering::Relaxed));
        SyncTimes { count: buckets.iter().sum(), sum_us: self.sum_us.load(Ordering::Relaxed), buckets }
    }
}

/// How long syncs took, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// How many there were.
    pub count: u64,
    /// Their sum in microseconds.
    pub sum_us: u64,
    /// How many took at most [`SYNC_BUCKETS_US`], each counted once; the last took longer.
    pub buckets: [u64; SYNC_BUCKETS_US.len() + 1],
}
