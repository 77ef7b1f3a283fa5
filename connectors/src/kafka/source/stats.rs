//! What is told of the source: how far each partition was read, and what is in the way.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use rdkafka::statistics::{Broker, Statistics};

use crate::streams::Stream;

/// After how long without a word of it a broker does not count as reached, in microseconds.
const SILENCE_MAX_US: i64 = 5_000_000;

/// After how long an open transaction counts as lag, in ms: nobody is behind for a moment's sake.
const OPEN_MAX_MS: i64 = 10_000;

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
    /// Whether the broker has said that there is nothing more for now. It says so once, and not again while nothing comes.
    pub(super) is_at_end: AtomicBool,
    /// Whether the broker that it is read from answers.
    is_reached: AtomicBool,
    /// Whether this user may not read it.
    is_refused: AtomicBool,
    /// When it was known last that everything was read, by the wall clock, ms; `i64::MIN` where that was never so.
    fresh_ms: AtomicI64,
    /// The first offset that is there, and the one behind the last that can be read, as the broker said last; 0 before.
    low: AtomicU64,
    end: AtomicU64,
    /// Since when a transaction has been open, by the wall clock, ms; `i64::MAX` where none is.
    open_since_ms: AtomicI64,
    /// The offsets that an open transaction keeps from being read, where it is open for long.
    withheld: AtomicU64,
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
            is_reached: AtomicBool::new(false),
            is_refused: AtomicBool::new(false),
            fresh_ms: AtomicI64::new(i64::MIN),
            low: AtomicU64::new(0),
            end: AtomicU64::new(0),
            open_since_ms: AtomicI64::new(i64::MAX),
            withheld: AtomicU64::new(0),
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
    /// Records that can be read and were not handed out, as far as the broker has said; offsets without a record count too, and those
    /// behind a transaction that has been open for ten seconds. `None` where it has said nothing.
    pub lag_records: Option<u64>,
    /// For how long it is not known that everything was read: since then, or since the newest record that was handed out. 0 where
    /// there is nothing more, and the broker answers; `None` where nothing was handed out.
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

    /// Takes over what the brokers said last, at a wall clock in ms.
    pub(super) fn observe(&self, statistics: &Statistics, now_ms: i64) {
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
            stream.observe_open(u64::try_from(partition.hi_offset - end).unwrap_or(0), now_ms);
            // A connection to who coordinates a group goes by the same number, and is another one.
            let mut brokers = statistics.brokers.values().filter(|broker| broker.source != "logical");
            let is_reached = brokers.any(|broker| broker.nodeid == partition.broker && answers(broker));
            stream.is_reached.store(is_reached, Ordering::Relaxed);
            if stream.is_current() {
                stream.fresh_ms.store(now_ms, Ordering::Relaxed);
            }
        }
    }
}

/// Whether something has come from a broker of late. One that is asked for records answers ten times a second, whether there are any
/// or not.
fn answers(broker: &Broker) -> bool {
    broker.state == "UP" && (0..SILENCE_MAX_US).contains(&broker.rxidle)
}

impl StreamStats {
    /// The broker has answered: whether there is nothing more for now.
    pub(super) fn hear(&self, is_at_end: bool) {
        self.is_at_end.store(is_at_end, Ordering::Relaxed);
        self.is_reached.store(true, Ordering::Relaxed);
        self.allow();
    }

    /// The broker refuses that this user reads it.
    pub(super) fn refuse(&self) {
        if !self.is_refused.swap(true, Ordering::Relaxed) {
            let (topic, partition) = self.place();
            tracing::error!(
                topic,
                partition,
                "this user may not read the topic (Read is missing): nothing of it comes until it may; it is tried again"
            );
        }
    }

    /// This user may read it.
    pub(super) fn allow(&self) {
        if self.is_refused.swap(false, Ordering::Relaxed) {
            let (topic, partition) = self.place();
            tracing::info!(topic, partition, "this user may read the topic again");
        }
    }

    /// Whether what was said last of it holds.
    fn is_known(&self) -> bool {
        self.is_read && self.is_reached.load(Ordering::Relaxed) && !self.is_refused.load(Ordering::Relaxed)
    }

    /// Whether there is nothing more to read, for certain.
    fn is_current(&self) -> bool {
        self.is_known() && self.is_at_end.load(Ordering::Relaxed) && self.withheld.load(Ordering::Relaxed) == 0
    }

    /// So many offsets lie behind the beginning of an open transaction, at a wall clock in ms.
    fn observe_open(&self, offsets: u64, now_ms: i64) {
        let since_ms = match offsets {
            0 => i64::MAX,
            _ => self.open_since_ms.load(Ordering::Relaxed).min(now_ms),
        };
        self.open_since_ms.store(since_ms, Ordering::Relaxed);
        let is_long = since_ms.saturating_add(OPEN_MAX_MS) <= now_ms;
        self.withheld.store(if is_long { offsets } else { 0 }, Ordering::Relaxed);
    }

