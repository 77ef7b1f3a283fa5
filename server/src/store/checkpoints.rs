//! The thread that writes checkpoints, and lets go of what none of them needs any more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_connectors::bindings::delete_bindings_below;
use recount_connectors::data_dir::DataDir;
use recount_dataflow::checkpoint::{Checkpointer, MemoryBudget, Written};
use tokio::sync::oneshot;

use super::pace::{EarlyCheckpoint, Pace};
use super::{Retain, StoreError};
use crate::clock::wall_ms;

/// How often it is looked how much has come in, and is in memory.
const SIZE_STEP: Duration = Duration::from_millis(50);

/// What came of a checkpoint that somebody asked for: `None` where the newest holds the state already.
type Outcome = Result<Option<Written>, String>;

/// What is told of checkpoints.
#[derive(Default)]
pub(crate) struct CheckpointStats {
    /// How many were written since the start.
    pub(crate) written: AtomicU64,
    /// How many could not be, for want of room or because the object store was away.
    pub(crate) failed: AtomicU64,
    /// How many that were kept somebody else has deleted.
    pub(crate) gone: AtomicU64,
    /// The last one.
    last: Mutex<Option<Last>>,
}

/// The last checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    pub(crate) epoch: u64,
    /// When it held all that there was, ms since 1970.
    pub(crate) current_ms: i64,
    /// The bytes written for it, and how long that took; `None` where an earlier process wrote it.
    pub(crate) written: Option<(u64, Duration)>,
}

impl CheckpointStats {
    /// The last checkpoint; `None` before the first.
    pub(crate) fn last(&self) -> Option<Last> {
        *self.lock_last()
    }

    /// The start goes on from the checkpoint of an epoch, as an earlier process left it.
    pub(crate) fn restored(&self, epoch: u64, wall_ms: i64) {
        *self.lock_last() = Some(Last { epoch, current_ms: wall_ms, written: None });
    }

    fn lock_last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().expect("nothing panics while it holds the last checkpoint")
    }
}

/// What the thread is told.
enum Command {
    Write(oneshot::Sender<Outcome>),
    /// After a last checkpoint, where one is wanted.
    Stop {
        write: bool,
    },
}

/// Asks for a checkpoint; for any thread.
#[derive(Clone)]
pub(crate) struct Trigger {
    commands: mpsc::Sender<Command>,
}

impl Trigger {
    /// Waits until a checkpoint is written; why not, where it is not.
    pub(crate) async fn write(&self) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let stopped = |_| "the service is going down".to_owned();
        self.commands.send(Command::Write(answer)).map_err(|error| stopped(error.to_string()))?;
        outcome.await.map_err(|error| stopped(error.to_string()))?
    }
}

/// The running thread.
pub(crate) struct Checkpointing {
    commands: mpsc::Sender<Command>,
    stats: Arc<CheckpointStats>,
    failure: oneshot::Receiver<StoreError>,
    thread: JoinHandle<()>,
}

impl Checkpointing {
    /// Starts the thread, which writes a checkpoint where there is anything new and `pace` or the memory's budget says so.
    ///
    /// # Errors
    /// Where the thread can not be started.
    pub(crate) fn start(
        mut checkpointer: Checkpointer,
        dir: Arc<DataDir>,
        retain: Retain,
        pace: Pace,
        budget: Option<Arc<MemoryBudget>>,
    ) -> io::Result<Checkpointing> {
        let (commands, told) = mpsc::channel();
        let (failed, failure) = oneshot::channel();
        let stats = Arc::new(CheckpointStats::default());
        if budget.is_some() {
            checkpointer.release_memory();
        }
        let early = EarlyCheckpoint::new(pace, budget, checkpointer.reader());
        let mut worker = Worker { checkpointer, dir, retain, interval: pace.interval, early, stats: stats.clone() };
        let thread = thread::Builder::new().name("checkpoints".into()).spawn(move || {
            if let Err(error) = worker.run(&told) {
                // At shutdown nobody listens any more.
                let _ = failed.send(error);
            }
        })?;
        Ok(Checkpointing { commands, stats, failure, thread })
    }

    /// What asks for a checkpoint.
    pub(crate) fn trigger(&self) -> Trigger {
        Trigger { commands: self.commands.clone() }
    }

