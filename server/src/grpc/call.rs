//! What every call has: a deadline, a share of the machine, and an epoch to read at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{Readable, Reader, Snapshot};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task;
use tokio::time::timeout_at;
use tonic::metadata::MetadataMap;

use super::errors::{CallError, ErrorReason};
use super::token;
use crate::convert::{to_wire, wire};
use crate::evidence::Evidence;
use crate::lineage::Lineage;

/// How long a read may take where the client sets no deadline.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// The part of a client's deadline that is kept back so that our own error, with its reason, arrives before the transport's.
const DEADLINE_SPARE_MAX: Duration = Duration::from_millis(20);

/// The bounds of the service that are settings.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Reads that run at the same time; the others wait, up to their deadlines.
    pub concurrent_reads: usize,
    /// Subscriptions and correction streams that are open at the same time.
    pub subscribers: usize,
    /// Messages that wait for one subscriber.
    pub subscriber_messages: usize,
    /// How long a subscriber may take nothing, with its buffer full, before it is let go.
    pub subscriber_stall: Duration,
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) reader: Reader,
    pub(crate) lineage: Lineage,
    pub(crate) evidence: Evidence,
    pub(crate) bounds: Bounds,
    /// The readable epochs, as they grow.
    pub(crate) progress: watch::Receiver<Readable>,
    /// Turns true when the service goes down.
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) reads: Semaphore,
    pub(crate) subscribers: Arc<Semaphore>,
}

impl Shared {
    /// The names of the streams, by number.
    pub(crate) fn streams(&self) -> &[StreamName] {
        self.reader.streams()
    }

    /// A snapshot's message, with the readable epochs of this moment.
    pub(crate) fn wire_snapshot(&self, snapshot: &Snapshot) -> wire::Snapshot {
        to_wire::snapshot(snapshot, snapshot.readable(), self.streams())
    }

    /// Runs a read on a blocking thread, one of a bounded number at a time.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Instant,
        read: impl FnOnce(&Shared) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, CallError> {
        let permit = self.permit(deadline).await?;
        let shared = self.clone();
        let answer = task::spawn_blocking(move || read(&shared)).await;
        drop(permit);
        answer.unwrap_or_else(|panic| {
            tracing::error!(%panic, "a read panicked; this is a bug in Recount");
            Err(CallError::bug())
        })
    }

    async fn permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, CallError> {
        match timeout_at(deadline.into(), self.reads.acquire()).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => {
                let message =
                    format!("{} reads are running, and none ended before the deadline", self.bounds.concurrent_reads);
                Err(CallError::new(ErrorReason::TooManyReads, message))
            }
        }
    }

    /// The snapshot that a request asks for. Waits for an ingest token to be included.
    pub(crate) async fn snapshot(&self, read: Option<&wire::ReadAt>, deadline: Instant) -> Result<Snapshot, CallError> {
        match read.and_then(|read| read.at.as_ref()) {
            None => Ok(self.reader.snapshot(None)?),
            Some(wire::read_at::At::AsOf(as_of)) => Ok(self.reader.snapshot(Some(*as_of))?),
            Some(wire::read_at::At::AtLeast(token)) => {
                let positions = token::decode_positions(token, self.lineage.number())?;
                self.wait_for_positions(&positions, deadline).await?;
                Ok(self.reader.snapshot(None)?)
            }
        }
    }

    async fn wait_for_positions(&self, positions: &[(u16, u64)], deadline: Instant) -> Result<(), CallError> {
        let mut progress = self.progress.clone();
        loop {
            progress.mark_unchanged();
            if self.reader.epoch_including(positions).is_some() {
                return Ok(());
            }
            match timeout_at(deadline.into(), progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(recount_dataflow::read::ReadError::Stopped.into()),
                Err(_) => return Err(CallError::deadline()),
            }
        }
    }
}

/// When a call has to be answered. `grpc-timeout` is a number and a unit: hours, minutes, seconds, or milli-, micro- and
/// nanoseconds (`H M S m u n`).
pub(crate) fn deadline(metadata: &MetadataMap) -> Instant {
    client_deadline(metadata).unwrap_or_else(|| Instant::now() + DEADLINE_DEFAULT)
}

/// The client's own deadline; `None` where it set none.
pub(crate) fn client_deadline(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = parse_timeout(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    let spare = (timeout / 10).min(DEADLINE_SPARE_MAX);
    Some(Instant::now() + (timeout - spare))
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || number.len() > 8 {
        return None;
    }
    let value: u64 = number.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(value * 3_600)),
        'M' => Some(Duration::from_secs(value * 60)),
        'S' => Some(Duration::from_secs(value)),
        'm' => Some(Duration::from_millis(value)),
        'u' => Some(Duration::from_micros(value)),
        'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_number_of_at_most_eight_digits_and_a_unit() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for broken in ["", "m", "100", "100x", "123456789S", "-1S", "1.5S", "1ö"] {
            assert_eq!(parse_timeout(broken), None, "{broken}");
        }
    }
}
