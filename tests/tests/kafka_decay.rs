//! Records that decay on a broker's disk.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use recount_connectors::kafka::check::{CheckSettings, Role, check};
use recount_connectors::kafka::source::{AcceptedGap, KafkaSourceSettings, Topic, TopicFormat};
use recount_connectors::kafka::{Client, ClientSettings};
use recount_dataflow::engine::Settings;
use recount_tests::disk::{FaultDisk, Loss};
use recount_tests::kafka::{Broker, Record, Topics};
use recount_tests::pipeline::Pipeline;

/// A minute of 2023.
const NOON_MS: i64 = 1_699_963_200_000;

fn clicks(ids: Range<usize>) -> Vec<Record> {
    let click = |id| {
        format!(
            r#"{{"click":{{"click_id":"c{id}","ad_id":"ad","timestamp":{NOON_MS},"user_id":"u","price_micros":1}}}}"#
        )
    };
    ids.map(|id| Record { timestamp_ms: Some(NOON_MS), ..Record::of(click(id)).to(0) }).collect()
}

fn start(disk: &FaultDisk, kafka: &KafkaSourceSettings) -> Pipeline {
    let pipeline = Pipeline::start(Arc::new(disk.clone()), kafka, &Settings { workers: 1, ..Settings::default() });
    pipeline.unwrap_or_else(|stopped| panic!("{}", stopped.0))
}

/// Changes a byte of a record on the broker's disk.
fn damage(broker: &Broker, topic: &str, payload: &str) {
    broker.stop();
    let file = broker.first_segment(topic, 0);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(payload.len()).position(|window| window == payload.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    broker.restart();
}

#[test]
fn a_batch_that_decayed_is_refused_with_its_coordinates_until_its_gap_is_accepted() {
    let broker = Broker::start();
    let topics = Topics::of(broker.servers());
    topics.create("decay", 1, &[("retention.ms", "-1")]);
    // Each time a batch.
    for ids in [0..3, 3..6, 6..9] {
        topics.produce("decay", &clicks(ids));
    }
    // The last id of the second batch: it would count as another click.
    damage(&broker, "decay", "c5");
    let read = vec![Topic { name: "decay".to_owned(), format: TopicFormat::Json }];
    let kafka = KafkaSourceSettings::new(ClientSettings::new(broker.servers()), read);
    let topics_read = vec![("decay".to_owned(), Role::Read { format: TopicFormat::Json })];
    let asked = CheckSettings { topics: topics_read, wait: Duration::from_secs(20), ..CheckSettings::default() };
    let report = check(&Client::new(&kafka.client).unwrap(), &asked).unwrap();
    assert!(report.findings.iter().any(|finding| finding.name == "unreadable"), "{:?}", report.findings);

    let disk = FaultDisk::default();
    let mut pipeline = start(&disk, &kafka);
    pipeline.read(3, NOON_MS).unwrap();
    let said = pipeline.wait_for_error().0;
    assert!(
        said.contains(r#""decay" partition 0: the batch of records at or behind offset 3 can not be read"#),
        "{said}"
    );
    pipeline.checkpoint().unwrap();
    drop(pipeline);

    topics.delete_records("decay", 0, 6);
    let disk = disk.restart(Loss::Unsynced);
    let said = start(&disk, &kafka).wait_for_error().0;
    assert!(said.contains("--accept-gap decay/0@3"), "{said}");
    let accepted_gaps = vec!["decay/0@3".parse::<AcceptedGap>().unwrap()];
    let mut pipeline = start(&disk, &KafkaSourceSettings { accepted_gaps, ..kafka });
    pipeline.read(3, NOON_MS).unwrap();
    assert_eq!(pipeline.fed.reader.snapshot(None).unwrap().totals().received, 6);
}
