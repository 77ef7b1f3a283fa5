//! What became of messages on their way out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::statistics::Statistics;

use super::watch::Watch;

/// The context of a producer: passes on what the client says by itself, and counts what it says of messages.
#[derive(Default)]
pub(super) struct Deliveries {
    watch: Watch,
    counted: Mutex<Counted>,
}

/// What became of messages.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// How many arrived; 0 where the producer tells of failures only.
    pub(super) delivered: u64,
    /// Bytes of the values that arrived.
    pub(super) bytes: u64,
    /// How many may not have arrived, by why; there are no more kinds than codes.
    pub(super) failed: Vec<(Code, u64)>,
}

impl Deliveries {
    /// Counts a message that did not arrive.
    pub(super) fn fail(&self, cause: &Cause) {
        let code = cause.rdkafka_error_code().unwrap_or(Code::Unknown);
        let failed = &mut self.counted().failed;
        match failed.iter_mut().find(|(known, _)| *known == code) {
            Some((_, messages)) => *messages += 1,
            None => failed.push((code, 1)),
        }
    }

    /// What became of messages since the last call.
    pub(super) fn take(&self) -> Counted {
        std::mem::take(&mut *self.counted())
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // What it holds is whole after every step.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
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
                let mut counted = self.counted();
                counted.delivered += 1;
                counted.bytes += message.payload_len() as u64;
            }
            Err((cause, _)) => self.fail(cause),
        }
    }
}
