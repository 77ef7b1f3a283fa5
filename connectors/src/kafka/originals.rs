//! Records as they came, with key, headers and time, read again by their coordinates: for dead letters.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, creation};
use super::error::KafkaError;
use super::source::{is_gone, native};
use super::watch::Watch;

/// The group that they are read as; it commits nothing.
const GROUP: &str = "recount-dead-letters";
/// How long one look waits.
const STEP: Duration = Duration::from_millis(100);
/// How long to look for a record.
const WAIT: Duration = Duration::from_secs(15);
/// How many offsets are read over rather than begun anew behind them.
const OVER_MAX: u64 = 1_000;

/// A record as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order; bytes of a name that are no UTF-8 are replaced.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it arrived, ms since 1970 UTC.
    pub timestamp_ms: Option<i64>,
}

/// Finds records by topic, partition and offset. It is made for many that follow each other in a partition.
pub struct Originals {
    client: Client,
    /// Made when it is needed first.
    consumer: Option<BaseConsumer<Watch>>,
    reading: Option<Reading>,
}

/// What is being read.
struct Reading {
    topic: String,
    partition: i32,
    /// The next offset that may come.
    next: u64,
    /// What came in place of a record that was looked for.
    ahead: Option<(u64, Original)>,
}

impl Originals {
    /// Nothing is connected yet.
    pub fn new(client: Client) -> Self {
        Originals { client, consumer: None, reading: None }
    }

    /// The record at an offset; `None` where the topic holds none there any more, and where `is_over` says to break off.
    ///
    /// # Errors
    /// Where Kafka does not answer, or refuses.
    pub fn find(
        &mut self,
        topic: &str,
        partition: i32,
        offset: u64,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Option<Original>, KafkaError> {
        let mut is_new = !self.reads_towards(topic, partition, offset);
        loop {
            if is_new {
                self.begin(topic, partition, offset)?;
            }
            match self.look(offset, is_over) {
                Ok(Look::Found(original)) => return Ok(Some(original)),
                Ok(Look::Missing) => return Ok(None),
                // Of what was being read before, an end or an error may be older than the record.
                Ok(Look::End) if !is_new => is_new = true,
                Ok(Look::End) => {
                    self.reading = None;
                    return Ok(None);
                }
                Err(error) => {
                    self.reading = None;
                    return Err(error);
                }
            }
        }
    }

    fn reads_towards(&self, topic: &str, partition: i32, offset: u64) -> bool {
        self.reading.as_ref().is_some_and(|reading| {
            let from = reading.ahead.as_ref().map_or(reading.next, |(ahead, _)| *ahead);
            reading.topic == topic
                && reading.partition == partition
                && reading.next <= offset
                && offset.saturating_sub(from) <= OVER_MAX
        })
    }

    fn begin(&mut self, topic: &str, partition: i32, offset: u64) -> Result<(), KafkaError> {
        let failed = |cause| KafkaError::call(format!("{topic}/{partition} can not be read at offset {offset}"), cause);
        self.reading = None;
        if self.consumer.is_none() {
            let mut config = self.client.consumer_config(GROUP);
            config.set("queued.min.messages", "1000").set("queued.max.messages.kbytes", "8192");
            config.set("fetch.wait.max.ms", "100");
            self.consumer = Some(config.create_with_context(Watch::default()).map_err(creation)?);
        }
        let consumer = self.consumer.as_ref().expect("it was just made");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset as i64)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        self.reading = Some(Reading { topic: topic.to_owned(), partition, next: offset, ahead: None });
        Ok(())
    }

    /// Reads on to a record.
    fn look(&mut self, offset: u64, is_over: &dyn Fn() -> bool) -> Result<Look, KafkaError> {
        let Originals { consumer: Some(consumer), reading: Some(reading), .. } = self else { return Ok(Look::End) };
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some((at, original)) = reading.ahead.take_if(|(at, _)| *at <= offset)
                && at == offset
            {
                return Ok(Look::Found(original));
            }
            if reading.ahead.is_some() || is_over() {
                return Ok(Look::Missing);
            }
            if deadline < Instant::now() {
                let place = format!("{}/{}", reading.topic, reading.partition);
                let cause = Cause::MessageConsumption(Code::OperationTimedOut);
                return Err(KafkaError::call(format!("{place} can not be read at offset {offset}"), cause));
            }
            match consumer.poll(STEP) {
                Some(Ok(message)) if message.topic() == reading.topic && message.partition() == reading.partition => {
                    let at = message.offset() as u64;
                    reading.next = offset.min(at) + 1;
                    if offset <= at {
                        reading.ahead = Some((at, original(&message)));
                    }
                }
                Some(Err(Cause::PartitionEOF(_))) => return Ok(Look::End),
                Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_gone) => return Ok(Look::End),
                // Others are tried again until the deadline.
                Some(Ok(_) | Err(_)) | None => {}
            }
        }
    }
}

/// What a look came to.
enum Look {
    Found(Original),
    /// A later record came in its place.
    Missing,
    /// There is nothing more to read.
    End,
}

fn original(message: &BorrowedMessage<'_>) -> Original {
    Original {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: native::headers(message),
        timestamp_ms: message.timestamp().to_millis(),
    }
}
