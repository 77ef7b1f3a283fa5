//! Everything anew, from the log, by other rules.
//!
//! It is made beside what there is, as the store's next generation: its epochs are cut where they were cut before, and their
//! wall clocks are the old ones. When its first checkpoint is durable, the store becomes it in one step. Whatever fails or crashes
//! before leaves the store as it was.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use recount_connectors::bindings::{BindingError, BindingLog, Bindings};
use recount_connectors::data_dir::{DataDir, FinishError, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{Log, LogSettings, LogSource, LogView};
use recount_connectors::store::{CheckpointFiles, Place, PlaceError};
use recount_connectors::{Next, Source, read_up_to};
use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, MemoryBudget, Written};
use recount_dataflow::engine::{Engine, EngineError, Settings};
use recount_dataflow::intake::Batch;
use recount_dataflow::store::EpochBinding;
use thiserror::Error;

use super::StoreError;
use crate::clock::wall_ms;

/// How long to wait for the log's records before looking again.
const STEP: Duration = Duration::from_secs(1);
/// Checkpoints that are kept meanwhile.
const CHECKPOINTS_KEPT: usize = 2;
/// Epochs from one look at the state's memory to the next.
const MEMORY_EPOCHS: u64 = 64;

/// Why nothing was made anew. Unless it says otherwise, the store is as it was.
#[derive(Debug, Error)]
pub(crate) enum RebuildError {
    /// The directory can not be used.
    #[error(transparent)]
    Store(StoreError),
    /// The log does not hold everything any more.
    #[error(
        "{dir}: the log's partition {partition} begins at offset {start}: retention has taken what was before, so not \
         everything can be made anew; go on with the settings that the store was made with"
    )]
    HeadGone {
        /// The directory.
        dir: String,
        /// A partition whose beginning is gone.
        partition: u16,
        /// What it begins with.
        start: u64,
    },
    /// The records are not in the store.
    #[error(
        "{dir}: the records of this store come from Kafka; to count them by other settings begin a new store, with another \
         --data-dir, which reads the topics from their beginning"
    )]
    OfKafka {
        /// The directory.
        dir: String,
    },
    /// The engine could not be started, or stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was of the generation before could not be deleted.
    #[error("everything was made anew, and what was before could not be deleted; the next start does it: {0}")]
    Leftovers(PlaceError),
    /// The new generation could not become the store's.
    #[error(transparent)]
    Finish(#[from] FinishError),
}

impl<E> From<E> for RebuildError
where
    StoreError: From<E>,
{
    fn from(error: E) -> Self {
        RebuildError::Store(StoreError::from(error))
    }
}

/// What was made anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebuilt {
    /// The store's generation from now on.
    pub(crate) generation: u32,
    /// The newest epoch.
    pub(crate) newest: u64,
    /// How many of the epochs, the newest, were not cut as before: nothing was bound to them.
    pub(crate) cut_anew: u64,
    /// Records in all epochs.
    pub(crate) records: u64,
    /// Of them, those that were set aside because they came too late.
    pub(crate) parked: u64,
    /// The first checkpoint; `None` where the log is empty.
    pub(crate) checkpoint: Option<u64>,
}

