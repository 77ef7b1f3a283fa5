//! Epochs in: the sequencer that mints them, the driver that feeds them to the workers, and what they publish.

mod settings;

pub use settings::{History, Kept, Settings};

use thiserror::Error;

use crate::intake::Batch;
use crate::read::Reader;

/// Why the engine stopped. Neither is the fault of data.
#[derive(Debug, Error)]
pub enum EngineError {
    /// A worker thread could not be started.
    #[error("could not start {workers} workers: {cause}")]
    Start {
        /// How many were asked for.
        workers: usize,
        /// What the system said.
        cause: String,
    },
    /// A worker panicked: a bug of ours.
    #[error("a worker stopped after epoch {epoch}; this is a bug in Recount, see the log above")]
    WorkerLost {
        /// The last complete epoch.
        epoch: u64,
    },
}

/// A record that was accepted for no window: as [`Broken`](crate::intake::Broken), or parked because it came too late.
pub use crate::read::SetAside;

/// The running engine. One thread owns it and pushes batches; readers are handed out freely.
pub struct Engine {
    reader: Reader,
}

impl Engine {
    /// Starts the workers. `streams` names every stream that batches will come from, in the order of their numbers.
    ///
    /// # Errors
    /// Where threads can not be started.
    pub fn start(settings: Settings, streams: Vec<StreamName>) -> Result<Engine, EngineError> {
        let _ = (settings, streams);
        unimplemented!()
    }

    /// Takes in a batch, in the order of the records. Whenever `settings.epoch_records` are reached an epoch closes. Blocks
    /// while too many epochs are in flight. `wall_ms` is bound to the epochs that this closes; `None` takes the greatest time
    /// that any record has carried, so that a replay does not depend on a clock.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn push(&mut self, batch: Batch, wall_ms: Option<i64>) -> Result<(), EngineError> {
        let _ = (batch, wall_ms);
        unimplemented!()
    }

    /// Closes the open epoch if it holds any record, and returns the newest epoch closed.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn close_epoch(&mut self, wall_ms: Option<i64>) -> Result<u64, EngineError> {
        let _ = wall_ms;
        unimplemented!()
    }

    /// How many records the open epoch holds.
    pub fn open_records(&self) -> usize {
        unimplemented!()
    }

    /// Waits until every closed epoch is complete, and returns the newest.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn drain(&mut self) -> Result<u64, EngineError> {
        unimplemented!()
    }

    /// Takes what was set aside (quarantined and parked, in order of epoch) in complete epochs since the last call. Every
    /// record is handed out once; `None` turns it off (the default is off, and then only the reader's bounded lists remain).
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        unimplemented!()
    }

    /// A handle for reading, for any thread.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Stops the workers after the epochs in flight.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn shutdown(self) -> Result<(), EngineError> {
        unimplemented!()
    }
}

/// The name of a stream: a partition of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// The source, for example a file's path.
    pub source: String,
    /// Its partition.
    pub partition: i32,
}
