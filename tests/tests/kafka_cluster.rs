//! Three brokers, of which one is lost: the harness, and Kafka as a source. The tests of this file share them, one after the other.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use recount_connectors::kafka::ClientSettings;
use recount_connectors::kafka::source::{KafkaSourceSettings, Topic, TopicFormat};
use recount_dataflow::engine::Settings;
use recount_tests::disk::{FaultDisk, Loss};
use recount_tests::kafka::{Cluster, Record, Topics};
use recount_tests::pipeline::Pipeline;

/// A minute of 2023.
const NOON_MS: i64 = 1_699_963_200_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn cluster() -> MutexGuard<'static, Cluster> {
    static CLUSTER: LazyLock<Mutex<Cluster>> = LazyLock::new(|| Mutex::new(Cluster::start()));
    CLUSTER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_cluster_moves_leaders_and_outlives_one_of_three() {
    let cluster = cluster();
    let topics = Topics::of(cluster.servers());
    topics.create("clicks", 1, &[]);
    topics.produce_lines("clicks", &["one"]);
    let next = topics.leader("clicks", 0) % 3 + 1;
    topics.move_leader("clicks", 0, next);
    topics.produce_lines("clicks", &["two"]);
    cluster.broker(next).kill();
    topics.produce_lines("clicks", &["three"]);
    assert_ne!(topics.leader("clicks", 0), next);
    cluster.broker(next).restart();
    assert_eq!(topics.consume("clicks").len(), 3);
}

fn start(disk: &FaultDisk, kafka: &KafkaSourceSettings) -> Pipeline {
    let pipeline = Pipeline::start(Arc::new(disk.clone()), kafka, &Settings { workers: 1, ..Settings::default() });
    pipeline.unwrap_or_else(|stopped| panic!("{}", stopped.0))
}

/// A click for each of these partitions.
fn produce(topics: &Topics, life: usize, partitions: &[i32]) {
    let record = |&partition: &i32| {
        let value = format!(
            r#"{{"click":{{"click_id":"c{life}-{partition}","ad_id":"ad","timestamp":{NOON_MS},"user_id":"u","price_micros":1}}}}"#
        );
        Record { timestamp_ms: Some(NOON_MS), ..Record::of(value).to(partition) }
    };
    topics.produce("single", &partitions.iter().map(record).collect::<Vec<_>>());
}

/// A start finds a partition whose only broker is away. The others are read, where nothing bounds how far they run ahead; else they
/// wait, for that partition by name, and it all goes on when the broker is back.
#[test]
fn a_partition_that_nobody_leads_is_waited_for_by_name_and_keeps_nothing_else_from_being_read() {
    let cluster = cluster();
    let topics = Topics::of(cluster.servers());
    topics.create_single("single", 3, &[("retention.ms", "-1")]);
    let client = ClientSettings::new(cluster.servers()).with("reconnect.backoff.max.ms", "200");
    let read = vec![Topic { name: "single".to_owned(), format: TopicFormat::Json }];
    let bounded =
        KafkaSourceSettings { metadata_interval: Duration::from_millis(200), ..KafkaSourceSettings::new(client, read) };
    let unbounded = KafkaSourceSettings { max_partition_skew: None, ..bounded.clone() };

    let disk = FaultDisk::default();
    produce(&topics, 0, &[0, 1, 2]);
    let mut pipeline = start(&disk, &bounded);
    pipeline.read(3, NOON_MS).unwrap();
    pipeline.checkpoint().unwrap();
    drop(pipeline);
    produce(&topics, 1, &[0, 1, 2]);
    let lost = topics.leader("single", 0);
    let others: Vec<i32> = [1, 2].into_iter().filter(|&partition| topics.leader("single", partition) != lost).collect();
    assert!(!others.is_empty(), "one broker leads all partitions");
    cluster.broker(lost).kill();

    let disk = disk.restart(Loss::Unsynced);
    let mut pipeline = start(&disk, &unbounded);
    pipeline.read(others.len() as u64, NOON_MS).unwrap();
    drop(pipeline);

    produce(&topics, 2, &others);
    let mut pipeline = start(&disk.restart(Loss::Unsynced), &bounded);
    let began = Instant::now();
    let holding = loop {
        assert_eq!(pipeline.take(NOON_MS).unwrap(), None, "partition 0 may hold older records");
        let progress = pipeline.source.stats().partitions(NOON_MS);
        if let Some(one) = progress.into_iter().find(|one| one.is_holding) {
            break one;
        }
        assert!(began.elapsed() < PATIENCE, "nobody is said to be waited for");
    };
    assert_eq!((holding.topic.as_str(), holding.partition, holding.lag_records), ("single", 0, None));
    cluster.broker(lost).restart();
    // What was not read of the second three, and the last ones.
    pipeline.read(3, NOON_MS).unwrap();
    assert_eq!(pipeline.fed.reader.snapshot(None).unwrap().totals().received, 6 + others.len() as u64);
    let progress = pipeline.source.stats().partitions(NOON_MS);
    assert!(progress.len() == 3 && progress.iter().all(|one| !one.is_holding), "{progress:?}");
}
