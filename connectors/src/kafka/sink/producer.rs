//! One producer, from `init_transactions` to the first outcome that is not known.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::batch::Shared;
use super::context::{Context, Refused, opaque};
use super::progress::{PARTITION, Progress};
use super::refused::{advice, is_final, is_of_time};
use super::{Batch, Cancel, Delivery, PublisherSettings, SinkError};
use crate::kafka::KafkaError;
use crate::kafka::client::creation;
use crate::kafka::properties::set_default;

/// How long one call waits before it is looked whether to go on.
const STEP: Duration = Duration::from_millis(200);
/// How long a new producer waits for its turn before another one is made.
const INIT_WAIT: Duration = Duration::from_secs(10);
/// The most that librdkafka takes, and what it puts into a batch by itself.
const MESSAGE_MAX_BYTES: usize = 1_000_000_000;
const BATCH_SIZE: usize = 1_000_000;
/// How long to wait between two looks whether all has arrived.
const FLUSH_PAUSE: Duration = Duration::from_millis(3);
/// How long to wait where the producer's queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// Why a batch did not arrive, by what is to be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The transaction is to be aborted, and sent again.
    Abort(String),
    /// What became of it is not known, or this producer is of no use any more: another one is to be made, and what is committed read.
    Unknown(String),
    /// Another producer has taken over.
    Fenced(String),
    /// Kafka refuses, and waiting does not help.
    Refused(KafkaError),
    /// Kafka refuses a message, and would refuse it again.
    Message(Refusal),
    /// Nobody waits any more.
    Cancelled,
}

/// A message that Kafka does not take.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) why: String,
    /// What a person can do.
    pub(super) advice: &'static str,
    /// The times of the messages, where those may be to blame; ms since 1970.
    pub(super) times_ms: BTreeSet<i64>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Abort(why) | Failure::Unknown(why) | Failure::Fenced(why) => f.write_str(why),
            Failure::Message(Refusal { why, .. }) => f.write_str(why),
            Failure::Refused(why) => why.fmt(f),
            Failure::Cancelled => SinkError::Cancelled.fmt(f),
        }
    }
}

/// A message that its time goes with.
type Record<'a> = BaseRecord<'a, [u8], [u8], usize>;

/// A producer of one sink.
pub(super) struct Producer {
    producer: ThreadedProducer<Context>,
    topics: Vec<String>,
    progress_topic: String,
    key: String,
    outcome_wait: Duration,
    cancel: Cancel,
}

impl Producer {
    /// Makes the producer. With transactions, all former producers of the sink are fenced from here on, and what they left open is
    /// taken back. `message_bytes_max` is what a message of each topic may have.
    pub(super) fn open(
        settings: &PublisherSettings,
        message_bytes_max: &[usize],
        cancel: Cancel,
    ) -> Result<Producer, Failure> {
        let PublisherSettings { client, identity, topics, progress_topic, delivery, transaction_timeout, .. } =
            settings;
        let mut config = match delivery {
            Delivery::ExactlyOnce => client.transactional_config(&identity.transactional_id()),
            Delivery::AtLeastOnce => client.producer_config(),
        };
        let timeout_ms = transaction_timeout.as_millis().to_string();
        if *delivery == Delivery::ExactlyOnce {
            config.set("transaction.timeout.ms", &timeout_ms);
        }
        // What has arrived costs nothing more then; `flush` waits for it all the same.
        config.set("delivery.report.only.error", "true");
        // What Java's clients choose, so that a key is where they look for it.
        let defaults =
            [("partitioner", "murmur2_random"), ("compression.type", "lz4"), ("message.timeout.ms", &timeout_ms)];
        defaults.into_iter().for_each(|(name, value)| set_default(&mut config, name, value));
        if topics.iter().any(|topic| topic.message_bytes_max.is_some()) {
            set_sizes(&mut config, message_bytes_max);
        }
        let producer = config.create_with_context(Context::default());
        let producer = producer.map_err(|cause| Failure::Refused(creation(cause)))?;
        let topics = topics.iter().map(|topic| topic.name.clone()).collect();
        let (progress_topic, key) = (progress_topic.clone(), identity.key());
        let open = Producer { producer, topics, progress_topic, key, outcome_wait: settings.outcome_wait, cancel };
        if *delivery == Delivery::ExactlyOnce {
            open.init()?;
        }
        Ok(open)
    }

