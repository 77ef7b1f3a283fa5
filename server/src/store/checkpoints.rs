//! The thread that writes checkpoints, and lets go of what none of them needs any more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recount_connectors::bindings::delete_bindings_below;
use recount_connectors::data_dir::DataDir;
use recount_dataflow::checkpoint::{Checkpointer, MemoryBudget, Written};
use tokio::sync::oneshot;

use super::{Retain, StoreError};

/// How often the state's memory is looked at, where it has a budget.
const MEMORY_STEP: Duration = Duration::from_millis(50);

/// When checkpoints are written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two.
    pub interval: Duration,
    /// Bytes of memory that the state has: files hold what is written, half of the budget in no file is reason enough to write, and
    /// all of it holds the feed back. `None` holds all in memory.
    pub memory_budget: Option<u64>,
}

/// What came of a checkpoint that somebody asked for: `None` where the newest holds the state already.
type Outcome = Result<Option<Written>, String>;

/// What is told of checkpoints.
#[derive(Default)]
pub(crate) struct CheckpointStats {
    /// How many were written since the start.
    pub(crate) written: AtomicU64,
    /// How many could not be, for want of room or because the object store was away.
    pub(crate) failed: AtomicU64,
    /// The last one.
    pub(crate) last: Mutex<Option<Last>>,
}

/// The last checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    pub(crate) written: Written,
    pub(crate) took: Duration,
    pub(crate) at: Instant,
}

/// What the thread is told.
enum Command {
    Write(oneshot::Sender<Outcome>),
    Stop,
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
        let mut worker = Worker { checkpointer, dir, retain, interval: pace.interval, budget, stats: stats.clone() };
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

    /// Writes a last checkpoint, so that the next start has little to read, and ends the thread.
    pub(crate) fn stop(self) {
        // It may have ended by itself.
        let _ = self.commands.send(Command::Stop);
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
    budget: Option<Arc<MemoryBudget>>,
    stats: Arc<CheckpointStats>,
}

impl Worker {
    fn run(&mut self, told: &mpsc::Receiver<Command>) -> Result<(), StoreError> {
        // Where the disk is full, or the object store away, memory is no reason to ask it again all the time.
        let mut heeds_memory = true;
        loop {
            let command = self.wait(told, heeds_memory);
            let outcome = self.write();
            if outcome.is_ok() {
                self.budget.iter().for_each(|budget| budget.written());
            }
            let said = outcome.as_ref().map(Option::clone).map_err(ToString::to_string);
            match command {
                Ok(Command::Write(answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(said);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    // At shutdown nobody hears of it otherwise.
                    if let Err(error) = &outcome {
                        tracing::warn!(%error, "the last checkpoint could not be written; the next start reads more of the log");
                    }
                    return outcome.map(|_| ());
                }
            }
            heeds_memory = outcome.is_ok();
            match outcome {
                Err(StoreError::Checkpoint(error)) if error.is_retryable() => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "a checkpoint could not be written; it is tried again, and nothing is lost");
                }
                outcome => outcome.map(|_| ())?,
            }
        }
    }

    /// Waits until a checkpoint is to be written: somebody asks for one, it is time, or the state takes too much memory.
    fn wait(&self, told: &mpsc::Receiver<Command>, heeds_memory: bool) -> Result<Command, RecvTimeoutError> {
        let due = Instant::now() + self.interval;
        let budget = self.budget.as_ref().filter(|_| heeds_memory);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let step = if budget.is_some() { left.min(MEMORY_STEP) } else { left };
            match told.recv_timeout(step) {
                Err(RecvTimeoutError::Timeout) if Instant::now() < due => {
                    if budget.is_some_and(|budget| budget.wants_checkpoint()) {
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
                told => return told,
            }
        }
    }

    fn write(&mut self) -> Result<Option<Written>, StoreError> {
        let began = Instant::now();
        let Some(written) = self.checkpointer.write()? else { return Ok(None) };
        let took = began.elapsed();
        tracing::debug!(?written, ?took, "a checkpoint is written");
        self.stats.written.fetch_add(1, Ordering::Relaxed);
        let mut last = self.stats.last.lock().expect("nothing panics while it holds the last checkpoint");
        *last = Some(Last { written, took, at: Instant::now() });
        drop(last);
        self.retain()?;
        Ok(Some(written))
    }

    /// Lets go of the records that retention takes, and then of the bindings that only the same records could use.
    fn retain(&self) -> Result<(), StoreError> {
        let Some((epoch, positions)) = self.checkpointer.oldest() else { return Ok(()) };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        if (self.retain)(self.dir.partitions(), positions, now_ms)? {
            delete_bindings_below(&self.dir, epoch + 1)?;
        }
        Ok(())
    }
}
