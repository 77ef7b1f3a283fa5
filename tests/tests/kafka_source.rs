//! Kafka as a source, over a real broker: what is read, in which order, from where, and why it refuses to go on.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use recount_connectors::kafka::ClientSettings;
use recount_connectors::kafka::source::{KafkaSourceSettings, Start, Topic, TopicFormat};
use recount_connectors::{Source as _, decode_one};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::validate::{Reason, Shelf};
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{KeptWindows, Settings};
use recount_tests::disk::{FaultDisk, Loss};
use recount_tests::harness::{Case, compare, settings, wall_ms};
use recount_tests::history::{ALL_EPOCHS, Cut, History};
use recount_tests::kafka::{Broker, Record, Topics};
use recount_tests::model::{Delivered, Model};
use recount_tests::pipeline::{Pipeline, bound};
use recount_tests::record::Body;

/// A minute of 2023.
const NOON_MS: i64 = 1_699_963_200_000;
const DAY_MS: i64 = 86_400_000;

/// One broker for all tests of this file.
static BROKER: LazyLock<(Broker, Topics)> = LazyLock::new(|| {
    let broker = Broker::start();
    let topics = Topics::of(broker.servers());
    (broker, topics)
});

fn topics() -> &'static Topics {
    &BROKER.1
}

/// The records of tests are years old, and retention would take them.
const FOR_EVER: (&str, &str) = ("retention.ms", "-1");

fn create(topic: &str, partitions: i32) {
    topics().create(topic, partitions, &[FOR_EVER]);
}

fn kafka(topic: &str, format: TopicFormat) -> KafkaSourceSettings {
    let client = ClientSettings::new(BROKER.0.servers()).with("reconnect.backoff.max.ms", "200");
    let topics = vec![Topic { name: topic.to_owned(), format }];
    let metadata_interval = Duration::from_millis(200);
    KafkaSourceSettings { metadata_interval, ..KafkaSourceSettings::new(client, topics) }
}

fn click(id: &str, ad: &str, at_ms: i64) -> String {
    format!(
        r#"{{"click":{{"click_id":"{id}","ad_id":"{ad}","timestamp":{at_ms},"user_id":"u-{id}","price_micros":10}}}}"#
    )
}

fn click_record(id: usize, partition: i32, at_ms: i64) -> Record {
    Record { timestamp_ms: Some(at_ms), ..Record::of(click(&format!("c{id}"), "ad", at_ms)).to(partition) }
}

fn start(disk: &FaultDisk, kafka: &KafkaSourceSettings) -> Pipeline {
    try_start(disk, kafka).unwrap_or_else(|stopped| panic!("{}", stopped.0))
}

fn try_start(disk: &FaultDisk, kafka: &KafkaSourceSettings) -> Result<Pipeline, recount_tests::daemon::Stopped> {
    Pipeline::start(Arc::new(disk.clone()), kafka, &Settings { workers: 2, ..Settings::default() })
}

/// Clicks of the ad that count, over all days.
fn clicks(pipeline: &Pipeline) -> i64 {
    let snapshot = pipeline.fed.reader.snapshot(None).unwrap();
    let totals = snapshot.totals();
    assert_eq!(totals.parked_total(), 0, "{totals:?}");
    totals.received as i64
}