    /// What is told of checkpoints.
    pub(crate) fn stats(&self) -> Arc<CheckpointStats> {
        self.stats.clone()
    }

    /// Waits until the thread ends by itself, which it only does where it failed.
    pub(crate) async fn failed(&mut self) -> StoreError {
        match (&mut self.failure).await {
            Ok(error) => error,
            Err(_) => panic!("the checkpointing thread panicked; this is a bug in Recount"),
        }
    }

    /// Ends the thread. Where the service `ends_well`, it writes a last checkpoint, so that the next start has little to read; else
    /// nothing is written or deleted any more: another process may have taken the directory, or what is in memory may not be right.
    pub(crate) fn stop(self, ends_well: bool) {
        // It may have ended by itself.
        let _ = self.commands.send(Command::Stop { write: ends_well });
        if self.thread.join().is_err() {
            tracing::error!("the checkpointing thread panicked; this is a bug in Recount");
        }
    }
}

/// What the thread has.
struct Worker {
    checkpointer: Checkpointer,
    dir: Arc<DataDir>,
    retain: Retain,
    interval: Duration,
    early: EarlyCheckpoint,
    stats: Arc<CheckpointStats>,
}

impl Worker {
    fn run(&mut self, told: &mpsc::Receiver<Command>) -> Result<(), StoreError> {
        loop {
            let command = self.wait(told);
            if matches!(command, Ok(Command::Stop { write: false }) | Err(RecvTimeoutError::Disconnected)) {
                return Ok(());
            }
            let records = self.early.begin();
            let outcome = self.write();
            self.early.end(outcome.is_ok().then_some(records));
            let said = outcome.as_ref().map(Option::clone).map_err(ToString::to_string);
            match command {
                Ok(Command::Write(answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(said);
                }
                Err(_) => {}
                Ok(Command::Stop { .. }) => {
                    // At shutdown nobody hears of it otherwise.
                    if let Err(error) = &outcome {
                        tracing::warn!(%error, "the last checkpoint could not be written; the next start reads more of the log");
                    }
                    return outcome.map(|_| ());
                }
            }
            match outcome {
                Err(StoreError::Checkpoint(error)) if error.is_retryable() => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "a checkpoint could not be written; it is tried again, and nothing is lost");
                }
                outcome => outcome.map(|_| ())?,
            }
        }
    }

    /// Waits until a checkpoint is to be written: somebody asks for one, it is time, or it is due by its size.
    fn wait(&self, told: &mpsc::Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        let due = Instant::now() + self.interval;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            match told.recv_timeout(left.min(SIZE_STEP)) {
                Err(RecvTimeoutError::Timeout) if Instant::now() < due && !self.early.is_due() => {}
                told => return told,
            }
        }
    }

    fn write(&mut self) -> Result<Option<Written>, StoreError> {
        let began = Instant::now();
        let current_ms = wall_ms();
        let Some(written) = self.checkpointer.write()? else {
            // There is nothing new: the last one is as good as one of now.
            self.stats.lock_last().iter_mut().for_each(|last| last.current_ms = current_ms);
            return Ok(None);
        };
        let took = began.elapsed();
        tracing::debug!(?written, ?took, "a checkpoint is written");
        self.stats.written.fetch_add(1, Ordering::Relaxed);
        if written.gone > 0 {
            self.stats.gone.fetch_add(written.gone as u64, Ordering::Relaxed);
            let gone = written.gone;
            tracing::error!(
                gone,
                "checkpoints that were kept have been deleted by somebody else; is anything cleaning up in the store?"
            );
        }
        *self.stats.lock_last() = Some(Last { epoch: written.epoch, current_ms, written: Some((written.bytes, took)) });
        self.retain()?;
        Ok(Some(written))
    }

    /// Lets go of the records that retention takes, and then of the bindings that only the same records could use.
    fn retain(&self) -> Result<(), StoreError> {
        let Some((epoch, positions)) = self.checkpointer.oldest() else { return Ok(()) };
        self.dir.fence().check()?;
        if (self.retain)(self.dir.partitions(), positions, wall_ms())? {
            delete_bindings_below(&self.dir, epoch + 1)?;
        }
        Ok(())
    }
}
