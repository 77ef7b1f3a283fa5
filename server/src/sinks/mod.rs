//! What is published while the service runs: whole epochs, in order, each once.
//!
//! A sink follows the engine as a reader does. It begins behind what Kafka says is published, reads every complete epoch, and hands
//! it to a publisher. It holds the history back until it has read it and the feed where it is too far behind, so it never loses an
//! epoch; reads go on meanwhile.

#[cfg(not(feature = "kafka"))]
mod absent;
#[cfg(feature = "kafka")]
mod corrections;
#[cfg(feature = "kafka")]
mod counts;
#[cfg(feature = "kafka")]
mod dead_letters;
#[cfg(feature = "kafka")]
mod encode;
#[cfg(feature = "kafka")]
mod follow;
#[cfg(feature = "kafka")]
mod opening;
#[cfg(feature = "kafka")]
mod running;
#[cfg(feature = "kafka")]
mod settings;
#[cfg(feature = "kafka")]
mod stats;

#[cfg(not(feature = "kafka"))]
pub(crate) use self::absent::{Looked, Opened, Sinks};
#[cfg(not(feature = "kafka"))]
pub use self::absent::{SinkError, SinksSettings};
#[cfg(feature = "kafka")]
pub(crate) use self::opening::{Looked, Opened};
#[cfg(feature = "kafka")]
pub(crate) use self::running::Sinks;
#[cfg(feature = "kafka")]
pub use self::settings::SinksSettings;
#[cfg(feature = "kafka")]
pub use recount_connectors::kafka::sink::SinkError;

use recount_dataflow::read::ReadError;
use thiserror::Error;

/// Why publishing ended by itself.
#[derive(Debug, Error)]
pub enum SinksError {
    /// A sink can not publish.
    #[error(transparent)]
    Publish(#[from] SinkError),
    /// A sink holds what it has to read, and it was gone all the same.
    #[error(
        "sink {sink}: what it has to publish can not be read: {cause}; this is a bug in Recount. Nothing was published in its place, \
         and the next start goes on from there"
    )]
    Read {
        /// The sink.
        sink: &'static str,
        /// What is not there.
        cause: ReadError,
    },
}