/// Many small histories, each over partitions of its own topic, through processes that are killed: every epoch is what the model
/// says of what was bound to it.
#[test]
fn every_epoch_is_what_the_model_says_however_often_it_is_killed() {
    for seed in 0..12 {
        let topic = format!("history-{seed}");
        let mut history =
            (0..).map(|more| History::from_seed(seed + 1_000_000 * more)).find(|h| h.records.len() > 12).unwrap();
        history.plan.kept = KeptWindows::All;
        history.plan.history_epochs = ALL_EPOCHS;
        history.plan.cut = Cut::Every(3 + seed as usize % 5);
        let partitions = 1 + seed as i32 % 3;
        // Some of a history's records say that they are from the future.
        let any_time = ("message.timestamp.after.max.ms", "9223372036854775807");
        topics().create(&topic, partitions, &[FOR_EVER, any_time]);
        let latest_ms = history.records.iter().filter_map(|record| match &record.body {
            Body::Click(click) => Some(click.event_ms),
            Body::Verdict(verdict) => Some(verdict.decided_ms),
            Body::Unreadable => None,
        });
        let arrival_ms = latest_ms.max().unwrap();
        let (mut held, mut next) = (BTreeMap::new(), BTreeMap::<i32, u64>::new());
        let records: Vec<Record> = history
            .records
            .iter()
            .map(|record| {
                let partition = i32::from(record.stream) % partitions;
                let offset = next.entry(partition).or_default();
                let arrived = recount_tests::record::Record { arrival_ms: Some(arrival_ms), ..record.clone() };
                held.insert(Position { stream: partition as u16, offset: *offset }, arrived);
                *offset += 1;
                Record { timestamp_ms: Some(arrival_ms), ..Record::of(record.to_json()).to(partition) }
            })
            .collect();
        let (first, second) = records.split_at(records.len() / 2);
        topics().produce(&topic, first);
        let mut disk = FaultDisk::default();
        let kafka = kafka(&topic, TopicFormat::Json);
        let mut read = 0;
        for life in 0..3_u64 {
            history.plan.workers = 1 + life as usize;
            let mut pipeline = Pipeline::start(Arc::new(disk.clone()), &kafka, &settings(&history)).unwrap();
            if life == 1 {
                topics().produce(&topic, second);
            }
            let due = match life {
                0 => first.len() as u64 / 2,
                1 => first.len() as u64 - read,
                _ => records.len() as u64 - read,
            };
            // The rest of a batch that was taken in is bound too.
            pipeline.read(due, wall_ms(&history, 1)).unwrap();
            read += pipeline.pushed;
            if life == 0 {
                pipeline.checkpoint().unwrap();
            }
            if life == 2 {
                check(&mut history, &held, &disk, &mut pipeline);
            }
            drop(pipeline);
            disk = disk.restart(Loss::Unsynced);
        }
    }
}

fn check(
    history: &mut History,
    held: &BTreeMap<Position, recount_tests::record::Record>,
    disk: &FaultDisk,
    pipeline: &mut Pipeline,
) {
    let mut next: BTreeMap<u16, u64> = BTreeMap::new();
    let mut epochs = Vec::new();
    for binding in bound(Arc::new(disk.observer())).unwrap().values() {
        let mut records = Vec::new();
        for &Position { stream, offset } in &binding.positions {
            let from = next.insert(stream, offset).unwrap_or_default();
            let of = |offset| Position { stream, offset };
            for (position, record) in held.range(of(from)..of(offset)) {
                records.push(Delivered { record: record.clone(), position: *position });
            }
        }
        assert_eq!(records.len() as u64, binding.records_in);
        epochs.push(records);
    }
    assert_eq!(epochs.iter().map(Vec::len).sum::<usize>(), held.len(), "every record is in an epoch, once");
    let model = Model::new(history.rules, &epochs);
    let readable = pipeline.fed.reader.readable();
    let case = Case { history, epochs: &epochs, model: &model, fed: &mut pipeline.fed };
    for as_of in readable.since..readable.upper {
        let snapshot = case.fed.reader.snapshot(Some(as_of)).unwrap();
        compare::rows(&model, &snapshot, &Granularity::ALL)
            .unwrap_or_else(|difference| panic!("{as_of}: {difference}"));
    }
    compare::corrections(&case).unwrap();
    compare::listed_set_aside(&case).unwrap();
}

/// Two partitions 30 days apart: the later one waits, so that nothing is parked that the order of time would have accepted.
#[test]
fn a_partition_does_not_run_ahead_of_one_that_is_days_behind() {
    create("skew", 2);
    let days = |partition: i32, from: i64| -> Vec<Record> {
        let at_ms = |n: usize| NOON_MS + from * DAY_MS + n as i64 * 3 * 60_000;
        (0..2_000).map(|n| click_record(n + partition as usize * 10_000, partition, at_ms(n))).collect()
    };
    topics().produce("skew", &days(1, 30));
    topics().produce("skew", &days(0, 0));
    let settings = KafkaSourceSettings { threads: 2, ..kafka("skew", TopicFormat::Json) };
    let mut pipeline = start(&FaultDisk::default(), &settings);
    pipeline.read(4_000, NOON_MS + 60 * DAY_MS).unwrap();
    assert_eq!(clicks(&pipeline), 4_000);
}

