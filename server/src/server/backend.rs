//! What stands behind the listeners: the source, the engine with its feed, and for a data directory its log and checkpoints.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use recount_connectors::data_dir::DataDir;
use recount_connectors::{FileSource, RawStore};
use recount_dataflow::checkpoint::{Checkpointer, MemoryBudget};
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::Engine;
use recount_dataflow::read::Reader;

use super::{Input, ServerError, ServerSettings};
use crate::api::ingest::{Door, Ingest};
use crate::feed::{Brake, Feed, FeedError};
use crate::lineage::Lineage;
use crate::metrics::{KafkaCollector, Metrics, StoreCollector};
use crate::sinks::{Looked, Opened, Sinks, SinksError, SinksSettings};
use crate::store::{Begun, Checkpointing, Records, Store, StoreError, StoreSettings, Trigger};

/// Everything that runs behind the listeners.
pub(super) struct Backend {
    pub(super) reader: Reader,
    pub(super) lineage: Lineage,
    pub(super) raw: RawStore,
    feed: Feed,
    kept: Option<Kept>,
}

/// What a data directory adds.
struct Kept {
    dir: Arc<DataDir>,
    records: Records,
    checkpoints: Checkpointing,
    sinks: Option<Sinks>,
    /// How long sinks may still publish at the end.
    drain: Duration,
    /// What is told of it, until somebody takes it.
    measured: Option<StoreCollector>,
}

impl Backend {
    /// Opens the input and starts the engine and its feed. Blocks while a data directory recovers and its newest checkpoint is
    /// loaded. `stopping` turns true when nobody should wait for room on a disk any more.
    ///
    /// # Errors
    /// Where something can not start.
    pub(super) fn start(
        input: Input,
        settings: &ServerSettings,
        stopping: Arc<AtomicBool>,
    ) -> Result<Backend, ServerError> {
        match input {
            Input::Files(files) => Backend::of_files(*files, settings),
            Input::Store(store) => Backend::of_store(&store, settings, stopping),
        }
    }

    fn of_files(files: FileSource, settings: &ServerSettings) -> Result<Backend, ServerError> {
        let raw = files.raw_store();
        let engine = Engine::start(settings.engine.clone(), files.streams())?;
        let reader = engine.reader();
        let feed =
            Feed::start(engine, Box::new(files), Box::new(std::iter::empty()), settings.epoch_interval, None, None);
        let feed = feed.map_err(ServerError::Thread)?;
        Ok(Backend { reader, lineage: settings.lineage, raw, feed, kept: None })
    }

    fn of_store(
        store: &StoreSettings,
        settings: &ServerSettings,
        stopping: Arc<AtomicBool>,
    ) -> Result<Backend, ServerError> {
        let (pace, keep) = (store.pace, store.checkpoints_kept);
        let begun = Begun::begin(store, settings.engine.rules, &stopping)?;
        let looked = settings.sinks.as_ref().map(|sinks| Looked::look(sinks, begun.dir(), begun.bound(), &stopping));
        let looked = looked.transpose().map_err(SinksError::from)?;
        let chosen = begun.choose(looked.as_ref().map_or(u64::MAX, Looked::restore_up_to))?;
        // Only a start that can go on takes a sink from whoever has it.
        let opened = looked.map(Looked::claim).transpose().map_err(SinksError::from)?;
        let store = chosen.take_over(opened.as_ref().map_or(u64::MAX, Opened::restore_up_to), stopping)?;
        let lineage = store.lineage();
        let Store { dir, records, checkpoint, damaged, recorded, bindings, source, files } = store;
        let engine_settings = recount_dataflow::engine::Settings { key: dir.hash_key(), ..settings.engine.clone() };
        let binding_syncs = Box::new(bindings.sync_times());
        let restored = checkpoint.as_ref().map(|checkpoint| (checkpoint.epoch(), checkpoint.wall_ms()));
        let engine = Engine::restore(engine_settings, source.streams(), checkpoint, Box::new(bindings))?;
        let (reader, raw) = (engine.reader(), source.raw_store());
        // They hold on to every epoch from here on, so nothing is fed before.
        let sinks = opened.map(|opened| opened.start(&reader, lineage)).transpose().map_err(ServerError::Thread)?;
        let fence = dir.fence();
        let writer = fence.writer().into();
        let fence = move || fence.check().map_err(io::Error::other);
        let checkpointer = Checkpointer::open(files, reader.clone(), writer, keep, fence);
        let mut checkpointer = checkpointer.map_err(StoreError::from)?;
        if let Some(sinks) = &sinks {
            checkpointer.keep_up_to(sinks.restore_up_to());
        }
        let budget = pace.memory_budget.map(|bytes| Arc::new(MemoryBudget::new(bytes, reader.clone())));
        let brake = budget.clone().map(Brake::new);
        let behind_max = settings.sinks.as_ref().map(SinksSettings::epochs_behind_max);
        let feed = Feed::start(engine, source, Box::new(recorded), settings.epoch_interval, brake, behind_max);
        let feed = feed.map_err(ServerError::Thread)?;
        let checkpoints = Checkpointing::start(checkpointer, dir.clone(), records.retention(), pace, budget.clone());
        let checkpoints = checkpoints.map_err(ServerError::Thread)?;
        restored.into_iter().for_each(|(epoch, wall_ms)| checkpoints.stats().restored(epoch, wall_ms));
        let measured = StoreCollector { checkpoints: checkpoints.stats(), damaged, binding_syncs, budget };
        let kept = Kept { dir, records, checkpoints, sinks, drain: settings.drain, measured: Some(measured) };
        Ok(Backend { reader, lineage, raw, feed, kept: Some(kept) })
    }

