//! How far a sink has come, as Kafka holds it: the last committed record under the sink's key.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as Cause, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::{Identity, SinkError, TopicPlan};
use crate::kafka::client::creation;
use crate::kafka::{Client, KafkaError, Watch};

/// The one partition of the topic: who reads it has read all.
pub(super) const PARTITION: i32 = 0;
/// How long one question waits.
const WAIT: Duration = Duration::from_secs(5);
/// How long the end of others' transactions is waited for before it is spoken of.
const OTHERS_WAIT: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);
const FETCH_WAIT_MS: &str = "10";
const TIMED_OUT: Cause = Cause::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);

/// How far a sink has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The store, 16 hexadecimal digits.
    pub store: String,
    /// The sink.
    pub sink: String,
    /// How often everything was made anew.
    pub generation: u32,
    /// The newest epoch that was published whole; 0 before the first.
    pub epoch: u64,
    /// Who published it.
    pub writer: u32,
    /// The topics that it was published to; versions before these were noted have none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

impl Progress {
    pub(super) fn new(identity: &Identity, topics: &[TopicPlan], epoch: u64) -> Self {
        let Identity { store, sink, generation, writer } = identity;
        Progress {
            store: format!("{store:016x}"),
            sink: (*sink).to_owned(),
            generation: *generation,
            epoch,
            writer: *writer,
            topics: topics.iter().map(|topic| topic.name.clone()).collect(),
        }
    }

    /// Whether something of it is in one of these topics, which were there before: a topic that is made now, or that the sink did not
    /// publish to, has nothing of what is published.
    pub(super) fn goes_on_in(&self, topics: &[TopicPlan], were_there: &[bool]) -> bool {
        let is_known = |topic: &TopicPlan| self.topics.is_empty() || self.topics.contains(&topic.name);
        topics.iter().zip(were_there).any(|(topic, was_there)| *was_there && is_known(topic))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and text are JSON")
    }

    /// Refuses to go on from what a later writer or another history has published. `bound` is the newest epoch that is bound here.
    pub(super) fn judge(&self, identity: &Identity, bound: u64) -> Result<(), SinkError> {
        let Identity { sink, generation, writer, .. } = *identity;
        if generation < self.generation {
            return Err(SinkError::NewerGeneration { sink, found: self.generation, generation });
        }
        if writer < self.writer {
            return Err(SinkError::NewerWriter { sink, found: self.writer, epoch: self.epoch, writer });
        }
        if generation == self.generation && bound < self.epoch {
            return Err(SinkError::Ahead { sink, published: self.epoch, bound });
        }
        Ok(())
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {} of generation {} by writer {}", self.epoch, self.generation, self.writer)
    }
}

/// What of the topic is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpTo {
    /// What is committed now.
    Committed,
    /// All that was there when reading began; who still has a transaction open there is waited for.
    HighWatermark,
}

/// The last committed progress under a key.
pub(super) fn read(client: &Client, topic: &str, key: &str, up_to: UpTo) -> Result<Option<Progress>, SinkError> {
    let call = |cause| KafkaError::call(format!("the progress in topic {topic:?} can not be read"), cause);
    let mut config = client.consumer_config("recount.progress");
    // Its end is heard of with the first answer that has nothing more, and whoever starts waits for that.
    config.set("fetch.wait.max.ms", FETCH_WAIT_MS);
    let committed: BaseConsumer<Watch> = config.create_with_context(Watch::default()).map_err(creation)?;
    let mut end = 0;
    if up_to == UpTo::HighWatermark {
        config.set("isolation.level", "read_uncommitted");
        let all: BaseConsumer<Watch> = config.create_with_context(Watch::default()).map_err(creation)?;
        let (_, high) = all.fetch_watermarks(topic, PARTITION, WAIT).map_err(made_just_now).map_err(call)?;
        end = high;
        let deadline = Instant::now() + OTHERS_WAIT;
        // To one who reads what is committed, the end is where the first open transaction began.
        loop {
            let (_, open_from) = committed.fetch_watermarks(topic, PARTITION, WAIT).map_err(call)?;
            if high <= open_from {
                break;
            }
            if deadline < Instant::now() {
                return Err(KafkaError::call(still_open(topic, open_from), TIMED_OUT).into());
            }
            thread::sleep(STEP);
        }
    }
    let mut from_begin = TopicPartitionList::new();
    from_begin.add_partition_offset(topic, PARTITION, Offset::Beginning).map_err(call)?;
    committed.assign(&from_begin).map_err(call)?;
    let mut last = None;
    let mut deadline = Instant::now() + WAIT;
    loop {
        match committed.poll(STEP) {
            None if deadline < Instant::now() => {
                return Err(call(TIMED_OUT).into());
            }
            None => continue,
            Some(Ok(message)) if message.key() == Some(key.as_bytes()) => {
                last = message.payload().map(<[u8]>::to_vec);
            }
            Some(Ok(_)) => {}
            Some(Err(Cause::PartitionEOF(_))) => break,
            Some(Err(cause)) if cause.rdkafka_error_code().is_some_and(is_of_group) => continue,
            Some(Err(cause)) => return Err(call(cause).into()),
        }
        deadline = Instant::now() + WAIT;
    }
    if up_to == UpTo::HighWatermark {
        // A leader that has only just become one may not know yet how far all replicas have come, and have ended too early.
        let (_, ended) = committed.fetch_watermarks(topic, PARTITION, WAIT).map_err(call)?;
        if ended < end {
            return Err(call(TIMED_OUT).into());
        }
    }
    let decode = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes).map_err(|cause| SinkError::Progress {
            topic: topic.to_owned(),
            key: key.to_owned(),
            why: cause.to_string(),
        })
    };
    last.map(decode).transpose()
}

