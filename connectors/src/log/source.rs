//! The log as a source: what was accepted, decoded again.
//!
//! A restart and live traffic take the same path: the records are read from their segments, which for fresh ones are in the
//! system's page cache. One thread a partition reads, decodes and validates, by the arrival time that was stored, into a
//! bounded channel; at the end it sleeps until the committer says that more is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::StreamName;
use recount_dataflow::intake::{Batch, Intake};

use super::LogError;
use super::reader::{BatchReader, Chunk};
use super::records::LogRecords;
use super::view::LogView;
use crate::error::SourceError;
use crate::format::{decode_one, push_decoded};
use crate::raw_store::RawStore;
use crate::source::{Ahead, Next, Source, Stopper};

/// The name under which positions of the log are known.
pub const LOG_SOURCE: &str = "log";
/// Batches of a partition that may wait for the feed, each of about a mebibyte at most.
const BATCHES_MAX: usize = 4;

/// Batches of the log, from given positions on.
pub struct LogSource {
    view: Arc<LogView>,
    partitions: Vec<Stream>,
    /// The partition that is asked first.
    turn: usize,
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One partition, as far as it was handed out.
struct Stream {
    /// `None` where the thread has ended.
    batches: Option<Receiver<Result<Batch, LogError>>>,
    ahead: Ahead,
    position: u64,
}

impl LogSource {
    /// Starts to read every partition at its position, or at its beginning where there is none.
    ///
    /// # Errors
    /// Where the log does not hold a position, and where threads can not be started.
    pub fn start(
        view: &Arc<LogView>,
        key: HashKey,
        rules: Rules,
        positions: &[Position],
    ) -> Result<LogSource, SourceError> {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut source = LogSource {
            view: Arc::clone(view),
            partitions: Vec::new(),
            turn: 0,
            stopped: Arc::clone(&stopped),
            threads: Vec::new(),
        };
        for partition in 0..view.partitions() {
            let position = Position::in_stream(positions, partition).unwrap_or(0);
            let (sender, batches) = bounded(BATCHES_MAX);
            let tailer = Tailer {
                view: Arc::clone(view),
                partition,
                reader: BatchReader::at(Arc::clone(view), partition, position)?,
                position,
                intake: Intake::new(key, rules),
                batches: sender,
                stopped: Arc::clone(&stopped),
            };
            let thread = thread::Builder::new().name(format!("log-read-{partition}")).spawn(move || tailer.run());
            source.threads.push(thread.map_err(LogError::Thread)?);
            source.partitions.push(Stream { batches: Some(batches), ahead: Ahead::default(), position });
        }
        Ok(source)
    }

