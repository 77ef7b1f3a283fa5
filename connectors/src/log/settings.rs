//! What the log runs with.

use std::time::Duration;

use super::format::APPEND_BYTES_MAX;

/// What the log runs with. Nothing that is read depends on it.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Bytes after which a partition's next segment is begun, at least 1.
    pub segment_bytes: u64,
    /// The least time from one commit's start to the next's, so that appends share a sync. The first append after a pause of
    /// this length is committed at once.
    pub commit_window: Duration,
    /// When an append is acknowledged.
    pub sync: SyncPolicy,
    /// Bytes that may wait for the disk, at least [`APPEND_BYTES_MAX`].
    pub queue_bytes: usize,
    /// What retention takes.
    pub retention: Retention,
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After it is durable.
    Always,
    /// After it was written; it becomes durable, and readable, within this time. A power cut loses what was acknowledged since.
    Interval(Duration),
}

/// What retention takes: whole segments, where either limit says so, and never one that is still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records that arrived longer ago than this go.
    pub age: Option<Duration>,
    /// The oldest go while there are more bytes than this in all partitions.
    pub bytes: Option<u64>,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            segment_bytes: 64 << 20,
            commit_window: Duration::from_millis(2),
            sync: SyncPolicy::Always,
            queue_bytes: 64 << 20,
            retention: Retention::default(),
        }
    }
}

impl LogSettings {
    /// Whether every setting is in its range.
    pub(super) fn assert_valid(&self) {
        assert!(0 < self.segment_bytes, "a segment holds at least a byte");
        assert!(APPEND_BYTES_MAX <= self.queue_bytes, "the largest append fits the queue");
    }
}
