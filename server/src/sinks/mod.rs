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
pub(crate) use self::absent::{Looked, Opened, Sinks, SinksCollector};
#[cfg(not(feature = "kafka"))]
pub use self::absent::{SinkError, SinksSettings};
#[cfg(feature = "kafka")]
pub(crate) use self::opening::{Looked, Opened};
#[cfg(feature = "kafka")]
pub(crate) use self::running::Sinks;
#[cfg(feature = "kafka")]
pub use self::settings::SinksSettings;
#[cfg(feature = "kafka")]
pub(crate) use self::stats::SinksCollector;
#[cfg(feature = "kafka")]
pub use recount_connectors::kafka::sink::SinkError;
