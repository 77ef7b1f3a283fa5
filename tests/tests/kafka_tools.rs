//! Filling topics, looking at them, and reaching a cluster that asks who we are: over a real broker.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use recount_connectors::Format;
use recount_connectors::kafka::check::{CheckSettings, Level, Report, Role, check};
use recount_connectors::kafka::source::{KafkaSourceSettings, Topic, TopicFormat};
use recount_connectors::kafka::{
    Client, ClientSettings, Content, KafkaError, KeyBy, ProduceSettings, Produced, Timestamps, produce,
};
use recount_connectors::workload::{Workload, WorkloadSettings, write_file};
use recount_dataflow::engine::Settings;
use recount_tests::disk::FaultDisk;
use recount_tests::kafka::{Broker, BrokerSettings, Operation, Record, Resource, Right, Topics};
use recount_tests::pipeline::Pipeline;
use tempfile::TempDir;

const DAY_MS: i64 = 86_400_000;
/// A minute of 2023.
const NOON_MS: i64 = 1_699_963_200_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One broker for all tests of this file.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        Broker::start_with(
            BrokerSettings { has_authorizer: true, ..BrokerSettings::default() }.secured_for("ann", "s3cret"),
        )
    })
}

fn client() -> Client {
    Client::new(&ClientSettings::new(broker().servers())).unwrap()
}

/// As this user, over TLS.
fn login(mechanism: &str, password: &str) -> ClientSettings {
    ClientSettings::new(broker().sasl_servers())
        .with("security.protocol", "sasl_ssl")
        .with("ssl.ca.location", broker().certificates().authority.to_str().unwrap())
        .with("sasl.mechanism", mechanism)
        .with("sasl.username", "ann")
        .with("sasl.password", password)
}

/// A generated file, and how many records it has.
fn generated(directory: &TempDir, name: &str, clicks: u64) -> (String, u64) {
    let path = directory.path().join(name);
    let settings = WorkloadSettings { broken: 0.01, ..WorkloadSettings::new(clicks, 1) };
    let records = write_file(Workload::new(settings).unwrap(), &path, |_| {}).unwrap();
    (path.to_str().unwrap().to_owned(), records)
}

fn sent(file: &str, settings: &ProduceSettings) -> Produced {
    let (produced, ended) = produce(&client(), &[file.to_owned()], settings, |_, _| {});
    ended.unwrap();
    assert_eq!(produced.failures(), 0, "{produced:?}");
    produced
}

fn event_check(topic: &str) -> (String, Role) {
    (topic.to_owned(), Role::Read { format: TopicFormat::Json })
}

fn checked(client: &Client, topics: Vec<(String, Role)>) -> Result<Report, KafkaError> {
    let (correction_horizon_ms, max_future_skew_ms, restart_ms) = (7 * DAY_MS, 300_000, 60_000);
    let wait = Duration::from_secs(20);
    check(client, &CheckSettings { topics, correction_horizon_ms, max_future_skew_ms, restart_ms, wait })
}

fn findings(report: &Report) -> Vec<(Level, &str)> {
    report.findings.iter().map(|finding| (finding.level, finding.name)).collect()
}

#[test]
fn every_record_of_a_file_is_delivered_once_and_as_it_is() {
    let directory = TempDir::new().unwrap();
    let topics = Topics::of(broker().servers());
    topics.create("produced", 3, &[]);
    let (lines, records) = generated(&directory, "events.jsonl.zst", 5_000);
    let settings = ProduceSettings {
        key: KeyBy::ClickId,
        timestamps: Timestamps::Event,
        compression: Some("zstd".into()),
        ..ProduceSettings::new("produced")
    };
    assert_eq!(sent(&lines, &settings).delivered, records);
    let read = topics.consume("produced");
    assert_eq!(read.len() as u64, records);

    let (plain, _) = generated(&directory, "events.jsonl", 5_000);
    let mut in_file: Vec<Vec<u8>> = fs::read(plain).unwrap().split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    in_file.retain(|line| !line.is_empty());
    let mut in_topic: Vec<Vec<u8>> = read.iter().map(|record| record.value.clone().unwrap()).collect();
    in_file.sort();
    in_topic.sort();
    assert!(in_file == in_topic, "the topic does not hold what the file holds");

    let keyed = read.iter().find(|record| record.key.is_some()).unwrap();
    let value = String::from_utf8(keyed.value.clone().unwrap()).unwrap();
    let key = String::from_utf8(keyed.key.clone().unwrap()).unwrap();
    assert!(value.contains(&key) && value.contains(&keyed.timestamp_ms.unwrap().to_string()), "{key}: {value}");
    assert!((0..3).all(|partition| read.iter().any(|record| record.partition == Some(partition))));
}

