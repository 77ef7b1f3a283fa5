//! Opening a data directory. What may refuse is looked at first; nothing is taken from anybody, and nothing is made, before that.
//!
//! ```text
//!  begin            the directory: its lock and its fence, its rules, the newest bound epoch
//!    ▼
//!  (sinks: look)    topics and published progress, without fencing anybody: how new a checkpoint may be
//!    ▼
//!  choose           a checkpoint whose every byte holds, the bindings behind it, and that the records since are there
//!    ▼
//!  (sinks: claim)   former writers are fenced; from here on progress is for certain
//!    ▼
//!  take over        files of this writer, and reading begins
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use recount_connectors::Source;
use recount_connectors::bindings::{BindingLog, Bindings, newest_behind, newest_bound};
use recount_connectors::data_dir::{DataDir, DataDirError, StoreSource};
use recount_connectors::disk::{DiskError, SystemDisk};
use recount_connectors::log::{Log, LogFailure, LogSource, LogView};
use recount_connectors::store::CheckpointFiles;
use recount_dataflow::checkpoint::{Checkpoint, Checkpoints};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::store::Store as Files;
use tokio::sync::oneshot;

use super::{Records, Store, StoreError, StoreSettings, check_rules, kafka, wait_for_room};

/// A directory that no other process writes in from here on.
pub(crate) struct Begun<'a> {
    settings: &'a StoreSettings,
    dir: DataDir,
    bound: u64,
}

impl<'a> Begun<'a> {
    /// Takes the directory's lock and puts up its fence. Makes a store where there is none. `stopping` turns true when nobody should wait
    /// for room on the disk any more.
    ///
    /// # Errors
    /// Where the directory is refused.
    pub(crate) fn begin(settings: &'a StoreSettings, rules: Rules, stopping: &AtomicBool) -> Result<Self, StoreError> {
        let disk = Arc::new(SystemDisk::create(&settings.dir)?);
        let dir = loop {
            match DataDir::open(disk.clone(), &settings.new, rules) {
                Err(DataDirError::Disk(full)) if full.is_full() && wait_for_room("the start", &full, stopping) => {}
                opened => break opened?,
            }
        };
        let bound = newest_bound(&dir)?;
        Ok(Begun { settings, dir, bound })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// The newest epoch that is bound.
    pub(crate) fn bound(&self) -> u64 {
        self.bound
    }

    /// Chooses the newest checkpoint of an epoch up to `restore_up_to`, and looks whether the engine can go on from it. Where it is
    /// not known yet whether Kafka holds what comes next, it is found while reading.
    ///
    /// # Errors
    /// Where no checkpoint can be used, and where bindings or records behind it are missing.
    pub(crate) fn choose(self, restore_up_to: u64) -> Result<Chosen<'a>, StoreError> {
        let Begun { settings, dir, .. } = self;
        // Opened once: in an object store it tells which writer came last.
        let files = CheckpointFiles::open(&dir, &settings.checkpoints)?.store();
        let base = Base::find(&dir, files, restore_up_to)?;
        if let Some(kafka) = &settings.kafka {
            kafka::look(kafka, &dir, &base.positions, &base.bound)?;
        }
        Ok(Chosen { settings, dir, base, restore_up_to })
    }
}

/// A directory that the engine can go on from.
pub(crate) struct Chosen<'a> {
    settings: &'a StoreSettings,
    dir: DataDir,
    base: Base,
    restore_up_to: u64,
}

impl Chosen<'_> {
    /// Opens what this process writes to, and begins to read. `restore_up_to` may have grown since the choice was made: then it is
    /// made again, and comes to the same or a newer checkpoint, which needs nothing that was not looked at. `stopping` turns true
    /// when nobody should wait for room on the disk any more.
    ///
    /// # Errors
    /// Where the disk fails, and where a later writer came.
    pub(crate) fn take_over(self, restore_up_to: u64, stopping: Arc<AtomicBool>) -> Result<Store, StoreError> {
        let Chosen { settings, dir, mut base, restore_up_to: chosen_up_to } = self;
        if chosen_up_to != restore_up_to {
            base = Base::find(&dir, base.files, restore_up_to)?;
        }
        let Base { files, checkpoint, damaged, epoch, positions, bound } = base;
        let log = settings.kafka.is_none().then(|| open_log(&dir, settings, &stopping)).transpose()?;
        let bindings = BindingLog::open(&dir, move |cause| wait_for_room("an epoch", cause, &stopping))?;
        let recorded = Bindings::read(&dir, epoch + 1)?;
        let (records, source) = match (log, &settings.kafka) {
            (Some((log, failure)), _) => {
                let source = LogSource::start(&log.view(), dir.hash_key(), dir.rules(), &positions)?;
                (Records::Log(Arc::new(log), failure), Box::new(source) as Box<dyn Source>)
            }
            (None, Some(kafka)) => {
                let (watch, source) = kafka::start(kafka, &dir, &positions, &bound)?;
                (Records::Kafka(watch), source)
            }
            (None, None) => unreachable!("without Kafka the log was opened"),
        };
        let dir = Arc::new(dir);
        Ok(Store { dir, records, checkpoint, damaged, recorded, bindings, source, files })
    }
}

/// What the engine goes on from.
struct Base {
    files: Arc<dyn Files>,
    checkpoint: Option<Checkpoint>,
    /// Newer ones that could not be used.
    damaged: usize,
    /// The epoch of the checkpoint, and where it stands.
    epoch: u64,
    positions: Vec<Position>,
    /// Where the newest binding stands, where it is of an epoch behind the checkpoint's.
    bound: Vec<Position>,
}

impl Base {
    fn find(dir: &DataDir, files: Arc<dyn Files>, restore_up_to: u64) -> Result<Base, StoreError> {
        let found = Checkpoints::new(Arc::clone(&files)).newest_up_to(restore_up_to)?;
        for damaged in &found.damaged {
            let (number, why) = (damaged.number, &damaged.why);
            tracing::error!(number, %why, "a checkpoint is damaged; an older one is used, and more of the log is read again");
        }
        let (checkpoint, damaged) = (found.checkpoint, found.damaged.len());
        checkpoint.as_ref().map(|checkpoint| check_rules(dir, checkpoint)).transpose()?;
        let epoch = checkpoint.as_ref().map_or(0, Checkpoint::epoch);
        let positions = checkpoint.as_ref().map(Checkpoint::positions).unwrap_or_default();
        let newest = newest_behind(dir, epoch)?;
        if dir.source() == StoreSource::Log {
            let log = LogView::read_only(dir)?;
            log.check_starts(&positions)?;
            newest.as_ref().map(|newest| log.check_reaches(&newest.positions)).transpose()?;
        }
        let bound = newest.map(|newest| newest.positions).unwrap_or_default();
        Ok(Base { files, checkpoint, damaged, epoch, positions, bound })
    }
}

fn open_log(
    dir: &DataDir,
    settings: &StoreSettings,
    stopping: &AtomicBool,
) -> Result<(Log, oneshot::Receiver<Arc<LogFailure>>), StoreError> {
    let (failed, failure) = oneshot::channel();
    let on_full = |cause: &DiskError| wait_for_room("the start", cause, stopping);
    let log = Log::open(dir, settings.log.clone(), on_full, move |why| {
        // At shutdown nobody listens any more.
        let _ = failed.send(why);
    })?;
    Ok((log, failure))
}
