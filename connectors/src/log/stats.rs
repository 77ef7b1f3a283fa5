//! What the log counts.

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

/// Counters of a running log.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) appends: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) refused_busy: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) syncs: SyncClock,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

/// What the log has done since it was opened, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Appends acknowledged.
    pub appends: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// Appends refused because too much waited.
    pub refused_busy: u64,
    /// Appends refused because the disk was full.
    pub refused_full: u64,
    /// Syncs of the log.
    pub syncs: SyncTimes,
    /// Appends that wait for the disk.
    pub queue_appends: u64,
    /// Bytes of them.
    pub queue_bytes: u64,
    /// Bytes that each partition holds.
    pub partition_bytes: Vec<u64>,
    /// Segments in all partitions.
    pub segments: u64,
}
