//! What every call has: a deadline, a share of the machine, and an epoch to read at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{Readable, Reader, Snapshot};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task;
use tokio::time::timeout_at;

use super::errors::{CallError, ErrorReason};
use super::outlet::{Ends, outlet};
use super::token;
use crate::convert::{to_wire, wire};
use crate::evidence::Evidence;
use crate::limits::Bounds;
use crate::lineage::Lineage;

/// How long a read may take where the client sets no deadline.
pub(crate) const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

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
    /// What calls share, over one reader.
    pub(crate) fn new(
        reader: Reader,
        lineage: Lineage,
        evidence: Evidence,
        bounds: Bounds,
        progress: watch::Receiver<Readable>,
        shutdown: watch::Receiver<bool>,
    ) -> Arc<Shared> {
        let reads = Semaphore::new(bounds.concurrent_reads);
        let subscribers = Arc::new(Semaphore::new(bounds.subscribers));
        Arc::new(Shared { reader, lineage, evidence, bounds, progress, shutdown, reads, subscribers })
    }

    /// The names of the streams, by number.
    pub(crate) fn streams(&self) -> Arc<[StreamName]> {
        self.reader.streams()
    }

    /// A snapshot's message, with the readable epochs of this moment.
    pub(crate) fn wire_snapshot(&self, snapshot: &Snapshot) -> wire::Snapshot {
        to_wire::snapshot(snapshot, snapshot.readable(), &self.streams())
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

    /// Opens one of a bounded number of streams of answers.
    pub(super) fn open_stream<T>(&self, deadline: Option<Instant>) -> Result<Ends<T>, CallError> {
        let Bounds { subscribers, subscriber_messages, subscriber_stall, .. } = self.bounds;
        let permit = self.subscribers.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{subscribers} subscriptions are open, as many as are allowed");
            CallError::new(ErrorReason::TooManySubscribers, message)
        })?;
        Ok(outlet(subscriber_messages, subscriber_stall, deadline, self.shutdown.clone(), permit))
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
