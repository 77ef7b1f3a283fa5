//! The harness itself: a real broker that can be stopped, killed, paused and restarted, and what tests do with its topics.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use recount_tests::kafka::{Broker, BrokerSettings, Record, Topics};

#[test]
fn a_broker_keeps_its_records_over_a_kill_and_its_clients_over_a_pause() {
    let started = Instant::now();
    let broker = Broker::start_with(BrokerSettings::default().secured_for("ann", "secret"));
    eprintln!("started in {:?}", started.elapsed());
    let topics = Topics::of(broker.servers());
    topics.create("clicks", 2, &[("retention.ms", "-1")]);
    let sent = [
        Record::of("one").keyed("k").to(0).with("content-type", "application/json"),
        Record { value: None, key: Some(b"k".to_vec()), partition: Some(1), ..Record::default() },
        Record { timestamp_ms: Some(1_700_000_000_000), ..Record::of("three").to(1) },
    ];
    topics.produce("clicks", &sent);

    broker.kill();
    let killed = Instant::now();
    broker.restart();
    eprintln!("restarted in {:?}", killed.elapsed());
    let read = topics.consume("clicks");
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].header("content-type").as_deref(), Some("application/json"));
    assert_eq!((&read[1].value, read[1].offset), (&None, 0));
    assert_eq!(read[2].timestamp_ms, Some(1_700_000_000_000));

    broker.pause();
    std::thread::sleep(Duration::from_millis(300));
    broker.resume();
    topics.add_partitions("clicks", 3);
    topics.produce("clicks", &[Record::of("four").to(2)]);
    topics.delete_records("clicks", 1, 2);
    assert_eq!(topics.offsets("clicks", 1), (2, 2));
    let left: Vec<_> = topics.consume("clicks").into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(left, [b"one".to_vec(), b"four".to_vec()]);

    topics.alter("clicks", &[("cleanup.policy", "compact")]);
    broker.stop();
    broker.restart();
    topics.delete("clicks");
    topics.create("clicks", 1, &[]);
    assert_eq!(topics.consume("clicks"), []);
}

#[test]
fn a_transaction_that_nobody_ends_is_taken_back() {
    let broker = Broker::start();
    let topics = Topics::of(broker.servers());
    topics.create("clicks", 2, &[]);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.servers()).set("transactional.id", "one");
    let writer: ThreadedProducer<_> = config.create().unwrap();
    let patience = Duration::from_secs(60);
    writer.init_transactions(patience).unwrap();
    writer.begin_transaction().unwrap();
    for partition in 0..2 {
        writer.send(BaseRecord::<(), _>::to("clicks").partition(partition).payload("open")).unwrap();
    }
    writer.flush(patience).unwrap();
    topics.produce("clicks", &[Record::of("behind").to(0)]);
    assert_eq!(topics.consume("clicks"), [], "nobody sees what is behind an open transaction");
    assert_eq!(topics.abort_transactions("clicks"), 2);
    let read: Vec<_> = topics.consume("clicks").into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(read, [b"behind".to_vec()]);
    assert_eq!(topics.abort_transactions("clicks"), 0);
}
