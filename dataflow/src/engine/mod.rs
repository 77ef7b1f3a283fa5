//! Epochs in: the sequencer that mints them, the driver that feeds them to the workers, and what they publish.

mod binding;
mod dictionary;
mod driver;
mod sequencer;
mod set_aside;
mod settings;
pub(crate) mod timeline;

pub use driver::Engine;
pub use settings::{History, Kept, Settings};

pub(crate) use dictionary::Dictionary;

use thiserror::Error;

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

/// The name of a stream: a partition of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// The source, for example a file's path.
    pub source: String,
    /// Its partition.
    pub partition: i32,
}
