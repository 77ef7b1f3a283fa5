//! The daemon without its sockets: data directory, log, bindings, engine and checkpoints, joined as `recount serve` joins them,
//! on any disk. One thread does one thing after the other, so that a seed decides in which order the disk is changed.

mod check;
mod crash;
mod world;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use recount_connectors::bindings::{BindingLog, Bindings, delete_bindings_below, newest_behind};
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::Disk;
use recount_connectors::log::{Append, AppendError, Appended, Log, LogSettings, LogSource, LogView};
use recount_connectors::store::DirectoryStore;
use recount_connectors::{Next, Source, read_up_to};
use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, Checkpoints, Written};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::engine::{Engine, Settings};
use recount_dataflow::intake::Batch;
use recount_dataflow::read::Reader;

use crate::durable::NEW_STORE;
use crate::harness::Fed;

pub use check::{Aftermath, replay};
pub use crash::{Life, live_through, points_met, run_all};
pub use world::World;

/// Records are never waited for this long: they are on the disk.
const WAIT: Duration = Duration::from_secs(60);

/// Why a daemon ended, or did not start: an error of one of its parts, in its words.
#[derive(Debug)]
pub struct Stopped(pub String);

impl Stopped {
    /// The words of an error.
    ///
    /// # Panics
    /// Where the error says that it is a bug.
    pub fn of(error: impl Display) -> Stopped {
        let words = error.to_string();
        assert!(!words.contains("bug in Recount"), "{words}");
        Stopped(words)
    }
}

/// What a daemon runs with, beside its rules.
#[derive(Clone)]
pub struct DaemonSettings {
    /// The engine's; the key is the store's.
    pub engine: Settings,
    /// The log's.
    pub log: LogSettings,
    /// Bytes after which the next file of bindings is begun.
    pub bindings_bytes: u64,
}

/// A daemon that runs.
pub struct Daemon {
    /// The engine, and a reader of it.
    pub fed: Fed,
    source: LogSource,
    /// How far the source was read.
    positions: BTreeMap<u16, u64>,
    checkpointer: Checkpointer,
    /// How many checkpoints could not be used at the start.
    pub damaged: usize,
    log: Log,
    dir: DataDir,
}

impl Daemon {
    /// Takes the directory over, goes on from the newest checkpoint, and makes again what was bound since.
    ///
    /// # Errors
    /// Where it refuses.
    pub fn start(disk: Arc<dyn Disk>, settings: &DaemonSettings) -> Result<Daemon, Stopped> {
        let dir = DataDir::open(disk, &NEW_STORE, settings.engine.rules).map_err(Stopped::of)?;
        let files = Arc::new(DirectoryStore::open(&dir).map_err(Stopped::of)?);
        let found = Checkpoints::new(files.clone()).newest().map_err(Stopped::of)?;
        let epoch = found.checkpoint.as_ref().map_or(0, Checkpoint::epoch);
        let positions = found.checkpoint.as_ref().map(Checkpoint::positions).unwrap_or_default();
        let view = LogView::read_only(&dir).map_err(Stopped::of)?;
        view.check_starts(&positions).map_err(Stopped::of)?;
        if let Some(newest) = newest_behind(&dir, epoch).map_err(Stopped::of)? {
            view.check_reaches(&newest.positions).map_err(Stopped::of)?;
        }
        let log = Log::open(&dir, settings.log.clone(), |_| true, |_| {}).map_err(Stopped::of)?;
        let bindings = BindingLog::open(&dir, |_| true).map_err(Stopped::of)?.with_file_bytes(settings.bindings_bytes);
        let recorded = Bindings::read(&dir, epoch + 1).map_err(Stopped::of)?;
        let source = LogSource::start(&log.view(), dir.hash_key(), dir.rules(), &positions).map_err(Stopped::of)?;
        let engine = Settings { key: dir.hash_key(), ..settings.engine.clone() };
        let engine = Engine::restore(engine, source.streams(), found.checkpoint, Box::new(bindings));
        let engine = engine.map_err(Stopped::of)?;
        let reader = engine.reader();
        let fence = dir.fence();
        let writer = fence.writer().into();
        let fence = move || fence.check().map_err(io::Error::other);
        let checkpointer = Checkpointer::open(files, reader.clone(), writer, 2, fence).map_err(Stopped::of)?;
        let positions = positions.iter().map(|position| (position.stream, position.offset)).collect();
        let damaged = found.damaged.len();
        let fed = Fed { engine, reader };
        let mut daemon = Daemon { fed, source, positions, checkpointer, damaged, log, dir };
        daemon.replay(recorded)?;
        Ok(daemon)
    }