    fn init(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + INIT_WAIT;
        loop {
            match self.producer.init_transactions(STEP) {
                Ok(()) => return Ok(()),
                Err(Cause::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => self.check()?,
                Err(cause) => return Err(self.classify(cause)),
            }
        }
    }

    /// Publishes a batch and the progress behind it as one transaction. What has one of the times `moved_ms`, and a header for it,
    /// gets the time of sending.
    pub(super) fn transact(
        &self,
        batch: &Batch,
        progress: Option<&Progress>,
        moved_ms: &BTreeSet<i64>,
    ) -> Result<(), Failure> {
        self.producer.begin_transaction().map_err(|cause| self.classify(cause))?;
        self.send_all(batch, moved_ms)?;
        if let Some(progress) = progress {
            self.send_progress(progress)?;
        }
        self.flush()?;
        self.producer.commit_transaction(self.outcome_wait).map_err(|cause| self.classify(cause))
    }

    /// Takes the open transaction back.
    pub(super) fn abort(&self) -> Result<(), Failure> {
        self.producer.abort_transaction(self.outcome_wait).map_err(|cause| match self.classify(cause) {
            // An abort that has to be aborted will not end.
            Failure::Abort(why) => Failure::Unknown(why),
            other => other,
        })
    }

    /// Publishes a batch, and where all of it has arrived the progress behind it; `moved_ms` as in [`transact`](Producer::transact).
    pub(super) fn deliver(
        &self,
        batch: &Batch,
        progress: Option<&Progress>,
        moved_ms: &BTreeSet<i64>,
    ) -> Result<(), Failure> {
        self.send_all(batch, moved_ms)?;
        self.arrive()?;
        if let Some(progress) = progress {
            self.send_progress(progress)?;
            self.arrive()?;
        }
        Ok(())
    }

    /// Why some message of the last batch can never arrive as it is; to be asked where it did not.
    pub(super) fn refused(&self) -> Option<Failure> {
        let Refused { code, times_ms } = self.producer.context().take_refused()?;
        let cause = Cause::MessageProduction(code);
        let mut failure = self.refusal(code, cause.to_string(), cause);
        if let Failure::Message(refusal) = &mut failure {
            refusal.times_ms = if is_of_time(code) { times_ms } else { BTreeSet::new() };
        }
        Some(failure)
    }

    fn arrive(&self) -> Result<(), Failure> {
        self.flush()?;
        let failed = self.producer.context().take().failed;
        let Some((code, _)) = failed.last() else { return Ok(()) };
        let messages: u64 = failed.iter().map(|(_, messages)| messages).sum();
        Err(match self.classify(Cause::MessageProduction(*code)) {
            Failure::Abort(why) => Failure::Abort(format!("{messages} messages did not arrive: {why}")),
            other => other,
        })
    }

    fn send_all(&self, batch: &Batch, moved_ms: &BTreeSet<i64>) -> Result<(), Failure> {
        for (Shared { topic, timestamp_ms, time_header, headers }, messages) in batch.parts() {
            let mut all = OwnedHeaders::new_with_capacity(headers.len() + 1);
            for (key, value) in headers {
                all = all.insert(Header { key, value: value.as_deref() });
            }
            let mut timestamp_ms = *timestamp_ms;
            if let Some(key) = time_header
                && let Some(ms) = timestamp_ms.take_if(|ms| moved_ms.contains(ms))
            {
                all = all.insert(Header { key, value: Some(&ms.to_string()) });
            }
            for message in messages {
                let (topic, opaque) = (&self.topics[*topic], opaque(timestamp_ms));
                let mut record: Record<'_> = BaseRecord::with_opaque_to(topic, opaque);
                (record.key, record.payload, record.timestamp) = (message.key, message.value, timestamp_ms);
                self.send(record.headers(all.clone()))?;
            }
        }
        Ok(())
    }

    fn send_progress(&self, progress: &Progress) -> Result<(), Failure> {
        let value = progress.encode();
        let record = BaseRecord::with_opaque_to(&self.progress_topic, opaque(None))
            .partition(PARTITION)
            .key(self.key.as_bytes());
        self.send(record.payload(&value[..]))
    }

    /// Hands one message over; where the queue is full it waits for room.
    fn send(&self, mut record: Record<'_>) -> Result<(), Failure> {
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Cause::MessageProduction(Code::QueueFull), record)) => record,
                Err((cause, _)) => return Err(self.classify(cause)),
            };
            self.check()?;
            thread::sleep(QUEUE_PAUSE);
        }
    }

    /// Waits until every message has arrived, or is known not to.
    fn flush(&self) -> Result<(), Failure> {
        loop {
            // It returns at once: where it may wait it looks only every 100 ms.
            match self.producer.flush(Duration::ZERO) {
                Ok(()) => return Ok(()),
                Err(Cause::Flush(Code::OperationTimedOut)) => self.check()?,
                Err(cause) => return Err(self.classify(cause)),
            }
            thread::sleep(FLUSH_PAUSE);
        }
    }

    fn check(&self) -> Result<(), Failure> {
        match (self.cancel)() {
            true => Err(Failure::Cancelled),
            false => Ok(()),
        }
    }

    /// What an error asks for. Nothing is assumed of an outcome that is not known for certain.
    fn classify(&self, cause: Cause) -> Failure {
        let (code, why) = match self.producer.client().fatal_error() {
            Some((code, why)) => (Some(code), why),
            None => (cause.rdkafka_error_code(), cause.to_string()),
        };
        match (code, cause) {
            (Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch), _) => Failure::Fenced(why),
            (Some(code), cause) if is_final(code) => self.refusal(code, why, cause),
            (_, Cause::Transaction(error)) if error.txn_requires_abort() => Failure::Abort(why),
            (_, Cause::MessageProduction(_)) if self.producer.client().fatal_error().is_none() => Failure::Abort(why),
            _ => Failure::Unknown(why),
        }
    }

    /// What is said of a code that sending again does not change.
    fn refusal(&self, code: Code, why: String, cause: Cause) -> Failure {
        let action = || format!("{} can not be written: {why}", self.topics.join(", "));
        match advice(code) {
            None => Failure::Refused(KafkaError::call(action(), cause)),
            Some(advice) => Failure::Message(Refusal { why, advice, times_ms: BTreeSet::new() }),
        }
    }
}

/// Lets one message be as large as a topic takes, and no batch of several be larger than what all topics take.
fn set_sizes(config: &mut ClientConfig, message_bytes_max: &[usize]) {
    let largest = message_bytes_max.iter().max().copied().unwrap_or_default();
    let smallest = message_bytes_max.iter().min().copied().unwrap_or_default();
    config.set("message.max.bytes", largest.clamp(1_000, MESSAGE_MAX_BYTES).to_string());
    config.set("batch.size", smallest.clamp(1, BATCH_SIZE).to_string());
}