#[test]
fn clicks_and_verdicts_go_to_topics_of_their_own() {
    let directory = TempDir::new().unwrap();
    let topics = Topics::of(broker().servers());
    topics.create("only-clicks", 2, &[]);
    topics.create("only-verdicts", 1, &[]);
    let path = directory.path().join("events.pb.gz");
    let records = write_file(Workload::new(WorkloadSettings::new(2_000, 7)).unwrap(), &path, |_| {}).unwrap();
    let file = path.to_str().unwrap();
    let to = |topic: &str, content| ProduceSettings { content, partitions: vec![0], ..ProduceSettings::new(topic) };
    let clicks = sent(file, &to("only-clicks", Content::Click));
    let verdicts = sent(file, &to("only-verdicts", Content::Verdict));
    assert!(verdicts.delivered > 0);
    assert_eq!((clicks.delivered + verdicts.delivered, clicks.left_out), (records, verdicts.delivered));
    assert_eq!(topics.offsets("only-clicks", 0), (0, clicks.delivered as i64));
    assert_eq!(topics.offsets("only-clicks", 1), (0, 0));
}

#[test]
fn what_can_not_be_sent_is_said() {
    let directory = TempDir::new().unwrap();
    let topics = Topics::of(broker().servers());
    topics.create("refuses", 1, &[("max.message.bytes", "1000")]);
    let file = directory.path().join("events.jsonl");
    fs::write(&file, format!("{{}}\n\"{}\"\n{{}}\n", "x".repeat(2_000))).unwrap();
    let files = [file.to_str().unwrap().to_owned()];
    let (produced, ended) = produce(&client(), &files, &ProduceSettings::new("refuses"), |_, _| {});
    ended.unwrap();
    assert_eq!((produced.delivered, produced.failures()), (2, 1), "{produced:?}");
    assert!(produced.failed.keys().any(|why| why.contains("size")), "{produced:?}");

    let (_, ended) = produce(&client(), &files, &ProduceSettings::new("nowhere"), |_, _| {});
    assert!(ended.unwrap_err().to_string().contains("topic \"nowhere\": there is no such topic"));
    let wanted = ProduceSettings { format: Some(Format::Protobuf), ..ProduceSettings::new("refuses") };
    let (_, ended) = produce(&client(), &files, &wanted, |_, _| {});
    assert!(ended.unwrap_err().to_string().contains("holds JSON lines, which can not be sent as protobuf"));
}

#[test]
fn a_login_over_tls_reads_and_writes_and_a_wrong_one_says_so() {
    let topics = Topics::of(broker().servers());
    topics.create("secret", 1, &[]);
    let wait = Duration::from_secs(20);
    let tls = ClientSettings::new(broker().tls_servers()).with("security.protocol", "ssl");
    let trusting = |authority: &std::path::Path| tls.clone().with("ssl.ca.location", authority.to_str().unwrap());
    let certificates = broker().certificates();
    let ask = |settings: &ClientSettings| Client::new(settings).unwrap().connect().unwrap().brokers(wait);

    assert_eq!(ask(&trusting(&certificates.authority)).unwrap().len(), 1);
    let refused = ask(&trusting(&certificates.stranger)).unwrap_err();
    assert!(matches!(refused, KafkaError::Tls { .. }), "{refused}");
    assert!(refused.to_string().contains("certificate") && !refused.is_retryable(), "{refused}");

    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        assert_eq!(ask(&login(mechanism, "s3cret")).unwrap().len(), 1);
        let refused = ask(&login(mechanism, "wr0ng")).unwrap_err();
        assert!(matches!(refused, KafkaError::Authentication { .. }), "{refused}");
        assert!(!refused.to_string().contains("wr0ng"), "{refused}");
    }
    let nobody = ClientSettings::new("127.0.0.1:1");
    let refused = Client::new(&nobody).unwrap().connect().unwrap().brokers(Duration::from_secs(2)).unwrap_err();
    assert!(matches!(refused, KafkaError::Unreachable { .. }) && refused.is_retryable(), "{refused}");
}

