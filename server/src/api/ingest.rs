//! `Append`: events in, durable before the answer. Every event is read and judged once, by the rules and the clock by which a
//! replay judges it again; a broken one is refused alone, and the others go into the log as the bytes that they came in.

use std::sync::Arc;
use std::time::Instant;

use recount_connectors::log::{APPEND_BYTES_MAX, Append, AppendError, Appended, Log};
use recount_connectors::{Decoded, Format, decode_one};
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::validate::{RECORD_BYTES_MAX, Reason, Violation, validate};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;

use super::errors::{CallError, ErrorReason};
use super::events::Events;
use super::ingest_metrics::IngestMetrics;
use super::ingest_token;
use crate::clock::wall_ms;
use crate::convert::raw;
use crate::limits::{APPEND_PIECE_BYTES, APPENDING_BYTES_MAX, APPENDING_UNIT_BYTES, REFUSALS_MAX};
use crate::lineage::Lineage;

/// Where calls that bring events come to.
#[derive(Clone)]
pub(crate) enum Door {
    /// They are taken in.
    Open(Arc<Ingest>),
    /// Records come from Kafka alone.
    Kafka,
    /// Records come from files alone.
    Files,
}

impl Door {
    /// Where events are taken in.
    ///
    /// # Errors
    /// Where they are not.
    pub(crate) fn ingest(&self) -> Result<&Arc<Ingest>, CallError> {
        match self {
            Door::Open(ingest) => Ok(ingest),
            Door::Kafka => {
                let message = "this service's records come from Kafka; write events to its topics";
                Err(CallError::new(ErrorReason::RecordsFromKafka, message))
            }
            Door::Files => {
                let message = "this service reads files and takes no events; start one with --data-dir";
                Err(CallError::new(ErrorReason::IngestOff, message))
            }
        }
    }
}

/// Takes events into the log.
pub(crate) struct Ingest {
    log: Arc<Log>,
    rules: Rules,
    lineage: Lineage,
    /// Room for what is on its way into the log, in units of [`APPENDING_UNIT_BYTES`].
    room: Arc<Semaphore>,
    pub(crate) metrics: IngestMetrics,
}

/// The events of one request, judged: what goes into the log, and what is refused.
pub(crate) struct Judged {
    pieces: Vec<Append>,
    accepted: u64,
    refusals: Vec<raw::Refusal>,
}

/// A request that is on its way to the disk.
pub(crate) struct Pending {
    outcomes: Vec<oneshot::Receiver<Result<Appended, AppendError>>>,
    accepted: u64,
    refusals: Vec<raw::Refusal>,
    started: Instant,
    _room: OwnedSemaphorePermit,
}

impl Ingest {
    /// Into this log, judging by these rules.
    pub(crate) fn new(log: Arc<Log>, rules: Rules, lineage: Lineage) -> Arc<Ingest> {
        let room = Arc::new(Semaphore::new(APPENDING_BYTES_MAX / APPENDING_UNIT_BYTES));
        Arc::new(Ingest { log, rules, lineage, room, metrics: IngestMetrics::default() })
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Room for a request of so many bytes; refused where there is none.
    pub(crate) fn try_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, CallError> {
        self.room.clone().try_acquire_many_owned(units(bytes)).map_err(|_| {
            let message = "more events are on their way to the disk than may be; come again in a moment";
            CallError::new(ErrorReason::IngestBusy, message)
        })
    }

    /// Room for a request of so many bytes; waits for it.
    pub(crate) async fn room(&self, bytes: usize) -> OwnedSemaphorePermit {
        self.room.clone().acquire_many_owned(units(bytes)).await.expect("the semaphore is never closed")
    }

    /// Reads and judges the events of a request. This is work: a moment for a small request, and a blocking thread's for a
    /// large one.
    ///
    /// # Errors
    /// Where nothing of it can be read, or where too much of it is broken to say so.
    pub(crate) fn judge(&self, events: &Events) -> Result<Judged, CallError> {
        let mut judge = Judge::new(self);
        events.for_each(|format, record| judge.take(format, record))?;
        let judged = judge.finish();
        for refusal in &judged.refusals {
            self.metrics.refused(&refusal.reason);
        }
        if judged.accepted == 0 {
            events.check_readable(&judged.refusals)?;
        }
        Ok(judged)
    }

    /// Hands judged events to the log. `room` is held until they are durable.
    pub(crate) fn append(&self, judged: Judged, room: OwnedSemaphorePermit) -> Pending {
        let Judged { pieces, accepted, refusals } = judged;
        let hand_over = |piece| {
            let (done, outcome) = oneshot::channel();
            self.log.append(piece, move |appended| {
                // Who asked may have gone; what was taken in stays.
                let _ = done.send(appended);
            });
            outcome
        };
        let outcomes = pieces.into_iter().map(hand_over).collect();
        Pending { outcomes, accepted, refusals, started: Instant::now(), _room: room }
    }

    /// Waits until everything that was accepted is durable.
    ///
    /// # Errors
    /// Where it is not, or not known to be by the deadline. The client sends the request again: copies count once.
    pub(crate) async fn answer(
        &self,
        pending: Pending,
        request_id: String,
        deadline: Option<Instant>,
    ) -> Result<raw::AppendResponse, CallError> {
        let Pending { outcomes, accepted, refusals, started, _room } = pending;
        let mut positions: Vec<(u16, u64)> = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let outcome = match deadline {
                Some(deadline) => timeout_at(deadline.into(), outcome).await.map_err(|_| CallError::deadline())?,
                None => outcome.await,
            };
            let Appended { partition, end } = outcome.map_err(|_| CallError::bug())?.map_err(CallError::from)?;
            match positions.iter_mut().find(|(stream, _)| *stream == partition) {
                Some((_, furthest)) => *furthest = end.max(*furthest),
                None => positions.push((partition, end)),
            }
        }
        self.metrics.acknowledged(accepted, started.elapsed());
        let token = ingest_token(self.lineage, &positions);
        Ok(raw::AppendResponse { request_id, accepted, refusals, token })
    }
}