/// The same error, but for a topic that was made a moment ago: not every broker knows it yet.
fn made_just_now(cause: Cause) -> Cause {
    match cause.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition) => TIMED_OUT,
        _ => cause,
    }
}

/// Whether an error is about the consumer's group, for which librdkafka asks in any case: the partition is assigned, and nothing is
/// committed, so nobody needs a right to it.
fn is_of_group(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
    )
}

/// What an open transaction keeps from being read, and who can end it.
fn still_open(topic: &str, from: i64) -> String {
    format!(
        "the progress in topic {topic:?} can not be read while a transaction that began at offset {from} of partition {PARTITION} is \
         open; it ends with its writer's time-out, or, where `kafka-transactions.sh find-hanging` lists it, with \
         `kafka-transactions.sh abort --topic {topic} --partition {PARTITION} --start-offset {from}`"
    )
}

#[cfg(test)]
mod tests {
    use super::super::Cleanup;
    use super::*;

    fn topics<const N: usize>(names: [&str; N]) -> Vec<TopicPlan> {
        let plan = |name: &str| TopicPlan {
            name: name.to_owned(),
            partitions: None,
            replication: None,
            cleanup: Cleanup::Compact,
            message_bytes_max: None,
        };
        names.map(plan).into()
    }

    #[test]
    fn a_topic_that_is_new_has_nothing_of_what_is_published() {
        let found = Progress::new(&identity(1, 3), &topics(["a", "b"]), 17);
        assert!(found.goes_on_in(&topics(["a"]), &[true]));
        assert!(!found.goes_on_in(&topics(["a"]), &[false]), "it was deleted");
        assert!(!found.goes_on_in(&topics(["c"]), &[true]), "another is named");
        assert!(found.goes_on_in(&topics(["c", "b"]), &[false, true]));
        let older = Progress { topics: Vec::new(), ..found };
        assert!(older.goes_on_in(&topics(["c"]), &[true]) && !older.goes_on_in(&topics(["c"]), &[false]));
    }

    fn identity(generation: u32, writer: u32) -> Identity {
        Identity { store: 0xab, sink: "counts", generation, writer }
    }

    #[test]
    fn a_record_is_json_and_comes_back() {
        let progress = Progress::new(&identity(1, 3), &topics(["counts"]), 17);
        let before = r#"{"store":"00000000000000ab","sink":"counts","generation":1,"epoch":17,"writer":3"#;
        let text = format!(r#"{before},"topics":["counts"]}}"#);
        assert_eq!(String::from_utf8(progress.encode()).unwrap(), text);
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        // As versions wrote it that did not note topics.
        let older = serde_json::from_str::<Progress>(&format!("{before}}}")).unwrap();
        assert_eq!(older, Progress { topics: Vec::new(), ..progress });
        assert_eq!(identity(1, 3).transactional_id(), "recount.00000000000000ab.counts");
    }

    #[test]
    fn what_is_newer_is_refused() {
        let found = Progress::new(&identity(1, 3), &[], 17);
        let judged = |generation, writer, bound| found.judge(&identity(generation, writer), bound);
        assert!(judged(1, 3, 17).is_ok() && judged(1, 4, 20).is_ok());
        // Of an older generation the epochs are other ones.
        assert!(judged(2, 4, 0).is_ok());
        assert!(matches!(judged(1, 2, 20), Err(SinkError::NewerWriter { found: 3, writer: 2, .. })));
        assert!(matches!(judged(1, 4, 16), Err(SinkError::Ahead { published: 17, bound: 16, .. })));
        assert!(matches!(judged(0, 9, 20), Err(SinkError::NewerGeneration { found: 1, generation: 0, .. })));
    }
}
