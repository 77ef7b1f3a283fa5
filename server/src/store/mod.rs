//! The data directory in operation: what is opened, in which order, and how it fails.

mod checkpoints;
pub(crate) mod rebuild;
pub(crate) mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use recount_connectors::SourceError;
use recount_connectors::bindings::{BindingError, BindingLog, Bindings};
use recount_connectors::data_dir::{DataDir, DataDirError, NewStore};
use recount_connectors::disk::{DiskError, SystemDisk};
use recount_connectors::log::{Log, LogError, LogFailure, LogSettings, LogSource};
use recount_connectors::store::DirectoryStore;
use recount_dataflow::checkpoint::{Checkpoint, CheckpointError, Checkpoints, Found};
use recount_dataflow::domain::rules::Rules;
use thiserror::Error;
use tokio::sync::oneshot;

pub use self::checkpoints::Pace;
pub(crate) use self::checkpoints::{CheckpointStats, Checkpointing, Trigger};
use crate::lineage::Lineage;

/// How long to wait for room on a full disk before a binding is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What the data directory runs with.
#[derive(Clone)]
pub struct StoreSettings {
    /// The directory.
    pub dir: PathBuf,
    /// What it gets where there is no store yet.
    pub new: NewStore,
    /// The log's settings.
    pub log: LogSettings,
    /// When checkpoints are written.
    pub pace: Pace,
    /// Checkpoints that are kept, at least 2.
    pub checkpoints_kept: usize,
}

/// Why the data directory can not be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory is refused.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The log can not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log can not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The bindings can not be opened or read.
    #[error(transparent)]
    Bindings(#[from] BindingError),
    /// No checkpoint can be used, or none can be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// An open data directory: all that the engine goes on from, and all that it writes to.
pub(crate) struct Store {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) log: Arc<Log>,
    /// Where the log says that it has failed.
    pub(crate) failure: oneshot::Receiver<Arc<LogFailure>>,
    /// The newest state that can be used; `None` where there is none yet.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Newer ones that could not be used.
    pub(crate) damaged: usize,
    /// What was bound since.
    pub(crate) recorded: Bindings,
    /// Where epochs are bound from now on.
    pub(crate) bindings: BindingLog,
    /// The records since the checkpoint.
    pub(crate) source: LogSource,
    pub(crate) files: Arc<DirectoryStore>,
}

impl Store {
    /// Takes the directory over, recovers the log and the bindings, and loads the newest checkpoint: no other process writes
    /// from here on. `stopping` turns true when nobody should wait for room on the disk any more. `follow` is told the newest bound
    /// epoch, before a checkpoint is chosen, and names the newest epoch whose checkpoint suits those who follow. Blocks.
    pub(crate) fn open<E: From<StoreError>>(
        settings: &StoreSettings,
        rules: Rules,
        stopping: Arc<AtomicBool>,
        follow: impl FnOnce(&DataDir, u64) -> Result<u64, E>,
    ) -> Result<Store, E> {
        let recovered = Store::recover(settings, rules, stopping)?;
        let restore_up_to = follow(&recovered.dir, recovered.bindings.next_epoch() - 1)?;
        Ok(recovered.load(restore_up_to)?)
    }

    fn recover(settings: &StoreSettings, rules: Rules, stopping: Arc<AtomicBool>) -> Result<Recovered, StoreError> {
        let disk = Arc::new(SystemDisk::create(&settings.dir)?);
        let dir = DataDir::open(disk, &settings.new, rules)?;
        let (failed, failure) = oneshot::channel();
        let log = Log::open(&dir, settings.log.clone(), move |why| {
            // At shutdown nobody listens any more.
            let _ = failed.send(why);
        })?;
        let bindings = BindingLog::open(&dir, move |cause| wait_for_room(cause, &stopping))?;
        Ok(Recovered { dir, log, failure, bindings })
    }

    /// The identity of the store's epochs and positions.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage::of_store(self.dir.store_id(), self.dir.generation())
    }
}

/// A directory of ours, whose log and bindings are whole; no state is loaded yet.
struct Recovered {
    dir: DataDir,
    log: Log,
    failure: oneshot::Receiver<Arc<LogFailure>>,
    bindings: BindingLog,
}

impl Recovered {
    fn load(self, restore_up_to: u64) -> Result<Store, StoreError> {
        let Recovered { dir, log, failure, bindings } = self;
        let files = DirectoryStore::open(&dir)?;
        let Found { checkpoint, damaged } = Checkpoints::new(Arc::new(files.clone())).newest_up_to(restore_up_to)?;
        for damaged in &damaged {
            let (number, why) = (damaged.number, &damaged.why);
            tracing::error!(number, %why, "a checkpoint is damaged; an older one is used, and more of the log is read again");
        }
        let epoch = checkpoint.as_ref().map_or(0, Checkpoint::epoch);
        let positions = checkpoint.as_ref().map(Checkpoint::positions).unwrap_or_default();
        let recorded = Bindings::read(&dir, epoch + 1)?;
        let source = LogSource::start(&log.view(), dir.hash_key(), dir.rules(), &positions)?;
        Ok(Store {
            dir: Arc::new(dir),
            log: Arc::new(log),
            failure,
            checkpoint,
            damaged: damaged.len(),
            recorded,
            bindings,
            source,
            files: Arc::new(files),
        })
    }
}

/// Waits a moment; false where nobody should wait any more.
fn wait_for_room(cause: &DiskError, stopping: &AtomicBool) -> bool {
    tracing::error!(%cause, "an epoch waits for room on the disk; what was acknowledged is safe, and reads go on");
    thread::sleep(FULL_PAUSE);
    !stopping.load(Ordering::Relaxed)
}
