//! What librdkafka says by itself: its log lines, and errors of its connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use tracing::{debug, error, info, warn};

use super::error::KafkaError;

/// Lines that a client may log in one [`PERIOD`]; the rest is counted. A broker that is down makes hundreds.
const LINES_MAX: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);

/// Passes a client's log lines on, and remembers why its connections fail. A clone is the same watch, so whoever makes a client
/// keeps one; a context of another kind holds one and calls it.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    allowance: Allowance,
}

/// The last thing that went wrong with a connection.
#[derive(Clone)]
struct Trouble {
    code: Code,
    message: String,
}

/// How many lines may still be logged.
struct Allowance {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { since: Instant::now(), lines: 0, left_out: 0 }
    }
}

impl Allowance {
    /// Whether a line may be logged at `now`, and how many were left out before it, where that is to be said now.
    fn take(&mut self, now: Instant) -> (bool, Option<u64>) {
        let mut left_out = None;
        if now.duration_since(self.since) >= PERIOD {
            left_out = Some(self.left_out).filter(|&lines| lines > 0);
            *self = Allowance { since: now, lines: 0, left_out: 0 };
        }
        let may = self.lines < LINES_MAX;
        match may {
            true => self.lines += 1,
            false => self.left_out += 1,
        }
        (may, left_out)
    }
}

impl Watch {
    /// Forgets what went wrong before.
    pub(crate) fn clear(&self) {
        self.state().trouble = None;
    }

    /// Why no broker can be used, where it is of a kind that waiting does not heal.
    pub(crate) fn refusal(&self, servers: &str) -> Option<KafkaError> {
        let Trouble { code, message } = self.state().trouble.clone()?;
        let servers = servers.to_owned();
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
                Some(KafkaError::Authentication { servers, message })
            }
            Code::SSL => Some(KafkaError::Tls { servers, message }),
            _ => None,
        }
    }

    /// Why the cluster was not reached.
    pub(crate) fn unreachable(&self, servers: &str) -> KafkaError {
        self.refusal(servers).unwrap_or_else(|| {
            let trouble = self.state().trouble.clone();
            let message = trouble.map_or_else(|| "no answer in time".to_owned(), |trouble| trouble.message);
            KafkaError::Unreachable { servers: servers.to_owned(), message }
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it holds is whole after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_log(&self) -> bool {
        let (may, left_out) = self.state().allowance.take(Instant::now());
        if let Some(lines) = left_out {
            info!(target: "kafka", lines, "lines of librdkafka were left out");
        }
        may
    }
}

impl ClientContext for Watch {
    fn log(&self, level: Level, facility: &str, message: &str) {
        // One set of properties serves consumers and producers, and each warns of the other's.
        let is_noise = facility == "CONFWARN" && message.contains("will be ignored");
        match level {
            _ if is_noise => debug!(target: "kafka", facility, "{message}"),
            Level::Debug => debug!(target: "kafka", facility, "{message}"),
            _ if !self.may_log() => {}
            Level::Emerg | Level::Alert | Level::Critical => error!(target: "kafka", facility, "{message}"),
            // A lost connection is made again by itself; what needs a person comes as an error of a call.
            Level::Error | Level::Warning => warn!(target: "kafka", facility, "{message}"),
            Level::Notice | Level::Info => info!(target: "kafka", facility, "{message}"),
        }
    }

    fn stats(&self, _: Statistics) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: Cause, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        // An end that is reached is no trouble.
        if code == Code::PartitionEOF {
            return;
        }
        let says_more = {
            let trouble = &mut self.state().trouble;
            // That all brokers are down says less than why the last one is.
            let says_more = code != Code::AllBrokersDown || trouble.is_none();
            if says_more {
                *trouble = Some(Trouble { code, message: reason.to_owned() });
            }
            says_more
        };
        if says_more && self.may_log() {
            warn!(target: "kafka", "{reason}");
        }
    }
}

impl ConsumerContext for Watch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_the_rest_is_counted() {
        let mut allowance = Allowance::default();
        let start = allowance.since;
        let allowed = (0..100).filter(|_| allowance.take(start).0).count();
        assert_eq!(allowed, LINES_MAX as usize);
        assert_eq!(allowance.take(start + PERIOD), (true, Some(100 - u64::from(LINES_MAX))));
        assert_eq!(allowance.take(start + PERIOD + PERIOD), (true, None));
    }

    #[test]
    fn what_is_wrong_outlives_that_all_brokers_are_down() {
        let watch = Watch::default();
        watch.error(Cause::Global(Code::Authentication), "SASL authentication error");
        watch.error(Cause::Global(Code::AllBrokersDown), "1/1 brokers are down");
        let shown = watch.unreachable("localhost:9092").to_string();
        assert!(shown.contains("refuses the login: SASL authentication error"), "{shown}");
    }
}
