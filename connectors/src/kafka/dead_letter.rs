//! Dead letters: records that could not be counted, as they came, with where they came from and why they could not.
//!
//! They are written as Kafka Connect writes them: original key, value, headers and timestamp, and beside the original headers those
//! that begin with `__connect.errors.`; so tools that know Connect's dead letters know ours.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as Cause;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, creation};
use super::error::KafkaError;
use super::outbox::{Outbox, Sent};
use super::source::native;
use super::watch::Watch;

/// What the names of the added headers begin with.
const PREFIX: &str = "__connect.errors.";
/// The name of the connector, as Connect has it.
const CONNECTOR: &str = "recount";
/// Where the record failed: Recount reads and judges it in one.
const STAGE: &str = "VALUE_CONVERTER";
/// The headers that say what is missing.
const VALUE_BYTES: &str = "value.bytes";
const MISSING: &str = "missing";
/// The header that says the time of a record, ms since 1970, where the topic of dead letters does not take it.
pub const TIME_HEADER: &str = "__connect.errors.timestamp";
const TIMESTAMP: &str = "timestamp";
/// The group that reads dead letters; it commits nothing.
const GROUP: &str = "recount-dead-letters";

/// Where a record was read, and why it could not be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The topic that it was read from.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The stable reason, for example `click_id_missing`.
    pub reason: String,
    /// What was found and what is asked for.
    pub detail: String,
}

/// A record as it came, with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// `None` where the message does not say, since somebody else wrote it.
    pub origin: Option<Origin>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its own headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// When it arrived first, ms since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// How many bytes its value had, where this is only the beginning.
    pub cut_from_bytes: Option<u64>,
    /// Where it lies: partition and offset of the topic of dead letters.
    pub place: (i32, i64),
}

impl Origin {
    /// The headers that say so, in Connect's order.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let partition = self.partition.to_string();
        let offset = self.offset.to_string();
        let headers = [
            ("topic", self.topic.as_str()),
            ("partition", &partition),
            ("offset", &offset),
            ("connector.name", CONNECTOR),
            ("stage", STAGE),
            ("exception.class.name", &self.reason),
            ("exception.message", &self.detail),
        ];
        headers.map(|(name, value)| (format!("{PREFIX}{name}"), Some(value.as_bytes().to_vec()))).into()
    }

    /// What headers say of it; `None` where they do not.
    fn of(headers: &[(String, Option<Vec<u8>>)]) -> Option<Self> {
        let text = |name: &str| text_of(headers, name);
        Some(Origin {
            topic: text("topic")?,
            partition: text("partition")?.parse().ok()?,
            offset: text("offset")?.parse().ok()?,
            reason: text("exception.class.name").unwrap_or_default(),
            detail: text("exception.message").unwrap_or_default(),
        })
    }
}

/// The last header of this name behind the prefix, as text.
fn text_of(headers: &[(String, Option<Vec<u8>>)], name: &str) -> Option<String> {
    let found = headers.iter().rfind(|(header, _)| header.strip_prefix(PREFIX) == Some(name))?;
    Some(String::from_utf8_lossy(found.1.as_deref()?).into_owned())
}

/// What a dead letter has not of the record that it stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many bytes the value had, where only its beginning is there.
    pub value_bytes: Option<u64>,
    /// Whether key and headers are not there, though the record may have had some.
    pub key_and_headers: bool,
}

impl Missing {
    /// The headers that say so; none where nothing is missing.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let value = self.value_bytes.map(|bytes| (VALUE_BYTES, bytes.to_string()));
        let rest = self.key_and_headers.then(|| (MISSING, "key, headers".to_owned()));
        let named = |(name, text): (&str, String)| (format!("{PREFIX}{name}"), Some(text.into_bytes()));
        [value, rest].into_iter().flatten().map(named).collect()
    }
}

impl DeadLetter {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let mut headers = native::headers(message);
        let origin = Origin::of(&headers);
        let cut_from_bytes = text_of(&headers, VALUE_BYTES).and_then(|bytes| bytes.parse().ok());
        let said_ms = text_of(&headers, TIMESTAMP).and_then(|ms| ms.parse().ok());
        headers.retain(|(name, _)| !name.starts_with(PREFIX));
        DeadLetter {
            origin,
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            timestamp_ms: said_ms.or(message.timestamp().to_millis()),
            cut_from_bytes,
            place: (message.partition(), message.offset()),
        }
    }
}

