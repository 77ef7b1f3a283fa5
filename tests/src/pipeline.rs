//! The daemon without its sockets, fed by Kafka: data directory, streams, bindings, engine and checkpoints, joined as `recount
//! serve` joins them, on any disk.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_connectors::bindings::{BindingLog, Bindings, positions_after};
use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::disk::Disk;
use recount_connectors::kafka::source::{KafkaSource, KafkaSourceSettings, Resume};
use recount_connectors::store::DirectoryStore;
use recount_connectors::streams::Streams;
use recount_connectors::{Next, Source, read_up_to};
use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, Checkpoints};
use recount_dataflow::engine::{Engine, Settings};
use recount_dataflow::store::EpochBinding;

use crate::daemon::Stopped;
use crate::durable::NEW_STORE;
use crate::harness::Fed;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long one look for records lasts.
const STEP: Duration = Duration::from_millis(50);

/// What a new store gets.
const NEW: NewStore = NewStore { source: StoreSource::Kafka, ..NEW_STORE };

/// A daemon that runs.
pub struct Pipeline {
    /// The engine, and a reader of it.
    pub fed: Fed,
    /// Where its records come from.
    pub source: KafkaSource,
    /// Records that were pushed, and not made again.
    pub pushed: u64,
    known: usize,
    checkpointer: Checkpointer,
}

impl Pipeline {
    /// Takes the directory over, goes on from the newest checkpoint, and makes again what was bound since.
    ///
    /// # Errors
    /// Where it refuses.
    pub fn start(disk: Arc<dyn Disk>, kafka: &KafkaSourceSettings, engine: &Settings) -> Result<Pipeline, Stopped> {
        let dir = DataDir::open(disk, &NEW, engine.rules).map_err(Stopped::of)?;
        let bindings = BindingLog::open(&dir, |_| true).map_err(Stopped::of)?;
        let files = Arc::new(DirectoryStore::open(&dir).map_err(Stopped::of)?);
        let found = Checkpoints::new(files.clone()).newest().map_err(Stopped::of)?;
        let epoch = found.checkpoint.as_ref().map_or(0, Checkpoint::epoch);
        let positions = found.checkpoint.as_ref().map(Checkpoint::positions).unwrap_or_default();
        let bound = positions_after(&dir, epoch, &bindings).map_err(Stopped::of)?;
        let recorded = Bindings::read(&dir, epoch + 1).map_err(Stopped::of)?;
        let list = Streams::open(&dir).map_err(Stopped::of)?;
        let resume = Resume { positions: &positions, bound: &bound };
        let source = KafkaSource::start(kafka, list, resume, dir.hash_key(), dir.rules()).map_err(Stopped::of)?;
        let settings = Settings { key: dir.hash_key(), ..engine.clone() };
        let streams = source.streams();
        let known = streams.len();
        let engine = Engine::restore(settings, streams, found.checkpoint, Box::new(bindings)).map_err(Stopped::of)?;
        let reader = engine.reader();
        let fence = dir.fence();
        let writer = fence.writer().into();
        let fence = move || fence.check().map_err(io::Error::other);
        let checkpointer = Checkpointer::open(files, reader.clone(), writer, 2, fence).map_err(Stopped::of)?;
        let mut pipeline = Pipeline { fed: Fed { engine, reader }, source, pushed: 0, known, checkpointer };
        pipeline.replay(recorded)?;
        Ok(pipeline)
    }

    fn replay(&mut self, recorded: Bindings) -> Result<(), Stopped> {
        for binding in recorded {
            let binding = binding.map_err(Stopped::of)?;
            let came = Cell::new(Instant::now());
            let take = |_: &dyn Source, batch| {
                came.set(Instant::now());
                self.fed.engine.push_bound(batch);
            };
            let go_on = || {
                assert!(came.get().elapsed() < PATIENCE, "nothing comes of what was bound to epoch {}", binding.epoch);
                true
            };
            read_up_to(&mut self.source, &binding.positions, STEP, take, go_on).map_err(Stopped::of)?;
            self.fed.engine.close_bound(&binding).map_err(Stopped::of)?;
        }
        self.fed.engine.drain().map_err(Stopped::of)?;
        Ok(())
    }

    /// Takes the next batch into the open epoch, where one comes; returns its records and its stream.
    ///
    /// # Errors
    /// Where the source can not go on.
    pub fn take(&mut self, wall_ms: i64) -> Result<Option<(u16, usize)>, Stopped> {
        let Next::Batch(batch) = self.source.next_within(STEP).map_err(Stopped::of)? else { return Ok(None) };
        for name in self.source.streams().split_off(self.known) {
            self.known += 1;
            self.fed.engine.add_stream(name);
        }
        let taken = (batch.stream, batch.records());
        self.pushed += batch.records() as u64;
        self.fed.engine.push(batch, Some(wall_ms)).map_err(Stopped::of)?;
        Ok(Some(taken))
    }

    /// Reads until so many records came in since the start of this process; then closes the epoch.
    ///
    /// # Errors
    /// Where the source can not go on.
    ///
    /// # Panics
    /// Where they do not come.
    pub fn read(&mut self, records: u64, wall_ms: i64) -> Result<(), Stopped> {
        let deadline = Instant::now() + PATIENCE;
        while self.pushed < records {
            self.take(wall_ms)?;
            assert!(Instant::now() < deadline, "{} of {records} records came", self.pushed);
        }
        self.close_epoch(wall_ms)
    }

    /// Reads for a while, for whatever comes: an error is what is waited for.
    ///
    /// # Panics
    /// Where none comes.
    pub fn wait_for_error(&mut self) -> Stopped {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Err(stopped) = self.take(0) {
                return stopped;
            }
        }
        panic!("the source goes on");
    }

    /// Closes the open epoch, and waits until it is readable.
    ///
    /// # Errors
    /// Where it can not be bound.
    pub fn close_epoch(&mut self, wall_ms: i64) -> Result<(), Stopped> {
        self.fed.engine.close_epoch(Some(wall_ms)).map_err(Stopped::of)?;
        self.fed.engine.drain().map_err(Stopped::of)?;
        let positions = self.fed.reader.snapshot(None).map_err(Stopped::of)?.positions();
        self.source.bound(&positions);
        Ok(())
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// Where it can not be written.
    pub fn checkpoint(&mut self) -> Result<(), Stopped> {
        self.checkpointer.write().map(|_| ()).map_err(Stopped::of)
    }
}

/// What was bound, by epoch.
///
/// # Errors
/// Where it can not be read.
pub fn bound(disk: Arc<dyn Disk>) -> Result<BTreeMap<u64, EpochBinding>, Stopped> {
    let dir = DataDir::read_only(disk).map_err(Stopped::of)?;
    let bindings = Bindings::read(&dir, 1).map_err(Stopped::of)?;
    bindings.map(|binding| binding.map(|binding| (binding.epoch, binding)).map_err(Stopped::of)).collect()
}