/// One thread reads several partitions and names each ad once, and which partition's batch is handed out first is decided after that.
/// Every ad of a complete epoch has a name all the same.
#[test]
fn ads_are_named_before_their_first_clicks_whichever_partition_goes_first() {
    const CLICKS: usize = 400;
    create("names", 3);
    for partition in 0..3 {
        let record = |n: usize| {
            // Clicks of one ad lie in the first batches of one partition and in later ones of another.
            let second = n + 20 * partition;
            let at_ms = NOON_MS + second as i64 * 1_000;
            let click = click(&format!("c{partition}-{n}"), &format!("ad{second}"), at_ms);
            Record { timestamp_ms: Some(at_ms), ..Record::of(click).to(partition as i32) }
        };
        topics().produce("names", &(0..CLICKS).map(record).collect::<Vec<_>>());
    }
    let max_partition_skew = Some(Duration::from_secs(60));
    let settings = KafkaSourceSettings { max_partition_skew, threads: 1, ..kafka("names", TopicFormat::Json) };
    let mut pipeline = start(&FaultDisk::default(), &settings);
    while pipeline.pushed < 3 * CLICKS as u64 {
        pipeline.take(NOON_MS + DAY_MS).unwrap();
        pipeline.close_epoch(NOON_MS + DAY_MS).unwrap();
        let snapshot = pipeline.fed.reader.snapshot(None).unwrap();
        let mut listed = 0;
        snapshot.for_each_row(Granularity::Day, |row| listed += row.metrics.received).unwrap();
        assert_eq!(listed as u64, snapshot.totals().received, "epoch {}", snapshot.as_of());
    }
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    create("grows", 1);
    topics().produce("grows", &[click_record(0, 0, NOON_MS)]);
    let disk = FaultDisk::default();
    let mut pipeline = start(&disk, &kafka("grows", TopicFormat::Json));
    pipeline.read(1, NOON_MS).unwrap();
    topics().add_partitions("grows", 3);
    topics().produce("grows", &[click_record(1, 1, NOON_MS), click_record(2, 2, NOON_MS), click_record(3, 0, NOON_MS)]);
    pipeline.read(4, NOON_MS).unwrap();
    assert_eq!(clicks(&pipeline), 4);
    let named: Vec<i32> = pipeline.fed.reader.streams().iter().map(|name| name.partition).collect();
    assert_eq!(named, [0, 1, 2]);
    drop(pipeline);
    // The numbers are the same in the next life, and nothing is read twice.
    let mut pipeline = start(&disk.restart(Loss::Unsynced), &kafka("grows", TopicFormat::Json));
    topics().produce("grows", &[click_record(4, 2, NOON_MS)]);
    pipeline.read(1, NOON_MS).unwrap();
    assert_eq!(clicks(&pipeline), 5);
}

