//! Kafka: how its clusters are reached. [`ClientSettings`] are what a person writes, a [`Client`] is what was checked of them, and every
//! consumer, producer and admin client of this room is made by one. [`produce()`] fills a topic from files.
//!
//! Nothing outside this room names rdkafka, and nothing in it prints a secret.

pub mod check;
mod client;
mod connection;
mod dead_letter;
mod delivery;
mod error;
mod originals;
mod outbox;
mod produce;
mod properties;
pub mod sink;
pub mod source;
mod wait;
mod watch;

pub(crate) use client::creation;
pub use client::{Client, ClientSettings};
pub use connection::{Broker, Connection, Partition, Rights, Topic};
pub use dead_letter::{DeadLetter, Missing, Origin, Replayed, Replayer, TIME_HEADER, read_dead_letters};
pub use error::KafkaError;
pub use originals::{Original, Originals};
pub use produce::{Content, KeyBy, ProduceError, ProduceSettings, Produced, Timestamps, produce};
pub use properties::{is_secret, redacted};
pub(crate) use wait::wait_for;
pub(crate) use watch::Watch;