/// Reads the dead letters of a topic, partition by partition, from the first to the end as it is now. `visit` says whether to go on.
///
/// # Errors
/// Where the topic is not there, or can not be read within `wait` without anything coming.
pub fn read_dead_letters(
    client: &Client,
    topic: &str,
    wait: Duration,
    mut visit: impl FnMut(DeadLetter) -> Result<bool, KafkaError>,
) -> Result<(), KafkaError> {
    let connection = client.connect()?;
    let described = connection.topic(topic, wait)?;
    let consumer: BaseConsumer<Watch> =
        client.consumer_config(GROUP).create_with_context(Watch::default()).map_err(creation)?;
    // All ends first: what is sent again may break again, and come to the end of another partition.
    let offsets = described.partitions.iter().map(|partition| {
        let (low, high) = connection.offsets(topic, partition.number, wait)?;
        Ok((partition.number, low, high))
    });
    let offsets: Vec<(i32, i64, i64)> = offsets.collect::<Result<_, KafkaError>>()?;
    for (partition, low, high) in offsets.into_iter().filter(|(_, low, high)| low < high) {
        let mut list = TopicPartitionList::new();
        let added = list.add_partition_offset(topic, partition, Offset::Offset(low));
        let assigned = added.and_then(|()| consumer.assign(&list));
        assigned.map_err(|cause| KafkaError::call(format!("{topic} can not be assigned"), cause))?;
        let mut quiet_since = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.partition() != partition => {}
                Some(Ok(message)) if message.offset() >= high => break,
                Some(Ok(message)) => {
                    quiet_since = Instant::now();
                    if !visit(DeadLetter::of(&message))? {
                        return Ok(());
                    }
                    if message.offset() + 1 == high {
                        break;
                    }
                }
                // What committed readers may see ends here, though an open transaction may go on.
                Some(Err(Cause::PartitionEOF(number))) if number == partition => break,
                Some(Err(cause)) if quiet_since.elapsed() > wait => {
                    return Err(KafkaError::call(format!("{topic} can not be read"), cause));
                }
                // A connection that is lost is made again by itself.
                Some(Err(_)) => {}
                None if quiet_since.elapsed() > wait => {
                    let cause = Cause::MessageConsumption(rdkafka::types::RDKafkaErrorCode::OperationTimedOut);
                    return Err(KafkaError::call(format!("{topic} can not be read"), cause));
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Sends records to topics again, as they came: key, value and headers; their time is that of sending.
pub struct Replayer {
    outbox: Outbox,
}

/// What became of the records that were sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records that the cluster has.
    pub delivered: u64,
    /// Records that may not have arrived, by what went wrong.
    pub failed: BTreeMap<String, u64>,
}

impl Replayer {
    /// Ready to send.
    ///
    /// # Errors
    /// Where librdkafka refuses the settings.
    pub fn open(client: &Client) -> Result<Self, KafkaError> {
        let mut config = client.producer_config();
        if config.get("message.max.bytes").is_none() {
            // Whether a large message is taken is for the broker to say; a batch it refuses as a whole.
            config.set("message.max.bytes", "4000000").set("batch.num.messages", "1");
        }
        Ok(Replayer { outbox: Outbox::open(&config)? })
    }

    /// Sends a dead letter to a topic: to the partition that it came from, or to any where that is `None`.
    ///
    /// # Errors
    /// Where the producer is broken, and takes no messages any more.
    pub fn send(&mut self, topic: &str, partition: Option<i32>, letter: &DeadLetter) -> Result<(), KafkaError> {
        let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        message.partition = partition;
        message.key = letter.key.as_deref();
        message.payload = letter.value.as_deref();
        if !letter.headers.is_empty() {
            message.headers = Some(owned(&letter.headers));
        }
        self.outbox.push(message)
    }

    /// Waits until every record was delivered or has failed.
    pub fn finish(self) -> Replayed {
        let Sent { delivered, failed, .. } = self.outbox.finish(|| {});
        Replayed { delivered, failed }
    }
}

fn owned(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    let all = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(all, |all, (key, value)| all.insert(Header { key, value: value.as_deref() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_back_from_its_headers() {
        let origin = Origin {
            topic: "clicks".into(),
            partition: 3,
            offset: 1 << 40,
            reason: "click_id_missing".into(),
            detail: "expected a click_id, found none".into(),
        };
        let mut headers = vec![("content-type".to_owned(), Some(b"x".to_vec()))];
        headers.extend(origin.headers());
        assert_eq!(headers[1], ("__connect.errors.topic".to_owned(), Some(b"clicks".to_vec())));
        assert_eq!(Origin::of(&headers), Some(origin));
        assert_eq!(Origin::of(&headers[..3]), None, "somebody else's message has no origin");
        assert_eq!(TIME_HEADER, format!("{PREFIX}{TIMESTAMP}"));
    }
}
