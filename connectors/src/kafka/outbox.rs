//! Messages on their way out: each is heard of exactly once, as delivered or as failed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext,
};
use rdkafka::statistics::Statistics;

use super::client::creation;
use super::error::KafkaError;
use super::watch::Watch;

/// How long a full queue is waited for before it is tried again.
const QUEUE_WAIT: Duration = Duration::from_millis(5);
/// Kinds of failures that are told apart; there are fewer codes that a message can fail with.
const FAILURES_MAX: usize = 32;

/// A producer, and what became of its messages.
pub(super) struct Outbox {
    producer: BaseProducer<Deliveries>,
    counted: Arc<Counted>,
    sent: u64,
}

/// What became of all messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) delivered: u64,
    /// Bytes of the values delivered.
    pub(super) bytes: u64,
    /// How many may not have arrived, by what went wrong.
    pub(super) failed: BTreeMap<String, u64>,
}

impl Outbox {
    pub(super) fn open(config: &ClientConfig) -> Result<Self, KafkaError> {
        let deliveries = Deliveries::default();
        let counted = deliveries.counted.clone();
        let producer = config.create_with_context(deliveries).map_err(creation)?;
        Ok(Outbox { producer, counted, sent: 0 })
    }

    /// How many messages were handed over.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Hands one message over; where the queue is full it waits for room. A message that can not be sent counts as failed.
    ///
    /// # Errors
    /// Where the producer is broken, and takes no messages any more.
    pub(super) fn push(&mut self, mut message: BaseRecord<'_, [u8], [u8]>) -> Result<(), KafkaError> {
        self.sent += 1;
        while let Err((cause, back)) = self.producer.send(message) {
            if cause.rdkafka_error_code() != Some(Code::QueueFull) {
                self.counted.fail(&cause);
                // One message may be too large; a producer that is broken takes none any more.
                let fatal = self.producer.client().fatal_error();
                return fatal.map_or(Ok(()), |(_, message)| Err(KafkaError::Client { message }));
            }
            self.producer.poll(QUEUE_WAIT);
            message = back;
        }
        Ok(())
    }

    /// Hears what was delivered, for so long.
    pub(super) fn poll(&self, wait: Duration) {
        self.producer.poll(wait);
    }

    /// Waits until every message was delivered or has failed; librdkafka gives each one up after `message.timeout.ms`.
    pub(super) fn finish(self, mut waiting: impl FnMut()) -> Sent {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(100));
            waiting();
        }
        let sent = Sent {
            delivered: self.counted.delivered.load(Ordering::Relaxed),
            bytes: self.counted.bytes.load(Ordering::Relaxed),
            failed: self.counted.failed.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let heard = sent.delivered + sent.failed.values().sum::<u64>();
        assert_eq!(heard, self.sent, "of {} messages only {heard} were heard of", self.sent);
        sent
    }
}

/// What the broker said of the messages so far.
#[derive(Clone, Default)]
struct Deliveries {
    watch: Watch,
    counted: Arc<Counted>,
}

#[derive(Default)]
struct Counted {
    delivered: AtomicU64,
    bytes: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
}

impl Counted {
    fn fail(&self, why: impl fmt::Display) {
        // What it holds is whole after every step.
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let why = why.to_string();
        let why = if failed.len() < FAILURES_MAX || failed.contains_key(&why) { why } else { "other".to_owned() };
        *failed.entry(why).or_default() += 1;
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: Cause, reason: &str) {
        self.watch.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                self.counted.delivered.fetch_add(1, Ordering::Relaxed);
                self.counted.bytes.fetch_add(message.payload_len() as u64, Ordering::Relaxed);
            }
            Err((cause, _)) => self.counted.fail(cause),
        }
    }
}