impl From<AppendError> for CallError {
    fn from(error: AppendError) -> Self {
        let reason = match &error {
            AppendError::Busy { .. } => ErrorReason::IngestBusy,
            AppendError::DiskFull { .. } => ErrorReason::DiskFull,
            AppendError::Stopped(_) => ErrorReason::LogStopped,
            AppendError::RecordTooLong { .. } | AppendError::AppendTooLong { .. } => {
                unreachable!("records and pieces are cut to what the log takes: {error}")
            }
        };
        // What else there is to say names files of ours; the log says it to who has to act.
        let message = match reason {
            ErrorReason::DiskFull => {
                "the service's disk is full; reads go on, and events are taken again once there is room".into()
            }
            ErrorReason::LogStopped => "the service takes no events any more; it is going down".into(),
            _ => error.to_string(),
        };
        CallError::new(reason, message).retry_in(error.retry_after())
    }
}

/// Judges the events of one request.
struct Judge<'a> {
    ingest: &'a Ingest,
    arrival_ms: i64,
    open: Option<Append>,
    full: Vec<Append>,
    index: u32,
    accepted: u64,
    refusals: Vec<raw::Refusal>,
}

impl<'a> Judge<'a> {
    fn new(ingest: &'a Ingest) -> Self {
        let arrival_ms = wall_ms();
        Judge { ingest, arrival_ms, open: None, full: Vec::new(), index: 0, accepted: 0, refusals: Vec::new() }
    }

    fn take(&mut self, format: Format, record: &[u8]) -> Result<(), CallError> {
        let judged = self.violation(format, record);
        let index = self.index;
        self.index += 1;
        match judged {
            Ok(()) => {
                self.push(format, record);
                self.accepted += 1;
            }
            Err(Violation { reason, detail }) if self.refusals.len() < REFUSALS_MAX => {
                self.refusals.push(raw::Refusal { index, reason: reason.as_str().into(), detail });
            }
            Err(Violation { reason, detail }) => {
                let message = format!(
                    "more than {REFUSALS_MAX} events are broken, so none was taken in; the last one looked at, number {index}, \
                     is {}: {detail}; send fewer at a time, or mend them",
                    reason.as_str()
                );
                return Err(CallError::new(ErrorReason::TooManyRefusals, message).with("limit", REFUSALS_MAX));
            }
        }
        Ok(())
    }

    fn violation(&self, format: Format, record: &[u8]) -> Result<(), Violation> {
        if record.len() > RECORD_BYTES_MAX {
            let detail = format!("the event has {} bytes; at most {RECORD_BYTES_MAX} are allowed", record.len());
            return Err(Violation::new(Reason::RecordTooLong, detail));
        }
        let Decoded { event, .. } = decode_one(format, record)?;
        let neither = || Violation::new(Reason::BodyMissing, "expected a click or a verdict, found neither");
        validate(&event.ok_or_else(neither)?, Some(self.arrival_ms), &self.ingest.rules)
    }

    /// Adds a record to the open piece, and begins another where this one is full.
    fn push(&mut self, format: Format, record: &[u8]) {
        let arrival_ms = self.arrival_ms;
        if let Some(full) = self.open.take_if(|open| open.bytes() + record.len() > APPEND_PIECE_BYTES) {
            self.full.push(full);
        }
        let open = self.open.get_or_insert_with(|| self.ingest.log.begin(arrival_ms));
        open.push(format, record).expect("pieces are far from full when the next is begun");
    }

    fn finish(mut self) -> Judged {
        self.full.extend(self.open);
        Judged { pieces: self.full, accepted: self.accepted, refusals: self.refusals }
    }
}

const _: () = assert!(
    APPEND_PIECE_BYTES + RECORD_BYTES_MAX + 1_024 < APPEND_BYTES_MAX,
    "the record that fills a piece still fits an append"
);

fn units(bytes: usize) -> u32 {
    bytes.div_ceil(APPENDING_UNIT_BYTES).max(1) as u32
}
