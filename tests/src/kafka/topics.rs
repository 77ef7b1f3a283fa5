//! What tests do with topics: make, fill, read, change and delete them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::rights::Right;
use super::wire::Wire;

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);

/// A record of a topic. `Default` with a value is what most tests produce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its partition; to produce, `None` lets the key or chance decide.
    pub partition: Option<i32>,
    /// Its offset, as read; of no meaning to produce.
    pub offset: i64,
    /// When, in ms since 1970 UTC; to produce, `None` is now.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record with a value alone.
    pub fn of(value: impl Into<Vec<u8>>) -> Self {
        Record { value: Some(value.into()), ..Record::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same for one partition.
    #[must_use]
    pub fn to(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(header, _)| header == name)?;
        value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// Why the first record was not taken that was not.
#[derive(Default)]
struct Refusal(Mutex<Option<KafkaError>>);

impl ClientContext for Refusal {}

impl ProducerContext for Refusal {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((cause, _)) = result {
            self.0.lock().unwrap().get_or_insert(cause.clone());
        }
    }
}

/// Works on the topics of one cluster.
pub struct Topics {
    servers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Topics {
    /// Of the cluster with these servers, reached in the clear.
    pub fn of(servers: impl Into<String>) -> Self {
        let servers = servers.into();
        let admin = config(&servers).create().unwrap();
        Topics { servers, admin }
    }

    /// Makes a topic, replicated as the cluster has it by default, and waits until every partition has a leader.
    pub fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        // The broker's default; rdkafka refuses the number that asks for it in a list of assignments only.
        self.create_with(topic, partitions, -1, settings);
    }

    /// The same with one replica: who loses the broker of a partition has none of it.
    pub fn create_single(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.create_with(topic, partitions, 1, &[settings, &[("min.insync.replicas", "1")]].concat());
    }

    fn create_with(&self, topic: &str, partitions: i32, replicas: i32, settings: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
        new.config = settings.to_vec();
        one(block_on(self.admin.create_topics(&[new], &options())));
        self.wait_for_leaders(topic, partitions);
    }

    /// Deletes a topic, and waits until no broker knows it.
    pub fn delete(&self, topic: &str) {
        one(block_on(self.admin.delete_topics(&[topic], &options())));
        self.wait_for("the topic is gone", topic, |topic| topic.partitions().is_empty());
    }

    /// Deletes all records of a partition before `offset`, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        let done = block_on(self.admin.delete_records(&list, &options())).unwrap();
        done.elements().iter().for_each(|one| one.error().unwrap());
    }

    /// Gives a topic more partitions: `partitions` in all.
    pub fn add_partitions(&self, topic: &str, partitions: i32) {
        let new = NewPartitions::new(topic, usize::try_from(partitions).unwrap());
        one(block_on(self.admin.create_partitions(&[new], &options())));
        self.wait_for_leaders(topic, partitions);
    }

    /// Sets properties of a topic; those that are not named go back to their defaults.
    pub fn alter(&self, topic: &str, settings: &[(&str, &str)]) {
        let entries = settings.iter().copied().collect();
        let alter = AlterConfig { specifier: ResourceSpecifier::Topic(topic), entries };
        for altered in block_on(self.admin.alter_configs([&alter], &options())).unwrap() {
            altered.unwrap();
        }
    }

    /// The topics that are there.
    pub fn names(&self) -> BTreeSet<String> {
        let metadata = self.admin.inner().fetch_metadata(None, WAIT).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }

    /// The broker that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> i32 {
        self.partitions(topic)[&partition].0
    }

    /// Makes a replica of a partition its leader, and waits until it is.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: i32) {
        let (_, mut replicas) = self.partitions(topic)[&partition].clone();
        replicas.sort_by_key(|&replica| replica != broker);
        assert_eq!(replicas[0], broker, "{topic}/{partition} has no replica on broker {broker}");
        let mut wire = Wire::connect(&self.servers);
        wire.reassign(topic, partition, &replicas);
        let deadline = Instant::now() + WAIT;
        while self.leader(topic, partition) != broker {
            assert!(Instant::now() < deadline, "the leader of {topic}/{partition} does not move");
            wire.elect_preferred(topic, partition);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Takes back every transaction that is open in a topic of one broker, whoever may still want to end it, and returns how many
    /// there were. That is what an operator does with those that the broker has lost: killed between the decision and its markers,
    /// the only broker of a cluster may start again before it knows that it leads the partitions, and take them for deleted.
    pub fn abort_transactions(&self, topic: &str) -> usize {
        let mut wire = Wire::connect(&self.servers);
        let mut aborted = 0;
        for partition in self.partitions(topic).into_keys() {
            for transaction in wire.open_transactions(topic, partition) {
                wire.abort(topic, partition, transaction);
                aborted += 1;
            }
        }
        aborted
    }

    /// Gives users rights.
    pub fn allow(&self, rights: &[Right<'_>]) {
        let mut wire = Wire::connect(&self.servers);
        rights.iter().for_each(|right| wire.allow(right));
    }

    /// Denies a user a right, whatever else is allowed.
    pub fn deny(&self, right: &Right<'_>) {
        Wire::connect(&self.servers).deny(right);
    }

    /// Takes back that a right was denied.
    pub fn deny_no_more(&self, right: &Right<'_>) {
        Wire::connect(&self.servers).deny_no_more(right);
    }

    /// Writes records, and waits until all replicas in sync have them.
    pub fn produce(&self, topic: &str, records: &[Record]) {
        let mut config = config(&self.servers);
        config.set("linger.ms", "1").set("message.max.bytes", "10000000");
        let producer: BaseProducer<Refusal> = config.create_with_context(Refusal::default()).unwrap();
        for record in records {
            self.send(&producer, topic, record);
        }
        producer.flush(WAIT).unwrap();
        let refusal = producer.context().0.lock().unwrap().take();
        assert_eq!(refusal, None, "{topic} did not take a record");
    }

    /// Writes text records with neither key nor headers.
    pub fn produce_lines(&self, topic: &str, lines: &[&str]) {
        let records: Vec<Record> = lines.iter().map(|&line| Record::of(line)).collect();
        self.produce(topic, &records);
    }

    /// All committed records of a topic, from the first to the end as it is now, by partition and offset.
    pub fn consume(&self, topic: &str) -> Vec<Record> {
        let consumer: BaseConsumer = config(&self.servers)
            .set("group.id", "recount-tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        let partitions = self.partitions(topic);
        for &partition in partitions.keys() {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let mut open = partitions.len();
        let mut records = Vec::new();
        let deadline = Instant::now() + WAIT;
        while open > 0 {
            assert!(Instant::now() < deadline, "{topic} can not be read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(KafkaError::MessageConsumption(_))) | None => {}
                Some(Err(cause)) => panic!("{topic}: {cause}"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The first offset of a partition that is still there, and the one behind its last record.
    pub fn offsets(&self, topic: &str, partition: i32) -> (i64, i64) {
        let deadline = Instant::now() + WAIT;
        loop {
            match self.admin.inner().fetch_watermarks(topic, partition, WAIT) {
                Ok(offsets) => return offsets,
                // A leader that has just moved is looked for again.
                Err(cause) => assert!(Instant::now() < deadline, "{topic}/{partition}: {cause}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Hands a record to a producer.
    fn send(&self, producer: &BaseProducer<Refusal>, topic: &str, record: &Record) {
        let mut message: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        message.partition = record.partition;
        message.timestamp = record.timestamp_ms;
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        if !record.headers.is_empty() {
            message.headers = Some(headers(&record.headers));
        }
        while let Err((cause, back)) = producer.send(message) {
            let is_full = cause.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull);
            assert!(is_full, "{topic}: {cause}");
            message = back;
            producer.poll(Duration::from_millis(10));
        }
    }

    /// Of each partition its leader and its replicas.
    fn partitions(&self, topic: &str) -> BTreeMap<i32, (i32, Vec<i32>)> {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), WAIT).unwrap();
        let partitions = metadata.topics()[0].partitions();
        partitions.iter().map(|one| (one.id(), (one.leader(), one.replicas().to_vec()))).collect()
    }

    fn wait_for_leaders(&self, topic: &str, partitions: i32) {
        self.wait_for("every partition has a leader", topic, |topic| {
            topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|one| one.leader() >= 0)
        });
    }

    fn wait_for(&self, what: &str, topic: &str, holds: impl Fn(&MetadataTopic) -> bool) {
        let deadline = Instant::now() + WAIT;
        loop {
            let metadata = self.admin.inner().fetch_metadata(Some(topic), WAIT).unwrap();
            if holds(&metadata.topics()[0]) {
                return;
            }
            assert!(Instant::now() < deadline, "{topic}: it does not come to be that {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("reconnect.backoff.max.ms", "200");
    config
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(WAIT)).operation_timeout(Some(Duration::from_secs(30)))
}

fn one(results: KafkaResult<Vec<TopicResult>>) {
    for result in results.unwrap() {
        result.unwrap_or_else(|(topic, code)| panic!("{topic}: {code}"));
    }
}

fn headers(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_deref() }))
}

fn record(message: &rdkafka::message::BorrowedMessage<'_>) -> Record {
    let header = |one: Header<'_, &[u8]>| (one.key.to_owned(), one.value.map(<[u8]>::to_vec));
    Record {
        partition: Some(message.partition()),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
    }
}
