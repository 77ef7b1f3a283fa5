//! What the log counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{SyncClock, SyncTimes};

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