#[test]
fn a_check_says_what_is_there_and_what_is_not_right() {
    let topics = Topics::of(broker().servers());
    topics.create("fine", 2, &[("retention.ms", "-1"), ("message.timestamp.after.max.ms", "300000")]);
    topics.create("short", 1, &[("retention.ms", "3600000")]);
    topics.create("poison", 1, &[("retention.ms", "-1")]);
    topics.create("deleted", 1, &[]);
    let click = r#"{"click":{"click_id":"c","ad_id":"a","timestamp":1700000000000}}"#;
    topics.produce(
        "fine",
        &[Record::of(click).to(0), Record::of(click).to(1), Record { key: Some(b"k".to_vec()), ..Record::default() }],
    );
    topics.produce_lines("short", &[click, "rubbish"]);
    topics.produce_lines("poison", &["rubbish"]);

    let report = checked(&client(), vec![event_check("fine")]).unwrap();
    assert_eq!(findings(&report), [(Level::Warning, "replication_one")]);
    assert!(report.is_usable());
    assert_eq!((report.topics[0].partitions, report.topics[0].offsets, report.topics[0].sampled), (2, Some(3), 2));

    let all = vec![
        event_check("short"),
        event_check("poison"),
        event_check("nowhere"),
        ("deleted".to_owned(), Role::Write { compacted: true }),
        ("new".to_owned(), Role::Write { compacted: false }),
    ];
    let report = checked(&client(), all).unwrap();
    let failures: Vec<_> = findings(&report).into_iter().filter(|(level, _)| *level == Level::Failure).collect();
    assert_eq!(failures, ["format", "topic_missing", "not_compacted"].map(|name| (Level::Failure, name)));
    for name in ["retention_short", "format_some", "topic_missing", "timestamps_ahead"] {
        assert!(findings(&report).contains(&(Level::Warning, name)), "{name}: {report:?}");
    }
    assert!(!report.is_usable());
    let poison = report.findings.iter().find(|finding| finding.name == "format").unwrap();
    assert!(poison.message.contains("poison/0@0"), "{}", poison.message);

    // This user has no rights at all, so it does not even see the topic.
    let stranger = Client::new(&login("SCRAM-SHA-512", "s3cret")).unwrap();
    let report = checked(&stranger, vec![event_check("fine")]).unwrap();
    assert_eq!(findings(&report), [(Level::Failure, "topic_missing")]);
}

/// That nothing comes because this user may not read the topic any more is no end of the topic, and passes when it may again.
#[test]
fn a_topic_that_may_not_be_read_any_more_is_not_taken_for_read_to_its_end() {
    let topics = Topics::of(broker().servers());
    topics.create("revoked", 1, &[("retention.ms", "-1")]);
    let reads = Right { user: "ann", resource: Resource::Topic, prefix: "revoked", operation: Operation::Read };
    topics.allow(&[reads]);
    let produce = |id: &str| {
        let click = format!(r#"{{"click":{{"click_id":"{id}","ad_id":"ad","timestamp":{NOON_MS}}}}}"#);
        topics.produce("revoked", &[Record { timestamp_ms: Some(NOON_MS), ..Record::of(click) }]);
    };
    produce("c1");
    let read = Topic { name: "revoked".to_owned(), format: TopicFormat::Json };
    let metadata_interval = Duration::from_millis(200);
    let kafka = KafkaSourceSettings {
        metadata_interval,
        ..KafkaSourceSettings::new(login("SCRAM-SHA-512", "s3cret"), vec![read])
    };
    let disk = Arc::new(FaultDisk::default());
    let mut pipeline =
        Pipeline::start(disk, &kafka, &Settings::default()).unwrap_or_else(|stopped| panic!("{}", stopped.0));
    let wait_until_at_end = |pipeline: &mut Pipeline, is_at_end: bool| {
        let began = Instant::now();
        loop {
            pipeline.take(NOON_MS).unwrap();
            let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
            let progress = pipeline.source.stats().partitions(wall_ms + DAY_MS);
            if (progress[0].lag_seconds == Some(0.0)) == is_at_end {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{progress:?}");
        }
    };
    pipeline.read(1, NOON_MS).unwrap();
    wait_until_at_end(&mut pipeline, true);
    topics.deny(&reads);
    wait_until_at_end(&mut pipeline, false);
    topics.deny_no_more(&reads);
    wait_until_at_end(&mut pipeline, true);
    produce("c2");
    pipeline.read(2, NOON_MS).unwrap();
}