    /// Waits until everything that was readable before the start is readable again.
    pub(super) async fn caught_up(&mut self) -> Result<(), FeedError> {
        self.feed.caught_up().await
    }

    /// Where clients append, where they can.
    pub(super) fn door(&self, rules: Rules) -> Door {
        match self.kept.as_ref().map(|kept| &kept.records) {
            Some(Records::Log(log, _)) => Door::Open(Ingest::new(log.clone(), rules, self.lineage)),
            Some(Records::Kafka(_)) => Door::Kafka,
            None => Door::Files,
        }
    }

    /// What asks for a checkpoint, where there are any.
    pub(super) fn trigger(&self) -> Option<Trigger> {
        self.kept.as_ref().map(|kept| kept.checkpoints.trigger())
    }

    /// Adds what a data directory tells of itself, and Kafka and the sinks, where there are any.
    pub(super) fn measure(&mut self, metrics: Metrics) -> Metrics {
        let Some(kept) = &mut self.kept else { return metrics };
        let metrics = match &kept.records {
            Records::Log(..) => metrics,
            Records::Kafka(watch) => metrics.with(KafkaCollector::new(watch)),
        };
        let metrics = kept.measured.take().into_iter().fold(metrics, Metrics::with);
        kept.sinks.as_ref().map(Sinks::collector).into_iter().fold(metrics, Metrics::with)
    }

    /// Waits until something fails.
    pub(super) async fn failed(&mut self) -> ServerError {
        let Some(kept) = &mut self.kept else { return self.feed.failed().await.into() };
        tokio::select! {
            error = self.feed.failed() => error.into(),
            error = kept.checkpoints.failed() => error.into(),
            error = sink_failed(&mut kept.sinks) => error.into(),
            failure = kept.records.failed() => ServerError::Log(failure),
        }
    }

    /// Stops the feed and the engine, lets the sinks publish what is complete, writes a last checkpoint where the service `ends_well`,
    /// and lets go of the log and the directory, in this order. Blocks.
    pub(super) fn stop(self, ends_well: bool) {
        self.feed.stop();
        if let Some(Kept { dir, records, checkpoints, sinks, drain, .. }) = self.kept {
            if let Some(sinks) = sinks {
                sinks.stop(drain);
            }
            checkpoints.stop(ends_well);
            // Who still holds the log was broken off, and nothing is appended any more.
            drop(records);
            // Its lock goes with it.
            drop(dir);
        }
    }
}

/// Waits until a sink fails; where there is none, for ever.
async fn sink_failed(sinks: &mut Option<Sinks>) -> SinksError {
    match sinks {
        Some(sinks) => sinks.failed().await,
        None => std::future::pending().await,
    }
}
