//! What is told of the source: how far each partition was read, and what is in the way.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use rdkafka::statistics::Statistics;

use crate::streams::Stream;

/// What is told of a source of Kafka, for any thread.
#[derive(Default)]
pub struct KafkaStats {
    streams: RwLock<Vec<Arc<StreamStats>>>,
    broker_errors: AtomicU64,
    commit_failures: AtomicU64,
}

/// One partition, as far as it was handed out.
pub(super) struct StreamStats {
    topic: String,
    partition: i32,
    /// The next offset.
    pub(super) next: AtomicU64,
    /// The greatest timestamp of a record that was handed out, ms; `i64::MIN` where there is none.
    pub(super) passed_ms: AtomicI64,
    pub(super) tombstones: AtomicU64,
    pub(super) is_held: AtomicBool,
    /// Whether others wait for it.
    pub(super) is_holding: AtomicBool,
    /// Whether it is read: else nobody answers for it.
    is_read: bool,
    /// Whether the broker has said that there is nothing more for now.
    pub(super) is_at_end: AtomicBool,
    /// The first offset that is there, and the one behind the last that can be read, as the broker said last.
    low: AtomicU64,
    end: AtomicU64,
    /// The first offset that was to be read.
    first: u64,
}

impl StreamStats {
    pub(super) fn new(stream: &Stream, next: u64) -> Self {
        StreamStats {
            topic: stream.topic.clone(),
            partition: stream.partition,
            next: AtomicU64::new(next),
            passed_ms: AtomicI64::new(i64::MIN),
            tombstones: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            is_holding: AtomicBool::new(false),
            is_read: true,
            is_at_end: AtomicBool::new(false),
            low: AtomicU64::new(0),
            end: AtomicU64::new(0),
            first: stream.first_offset,
        }
    }

    /// Of a partition that should be read, and that nobody answers for.
    pub(super) fn absent(topic: &str, partition: i32) -> Self {
        let (topic, format) = (topic.to_owned(), String::new());
        let stream = Stream { topic, topic_id: String::new(), partition, format, first_offset: 0 };
        StreamStats { is_read: false, ..StreamStats::new(&stream, 0) }
    }

    /// The topic and the partition.
    pub(super) fn place(&self) -> (&str, i32) {
        (&self.topic, self.partition)
    }
}

/// A partition at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProgress {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Records that can be read and were not handed out; offsets without a record count too. `None` where nobody answers for it.
    pub lag_records: Option<u64>,
    /// How old the newest record is that was handed out, where there are more; `None` where none was.
    pub lag_seconds: Option<f64>,
    /// Whether it is held back, so that it does not run too far ahead of another.
    pub is_held: bool,
    /// Whether others are held back for it.
    pub is_holding: bool,
    /// Records without a value.
    pub tombstones: u64,
}

impl KafkaStats {
    /// Every partition that is read, at a wall clock in ms since 1970.
    pub fn partitions(&self, now_ms: i64) -> Vec<PartitionProgress> {
        let streams = self.streams.read().expect("nothing panics while it holds the partitions");
        streams.iter().map(|stream| stream.at(now_ms)).collect()
    }

    /// Whether records that were read first are not there any more, so that not everything can be read again.
    pub fn is_head_gone(&self) -> bool {
        let streams = self.streams.read().expect("nothing panics while it holds the partitions");
        streams.iter().any(|stream| stream.first < stream.low.load(Ordering::Relaxed))
    }

    /// Errors of connections to brokers.
    pub fn broker_errors(&self) -> u64 {
        self.broker_errors.load(Ordering::Relaxed)
    }

    /// Offsets of the group that could not be committed.
    pub fn commit_failures(&self) -> u64 {
        self.commit_failures.load(Ordering::Relaxed)
    }

    /// Adds a partition, in place of what was known of it before.
    pub(super) fn add(&self, stream: Arc<StreamStats>) {
        let mut streams = self.streams.write().expect("nothing panics while it holds the partitions");
        streams.retain(|other| other.place() != stream.place());
        streams.push(stream);
    }

    pub(super) fn count_broker_error(&self) {
        self.broker_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure, and says whether it was the first.
    pub(super) fn count_commit_failure(&self) -> bool {
        self.commit_failures.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Takes over what the brokers said last.
    pub(super) fn observe(&self, statistics: &Statistics) {
        for stream in self.streams.read().expect("nothing panics while it holds the partitions").iter() {
            let topic = statistics.topics.get(&stream.topic);
            let Some(partition) = topic.and_then(|topic| topic.partitions.get(&stream.partition)) else { continue };
            // What no broker has said yet is negative.
            if let Ok(low) = u64::try_from(partition.lo_offset) {
                stream.low.store(low, Ordering::Relaxed);
            }
            let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            if let Ok(end) = u64::try_from(end) {
                stream.end.fetch_max(end, Ordering::Relaxed);
            }
        }
    }
}

impl StreamStats {
    fn at(&self, now_ms: i64) -> PartitionProgress {
        let behind = self.end.load(Ordering::Relaxed).saturating_sub(self.next.load(Ordering::Relaxed));
        // Behind the last record there may be offsets without one.
        let lag_records = if self.is_at_end.load(Ordering::Relaxed) { 0 } else { behind };
        let passed_ms = self.passed_ms.load(Ordering::Relaxed);
        let age = || (now_ms.saturating_sub(passed_ms)).max(0) as f64 / 1_000.0;
        let lag_seconds = match (self.is_read, lag_records) {
            (true, 0) => Some(0.0),
            _ => (passed_ms != i64::MIN).then(age),
        };
        PartitionProgress {
            topic: self.topic.clone(),
            partition: self.partition,
            lag_records: self.is_read.then_some(lag_records),
            lag_seconds,
            is_held: self.is_held.load(Ordering::Relaxed),
            is_holding: self.is_holding.load(Ordering::Relaxed),
            tombstones: self.tombstones.load(Ordering::Relaxed),
        }
    }
}
