//! Checkpoints beside an engine, and the bound on its memory, as the service has them.

use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::store::DirectoryStore;
use recount_dataflow::checkpoint::{CheckpointError, Checkpointer, MemoryBudget};
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::{Engine, EngineError};
use recount_dataflow::read::Reader;
use serde::{Deserialize, Serialize};

use crate::measure::anonymous_bytes;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is kept beside an engine.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Keep {
    /// An empty directory.
    #[arg(long, required = false)]
    pub(crate) store: PathBuf,
    /// Time between two checkpoints, in ms.
    #[arg(long, required = false, requires = "store")]
    pub(crate) interval_ms: u64,
    /// The budget of the state's memory, in bytes.
    #[arg(long)]
    pub(crate) budget: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Checkpoints written.
    pub(crate) checkpoints: u64,
    /// Bytes written for them.
    pub(crate) written_bytes: u64,
    /// How long writing took, together.
    pub(crate) writing_seconds: f64,
    /// How long the feed waited for memory.
    pub(crate) held_seconds: f64,
    /// The most memory that the process held, without what it maps from files.
    pub(crate) peak_bytes: u64,
}

/// The running thread, and the bound.
pub(crate) struct Keeping {
    budget: Option<Arc<MemoryBudget>>,
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Kept, CheckpointError>>,
    dir: PathBuf,
}

impl Keeping {
    /// Starts to write checkpoints of the engine behind `reader`.
    pub(crate) fn start(keep: &Keep, reader: Reader) -> Result<Keeping, Box<dyn Error>> {
        let new = NewStore { id: 1, hash_secret: [0; 16], partitions: 1, source: StoreSource::Log };
        let dir = DataDir::open(Arc::new(SystemDisk::create(&keep.store)?), &new, Rules::default())?;
        let store = Arc::new(DirectoryStore::open(&dir)?);
        let fence = dir.fence();
        let fence = move || fence.check().map_err(io::Error::other);
        let mut checkpointer = Checkpointer::open(store, reader.clone(), 1, 2, fence)?;
        let budget = keep.budget.map(|bytes| Arc::new(MemoryBudget::new(bytes, reader)));
        if budget.is_some() {
            checkpointer.release_memory();
        }
        let (stop, stopped) = mpsc::channel();
        let (interval, bound) = (Duration::from_millis(keep.interval_ms), budget.clone());
        let thread = thread::spawn(move || {
            let kept = write_all(checkpointer, bound.as_deref(), interval, &stopped);
            drop(dir);
            kept
        });
        Ok(Keeping { budget, stop, thread, dir: keep.store.clone() })
    }

    /// Waits while more is in memory than may be.
    pub(crate) fn make_room(&self, engine: &mut Engine) -> Result<(), EngineError> {
        if let Some(budget) = self.budget.as_ref().filter(|budget| budget.is_due()) {
            engine.drain()?;
            budget.hold(|| self.thread.is_finished());
        }
        Ok(())
    }

    /// Ends it, and deletes what was kept.
    pub(crate) fn stop(self) -> Result<Kept, Box<dyn Error>> {
        drop(self.stop);
        let kept = self.thread.join().expect("writing checkpoints does not panic")?;
        fs::remove_dir_all(self.dir)?;
        let held_seconds = self.budget.map_or(0.0, |budget| budget.held().as_secs_f64());
        Ok(Kept { held_seconds, ..kept })
    }
}

fn write_all(
    mut checkpointer: Checkpointer,
    budget: Option<&MemoryBudget>,
    interval: Duration,
    stopped: &mpsc::Receiver<()>,
) -> Result<Kept, CheckpointError> {
    let mut kept = Kept::default();
    let mut due = Instant::now() + interval;
    loop {
        kept.peak_bytes = kept.peak_bytes.max(anonymous_bytes());
        if stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected) {
            return Ok(kept);
        }
        if Instant::now() < due && !budget.is_some_and(MemoryBudget::wants_checkpoint) {
            continue;
        }
        let began = Instant::now();
        if let Some(written) = checkpointer.write()? {
            kept.checkpoints += 1;
            kept.written_bytes += written.bytes;
            kept.writing_seconds += began.elapsed().as_secs_f64();
        }
        budget.into_iter().for_each(MemoryBudget::written);
        due = Instant::now() + interval;
    }
}