#[test]
fn a_new_pipeline_begins_where_it_is_told() {
    create("starts", 1);
    topics().produce("starts", &(0..10).map(|n| click_record(n, 0, NOON_MS + n as i64 * 1_000)).collect::<Vec<_>>());
    let at = |partition: i32, offset| Start::Offsets([(("starts".to_owned(), partition), offset)].into());
    let starts = [
        (Start::Earliest, 10),
        (Start::Time(NOON_MS + 3_500), 6),
        (Start::Time(NOON_MS + DAY_MS), 0),
        (at(0, 8), 2),
        (at(7, 8), 10),
        (Start::Latest, 0),
    ];
    for (start_at, expected) in starts {
        let settings = KafkaSourceSettings { start: start_at.clone(), ..kafka("starts", TopicFormat::Json) };
        let mut pipeline = start(&FaultDisk::default(), &settings);
        // What is read by then is all that there is.
        pipeline.read(expected, NOON_MS).unwrap();
        for _ in 0..8 {
            pipeline.take(NOON_MS).unwrap();
        }
        pipeline.close_epoch(NOON_MS).unwrap();
        assert_eq!(clicks(&pipeline), expected as i64, "{start_at:?}");
    }
    // A start that is refused leaves nothing behind: with the offset put right the same store begins there.
    topics().delete_records("starts", 0, 4);
    let disk = FaultDisk::default();
    for wrong in [11, 3] {
        let refused = KafkaSourceSettings { start: at(0, wrong), ..kafka("starts", TopicFormat::Json) };
        let said = start(&disk, &refused).wait_for_error().0;
        assert!(said.contains(&format!("start says offset {wrong}, and it holds [4, 10)")), "{said}");
    }
    let right = KafkaSourceSettings { start: at(0, 7), ..kafka("starts", TopicFormat::Json) };
    let mut pipeline = start(&disk, &right);
    pipeline.read(3, NOON_MS).unwrap();
    assert_eq!(clicks(&pipeline), 3);
}

