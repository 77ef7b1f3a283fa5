//! How far Kafka was read: labels are the topics and partitions that are, and as many as there are streams.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use recount_connectors::kafka::source::{KafkaStats, PartitionProgress};

use super::write::{Label, Writer};
use crate::clock::wall_ms;
use crate::store::KafkaWatch;

/// Reads the numbers when it is asked.
pub(crate) struct KafkaCollector {
    stats: Arc<KafkaStats>,
}

impl KafkaCollector {
    pub(crate) fn new(watch: &KafkaWatch) -> Self {
        KafkaCollector { stats: watch.clone() }
    }
}

impl fmt::Debug for KafkaCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCollector").finish_non_exhaustive()
    }
}

impl Collector for KafkaCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        let partitions = self.stats.partitions(wall_ms());
        let numbers: Vec<String> = partitions.iter().map(|one| one.partition.to_string()).collect();
        let named: Vec<([Label<'_>; 2], &PartitionProgress)> = (partitions.iter().zip(&numbers))
            .map(|(one, number)| ([("topic", one.topic.as_str()), ("partition", number.as_str())], one))
            .collect();
        let each = |of: fn(&PartitionProgress) -> u64| named.iter().map(move |(labels, one)| (*labels, of(one)));
        let help = "Offsets of a partition that can be read and were not, as the broker said last";
        let lags = named.iter().filter_map(|(labels, one)| Some((*labels, one.lag_records?)));
        writer.gauges("kafka_lag_records", help, lags)?;
        let help =
            "For how long it is not known that all of a partition was read; 0 at its end, while its broker answers";
        let ages = named.iter().filter_map(|(labels, one)| Some((*labels, one.lag_seconds?)));
        writer.seconds("kafka_lag", help, ages)?;
        let help = "The partition that holds freshness back, by for how long it is not known that all of it was read";
        let slowest = named.iter().filter(|(_, one)| one.lag_seconds != Some(0.0));
        let age = |one: &PartitionProgress| one.lag_seconds.unwrap_or(f64::INFINITY);
        let slowest = slowest.max_by(|(_, a), (_, b)| age(a).total_cmp(&age(b)));
        writer.seconds("kafka_slowest_partition", help, slowest.map(|(labels, one)| (*labels, age(one))))?;
        let help = "Whether a partition waits, so as not to run too far ahead of another";
        writer.gauges("kafka_held_partitions", help, each(|one| one.is_held.into()))?;
        let help =
            "Whether the others wait for a partition: of this one nothing comes, and they are too far ahead of it";
        writer.gauges("kafka_holding_partitions", help, each(|one| one.is_holding.into()))?;
        let help = "Records without a value; they are no records here";
        writer.counters("kafka_tombstones", help, each(|one| one.tombstones))?;
        writer.counter("kafka_broker_errors", "Errors of connections to brokers", self.stats.broker_errors())?;
        let help = "Offsets of the group that could not be committed, for lag tools";
        writer.counter("kafka_commit_failures", help, self.stats.commit_failures())
    }
}
