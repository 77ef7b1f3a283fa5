//! The data directory in operation: what is opened, in which order, and how it fails.

mod checkpoints;
pub(crate) mod kafka;
mod memory;
pub(crate) mod rebuild;
pub(crate) mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use recount_connectors::bindings::{BindingError, BindingLog, Bindings, newest_behind, newest_bound, positions_after};
use recount_connectors::data_dir::{DataDir, DataDirError, NewStore, StoreSource};
use recount_connectors::disk::{DiskError, SystemDisk};
use recount_connectors::log::{Log, LogError, LogFailure, LogSettings, LogSource, LogView};
use recount_connectors::store::{CheckpointFiles, Place, PlaceError};
use recount_connectors::streams::StreamsError;
use recount_connectors::{Source, SourceError};
use recount_dataflow::checkpoint::{Checkpoint, CheckpointError, Checkpoints};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use thiserror::Error;
use tokio::sync::oneshot;

pub use self::checkpoints::Pace;
pub(crate) use self::checkpoints::{CheckpointStats, Checkpointing, Trigger};
pub(crate) use self::kafka::{KafkaInput, KafkaWatch};
pub(crate) use self::memory::Brake;
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
    /// Where records come from, where the store keeps no log.
    pub(crate) kafka: Option<KafkaInput>,
    /// Where checkpoints are.
    pub checkpoints: Place,
    /// When they are written.
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
    /// The log, or Kafka, can not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The list of streams can not be used.
    #[error(transparent)]
    Streams(#[from] StreamsError),
    /// Records come from Kafka, and this program can not read it.
    #[error("{0}")]
    NoKafka(&'static str),
    /// The bindings can not be opened or read.
    #[error(transparent)]
    Bindings(#[from] BindingError),
    /// Checkpoints are not where they should be, or can not be reached there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No checkpoint can be used, or none can be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// An open data directory: all that the engine goes on from, and all that it writes to.
pub(crate) struct Store {
    pub(crate) dir: Arc<DataDir>,
    pub(crate) records: Records,
    /// The newest state that can be used; `None` where there is none yet.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Newer ones that could not be used.
    pub(crate) damaged: usize,
    /// What was bound since.
    pub(crate) recorded: Bindings,
    /// Where epochs are bound from now on.
    pub(crate) bindings: BindingLog,
    /// The records since the checkpoint.
    pub(crate) source: Box<dyn Source>,
    pub(crate) files: Arc<dyn recount_dataflow::store::Store>,
}

/// Where a store's records are.
pub(crate) enum Records {
    /// In its own log, which says where it has failed.
    Log(Arc<Log>, oneshot::Receiver<Arc<LogFailure>>),
    /// In Kafka.
    Kafka(KafkaWatch),
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
        let dir = open_dir(settings, rules)?;
        let newest_bound = newest_bound(&dir).map_err(StoreError::from)?;
        let restore_up_to = follow(&dir, newest_bound)?;
        Ok(Found::look(dir, &settings.checkpoints, restore_up_to)?.take_over(settings, stopping)?)
    }

    /// The identity of the store's epochs and positions.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage::of_store(self.dir.store_id(), self.dir.generation())
    }
}

fn open_dir(settings: &StoreSettings, rules: Rules) -> Result<DataDir, StoreError> {
    let disk = Arc::new(SystemDisk::create(&settings.dir)?);
    Ok(DataDir::open(disk, &settings.new, rules)?)
}

/// What a directory holds that the engine goes on from. Where it has a log of its own, whatever may be refused is refused here, before
/// anything is made; what Kafka holds is known only once it is read.
struct Found {
    dir: DataDir,
    files: Arc<dyn recount_dataflow::store::Store>,
    checkpoint: Option<Checkpoint>,
    damaged: usize,
    /// The epoch of the checkpoint, and where it stands.
    epoch: u64,
    positions: Vec<Position>,
}

impl Found {
    fn look(dir: DataDir, place: &Place, restore_up_to: u64) -> Result<Found, StoreError> {
        let files = CheckpointFiles::open(&dir, place)?.store();
        let found = Checkpoints::new(files.clone()).newest_up_to(restore_up_to)?;
        for damaged in &found.damaged {
            let (number, why) = (damaged.number, &damaged.why);
            tracing::error!(number, %why, "a checkpoint is damaged; an older one is used, and more of the log is read again");
        }
        let (checkpoint, damaged) = (found.checkpoint, found.damaged.len());
        let epoch = checkpoint.as_ref().map_or(0, Checkpoint::epoch);
        let positions = checkpoint.as_ref().map(Checkpoint::positions).unwrap_or_default();
        let newest = newest_behind(&dir, epoch)?;
        if dir.source() == StoreSource::Log {
            let log = LogView::read_only(&dir)?;
            log.check_starts(&positions)?;
            newest.map(|newest| log.check_reaches(&newest.positions)).transpose()?;
        }
        Ok(Found { dir, files, checkpoint, damaged, epoch, positions })
    }

    fn take_over(self, settings: &StoreSettings, stopping: Arc<AtomicBool>) -> Result<Store, StoreError> {
        let Found { dir, files, checkpoint, damaged, epoch, positions } = self;
        let log = settings.kafka.is_none().then(|| open_log(&dir, settings)).transpose()?;
        let bindings = BindingLog::open(&dir, move |cause| wait_for_room(cause, &stopping))?;
        let recorded = Bindings::read(&dir, epoch + 1)?;
        let (records, source) = match (log, &settings.kafka) {
            (Some((log, failure)), _) => {
                let source = LogSource::start(&log.view(), dir.hash_key(), dir.rules(), &positions)?;
                (Records::Log(Arc::new(log), failure), Box::new(source) as Box<dyn Source>)
            }
            (None, Some(kafka)) => {
                let bound = positions_after(&dir, epoch, &bindings)?;
                let (watch, source) = kafka::start(kafka, &dir, &positions, &bound)?;
                (Records::Kafka(watch), source)
            }
            (None, None) => unreachable!("without Kafka the log was opened"),
        };
        let dir = Arc::new(dir);
        Ok(Store { dir, records, checkpoint, damaged, recorded, bindings, source, files })
    }
}

fn open_log(dir: &DataDir, settings: &StoreSettings) -> Result<(Log, oneshot::Receiver<Arc<LogFailure>>), StoreError> {
    let (failed, failure) = oneshot::channel();
    let log = Log::open(dir, settings.log.clone(), move |why| {
        // At shutdown nobody listens any more.
        let _ = failed.send(why);
    })?;
    Ok((log, failure))
}

impl Records {
    /// Waits until the log fails; for ever, where there is none.
    ///
    /// # Panics
    /// Where the log's thread did.
    pub(crate) async fn failed(&mut self) -> Arc<LogFailure> {
        match self {
            Records::Log(_, failure) => match failure.await {
                Ok(failure) => failure,
                Err(_) => panic!("the log's thread panicked; this is a bug in Recount"),
            },
            // The feed says what fails there.
            Records::Kafka(_) => std::future::pending().await,
        }
    }

    /// Lets go of what no checkpoint needs any more, given where the oldest stands; says whether what was before it can not be read
    /// again.
    pub(crate) fn retention(&self) -> Retain {
        match self {
            Records::Log(log, _) => {
                let log = Arc::clone(log);
                Box::new(move |partitions, positions, now_ms| {
                    let mut floor = vec![0; usize::from(partitions)];
                    for position in positions {
                        floor[usize::from(position.stream)] = position.offset;
                    }
                    Ok(log.retain(&floor, now_ms)? > 0)
                })
            }
            Records::Kafka(watch) => {
                let watch = watch.clone();
                Box::new(move |_, _, _| Ok(kafka::is_head_gone(&watch)))
            }
        }
    }
}

/// What takes what retention takes: given partitions, the positions of the oldest checkpoint, and the wall clock in ms.
pub(crate) type Retain = Box<dyn Fn(u16, &[Position], i64) -> Result<bool, StoreError> + Send>;

/// Waits a moment; false where nobody should wait any more.
fn wait_for_room(cause: &DiskError, stopping: &AtomicBool) -> bool {
    tracing::error!(%cause, "an epoch waits for room on the disk; what was acknowledged is safe, and reads go on");
    thread::sleep(FULL_PAUSE);
    !stopping.load(Ordering::Relaxed)
}
