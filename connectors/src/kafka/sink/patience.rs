//! Waiting for Kafka: loudly, at a bounded rate, and not beyond the end.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::SinkError;

/// Turns true when nobody should wait any more.
pub type Cancel = Arc<dyn Fn() -> bool + Send + Sync>;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often waiting is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether to go on waiting.
const STEP: Duration = Duration::from_millis(20);

/// How long something has been tried in vain.
pub(super) struct Patience {
    sink: &'static str,
    cancel: Cancel,
    pause: Duration,
    since: Option<Instant>,
    said: Option<Instant>,
}

impl Patience {
    pub(super) fn new(sink: &'static str, cancel: Cancel) -> Self {
        Patience { sink, cancel, pause: PAUSE_MIN, since: None, said: None }
    }

    /// Whether nobody should wait any more.
    ///
    /// # Errors
    /// [`SinkError::Cancelled`] where it is so.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        match (self.cancel)() {
            true => Err(SinkError::Cancelled),
            false => Ok(()),
        }
    }

    /// It failed: says so now and then, and waits a little longer every time.
    ///
    /// # Errors
    /// [`SinkError::Cancelled`] where nobody should wait any more.
    pub(super) fn wait(&mut self, doing: &str, why: &dyn std::fmt::Display) -> Result<(), SinkError> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if self.said.is_none_or(|said| SAY_EVERY <= now.duration_since(said)) {
            self.said = Some(now);
            let waited = now.duration_since(since);
            tracing::error!(sink = self.sink, %why, ?waited, "{doing} failed; it is tried again until it succeeds, and nothing is lost");
        }
        let until = now + self.pause;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        while Instant::now() < until {
            self.check()?;
            thread::sleep(STEP);
        }
        Ok(())
    }

    /// It succeeded.
    pub(super) fn rest(&mut self) {
        if let Some(since) = self.since.take() {
            let waited = since.elapsed();
            tracing::info!(sink = self.sink, ?waited, "the sink goes on");
        }
        (self.pause, self.said) = (PAUSE_MIN, None);
    }
}
