//! The data directory in operation: what is opened, in which order, and how it fails.

mod checkpoints;
pub(crate) mod kafka;
mod open;
mod pace;
pub(crate) mod rebuild;
#[cfg(test)]
mod tests;
pub(crate) mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use recount_connectors::bindings::{BindingError, BindingLog, Bindings};
use recount_connectors::data_dir::{DataDir, DataDirError, Fenced, NewStore};
use recount_connectors::disk::DiskError;
use recount_connectors::log::{Log, LogError, LogFailure, LogSettings};
use recount_connectors::store::{Place, PlaceError};
use recount_connectors::streams::StreamsError;
use recount_connectors::{Source, SourceError};
use recount_dataflow::checkpoint::{Checkpoint, CheckpointError};
use recount_dataflow::domain::fact::Position;
use thiserror::Error;
use tokio::sync::oneshot;

pub(crate) use self::checkpoints::{CheckpointStats, Checkpointing, Trigger};
pub(crate) use self::kafka::{KafkaInput, KafkaWatch};
pub(crate) use self::open::Begun;
pub use self::pace::Pace;
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
    /// This process is no longer the one that writes.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// The log can not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log, or Kafka, can not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The list of streams can not be used.
    #[error(transparent)]
    Streams(#[from] StreamsError),
    /// The bindings can not be opened or read.
    #[error(transparent)]
    Bindings(#[from] BindingError),
    /// Checkpoints are not where they should be, or can not be reached there.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A checkpoint and `store.json` are not of one store at one time.
    #[error(
        "{dir}: checkpoint {number} was made by other settings than store.json has ({}), so they are not of one store, or not of one \
         time; restore both from the same backup, or make everything anew with: recount rebuild --data-dir {dir}",
        .differences.join(", ")
    )]
    OtherRules {
        /// The directory.
        dir: String,
        /// The checkpoint's number.
        number: u64,
        /// Each setting that differs, with the checkpoint's value and the store's.
        differences: Vec<String>,
    },
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
    /// The identity of the store's epochs and positions.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage::of_store(self.dir.store_id(), self.dir.generation())
    }
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

/// Refuses a checkpoint that was not made by the store's rules.
fn check_rules(dir: &DataDir, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let differences = dir.differences(checkpoint.rules());
    match differences.is_empty() {
        true => Ok(()),
        false => Err(StoreError::OtherRules { dir: dir.disk().place(""), number: checkpoint.number(), differences }),
    }
}

/// Waits a moment; false where nobody should wait any more.
fn wait_for_room(who: &str, cause: &DiskError, stopping: &AtomicBool) -> bool {
    tracing::error!(%cause, "{who} waits for room on the disk; what was acknowledged is safe, and whatever can be read is read");
    thread::sleep(FULL_PAUSE);
    !stopping.load(Ordering::Relaxed)
}
