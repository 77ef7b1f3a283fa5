//! Asking a cluster after its brokers and topics.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::{Metadata, MetadataTopic};

use super::client::{Client, creation};
use super::error::KafkaError;
use super::source::native;
use super::watch::Watch;

/// How long one question waits before it is looked at why there is no answer.
const ASK_WAIT: Duration = Duration::from_millis(500);

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Where it listens: `host:port`.
    pub address: String,
}

/// A topic, as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub number: i32,
    /// The broker that leads it; `None` where there is none now.
    pub leader: Option<i32>,
    /// The brokers that hold it.
    pub replicas: Vec<i32>,
    /// Those of them that hold all of it.
    pub in_sync: Vec<i32>,
}

/// What this user may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Whether it may read records.
    pub read: bool,
    /// Whether it may write records.
    pub write: bool,
}

/// Asks a cluster after what it holds, and says why where it does not answer.
pub struct Connection {
    consumer: BaseConsumer<Watch>,
    watch: Watch,
    servers: String,
}

impl Connection {
    pub(super) fn open(client: &Client) -> Result<Self, KafkaError> {
        let watch = Watch::default();
        let consumer = client.asking_config().create_with_context(watch.clone()).map_err(creation)?;
        Ok(Connection { consumer, watch, servers: client.servers().to_owned() })
    }

    /// The brokers of the cluster.
    ///
    /// # Errors
    /// Where none answers within `wait`: it says why, a refused login and a certificate that is not trusted at once.
    pub fn brokers(&self, wait: Duration) -> Result<Vec<Broker>, KafkaError> {
        let metadata = self.metadata(None, wait)?;
        let broker = |host: &str, port: i32| format!("{host}:{port}");
        let brokers = metadata.brokers().iter();
        Ok(brokers.map(|one| Broker { id: one.id(), address: broker(one.host(), one.port()) }).collect())
    }

    /// The topics that this user may see, without Kafka's own.
    ///
    /// # Errors
    /// As [`Connection::brokers`].
    pub fn topics(&self, wait: Duration) -> Result<Vec<Topic>, KafkaError> {
        let metadata = self.metadata(None, wait)?;
        let mut topics: Vec<Topic> = metadata.topics().iter().map(described).collect();
        topics.retain(|topic| !topic.name.starts_with("__"));
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic.
    ///
    /// # Errors
    /// As [`Connection::brokers`], and where there is no such topic, or this user may not see it.
    pub fn topic(&self, name: &str, wait: Duration) -> Result<Topic, KafkaError> {
        let metadata = self.metadata(Some(name), wait)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let topic = topic.ok_or_else(|| KafkaError::NoTopic { topic: name.to_owned() })?;
        match topic.error().map(Code::from) {
            None => Ok(described(topic)),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::TopicAuthorizationFailed) => {
                Err(KafkaError::NoTopic { topic: name.to_owned() })
            }
            Some(code) => Err(KafkaError::call(
                format!("topic {name:?} can not be described"),
                rdkafka::error::KafkaError::MetadataFetch(code),
            )),
        }
    }

    /// The first offset of a partition that is still there, and the one behind its last record.
    ///
    /// # Errors
    /// Where the partition has no leader within `wait`, or this user may not ask.
    pub fn offsets(&self, topic: &str, partition: i32, wait: Duration) -> Result<(i64, i64), KafkaError> {
        let offsets = self.consumer.fetch_watermarks(topic, partition, wait);
        offsets.map_err(|cause| KafkaError::call(format!("the offsets of {topic}/{partition} can not be read"), cause))
    }

    /// What this user may do with a topic; `None` where the broker does not say.
    ///
    /// # Errors
    /// Where the cluster does not answer within `wait`.
    pub fn rights(&self, topic: &str, wait: Duration) -> Result<Option<Rights>, KafkaError> {
        let described = native::describe(self.consumer.client(), &[topic], wait);
        let mut described = described
            .map_err(|cause| KafkaError::call(format!("the rights to topic {topic:?} can not be asked for"), cause))?;
        let rights = described.remove(topic).and_then(|topic| topic.rights);
        let has = |rights: &[i32], right| rights.contains(&right);
        Ok(rights.map(|rights| Rights { read: has(&rights, native::READ), write: has(&rights, native::WRITE) }))
    }

    fn metadata(&self, topic: Option<&str>, wait: Duration) -> Result<Metadata, KafkaError> {
        let deadline = Instant::now() + wait;
        self.watch.clear();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let cause = match self.consumer.fetch_metadata(topic, left.min(ASK_WAIT)) {
                Ok(metadata) => return Ok(metadata),
                Err(cause) => cause,
            };
            // Errors of connections wait in the queue of events, and the watch hears of them there.
            while self.consumer.poll(Duration::ZERO).is_some() {}
            if let Some(refusal) = self.watch.refusal(&self.servers) {
                return Err(refusal);
            }
            if left.is_zero() {
                let passes = matches!(
                    cause.rdkafka_error_code(),
                    Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::AllBrokersDown | Code::Resolve)
                );
                return Err(match passes {
                    true => self.watch.unreachable(&self.servers),
                    false => KafkaError::call("the cluster can not be described", cause),
                });
            }
        }
    }
}

fn described(topic: &MetadataTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic
        .partitions()
        .iter()
        .map(|one| Partition {
            number: one.id(),
            leader: Some(one.leader()).filter(|&leader| leader >= 0),
            replicas: one.replicas().to_vec(),
            in_sync: one.isr().to_vec(),
        })
        .collect();
    partitions.sort_by_key(|one| one.number);
    Topic { name: topic.name().to_owned(), partitions }
}
