//! Single records again, by their coordinates: for explanations, and for dead letters.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use recount_dataflow::domain::validate::{RECORD_BYTES_KEPT, RECORD_BYTES_MAX};

use super::format::{CONTENT_TYPE, RecordFormat, TopicFormat, of_content_type};
use super::native::header;
use super::shared::{Known, Shared};
use crate::kafka::{Client, Watch};
use crate::raw_store::{FindRecord, RawError, RawRecord, RawStore};

/// How long to look for a record.
const WAIT: Duration = Duration::from_secs(5);

/// Finds records of the streams of a source.
pub(super) fn raw_store(client: Client, group: String, shared: Arc<Shared>) -> RawStore {
    RawStore::new(Arc::new(Lookup { client, group, shared, consumer: Mutex::new(None) }))
}

struct Lookup {
    client: Client,
    group: String,
    shared: Arc<Shared>,
    /// Made when it is needed first. One look-up at a time.
    consumer: Mutex<Option<BaseConsumer<Watch>>>,
}

impl FindRecord for Lookup {
    fn find(&self, stream: u16, offset: u64) -> Result<RawRecord, RawError> {
        let known = self.shared.known(stream).ok_or(RawError::UnknownStream { stream })?;
        if known.end.is_some() {
            // What is at its offsets now, if anything, are other records.
            return Err(RawError::NotInTopic { place: place(&known), offset });
        }
        let failed = |what: String| RawError::Kafka { place: place(&known), offset, what };
        let mut consumer = self.consumer.lock().expect("nothing panics while it holds the consumer of look-ups");
        if consumer.is_none() {
            *consumer = Some(self.connect().map_err(|cause| failed(cause.to_string()))?);
        }
        let consumer = consumer.as_ref().expect("it was just made");
        let mut assignment = TopicPartitionList::new();
        let (topic, partition) = (&known.stream.topic, known.stream.partition);
        let added = assignment.add_partition_offset(topic, partition, Offset::Offset(offset as i64));
        let assigned = added.and_then(|()| consumer.assign(&assignment));
        assigned.map_err(|cause| failed(cause.to_string()))?;
        let found = wait_for(consumer, &known, offset);
        // Nothing is fetched ahead.
        if let Err(cause) = consumer.unassign() {
            tracing::debug!(%cause, "the consumer of look-ups keeps its partition");
        }
        found
    }
}

impl Lookup {
    fn connect(&self) -> Result<BaseConsumer<Watch>, Cause> {
        let mut config = self.client.consumer_config(&self.group);
        // One record is asked for.
        config
            .set("fetch.max.bytes", "1048576")
            .set("message.max.bytes", "1048576")
            .set("max.partition.fetch.bytes", "65536");
        config.set("queued.min.messages", "1").set("fetch.wait.max.ms", "50");
        config.create_with_context(Watch::default())
    }
}

fn place(known: &Known) -> String {
    format!("{}/{}", known.stream.topic, known.stream.partition)
}

fn wait_for(consumer: &BaseConsumer<Watch>, known: &Known, offset: u64) -> Result<RawRecord, RawError> {
    let gone = || RawError::NotInTopic { place: place(known), offset };
    let failed = |what: String| RawError::Kafka { place: place(known), offset, what };
    let deadline = Instant::now() + WAIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(format!("no answer within {} s", WAIT.as_secs())));
        }
        match consumer.poll(left) {
            None => {}
            // What is left of the look-up before.
            Some(Ok(message))
                if message.topic() != known.stream.topic || message.partition() != known.stream.partition => {}
            Some(Ok(message)) if message.offset() < offset as i64 => {}
            Some(Ok(message)) if message.offset() > offset as i64 => return Err(gone()),
            Some(Ok(message)) => return read(known, &message).ok_or_else(gone),
            Some(Err(Cause::PartitionEOF(partition))) if partition == known.stream.partition => return Err(gone()),
            Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_gone) => return Err(gone()),
            // It is tried again until the deadline.
            Some(Err(_)) => {}
        }
    }
}

/// Whether an error says that there is nothing to read there.
pub(in crate::kafka) fn is_gone(code: Code) -> bool {
    use Code::{AutoOffsetReset, OffsetOutOfRange, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    matches!(code, AutoOffsetReset | OffsetOutOfRange | UnknownTopicOrPartition | UnknownTopic | UnknownPartition)
}

fn read(known: &Known, message: &BorrowedMessage<'_>) -> Option<RawRecord> {
    let payload = message.payload()?;
    let kept = if RECORD_BYTES_MAX < payload.len() { &payload[..RECORD_BYTES_KEPT] } else { payload };
    let format: TopicFormat = known.stream.format.parse().ok()?;
    let format = format.fixed().or_else(|| of_content_type(header(message, CONTENT_TYPE)).ok());
    let (format, bytes) = format.unwrap_or(RecordFormat::Event).as_event(kept.to_vec());
    Some(RawRecord { format, bytes })
}
