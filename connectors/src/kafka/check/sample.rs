//! Some records of a topic, read to see that they can be read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client::{Client, creation};
use crate::kafka::connection::{Connection, Topic};
use crate::kafka::error::KafkaError;
use crate::kafka::source::format::CONTENT_TYPE;
use crate::kafka::source::{TopicFormat, is_unreadable, native};
use crate::kafka::watch::Watch;

/// Offsets looked at of each partition, from its end.
const LAST: i64 = 10;
/// Partitions looked at.
const PARTITIONS_MAX: usize = 32;
/// The group that lag tools would see, if anything were committed.
const GROUP: &str = "recount";

/// What was read.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) offsets: Option<u64>,
    pub(super) records: usize,
    pub(super) broken: usize,
    pub(super) first_problem: Option<String>,
    /// Why the topic can not be read.
    pub(super) refusal: Option<String>,
}

/// Reads the last few records of every partition, up to some partitions.
pub(super) fn sample(
    client: &Client,
    connection: &Connection,
    topic: &Topic,
    format: TopicFormat,
    wait: Duration,
) -> Result<Sample, KafkaError> {
    let mut sample = Sample::default();
    let mut list = TopicPartitionList::new();
    let mut open = BTreeSet::new();
    for partition in topic.partitions.iter().filter(|partition| partition.leader.is_some()) {
        let (low, high) = match connection.offsets(&topic.name, partition.number, wait) {
            Ok(offsets) => offsets,
            Err(error) => {
                sample.refusal = Some(error.to_string());
                return Ok(sample);
            }
        };
        *sample.offsets.get_or_insert_default() += (high - low).max(0) as u64;
        if low < high && open.len() < PARTITIONS_MAX {
            let from = Offset::Offset(low.max(high - LAST));
            let added = list.add_partition_offset(&topic.name, partition.number, from);
            added.map_err(|cause| KafkaError::call("a partition can not be assigned", cause))?;
            open.insert(partition.number);
        }
    }
    let consumer: BaseConsumer<Watch> =
        client.consumer_config(GROUP).create_with_context(Watch::default()).map_err(creation)?;
    consumer.assign(&list).map_err(|cause| KafkaError::call("partitions can not be assigned", cause))?;
    let deadline = Instant::now() + wait;
    while !open.is_empty() && sample.refusal.is_none() {
        if Instant::now() >= deadline {
            sample.refusal = Some(format!("no record came within {} s", wait.as_secs_f32()));
        }
        sample.take(&consumer, &mut open, format);
    }
    Ok(sample)
}

impl Sample {
    fn take(&mut self, consumer: &BaseConsumer<Watch>, open: &mut BTreeSet<i32>, format: TopicFormat) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                // A null value says that a key is gone, and is no record.
                let Some(payload) = message.payload() else { return };
                self.records += 1;
                if let Err(violation) = format.check(payload, native::header(&message, CONTENT_TYPE)) {
                    self.broken += 1;
                    let place = format!("{}/{}@{}", message.topic(), message.partition(), message.offset());
                    self.first_problem.get_or_insert_with(|| format!("{place}: {}", violation.detail));
                }
            }
            Some(Err(Cause::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_refusal) => {
                self.refusal = Some(format!("the topic can not be read: {cause}"));
            }
            // A connection that is lost is made again by itself.
            Some(Err(_)) | None => {}
        }
    }
}

fn is_refusal(code: Code) -> bool {
    matches!(code, Code::TopicAuthorizationFailed | Code::OffsetOutOfRange | Code::UnknownTopicOrPartition)
        || is_unreadable(code)
}
