//! What a sink's producer hears of its messages.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};
use rdkafka::statistics::Statistics;

use super::refused::is_final;
use crate::kafka::delivery::{Counted, Deliveries};

/// The context of a sink's producer: it counts messages, and remembers those that are not to be sent again as they are.
#[derive(Default)]
pub(super) struct Context {
    deliveries: Deliveries,
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

/// Stands for no time: it is none that a record may have.
const NO_TIME_MS: i64 = i64::MIN;
const _: () = assert!(size_of::<usize>() == size_of::<i64>(), "a time goes with its message in place of a pointer");

/// What goes with a message of this time, ms since 1970: of one that failed librdkafka does not say it.
pub(super) fn opaque(timestamp_ms: Option<i64>) -> usize {
    timestamp_ms.unwrap_or(NO_TIME_MS) as usize
}

fn time_ms(opaque: usize) -> Option<i64> {
    Some(opaque as i64).filter(|ms| *ms != NO_TIME_MS)
}

impl Context {
    /// What became of messages since the last call.
    pub(super) fn take(&self) -> Counted {
        self.deliveries.take()
    }

    /// The messages that were refused for good since the last call, where some were.
    pub(super) fn take_refused(&self) -> Option<Refused> {
        self.refused().take()
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        // What it holds is whole after every step.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.deliveries.log(level, facility, message);
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: Cause, reason: &str) {
        self.deliveries.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        self.deliveries.delivery(result, ());
        let Err((cause, _)) = result else { return };
        if let Some(code) = cause.rdkafka_error_code().filter(|code| is_final(*code)) {
            let mut refused = self.refused();
            let refused = refused.get_or_insert_with(|| Refused { code, times_ms: BTreeSet::new() });
            refused.times_ms.extend(time_ms(opaque));
        }
    }
}
