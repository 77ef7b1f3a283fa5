//! Partitions that nobody answers for: a look goes on without them, and the next one tries again.

use std::collections::BTreeSet;

use super::super::KafkaSourceError;
use super::super::native::TopicDescription;
use super::ask::Cluster;
use crate::kafka::KafkaError;

/// A partition of which nothing is known now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Absent {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) why: String,
}

impl Absent {
    pub(super) fn is(&self, topic: &str, partition: i32) -> bool {
        self.topic == topic && self.partition == partition
    }

    pub(super) fn error(&self) -> KafkaSourceError {
        let Absent { topic, partition, why } = self.clone();
        KafkaError::NoAnswer { topic, partition, why }.into()
    }
}

/// Asks the leaders of partitions, during one look. A leader that did not answer once is not waited for again.
pub(super) struct Leaders<'a> {
    cluster: &'a Cluster,
    silent: BTreeSet<i32>,
    absent: Vec<Absent>,
}

impl<'a> Leaders<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        Leaders { cluster, silent: BTreeSet::new(), absent: Vec::new() }
    }

    /// The first offset of a partition that is still there, and the one behind its last record; `None` where nobody answers.
    ///
    /// # Errors
    /// Where waiting does not help.
    pub(super) fn offsets(
        &mut self,
        found: &TopicDescription,
        topic: &str,
        partition: i32,
    ) -> Result<Option<(u64, u64)>, KafkaSourceError> {
        self.ask(found, topic, partition, Cluster::offsets)
    }

    /// The first offset of a partition that is still there; `None` where nobody answers.
    ///
    /// # Errors
    /// Where waiting does not help.
    pub(super) fn low(
        &mut self,
        found: &TopicDescription,
        topic: &str,
        partition: i32,
    ) -> Result<Option<u64>, KafkaSourceError> {
        Ok(self.offsets(found, topic, partition)?.map(|(low, _)| low))
    }

    /// The offset of the first record whose timestamp is this or later, or else `end`; `None` where nobody answers.
    ///
    /// # Errors
    /// Where waiting does not help.
    pub(super) fn offset_of_time(
        &mut self,
        found: &TopicDescription,
        (topic, partition): (&str, i32),
        ms: i64,
        end: u64,
    ) -> Result<Option<u64>, KafkaSourceError> {
        let ask = |cluster: &Cluster, topic: &str, partition| cluster.offset_of_time(topic, partition, ms);
        Ok(self.ask(found, topic, partition, ask)?.map(|offset| offset.unwrap_or(end)))
    }

    /// Whether nobody answered for some partition of a topic.
    pub(super) fn lacks(&self, topic: &str) -> bool {
        self.absent.iter().any(|absent| absent.topic == topic)
    }

    /// All that nobody answered for.
    pub(super) fn into_absent(self) -> Vec<Absent> {
        self.absent
    }

    fn ask<T>(
        &mut self,
        found: &TopicDescription,
        topic: &str,
        partition: i32,
        ask: impl FnOnce(&Cluster, &str, i32) -> Result<T, KafkaSourceError>,
    ) -> Result<Option<T>, KafkaSourceError> {
        let why = match found.leaders.get(&partition) {
            None => "it has no leader now".to_owned(),
            Some(leader) if self.silent.contains(leader) => format!("its leader, broker {leader}, does not answer"),
            Some(&leader) => match ask(self.cluster, topic, partition) {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.is_retryable() => {
                    self.silent.insert(leader);
                    format!("its leader, broker {leader}, does not answer")
                }
                Err(error) => return Err(error),
            },
        };
        self.absent.push(Absent { topic: topic.to_owned(), partition, why });
        Ok(None)
    }
}
