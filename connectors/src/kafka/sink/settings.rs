//! What a publisher is made with.

use std::sync::Arc;
use std::time::Duration;

use crate::kafka::Client;

/// Brokers that are well end a transaction in milliseconds, and one that starts again is back in less.
pub const OUTCOME_WAIT: Duration = Duration::from_secs(10);

/// Who publishes: of all that ever published as one sink of a store, the one with the highest writer's number is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store's identity.
    pub store: u64,
    /// The sink's name, for example `counts`.
    pub sink: &'static str,
    /// How often everything was made anew.
    pub generation: u32,
    /// This process's number among the writers of the store.
    pub writer: u32,
}

impl Identity {
    /// The key of the sink's progress: `<store>.<sink>`.
    pub fn key(&self) -> String {
        format!("{:016x}.{}", self.store, self.sink)
    }

    /// The id that all writers of the sink share, so that of two the later one fences the earlier: `recount.<store>.<sink>`.
    pub fn transactional_id(&self) -> String {
        format!("recount.{}", self.key())
    }
}

/// What a reader may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Messages and progress in one transaction; readers read committed messages only.
    ExactlyOnce,
    /// Progress after the messages; after a crash some come again, and readers tell them by their keys and ids.
    AtLeastOnce,
}

/// What Kafka lets go of in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// All but the last message of a key.
    Compact,
    /// Messages older than this; none where it is `None`.
    Delete(Option<Duration>),
}

/// A topic as it is made where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// Its partitions; `None` takes the broker's default.
    pub partitions: Option<u16>,
    /// Its replicas; `None` takes the broker's default.
    pub replication: Option<u16>,
    /// What Kafka lets go of. A topic that is there must agree, or keys would be lost.
    pub cleanup: Cleanup,
    /// The most bytes that a message may have where the topic is made; `None` takes the broker's default.
    pub message_bytes_max: Option<usize>,
}

/// What a publisher is made with.
#[derive(Clone)]
pub struct PublisherSettings {
    /// How to reach the cluster.
    pub client: Client,
    /// Who publishes.
    pub identity: Identity,
    /// Where to, at least one; a part of a batch says which.
    pub topics: Vec<TopicPlan>,
    /// The topic of progress records: one partition, compacted; made where there is none.
    pub progress_topic: String,
    /// What a reader may count on.
    pub delivery: Delivery,
    /// After how long the broker takes back a transaction that did not end.
    pub transaction_timeout: Duration,
    /// How long the end of a transaction is waited for before its outcome counts as not known; [`OUTCOME_WAIT`] where nobody knows
    /// better.
    pub outcome_wait: Duration,
    /// Says why this process must not write any more, where that can be known without Kafka. It is asked before a former writer
    /// is fenced.
    pub guard: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}
