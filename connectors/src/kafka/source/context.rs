//! What the source's client says by itself.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as Cause, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::stats::KafkaStats;
use crate::kafka::Watch;

/// Passes lines and errors on, and keeps count.
pub(super) struct Context {
    pub(super) watch: Watch,
    pub(super) stats: Arc<KafkaStats>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats(&self, statistics: Statistics) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.stats.observe(&statistics, now.map_or(0, |since| since.as_millis() as i64));
    }

    fn error(&self, error: Cause, reason: &str) {
        // That a partition has come to its end is an event like any other.
        if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
            return;
        }
        self.stats.count_broker_error();
        self.watch.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result
            && self.stats.count_commit_failure()
        {
            tracing::warn!(
                %error,
                "the group's offsets could not be committed, so tools that watch its lag see none; nothing else needs them, and \
                 this is said once"
            );
        }
    }
}
