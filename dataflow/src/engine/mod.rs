//! Epochs in: the sequencer that mints them, and the driver that feeds them to the workers.

mod driver;
mod sequencer;
mod settings;

pub use driver::Engine;
pub use settings::{KeptWindows, Settings};

pub use crate::published::{History, Origin, StreamName};

use thiserror::Error;

/// Why the engine stopped. None of it is the fault of records.
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
    /// An epoch's binding could not be made durable; nothing of the epoch was released.
    #[error("the binding of epoch {epoch} could not be written: {cause}")]
    Bind {
        /// The epoch.
        epoch: u64,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The log does not hold what was bound to an epoch.
    #[error("epoch {epoch}: the log holds {found}, but its binding says {bound}; the data directory is damaged")]
    Rebound {
        /// The epoch.
        epoch: u64,
        /// What the binding says.
        bound: String,
        /// What the log came to.
        found: String,
    },
}
