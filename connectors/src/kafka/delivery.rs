//! What became of messages on their way out.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::statistics::Statistics;

use super::watch::Watch;

/// The context of a producer: passes on what the client says by itself, and counts what it says of messages.
pub(super) struct Deliveries {
    watch: Watch,
    counted: Mutex<Counted>,
    is_final: fn(Code) -> bool,
    refused: Mutex<Option<Refused>>,
}

/// Messages that were refused for good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Why the first of them was.
    pub(super) code: Code,
    /// Their times, ms since 1970 UTC.
    pub(super) times_ms: BTreeSet<i64>,
}

impl Default for Deliveries {
    fn default() -> Self {
        Deliveries::minding(|_| false)
    }
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
    /// Of a producer whose messages are not sent again where they are refused with a code of this kind.
    pub(super) fn minding(is_final: fn(Code) -> bool) -> Self {
        Deliveries { watch: Watch::default(), counted: Mutex::default(), is_final, refused: Mutex::default() }
    }

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

    /// The messages that were refused for good since the last call, where some were.
    pub(super) fn take_refused(&self) -> Option<Refused> {
        self.refused().take()
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
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
            Err((cause, message)) => {
                self.fail(cause);
                if let Some(code) = cause.rdkafka_error_code().filter(|code| (self.is_final)(*code)) {
                    let mut refused = self.refused();
                    let refused = refused.get_or_insert_with(|| Refused { code, times_ms: BTreeSet::new() });
                    refused.times_ms.extend(message.timestamp().to_millis());
                }
            }
        }
    }
}
