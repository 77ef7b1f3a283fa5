//! Why records of Kafka can not be read on. Nothing is ever skipped: where something is missing, somebody has to say so.

use recount_dataflow::domain::fact::OFFSET_END;
use thiserror::Error;

use super::settings::AcceptedGap;
use crate::kafka::KafkaError;
use crate::streams::StreamsError;

/// Why records of Kafka can not be read on, in words for the person who has to act.
#[derive(Debug, Error)]
pub enum KafkaSourceError {
    /// Records that were not read yet are not there any more.
    #[error(
        "kafka topic {topic:?} partition {partition}: reading goes on at offset {wanted}, and the oldest record there is at \
         {low}: retention, or somebody, removed {} offsets that were never counted. Bring them back, or count without them: \
         recount serve --accept-gap {topic}/{partition}@{wanted}",
        .low - .wanted
    )]
    Removed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where reading goes on.
        wanted: u64,
        /// The first offset that is there.
        low: u64,
    },
    /// The partition ends before what was read.
    #[error(
        "kafka topic {topic:?} partition {partition}: reading goes on at offset {wanted}, and the partition ends at {end}: it was \
         cut, and what was counted from there on is not in it any more. Bring it back; or keep what was counted and go on with \
         whatever is written from {end} on: recount serve --accept-gap {topic}/{partition}@{wanted}"
    )]
    Truncated {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where reading goes on.
        wanted: u64,
        /// Where the partition ends.
        end: u64,
    },
    /// Another topic has taken the name.
    #[error(
        "kafka topic {topic:?}: was deleted and made anew: its id was {was}, and is {is}, so its offsets mean other records. What \
         was not read of the old one is lost; to keep what was counted and read the new one from its beginning: recount serve{}",
        flags(.gaps)
    )]
    Recreated {
        /// The topic.
        topic: String,
        /// Its id when it was read.
        was: String,
        /// Its id now.
        is: String,
        /// What would have to be accepted: every partition, with where reading stands.
        gaps: Vec<AcceptedGap>,
    },
    /// The topic is not there.
    #[error(
        "kafka topic {topic:?}: was deleted, or this user may not see it any more. What was not read of it is lost; take it out of \
         the settings, or make it again and take it as a new one: recount serve{}",
        flags(.gaps)
    )]
    Deleted {
        /// The topic.
        topic: String,
        /// What would have to be accepted: every partition, with where reading stands.
        gaps: Vec<AcceptedGap>,
    },
    /// Records are gone that epochs were bound to, and no checkpoint holds these epochs.
    #[error(
        "kafka topic {topic:?} partition {partition}: offsets {from} to {to} were counted in epochs that no checkpoint holds, and \
         are not there any more, so these epochs can not be made again. Bring the records back, or begin a new store"
    )]
    ReplayGone {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the checkpoint stands.
        from: u64,
        /// Where the newest epoch stands.
        to: u64,
    },
    /// A batch of records that can not be read.
    #[error(
        "kafka topic {topic:?} partition {partition}: the batch of records at or behind offset {offset} can not be read: {cause}. \
         The broker took it whole, so it was damaged since, on the way or on the broker's disk; it is not passed over, for nobody \
         can say what is in it. Start again, which may reach another replica; or remove it with kafka-delete-records and accept \
         the gap"
    )]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The first offset that was not read.
        offset: u64,
        /// What librdkafka said.
        cause: String,
    },
    /// The broker refuses an offset that it should have.
    #[error(
        "kafka topic {topic:?} partition {partition}: the broker refused offset {wanted}, and says that it holds [{low}, {end}); \
         start again"
    )]
    Refused {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where reading goes on.
        wanted: u64,
        /// The first offset that is there.
        low: u64,
        /// Where the partition ends.
        end: u64,
    },
    /// A partition that was never read is to begin at an offset that it does not have.
    #[error(
        "kafka topic {topic:?} partition {partition}: source.kafka.start says offset {start}, and it holds [{low}, {end}); write an \
         offset of these, or {end} for what comes from now on"
    )]
    NoSuchStart {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset as given.
        start: u64,
        /// The first offset that is there.
        low: u64,
        /// Where the partition ends.
        end: u64,
    },
    /// A gap was accepted that there is not.
    #[error("--accept-gap {gap}: {why}; take it out, or write it as the refusal shows it")]
    NoSuchGap {
        /// The gap as given.
        gap: AcceptedGap,
        /// What is there.
        why: String,
    },
    /// A topic is to be read as something else than before.
    #[error(
        "kafka topic {topic:?}: was read as {was}, and the settings say {is}; what was counted would be read otherwise in a \
         replay. Write format = {was:?}, or read it into a new store; content-type takes several formats in one topic"
    )]
    Format {
        /// The topic.
        topic: String,
        /// Its format when it was read first.
        was: String,
        /// Its format in the settings.
        is: String,
    },
    /// An offset is beyond what a position can hold.
    #[error(
        "kafka topic {topic:?} partition {partition}: offset {offset} is too large; at most {max} can be counted",
        max = OFFSET_END - 1
    )]
    TooFar {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
    /// A stream is asked for that ended before.
    #[error("stream {stream} ended at offset {at}, and offset {wanted} was bound to it; the data directory is damaged")]
    Ended {
        /// The stream.
        stream: u16,
        /// Where it ended.
        at: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// Something of Kafka failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The list of streams failed.
    #[error(transparent)]
    Streams(#[from] StreamsError),
    /// A thread could not be started.
    #[error("a reading thread can not be started: {0}")]
    Thread(std::io::Error),
    /// A thread panicked: a bug of ours.
    #[error("thread {thread:?}, which reads Kafka, panicked; this is a bug in Recount, see the log above")]
    Panicked {
        /// Its name.
        thread: String,
    },
}

fn flags(gaps: &[AcceptedGap]) -> String {
    gaps.iter().map(|gap| format!(" --accept-gap {gap}")).collect()
}

impl KafkaSourceError {
    /// Whether the same call may succeed later with nothing changed by a person.
    pub fn is_retryable(&self) -> bool {
        match self {
            KafkaSourceError::Kafka(error) => error.is_retryable(),
            KafkaSourceError::Refused { .. } => true,
            _ => false,
        }
    }
}
