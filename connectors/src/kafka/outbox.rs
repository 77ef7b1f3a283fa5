//! Messages on their way out: each is heard of exactly once, as delivered or as failed.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::client::creation;
use super::delivery::{Counted, Deliveries};
use super::error::KafkaError;

/// How long a full queue is waited for before it is tried again.
const QUEUE_WAIT: Duration = Duration::from_millis(5);

/// A producer, and what became of its messages.
pub(super) struct Outbox {
    producer: BaseProducer<Deliveries>,
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
        let producer = config.create_with_context(Deliveries::default()).map_err(creation)?;
        Ok(Outbox { producer, sent: 0 })
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
                self.producer.context().fail(&cause);
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
        let Counted { delivered, bytes, failed } = self.producer.context().take();
        let named = |(code, messages)| (Cause::MessageProduction(code).to_string(), messages);
        let sent = Sent { delivered, bytes, failed: failed.into_iter().map(named).collect() };
        let heard = sent.delivered + sent.failed.values().sum::<u64>();
        assert_eq!(heard, self.sent, "of {} messages only {heard} were heard of", self.sent);
        sent
    }
}
