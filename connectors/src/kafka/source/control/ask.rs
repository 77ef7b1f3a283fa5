//! Asking the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::context::Context;
use super::super::native::{TopicDescription, describe};
use super::super::share::Share;
use super::super::{KafkaSourceError, KafkaSourceSettings, KafkaStats};
use super::{Consumer, consumer, context};
use crate::kafka::{Client, KafkaError, Watch};

/// How long one question waits for its answer.
const WAIT: Duration = Duration::from_secs(3);

/// A cluster, through the consumer that reads it.
pub(super) struct Cluster {
    consumer: Arc<Consumer>,
    watch: Watch,
    servers: String,
    stats: Arc<KafkaStats>,
}

impl Cluster {
    pub(super) fn connect(
        client: &Client,
        settings: &KafkaSourceSettings,
        share: Share,
        stats: Arc<KafkaStats>,
    ) -> Result<Cluster, KafkaSourceError> {
        let (context, watch) = context(Arc::clone(&stats));
        let consumer = Arc::new(consumer(client, settings, share, context)?);
        Ok(Cluster { consumer, watch, servers: client.servers().to_owned(), stats })
    }

    /// Serves what the client has to say.
    pub(super) fn poll(&self, wait: Duration) {
        match self.consumer.poll(wait) {
            None | Some(Err(_)) => {}
            Some(Ok(_)) => panic!("a record came that is of no partition's queue; it would be lost"),
        }
    }

    /// The topics of these names that are there.
    pub(super) fn topics(&self, names: &[&str]) -> Result<BTreeMap<String, TopicDescription>, KafkaSourceError> {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.watch.clear();
        describe(self.consumer.client(), &names, WAIT)
            .map_err(|cause| self.failed("topics can not be described", cause))
    }

    /// The first offset of a partition that is still there, and the one behind its last record.
    pub(super) fn offsets(&self, topic: &str, partition: i32) -> Result<(u64, u64), KafkaSourceError> {
        let offsets = self.consumer.fetch_watermarks(topic, partition, WAIT);
        let (low, end) = offsets.map_err(|cause| self.failed_for(topic, partition, "its offsets", cause))?;
        Ok((low.max(0) as u64, end.max(0) as u64))
    }

    /// The offset of the first record whose timestamp is this or later; `None` where there is none.
    pub(super) fn offset_of_time(&self, topic: &str, partition: i32, ms: i64) -> Result<Option<u64>, KafkaSourceError> {
        let action = || format!("{topic}/{partition} can not be asked for the offset of a time");
        let failed = |cause| self.failed_for(topic, partition, "the offset of a time", cause);
        let mut asked = TopicPartitionList::new();
        let added = asked.add_partition_offset(topic, partition, Offset::Offset(ms));
        added.map_err(|cause| KafkaError::call(action(), cause))?;
        let found = self.consumer.offsets_for_times(asked, WAIT).map_err(failed)?;
        let element = found.find_partition(topic, partition);
        let element = element.expect("the answer is about what was asked");
        element.error().map_err(failed)?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some(offset.max(0) as u64),
            _ => None,
        })
    }

    /// A partition's own queue; `ring` is called when something comes into an empty one.
    pub(super) fn queue(
        &self,
        topic: &str,
        partition: i32,
        ring: impl Fn() + Send + Sync + 'static,
    ) -> Result<PartitionQueue<Context>, KafkaSourceError> {
        let queue = self.consumer.split_partition_queue(topic, partition);
        let mut queue = queue.ok_or_else(|| {
            let action = format!("{topic}/{partition} can not be read by itself");
            KafkaError::call(action, Cause::Global(Code::UnknownPartition))
        })?;
        queue.set_nonempty_callback(ring);
        Ok(queue)
    }

    /// Reads these partitions too.
    pub(super) fn assign(&self, assignment: &TopicPartitionList) -> Result<(), KafkaSourceError> {
        if assignment.count() == 0 {
            return Ok(());
        }
        let assigned = self.consumer.incremental_assign(assignment);
        Ok(assigned.map_err(|cause| KafkaError::call("partitions can not be assigned", cause))?)
    }

    /// Reads a partition no further.
    pub(super) fn unassign(&self, topic: &str, partition: i32) -> Result<(), KafkaSourceError> {
        let failed = |cause| KafkaError::call(format!("{topic}/{partition} can not be left"), cause);
        let mut left = TopicPartitionList::new();
        left.add_partition_offset(topic, partition, Offset::Invalid).map_err(failed)?;
        Ok(self.consumer.incremental_unassign(&left).map_err(failed)?)
    }

    pub(super) fn commit(&self, offsets: &TopicPartitionList) {
        if let Err(error) = self.consumer.commit(offsets, CommitMode::Async)
            && self.stats.count_commit_failure()
        {
            tracing::warn!(%error, "the group's offsets can not be committed, so tools that watch its lag see none");
        }
    }

    /// Why a call failed. What waiting does not heal is told apart, and what is sure to pass.
    fn failed(&self, action: &str, cause: Cause) -> KafkaSourceError {
        // Errors of connections wait in the queue of events, and the watch hears of them there.
        self.poll(Duration::ZERO);
        match is_no_answer(&cause) {
            true => self.watch.unreachable(&self.servers).into(),
            false => KafkaError::call(action, cause).into(),
        }
    }

    /// Why a partition's leader did not say `what`. Other brokers may answer all the same.
    fn failed_for(&self, topic: &str, partition: i32, what: &str, cause: Cause) -> KafkaSourceError {
        self.poll(Duration::ZERO);
        if let Some(refusal) = self.watch.refusal(&self.servers) {
            return refusal.into();
        }
        match is_no_answer(&cause) {
            true => {
                let why = format!("no broker says {what} within {} s", WAIT.as_secs());
                KafkaError::NoAnswer { topic: topic.to_owned(), partition, why }.into()
            }
            false => KafkaError::call(format!("{topic}/{partition} can not be asked for {what}"), cause).into(),
        }
    }
}

fn is_no_answer(cause: &Cause) -> bool {
    matches!(
        cause.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::AllBrokersDown
                | Code::Resolve
                | Code::UnknownPartition
                | Code::WaitingForCoordinator
                // Its leader is on its way: it has the topic, or the partition, or its end, in a moment.
                | Code::FencedLeaderEpoch
                | Code::KafkaStorageError
                | Code::OffsetNotAvailable
                | Code::UnknownLeaderEpoch
                | Code::UnknownTopicOrPartition
        )
    )
}