    /// A batch of any partition that is there already, and whether any may still come.
    fn poll(&mut self) -> Result<Option<Batch>, SourceError> {
        for _ in 0..self.partitions.len() {
            self.turn = (self.turn + 1) % self.partitions.len();
            if let Some(batch) = self.partitions[self.turn].poll()? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

impl Stream {
    fn poll(&mut self) -> Result<Option<Batch>, SourceError> {
        if let Some(batch) = self.ahead.take() {
            return Ok(Some(self.hand_out(batch)));
        }
        match self.batches.as_ref().map(Receiver::try_recv) {
            Some(Ok(batch)) => {
                let batch = batch?;
                Ok(Some(self.hand_out(batch)))
            }
            Some(Err(TryRecvError::Disconnected)) => {
                self.batches = None;
                Ok(None)
            }
            Some(Err(TryRecvError::Empty)) | None => Ok(None),
        }
    }

    fn hand_out(&mut self, batch: Batch) -> Batch {
        self.position = batch.end().expect("a batch of the log holds a record");
        batch
    }
}

impl Source for LogSource {
    fn streams(&self) -> Vec<StreamName> {
        let stream = |partition| StreamName { source: LOG_SOURCE.to_owned(), partition };
        (0..i32::from(self.view.partitions())).map(stream).collect()
    }

    fn next_within(&mut self, wait: Duration) -> Result<Next, SourceError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(batch) = self.poll()? {
                return Ok(Next::Batch(batch));
            }
            let mut select = Select::new();
            let open: Vec<_> = self.partitions.iter().filter_map(|stream| stream.batches.as_ref()).collect();
            if open.is_empty() {
                return Ok(Next::End);
            }
            for batches in open {
                select.recv(batches);
            }
            if select.ready_deadline(deadline).is_err() {
                return Ok(Next::Waiting);
            }
        }
    }

    fn next_of(&mut self, stream: u16, end: u64, wait: Duration) -> Result<Next, SourceError> {
        let durable = self.view.end(stream);
        if durable < end {
            return Err(LogError::Ends { place: self.view.place(stream), offset: end, end: durable }.into());
        }
        let partition = &mut self.partitions[usize::from(stream)];
        if end <= partition.position {
            return Ok(Next::End);
        }
        let batch = match (partition.ahead.take(), &partition.batches) {
            (Some(batch), _) => batch,
            (None, None) => return Ok(Next::End),
            (None, Some(batches)) => match batches.recv_timeout(wait) {
                Ok(batch) => batch?,
                Err(error) if error.is_timeout() => return Ok(Next::Waiting),
                Err(_) => {
                    partition.batches = None;
                    return Ok(Next::End);
                }
            },
        };
        Ok(match partition.ahead.cut(batch, stream, end) {
            Next::Batch(batch) => Next::Batch(partition.hand_out(batch)),
            other => other,
        })
    }

    fn stopper(&self) -> Stopper {
        let view = Arc::clone(&self.view);
        Stopper::new(Arc::clone(&self.stopped), move || view.wake())
    }

    fn raw_store(&self) -> RawStore {
        self.view.raw_store()
    }
}

impl LogView {
    /// What reads raw records again.
    pub fn raw_store(self: &Arc<Self>) -> RawStore {
        RawStore::new(Arc::new(LogRecords { view: Arc::clone(self) }))
    }
}

impl Drop for LogSource {
    fn drop(&mut self) {
        self.stopper().stop();
        self.partitions.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads the log panicked; this is a bug in Recount");
            }
        }
    }
}

/// One partition's thread.
struct Tailer {
    view: Arc<LogView>,
    partition: u16,
    reader: BatchReader,
    /// Records before it were handed out in another life.
    position: u64,
    intake: Intake,
    batches: Sender<Result<Batch, LogError>>,
    stopped: Arc<AtomicBool>,
}

impl Tailer {
    /// Reads until the source is stopped or dropped, or the log has ended.
    fn run(mut self) {
        let stopped = Arc::clone(&self.stopped);
        let is_stopped = || stopped.load(Ordering::SeqCst);
        while self.view.wait_beyond(self.partition, self.reader.next(), is_stopped).is_some() {
            let batch = self.reader.read().map(|chunk| self.decode(Arc::new(chunk)));
            let is_last = batch.is_err();
            if batch.as_ref().is_ok_and(|batch| batch.records() == 0) {
                continue;
            }
            // Where the receiver is gone, so is the source.
            if self.batches.send(batch).is_err() || is_last {
                break;
            }
        }
    }

    fn decode(&mut self, chunk: Arc<Chunk>) -> Batch {
        let records: u32 = chunk.batches.iter().map(|header| header.records).sum();
        let mut builder = self.intake.batch(self.partition, records as usize, chunk.clone());
        for header in &chunk.batches {
            let mut offset = header.body();
            while offset < header.end() {
                let record = chunk.record_at(offset).expect("a batch whose checksum holds is whole records");
                offset = record.end;
                if self.position <= record.offset {
                    let decoded = decode_one(record.frame.format, record.payload);
                    push_decoded(&mut builder, decoded, record.offset, record.payload, Some(header.arrival_ms));
                }
            }
        }
        builder.finish()
    }
}