/// Makes everything anew by the rules of `settings`, with its checkpoints at `place` and the state's memory within a budget. `progress`
/// hears of the records.
pub(crate) fn rebuild(
    path: &Path,
    place: &Place,
    settings: Settings,
    memory_budget: Option<u64>,
    progress: impl FnMut(u64),
) -> Result<Rebuilt, RebuildError> {
    let mut dir = DataDir::open_for_rebuild(Arc::new(SystemDisk::open(path)?))?;
    if dir.source() == StoreSource::Kafka {
        return Err(RebuildError::OfKafka { dir: path.display().to_string() });
    }
    check_head(path, &dir)?;
    let files = CheckpointFiles::open(&dir, place)?;
    // What is made from the log must not be ahead of what is durable of it, and nothing is appended.
    let log = Log::open(&dir, LogSettings::default(), |_| false, |_| {})?;
    let view = log.view();
    log.close();
    let recorded = recorded(&dir)?;
    dir.begin_generation(settings.rules)?;

    let bindings = BindingLog::open(&dir, |_| false)?;
    let source = LogSource::start(&view, dir.hash_key(), dir.rules(), &[])?;
    let settings = Settings { key: dir.hash_key(), ..settings };
    let engine = Engine::restore(settings, source.streams(), None::<Checkpoint>, Box::new(bindings))?;
    let files = files.of_generation(&dir)?;
    let fence = dir.fence();
    let writer = fence.writer().into();
    let fence = move || fence.check().map_err(io::Error::other);
    let mut checkpointer = Checkpointer::open(files.store(), engine.reader(), writer, CHECKPOINTS_KEPT, fence)?;
    if memory_budget.is_some() {
        checkpointer.release_memory();
    }
    let budget = memory_budget.map(|bytes| MemoryBudget::new(bytes, engine.reader()));
    let mut anew = Anew { source, engine, checkpointer, budget, records: 0, progress };
    let bound = anew.epochs(recorded)?;
    let newest = anew.rest()?;
    let written = anew.checkpointer.write()?;
    let parked = anew.engine.reader().snapshot(None).map_or(0, |snapshot| snapshot.totals().parked_total());
    anew.engine.shutdown()?;
    dir.finish_generation()?;
    files.clear_others().map_err(RebuildError::Leftovers)?;
    Ok(Rebuilt {
        generation: dir.generation(),
        newest,
        cut_anew: newest - bound,
        records: anew.records,
        parked,
        checkpoint: written.map(|Written { number, .. }| number),
    })
}

/// Refuses a log that does not begin at its beginning.
fn check_head(path: &Path, dir: &DataDir) -> Result<(), RebuildError> {
    let view = LogView::read_only(dir)?;
    match (0..view.partitions()).find(|&partition| view.start(partition) > 0) {
        Some(partition) => {
            let dir = path.display().to_string();
            Err(RebuildError::HeadGone { dir, partition, start: view.start(partition) })
        }
        None => Ok(()),
    }
}

/// What was bound before; nothing, where that is lost.
fn recorded(dir: &DataDir) -> Result<Option<Bindings>, BindingError> {
    match Bindings::read(dir, 1) {
        Err(error @ (BindingError::Gone { .. } | BindingError::Damaged { .. })) => {
            tracing::warn!(%error, "epochs can not be cut where they were, and are cut anew");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// What makes everything anew.
struct Anew<F> {
    source: LogSource,
    engine: Engine,
    checkpointer: Checkpointer,
    budget: Option<MemoryBudget>,
    records: u64,
    progress: F,
}

impl<F: FnMut(u64)> Anew<F> {
    /// Makes the epochs that were bound, as far as that can be read, and returns the newest.
    fn epochs(&mut self, recorded: Option<Bindings>) -> Result<u64, RebuildError> {
        let mut newest = 0;
        for binding in recorded.into_iter().flatten() {
            match binding {
                Ok(binding) => newest = self.epoch(&binding)?,
                Err(error @ BindingError::Damaged { .. }) => {
                    tracing::warn!(%error, newest, "the epochs from here on are cut anew");
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(newest)
    }

    fn epoch(&mut self, binding: &EpochBinding) -> Result<u64, RebuildError> {
        let take = |_: &dyn Source, batch: Batch| {
            self.records += batch.records() as u64;
            self.engine.push_bound(batch);
        };
        read_up_to(&mut self.source, &binding.positions, STEP, take, || true)?;
        let epoch = self.engine.close_epoch(Some(binding.wall_ms))?;
        (self.progress)(self.records);
        if epoch.is_multiple_of(MEMORY_EPOCHS) && self.budget.as_ref().is_some_and(MemoryBudget::wants_checkpoint) {
            self.checkpointer.write()?;
        }
        Ok(epoch)
    }

    /// Makes epochs of what was not bound, and returns the newest of all.
    fn rest(&mut self) -> Result<u64, RebuildError> {
        loop {
            match self.source.next_within(STEP)? {
                Next::Batch(batch) => {
                    self.records += batch.records() as u64;
                    self.engine.push(batch, Some(wall_ms()))?;
                    (self.progress)(self.records);
                }
                Next::Waiting => {}
                Next::End => break,
            }
        }
        self.engine.close_epoch(Some(wall_ms()))?;
        Ok(self.engine.drain()?)
    }
}