    fn at(&self, now_ms: i64) -> PartitionProgress {
        let end = self.end.load(Ordering::Relaxed);
        let withheld = self.withheld.load(Ordering::Relaxed);
        let behind = (end + withheld).saturating_sub(self.next.load(Ordering::Relaxed));
        let lag_records = match self.is_current() {
            // Behind the last record there may be offsets without one.
            true => Some(0),
            false => (self.is_read && end > 0).then_some(behind),
        };
        let known_ms = self.passed_ms.load(Ordering::Relaxed).max(self.fresh_ms.load(Ordering::Relaxed));
        let age = || (now_ms.saturating_sub(known_ms)).max(0) as f64 / 1_000.0;
        let lag_seconds = match self.is_known() && lag_records == Some(0) {
            true => Some(0.0),
            false => (known_ms != i64::MIN).then(age),
        };
        PartitionProgress {
            topic: self.topic.clone(),
            partition: self.partition,
            lag_records,
            lag_seconds,
            is_held: self.is_held.load(Ordering::Relaxed),
            is_holding: self.is_holding.load(Ordering::Relaxed),
            tombstones: self.tombstones.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::{Partition, Topic};

    use super::*;

    const NOW_MS: i64 = 1_700_000_000_000;

    /// What a client says of partition 3, which ends at offset 10 and is read from broker 7.
    fn statistics(state: &str, rxidle: i64) -> Statistics {
        let partition =
            Partition { partition: 3, broker: 7, lo_offset: 2, ls_offset: 10, hi_offset: 12, ..Partition::default() };
        let topic = Topic { partitions: [(3, partition)].into(), ..Topic::default() };
        let broker = Broker { nodeid: 7, state: state.into(), source: "learned".into(), rxidle, ..Broker::default() };
        let group = Broker { nodeid: 7, state: "UP".into(), source: "logical".into(), ..Broker::default() };
        let brokers = [("b:1/7".to_owned(), broker), ("GroupCoordinator".to_owned(), group)].into();
        Statistics { topics: [("clicks".to_owned(), topic)].into(), brokers, ..Statistics::default() }
    }

    fn lag(stats: &KafkaStats, now_ms: i64) -> (Option<u64>, Option<f64>) {
        let one = &stats.partitions(now_ms)[0];
        (one.lag_records, one.lag_seconds)
    }

    #[test]
    fn there_is_no_lag_only_where_a_broker_says_so_that_answers() {
        let stats = KafkaStats::default();
        let (topic, topic_id, format) = ("clicks".into(), "A".into(), "event".into());
        let stream = Stream { topic, topic_id, partition: 3, format, first_offset: 2 };
        let one = Arc::new(StreamStats::new(&stream, 4));
        stats.add(Arc::clone(&one));
        assert_eq!(lag(&stats, NOW_MS), (None, None), "nobody has said anything");
        stats.observe(&statistics("UP", 90_000), NOW_MS);
        assert_eq!(lag(&stats, NOW_MS), (Some(6), None));
        one.next.store(9, Ordering::Relaxed);
        one.passed_ms.store(NOW_MS - 60_000, Ordering::Relaxed);
        assert_eq!(lag(&stats, NOW_MS), (Some(1), Some(60.0)));
        // The last offset is a marker of a transaction.
        one.hear(true);
        stats.observe(&statistics("UP", 90_000), NOW_MS);
        assert_eq!(lag(&stats, NOW_MS + 1_000), (Some(0), Some(0.0)));
        for gone in [statistics("DOWN", 90_000), statistics("UP", 20_000_000), statistics("UP", -1)] {
            stats.observe(&gone, NOW_MS + 5_000);
            assert_eq!(lag(&stats, NOW_MS + 5_000), (Some(1), Some(5.0)), "how it stands is known up to then");
            stats.observe(&statistics("UP", 0), NOW_MS);
            assert_eq!(lag(&stats, NOW_MS), (Some(0), Some(0.0)));
        }
        one.refuse();
        stats.observe(&statistics("UP", 0), NOW_MS + 7_000);
        assert_eq!(lag(&stats, NOW_MS + 7_000), (Some(1), Some(7.0)));
        one.allow();
        assert_eq!(lag(&stats, NOW_MS + 8_000), (Some(0), Some(0.0)));
        // Two offsets lie behind the beginning of a transaction that does not end.
        stats.observe(&statistics("UP", 0), NOW_MS + 11_000);
        assert_eq!(lag(&stats, NOW_MS + 11_000), (Some(3), Some(11.0)));
    }
}
