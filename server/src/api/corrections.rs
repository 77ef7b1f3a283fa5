//! `StreamCorrections`: the corrections of CLOSED windows from an epoch on. An epoch's number is what resumes it: a client that
//! has an epoch complete goes on at the next.

use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use recount_dataflow::read::{Correction, ReadError};
use tokio::task;

use super::call::Shared;
use super::errors::CallError;
use super::outlet::{End, Outlet, Subscription};
use crate::convert::{to_wire, wire};
use crate::limits::STREAM_MESSAGE_BYTES;

/// Epochs that are looked at together, at first; it doubles while there are no corrections.
const STEP_MIN: u64 = 16;
const STEP_MAX: u64 = 4_096;

/// What a client hears that did not keep up.
const SLOW: &str = "the client did not keep up; go on from the epoch named here";

/// Begins a stream.
pub(crate) async fn stream_corrections(
    shared: &Arc<Shared>,
    request: wire::StreamCorrectionsRequest,
    deadline: Option<Instant>,
) -> Result<Subscription<wire::StreamCorrectionsResponse>, CallError> {
    let readable = shared.reader.readable();
    if request.from_epoch > readable.upper {
        let (as_of, since, upper) = (request.from_epoch, readable.since, readable.upper);
        return Err(ReadError::AsOfTooNew { as_of, since, upper }.into());
    }
    let (outlet, last_word, subscription) = shared.open_stream(deadline)?;
    let mut streamer = Streamer { shared: shared.clone(), outlet, next: request.from_epoch };
    tokio::spawn(async move {
        let end = streamer.run(request.follow).await.err();
        // Nobody listens where the subscriber has gone.
        let _ = last_word.send(end.and_then(|end| streamer.last_word(end)));
    });
    Ok(subscription)
}

/// One stream's task.
struct Streamer {
    shared: Arc<Shared>,
    outlet: Outlet<wire::StreamCorrectionsResponse>,
    /// The first epoch that was not sent whole.
    next: u64,
}

impl Streamer {
    async fn run(&mut self, follow: bool) -> Result<(), End> {
        let mut progress = self.shared.progress.clone();
        loop {
            let upper = match follow {
                true => progress.borrow_and_update().upper,
                false => self.shared.reader.readable().upper,
            };
            self.send_until(upper).await?;
            if !follow {
                return Ok(());
            }
            if self.outlet.wait(progress.changed()).await?.is_err() {
                return Err(End::Failed(ReadError::Stopped.into()));
            }
        }
    }

    /// Sends the corrections of every epoch below `upper`. The last epoch is told of even where it has none, so that a client
    /// knows how far it has come.
    async fn send_until(&mut self, upper: u64) -> Result<(), End> {
        let mut step = STEP_MIN;
        while self.next < upper {
            let (from, to) = (self.next, upper.min(self.next + step));
            let shared = self.shared.clone();
            let corrections = task::spawn_blocking(move || shared.reader.corrections(from, to)).await;
            let corrections = corrections.map_err(|_| End::Failed(CallError::bug()))?;
            step = match corrections.is_empty() {
                true => STEP_MAX.min(step * 2),
                false => STEP_MIN,
            };
            for of_epoch in corrections.chunk_by(|a, b| a.epoch == b.epoch) {
                self.send_epoch(of_epoch[0].epoch, of_epoch).await?;
            }
            if to == upper && corrections.last().is_none_or(|last| last.epoch + 1 < upper) {
                self.send_epoch(upper - 1, &[]).await?;
            }
            self.next = to;
        }
        Ok(())
    }

    async fn send_epoch(&mut self, epoch: u64, corrections: &[Correction]) -> Result<(), End> {
        let lineage = self.shared.lineage.to_string();
        let mut message = wire::StreamCorrectionsResponse { epoch, ..Default::default() };
        let mut bytes = 0;
        for correction in corrections {
            let correction = to_wire::correction(correction, &lineage);
            bytes += correction.encoded_len();
            message.corrections.push(correction);
            if bytes >= STREAM_MESSAGE_BYTES {
                bytes = 0;
                let corrections = std::mem::take(&mut message.corrections);
                self.outlet.send(wire::StreamCorrectionsResponse { corrections, ..message.clone() }).await?;
            }
        }
        message.epoch_complete = true;
        self.outlet.send(message).await?;
        self.next = epoch + 1;
        Ok(())
    }

    fn last_word(&self, end: End) -> Option<CallError> {
        let error = match end {
            End::Failed(error) => Some(error),
            End::Closed(closed) => closed.last_word(SLOW),
        };
        error.map(|error| error.with("from_epoch", self.next))
    }
}
