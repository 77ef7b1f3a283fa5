//! What is read, and from where on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::format::TopicFormat;
use crate::kafka::ClientSettings;

/// What a source of Kafka runs with.
#[derive(Clone, Debug)]
pub struct KafkaSourceSettings {
    /// How to reach the cluster.
    pub client: ClientSettings,
    /// The group under which offsets are committed, for lag tools alone.
    pub group: String,
    /// The topics; each once.
    pub topics: Vec<Topic>,
    /// Where topics that were never read begin.
    pub start: Start,
    /// How far, in record timestamps, a partition may run ahead of the slowest one that still has records; `None` sets no bound.
    pub max_partition_skew: Option<Duration>,
    /// Time between two looks at the topics: for new partitions, and for topics that are not what they were.
    pub metadata_interval: Duration,
    /// Bytes that may be read ahead, over all partitions.
    pub prefetch_bytes: usize,
    /// Threads that read and decode, at least 1.
    pub threads: usize,
    /// Gaps that somebody has looked at, and accepts.
    pub accepted_gaps: Vec<AcceptedGap>,
}

impl KafkaSourceSettings {
    /// All partitions of these topics, from their beginning.
    pub fn new(client: ClientSettings, topics: Vec<Topic>) -> Self {
        KafkaSourceSettings {
            client,
            group: "recount".to_owned(),
            topics,
            start: Start::Earliest,
            max_partition_skew: Some(Duration::from_secs(3_600)),
            metadata_interval: Duration::from_secs(10),
            prefetch_bytes: 128 << 20,
            threads: 1,
            accepted_gaps: Vec::new(),
        }
    }
}

/// A topic that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How its records are written.
    pub format: TopicFormat,
}

/// Where a topic begins that was never read. New partitions of a topic begin at their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is there.
    #[default]
    Earliest,
    /// Behind the newest record.
    Latest,
    /// With the first record whose timestamp, ms since 1970, is this or later.
    Time(i64),
    /// At these offsets, by topic and partition; a partition that is not named begins with its oldest record.
    Offsets(BTreeMap<(String, i32), u64>),
}

/// A partition and an offset: `TOPIC/PARTITION@OFFSET`. It accepts that reading stood there and can not go on there. The offset is
/// exactly that of one gap, so it accepts no other one, however long it is left in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedGap {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset that would have been read.
    pub at: u64,
}

impl fmt::Display for AcceptedGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.at)
    }
}

impl FromStr for AcceptedGap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (place, at) = text.rsplit_once('@')?;
            let (topic, partition) = place_of(place)?;
            Some(AcceptedGap { topic, partition, at: at.parse().ok()? })
        };
        parse().ok_or_else(|| format!("{text:?} names no gap; write TOPIC/PARTITION@OFFSET, as the refusal shows it"))
    }
}

/// A topic and a partition, written `topic/partition`.
pub fn place_of(text: &str) -> Option<(String, i32)> {
    let (topic, partition) = text.rsplit_once('/')?;
    let partition = partition.parse::<i32>().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| (topic.to_owned(), partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_read_as_it_is_shown() {
        let gap = AcceptedGap { topic: "clicks.eu".into(), partition: 12, at: 1 << 40 };
        assert_eq!(gap.to_string().parse(), Ok(gap));
        for broken in ["", "clicks", "clicks/1", "clicks@5", "/1@5", "clicks/-1@5", "clicks/1@-5", "clicks/1@"] {
            assert!(broken.parse::<AcceptedGap>().is_err(), "{broken}");
        }
    }
}
