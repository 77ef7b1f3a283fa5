//! Why publishing ends.

use thiserror::Error;

use crate::kafka::KafkaError;

/// Why publishing ends. What Kafka may heal by itself is waited for, and is none of these.
#[derive(Debug, Error)]
pub enum SinkError {
    /// Another process publishes as this sink.
    #[error(
        "sink {sink}: another process has taken over, or a transaction was open for longer than \
         sink.kafka.transaction_timeout ({why}); this process stops, and nothing of what it had not committed is visible. Run \
         one process a store; where there is no other, start it again"
    )]
    Fenced {
        /// The sink.
        sink: &'static str,
        /// What Kafka said.
        why: String,
    },
    /// This process must not write any more.
    #[error("sink {sink}: {why}")]
    Replaced {
        /// The sink.
        sink: &'static str,
        /// Why.
        why: String,
    },
    /// A later writer has published.
    #[error(
        "sink {sink}: writer {found} has published up to epoch {epoch}, and this process is writer {writer}: it was replaced, or \
         the data directory is an older copy. Run the newest data directory, and one process over it"
    )]
    NewerWriter {
        /// The sink.
        sink: &'static str,
        /// Who has published.
        found: u32,
        /// Up to which epoch.
        epoch: u64,
        /// This process's number.
        writer: u32,
    },
    /// What was published comes from a later generation.
    #[error(
        "sink {sink}: generation {found} of the store has been published, and this data directory is of generation {generation}: \
         it is an older copy. Run the newest data directory"
    )]
    NewerGeneration {
        /// The sink.
        sink: &'static str,
        /// The published one.
        found: u32,
        /// The directory's.
        generation: u32,
    },
    /// What was published is newer than what is known here.
    #[error(
        "sink {sink}: epochs up to {published} have been published, and the newest that this data directory has bound is {bound}: \
         it has lost epochs, or is an older copy. Run the newest data directory; to begin anew beside it, publish to other \
         topics with another sink.kafka.progress_topic"
    )]
    Ahead {
        /// The sink.
        sink: &'static str,
        /// The newest epoch published.
        published: u64,
        /// The newest epoch bound.
        bound: u64,
    },
    /// A topic would lose what it must keep.
    #[error(
        "topic {topic:?}: cleanup.policy is {found:?}, and it must be {needed:?}: {why}; change it with kafka-configs, or choose another topic"
    )]
    Policy {
        /// The topic.
        topic: String,
        /// Its policy.
        found: String,
        /// The right one.
        needed: &'static str,
        /// What would happen.
        why: &'static str,
    },
    /// Kafka does not take a message, and would not take it later.
    #[error(
        "sink {sink}: a message to {topics} is refused for good: {why}; {advice}, and start again: nothing is lost, and publishing \
         goes on where it stopped"
    )]
    Message {
        /// The sink.
        sink: &'static str,
        /// The topics that it is among.
        topics: String,
        /// What Kafka said.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// A record of progress can not be read.
    #[error("topic {topic:?}: the progress of {key} can not be read: {why}; is it another program's topic?")]
    Progress {
        /// The topic.
        topic: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// Kafka refuses, and waiting does not help.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// It was told to stop while it waited for Kafka.
    #[error("publishing was broken off: the time to end was over")]
    Cancelled,
}

impl SinkError {
    /// Whether the same may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        matches!(self, SinkError::Kafka(error) if error.is_retryable())
    }
}