#[test]
fn broken_records_are_quarantined_with_their_coordinates_and_the_stream_goes_on() {
    topics().create("poison", 1, &[FOR_EVER, ("max.message.bytes", "4000000")]);
    let json = |value: &[u8]| Record::of(value).with("content-type", "application/json");
    let tombstone = Record { value: None, key: Some(b"k".to_vec()), ..Record::default() };
    let bare = [&b"\x0a\x02c9\x12\x02ad\x18"[..], &varint(NOON_MS as u64)].concat();
    let good = click("c1", "ad", NOON_MS);
    let long = format!(r#"{{"click":{{"click_id":"{}"}}}}"#, "x".repeat(1_100_000));
    let sent = [
        json(good.as_bytes()),
        tombstone.clone(),
        json(b""),
        json(br#"{"click":{"click_id":7.5}}"#),
        json(long.as_bytes()),
        Record::of("no header"),
        Record::of("avro").with("content-type", "application/avro"),
        Record::of(&b"\x0a\x7f\x01"[..]).with("content-type", "application/x-protobuf"),
        Record::of(bare.clone()).with("content-type", "application/x-protobuf; message=recount.v1.Click"),
        tombstone,
        Record::of("\u{0}\u{0}").with("content-type", "application/x-protobuf; message=recount.v1.Verdict"),
        json(click("c2", "ad", NOON_MS).as_bytes()),
    ];
    let sent: Vec<Record> =
        sent.into_iter().map(|record| Record { timestamp_ms: Some(NOON_MS + 1), ..record.to(0) }).collect();
    topics().produce("poison", &sent);
    let mut pipeline = start(&FaultDisk::default(), &kafka("poison", TopicFormat::ContentType));
    pipeline.read(10, NOON_MS).unwrap();
    assert_eq!(clicks(&pipeline), 3);
    let listed = pipeline.fed.reader.set_aside(Shelf::Quarantined, None, 0, 100);
    let found: Vec<(u64, Reason)> = listed.iter().map(|(_, one)| (one.position.offset, one.reason)).collect();
    let unreadable = [2, 3, 5, 6, 7, 10].map(|offset| (offset, Reason::Unreadable));
    let mut expected = unreadable.to_vec();
    expected.push((4, Reason::RecordTooLong));
    expected.sort_by_key(|(offset, _)| *offset);
    assert_eq!(found, expected);
    // That there is nothing more is known once the broker has said so.
    let began = Instant::now();
    while pipeline.source.stats().partitions(NOON_MS)[0].lag_records != Some(0) {
        assert_eq!(pipeline.take(NOON_MS).unwrap(), None);
        assert!(began.elapsed() < Duration::from_secs(40), "the end does not come");
    }
    assert_eq!(pipeline.source.stats().partitions(NOON_MS)[0].tombstones, 2);
    // Every record can be had again by its coordinates, a bare click as the event of it.
    let store = pipeline.source.raw_store();
    assert_eq!(store.record(0, 0).unwrap().bytes, good.as_bytes());
    let record = store.record(0, 8).unwrap();
    assert!(record.bytes.ends_with(&bare) && decode_one(record.format, &record.bytes).unwrap().event.is_some());
    let gone = store.record(0, 1).unwrap_err().to_string();
    assert!(gone.contains("poison/0: no record is at offset 1 any more"), "{gone}");
    assert!(store.record(0, 12).is_err() && store.record(1, 0).is_err());
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Reads some records of a topic, writes a checkpoint, and ends; returns the disk as it is then.
fn read_some(kafka: &KafkaSourceSettings, records: u64) -> FaultDisk {
    let disk = FaultDisk::default();
    let mut pipeline = start(&disk, kafka);
    pipeline.read(records, NOON_MS).unwrap();
    pipeline.checkpoint().unwrap();
    drop(pipeline);
    disk.restart(Loss::Unsynced)
}

fn clicks_of(partition: i32, ids: std::ops::Range<usize>) -> Vec<Record> {
    ids.map(|id| click_record(id, partition, NOON_MS)).collect()
}

/// Starts with gaps accepted, reads so many records more, and returns how many clicks count then.
fn go_on(disk: &FaultDisk, kafka: &KafkaSourceSettings, gaps: &[&str], records: u64) -> i64 {
    let accepted_gaps = gaps.iter().map(|gap| gap.parse().unwrap()).collect();
    let mut pipeline = start(disk, &KafkaSourceSettings { accepted_gaps, ..kafka.clone() });
    pipeline.read(records, NOON_MS).unwrap();
    pipeline.checkpoint().unwrap();
    clicks(&pipeline)
}

#[test]
fn what_retention_removed_is_refused_until_exactly_that_gap_is_accepted() {
    create("removed", 1);
    topics().produce("removed", &clicks_of(0, 0..5));
    let kafka = kafka("removed", TopicFormat::Json);
    let disk = read_some(&kafka, 5);
    topics().produce("removed", &clicks_of(0, 5..10));
    topics().delete_records("removed", 0, 8);
    let said = start(&disk, &kafka).wait_for_error().0;
    assert!(said.contains("goes on at offset 5, and the oldest record there is at 8"), "{said}");
    assert!(said.contains("--accept-gap removed/0@5"), "{said}");
    let wrong = KafkaSourceSettings { accepted_gaps: vec!["removed/0@4".parse().unwrap()], ..kafka.clone() };
    let said = start(&disk, &wrong).wait_for_error().0;
    assert!(said.contains("--accept-gap removed/0@5"), "{said}");

    assert_eq!(go_on(&disk, &kafka, &["removed/0@5"], 2), 7);
    // It is on the list for good: the flag changes nothing any more, and accepts no later gap.
    topics().produce("removed", &clicks_of(0, 10..12));
    assert_eq!(go_on(&disk, &kafka, &["removed/0@5"], 2), 9);
    topics().produce("removed", &clicks_of(0, 12..14));
    topics().delete_records("removed", 0, 13);
    let later = KafkaSourceSettings { accepted_gaps: vec!["removed/0@5".parse().unwrap()], ..kafka.clone() };
    let said = start(&disk, &later).wait_for_error().0;
    assert!(said.contains("--accept-gap removed/0@12"), "{said}");
    let typo = KafkaSourceSettings {
        accepted_gaps: vec!["removed/0@12".parse().unwrap(), "removed/0@77".parse().unwrap()],
        ..kafka
    };
    let said = start(&disk, &typo).wait_for_error().0;
    assert!(said.contains("--accept-gap removed/0@77: reading goes on at offset 13"), "{said}");
}

#[test]
fn a_topic_made_anew_is_not_taken_for_the_old_one() {
    create("anew", 2);
    topics().produce("anew", &[clicks_of(0, 0..3), clicks_of(1, 3..5)].concat());
    let kafka = kafka("anew", TopicFormat::Json);
    let disk = read_some(&kafka, 5);
    topics().delete("anew");
    let said = start(&disk, &kafka).wait_for_error().0;
    assert!(said.contains("was deleted") && said.contains("--accept-gap anew/1@2"), "{said}");
    create("anew", 2);
    // The new topic is longer than the old one was: offsets alone would not tell.
    topics().produce("anew", &[clicks_of(0, 10..20), clicks_of(1, 20..30)].concat());
    let said = start(&disk, &kafka).wait_for_error().0;
    assert!(said.contains("deleted and made anew: its id was"), "{said}");
    assert!(said.ends_with("--accept-gap anew/0@3 --accept-gap anew/1@2"), "{said}");
    assert_eq!(go_on(&disk, &kafka, &["anew/0@3", "anew/1@2"], 20), 25);
    assert_eq!(go_on(&disk, &kafka, &[], 0), 25);
    // What was counted of the old one is not explained by what is at its offsets now.
    let store = start(&disk, &kafka).source.raw_store();
    let said = store.record(0, 2).unwrap_err().to_string();
    assert!(said.contains("anew/0: no record is at offset 2 any more"), "{said}");
    assert_eq!(store.record(2, 2).unwrap().bytes, click("c12", "ad", NOON_MS).as_bytes());
}

/// Nothing of it is read that was not bound before, and nothing is lost or read twice when it is there again.
#[test]
fn a_topic_that_is_taken_out_is_left_where_it_stands_and_goes_on_there() {
    let produce = |topic: &str, ids| topics().produce(topic, &clicks_of(0, ids));
    let stays = kafka("stays", TopicFormat::Json);
    let leaves = Topic { name: "leaves".to_owned(), format: TopicFormat::Json };
    let both = KafkaSourceSettings { topics: vec![stays.topics[0].clone(), leaves], ..stays.clone() };
    for topic in &both.topics {
        create(&topic.name, 1);
    }
    produce("stays", 0..2);
    produce("leaves", 100..103);
    let disk = read_some(&both, 5);
    // An epoch that no checkpoint holds has records of both.
    produce("stays", 2..3);
    produce("leaves", 103..105);
    let mut pipeline = start(&disk, &both);
    pipeline.read(3, NOON_MS).unwrap();
    drop(pipeline);
    produce("leaves", 105..109);
    produce("stays", 3..5);
    let disk = disk.restart(Loss::Unsynced);
    let mut pipeline = start(&disk, &stays);
    pipeline.read(2, NOON_MS).unwrap();
    for _ in 0..8 {
        assert_eq!(pipeline.take(NOON_MS).unwrap(), None);
    }
    assert_eq!(clicks(&pipeline), 10);
    let progress = pipeline.source.stats().partitions(NOON_MS);
    assert!(progress.iter().all(|one| one.topic == "stays"), "{progress:?}");
    pipeline.checkpoint().unwrap();
    drop(pipeline);
    assert_eq!(go_on(&disk.restart(Loss::Unsynced), &both, &[], 4), 14);
}

#[test]
fn what_becomes_of_a_topic_while_it_is_read_is_refused_too() {
    create("fades", 1);
    topics().produce("fades", &clicks_of(0, 0..3));
    let mut pipeline = start(&FaultDisk::default(), &kafka("fades", TopicFormat::Json));
    pipeline.read(3, NOON_MS).unwrap();
    topics().delete("fades");
    create("fades", 1);
    let said = pipeline.wait_for_error().0;
    assert!(said.contains("fades") && said.contains("deleted"), "{said}");
}

#[test]
fn a_topic_that_never_was_and_another_format_are_refused() {
    let said = start(&FaultDisk::default(), &kafka("nowhere", TopicFormat::Json)).wait_for_error().0;
    assert!(said.contains("there is no such topic"), "{said}");
    create("format", 1);
    topics().produce("format", &clicks_of(0, 0..1));
    let disk = read_some(&kafka("format", TopicFormat::Json), 1);
    let said = try_start(&disk, &kafka("format", TopicFormat::Event)).err().unwrap().0;
    assert!(said.contains("was read as json, and the settings say event"), "{said}");
}