    fn replay(&mut self, recorded: Bindings) -> Result<(), Stopped> {
        for binding in recorded {
            let binding = binding.map_err(Stopped::of)?;
            read_all(&mut self.source, &binding.positions, |batch| self.fed.engine.push_bound(batch))?;
            self.positions.extend(binding.positions.iter().map(|position| (position.stream, position.offset)));
            self.fed.engine.close_bound(&binding).map_err(Stopped::of)?;
        }
        self.fed.engine.drain().map_err(Stopped::of)?;
        Ok(())
    }

    /// A reader of the engine.
    pub fn reader(&self) -> &Reader {
        &self.fed.reader
    }

    /// Begins an append of records that arrive now, which is given.
    pub fn begin(&self, arrival_ms: i64) -> Append {
        self.log.begin(arrival_ms)
    }

    /// Appends, and waits. `None` where there is no room.
    ///
    /// # Errors
    /// Where the log has ended.
    pub fn append(&self, append: Append) -> Result<Option<Appended>, Stopped> {
        match self.log.append_and_wait(append) {
            Ok(appended) => Ok(Some(appended)),
            Err(AppendError::DiskFull { .. }) => Ok(None),
            Err(error) => Err(Stopped::of(error)),
        }
    }

    /// Whether the log holds more than was read.
    pub fn is_behind(&self) -> bool {
        let view = self.log.view();
        let read = |partition| self.positions.get(&partition).copied().unwrap_or_default();
        (0..view.partitions()).any(|partition| read(partition) < view.end(partition))
    }

    /// Takes the next batch of the log into the open epoch.
    ///
    /// # Errors
    /// Where the log can not be read, or an epoch not be bound.
    pub fn take_batch(&mut self, wall_ms: i64) -> Result<(), Stopped> {
        match self.source.next_within(WAIT).map_err(Stopped::of)? {
            Next::Batch(batch) => {
                self.positions.extend(batch.end().map(|end| (batch.stream, end)));
                self.fed.engine.push(batch, Some(wall_ms)).map_err(Stopped::of)
            }
            Next::Waiting => panic!("the log holds more than was read, and nothing comes"),
            Next::End => Err(Stopped("the log has ended".to_owned())),
        }
    }

    /// Closes the open epoch, and waits until it is readable.
    ///
    /// # Errors
    /// Where it can not be bound.
    pub fn close_epoch(&mut self, wall_ms: i64) -> Result<(), Stopped> {
        self.fed.engine.close_epoch(Some(wall_ms)).map_err(Stopped::of)?;
        self.fed.engine.drain().map_err(Stopped::of)?;
        Ok(())
    }

    /// Writes a checkpoint, and lets go of what retention takes. `None` where there is nothing new, or no room.
    ///
    /// # Errors
    /// Where the daemon has to stop.
    pub fn checkpoint(&mut self) -> Result<Option<Written>, Stopped> {
        checkpoint(&mut self.checkpointer, &self.log, &self.dir)
    }

    /// Ends as a service does that is asked to: what is in flight completes, the engine ends, and a last checkpoint is written.
    ///
    /// # Errors
    /// Where the daemon has to stop before.
    pub fn shut_down(self) -> Result<(), Stopped> {
        let Daemon { fed: Fed { engine, .. }, mut checkpointer, log, dir, .. } = self;
        engine.shutdown().map_err(Stopped::of)?;
        checkpoint(&mut checkpointer, &log, &dir)?;
        log.close();
        Ok(())
    }
}

fn checkpoint(checkpointer: &mut Checkpointer, log: &Log, dir: &DataDir) -> Result<Option<Written>, Stopped> {
    let written = match checkpointer.write() {
        Err(error) if error.is_retryable() => return Ok(None),
        written => written.map_err(Stopped::of)?,
    };
    let Some((epoch, positions)) = checkpointer.oldest() else { return Ok(written) };
    let mut floor = vec![0; usize::from(dir.partitions())];
    for position in positions {
        floor[usize::from(position.stream)] = position.offset;
    }
    if log.retain(&floor, 0).map_err(Stopped::of)? > 0 {
        delete_bindings_below(dir, epoch + 1).map_err(Stopped::of)?;
    }
    Ok(written)
}

/// Hands every record before `positions` to `take`.
fn read_all(source: &mut LogSource, positions: &[Position], mut take: impl FnMut(Batch)) -> Result<(), Stopped> {
    let stands = || panic!("nothing comes, and not all before {positions:?} was read");
    read_up_to(source, positions, WAIT, |_, batch| take(batch), stands).map(drop).map_err(Stopped::of)
}
