//! Dead letters over a real broker: whatever is in a topic, what can not be counted is in the other one, as it came and once, and
//! the rest is counted.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use recount_proto::v1 as wire;
use recount_tests::kafka::{Broker, Record, Topics};
use serde_json::Value;
use support::daemon::{Daemon, click, command};
use support::{NOON_MS, PATIENCE};
use tokio::time::sleep;

const PREFIX: &str = "__connect.errors.";

fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

fn topics() -> Topics {
    Topics::of(broker().servers())
}

/// Settings that read a topic; with `dlq`, its dead letters go there.
fn settings(home: &Path, topic: &str, dlq: Option<&str>) -> PathBuf {
    let dlq = dlq.map(|dlq| format!("dlq = {dlq:?}\n")).unwrap_or_default();
    let text = format!(
        "[source.kafka]\nbootstrap_servers = {:?}\nproperties = {{ \"reconnect.backoff.max.ms\" = 200 }}\n\
         [[source.kafka.topics]]\nname = {topic:?}\nformat = \"content-type\"\n{dlq}\
         [sink.kafka]\nprogress_topic = \"{topic}.progress\"\ntransaction_timeout = \"3s\"\n",
        broker().servers()
    );
    let file = home.join("recount.toml");
    fs::write(&file, text).unwrap();
    file
}

async fn start(dir: &Path, file: &Path) -> Daemon {
    let mut command = command(dir, &[("CHECKPOINT__INTERVAL", "100ms")]);
    command.arg("--config").arg(file);
    Daemon::run(command, dir).await
}

/// Runs a command: its exit code, and what it wrote to standard output and standard error.
fn recount(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_recount")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json(value: impl Into<Vec<u8>>) -> Record {
    Record::of(value).with("content-type", "application/json")
}

fn protobuf(value: impl Into<Vec<u8>>) -> Record {
    Record::of(value).with("content-type", "application/x-protobuf")
}

fn json_click(user_id: &str) -> String {
    format!(r#"{{"click":{{"click_id":"c","ad_id":"ad0","user_id":"{user_id}","timestamp":{NOON_MS}}}}}"#)
}

/// One record of every kind that can not be counted, and the reason.
fn poison() -> Vec<(Record, &'static str)> {
    let whole = click("whole", "ad0", NOON_MS).encode_to_vec();
    let mut wrong_type = wire::Event::default().encode_to_vec();
    // A click that is a number.
    wrong_type.extend([0x08, 0x05]);
    let mut nowhere = json("{").keyed("null header");
    nowhere.headers.push(("own".into(), None));
    nowhere.headers.push(("own".into(), Some(vec![0xff, 0])));
    vec![
        (protobuf(&whole[..whole.len() - 3]).keyed("truncated"), "unreadable"),
        (protobuf(wrong_type).keyed("wrong type"), "unreadable"),
        (json(r#"{"click":{"click_id":7,"ad_id":[]}}"#).keyed("wrong type"), "unreadable"),
        (json(json_click(&"u".repeat(1_000_000))).keyed("long string"), "user_id_too_long"),
        (json(json_click(&"u".repeat(2_000_000))).keyed("long record"), "record_too_long"),
        (json("null key"), "unreadable"),
        (json("empty key").keyed(""), "unreadable"),
        (json("").keyed("empty value"), "unreadable"),
        (Record::of(json_click("u")).keyed("k").with("content-type", "text/plain"), "unreadable"),
        (Record::of(json_click("u")).keyed("no content-type"), "unreadable"),
        // Values are read as they are: nobody unpacks them.
        (json([0x1f, 0x8b, 8, 0, 0, 0]).keyed("packed").with("content-encoding", "gzip"), "unreadable"),
        (json([0xff, 0x00, 0xfe]).keyed("packed").with("content-encoding", "of-tomorrow"), "unreadable"),
        (nowhere, "unreadable"),
    ]
}

/// Waits until a topic holds at least some records, and returns all.
async fn at_least(topic: &str, records: usize) -> Vec<Record> {
    let deadline = Instant::now() + PATIENCE * 3;
    loop {
        let found = topics().consume(topic);
        if found.len() >= records {
            return found;
        }
        assert!(Instant::now() < deadline, "{topic} has {} of {records} records", found.len());
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until clicks of `ad0` are counted.
async fn counted(daemon: &mut Daemon, clicks: i64) {
    let deadline = Instant::now() + PATIENCE * 3;
    loop {
        let received: i64 = daemon.newest_rows().await.iter().map(|row| row.metrics.unwrap().received).sum();
        assert!(received <= clicks, "{received} of {clicks} clicks are counted");
        if received == clicks {
            return;
        }
        assert!(Instant::now() < deadline, "{received} of {clicks} clicks are counted");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all that is complete is published.
async fn published(daemon: &Daemon) {
    let deadline = Instant::now() + PATIENCE * 3;
    while daemon.metrics(["sink_epochs_behind"]).await != [0.0] {
        assert!(Instant::now() < deadline, "the sink is behind");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Holds dead letters against the records that were produced, by their places: all that can not be counted is there, once and as it
/// was.
fn check(letters: &[Record], source: &[Record], reasons: &[&str]) {
    let mut of_place: BTreeMap<(String, String), &Record> = BTreeMap::new();
    for letter in letters {
        let place = ["partition", "offset"].map(|name| letter.header(&format!("{PREFIX}{name}")).unwrap());
        assert!(of_place.insert(place.clone().into(), letter).is_none(), "{place:?} is there twice");
    }
    let poison: Vec<&Record> = source.iter().filter(|record| record.header("good").is_none()).collect();
    assert_eq!((letters.len(), reasons.len()), (poison.len(), poison.len()));
    let mut found = Vec::new();
    for record in poison {
        let letter = of_place[&(record.partition.unwrap().to_string(), record.offset.to_string())];
        let own: Vec<_> = letter.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().collect();
        assert_eq!((&letter.key, &own, letter.timestamp_ms), (&record.key, &record.headers, record.timestamp_ms));
        assert!(letter.value == record.value, "the value of {:?} is another", record.key);
        let said = |name: &str| letter.header(&format!("{PREFIX}{name}"));
        assert_eq!(
            (said("connector.name").as_deref(), said("missing"), said("value.bytes")),
            (Some("recount"), None, None)
        );
        assert!(said("exception.message").is_some_and(|message| !message.is_empty()));
        found.push(said("exception.class.name").unwrap());
    }
    let mut reasons: Vec<String> = reasons.iter().map(|reason| (*reason).to_owned()).collect();
    found.sort();
    reasons.sort();
    assert_eq!(found, reasons);
}

/// Everything that can be wrong with a record, through four kills.
#[tokio::test(flavor = "multi_thread")]
async fn poison_is_a_dead_letter_once_and_the_stream_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (dir, topics) = (home.path().join("dir"), topics());
    topics.create("clicks", 2, &[("max.message.bytes", "4000000")]);
    let file = settings(home.path(), "clicks", Some("dlq.clicks"));
    let (mut clicks, mut reasons) = (0, Vec::new());
    for round in 0..4 {
        let daemon = start(&dir, &file).await;
        if round == 0 {
            let (code, out, err) = recount(&["kafka", "check", "--config", file.to_str().unwrap(), "--json"]);
            let report: Value = serde_json::from_str(&out).unwrap();
            let looked_at = report["topics"].as_array().unwrap().iter();
            let looked_at: Vec<_> =
                looked_at.map(|topic| (topic["name"].as_str(), topic["read_as"].as_str())).collect();
            let expected =
                [(Some("clicks"), Some("content-type")), (Some("dlq.clicks"), None), (Some("clicks.progress"), None)];
            assert_eq!((code, looked_at), (Some(0), expected.to_vec()), "{err}{out}");
        }
        for (number, (record, reason)) in poison().into_iter().enumerate() {
            let good = click(&format!("{round}.{number}"), "ad0", NOON_MS).encode_to_vec();
            topics.produce("clicks", &[record.to(number as i32 % 2), protobuf(good).with("good", "yes").to(0)]);
            reasons.push(reason);
            clicks += 1;
        }
        sleep(Duration::from_millis(40 * round)).await;
        daemon.kill();
    }
    let mut daemon = start(&dir, &file).await;
    let letters = at_least("dlq.clicks", reasons.len()).await;
    counted(&mut daemon, clicks).await;
    published(&daemon).await;
    check(&letters, &topics.consume("clicks"), &reasons);

    let of_topic = ["--topic", "dlq.clicks", "--bootstrap", &broker().servers()];
    let (code, out, err) = recount(&[&["quarantine", "list", "--json"][..], &of_topic].concat());
    assert_eq!((code, out.lines().count()), (Some(0), reasons.len()), "{err}");
    // What is sent again can be counted no more than before, so every record is a dead letter of its new place.
    let (code, out, err) = recount(&[&["quarantine", "replay", "--json"][..], &of_topic].concat());
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, outcome["accepted"].as_u64()), (Some(0), Some(reasons.len() as u64)), "{err}{out}");
    let twice = reasons.repeat(2);
    let letters = at_least("dlq.clicks", twice.len()).await;
    published(&daemon).await;
    check(&letters, &topics.consume("clicks"), &twice);
    counted(&mut daemon, clicks).await;
    assert_eq!(daemon.stop().await.0, Some(0));
}

/// A topic that is named later begins with what the quarantine holds; of a record that retention took what was kept is published.
/// A topic that takes small messages alone gets the beginning of a large one.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_quarantined_before_is_published_as_far_as_it_is_there() {
    let home = tempfile::tempdir().unwrap();
    let (dir, topics) = (home.path().join("dir"), topics());
    topics.create("old", 1, &[]);
    topics.create("dlq.old", 1, &[("max.message.bytes", "20000")]);
    topics
        .produce("old", &[json("gone").keyed("k").with("own", "h"), json(json_click(&"u".repeat(50_000))).keyed("k")]);
    let mut daemon = start(&dir, &settings(home.path(), "old", None)).await;
    let deadline = Instant::now() + PATIENCE;
    while daemon.status().await.quarantined < 2 {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(daemon.stop().await.0, Some(0));
    topics.delete_records("old", 0, 1);

    let file = settings(home.path(), "old", Some("dlq.old"));
    let daemon = start(&dir, &file).await;
    let letters = at_least("dlq.old", 2).await;
    published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let header = |letter: &Record, name: &str| letter.header(&format!("{PREFIX}{name}"));
    assert_eq!((&letters[0].key, letters[0].value.as_deref()), (&None, Some(&b"gone"[..])));
    assert_eq!(header(&letters[0], "missing").as_deref(), Some("key, headers"));
    let whole = json_click(&"u".repeat(50_000));
    let kept = letters[1].value.as_deref().unwrap();
    assert!(whole.as_bytes().starts_with(kept) && (10_000..20_000).contains(&kept.len()), "{}", kept.len());
    assert_eq!((&letters[1].key, letters[1].header("content-type").is_some()), (&Some(b"k".to_vec()), true));
    assert_eq!(header(&letters[1], "value.bytes"), Some(whole.len().to_string()));

    // The beginning alone is not sent again; and a start that has nothing to say says nothing.
    let replay = ["quarantine", "replay", "--json", "--topic", "dlq.old", "--bootstrap", &broker().servers()];
    let (code, out, err) = recount(&replay);
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &outcome["accepted"], &outcome["skipped"]), (Some(0), &1.into(), &1.into()), "{err}{out}");
    // To another topic it goes as it came too; of a service's records only the value is known.
    topics.create("again", 3, &[]);
    let to_topic = [&replay[..], &["--to-topic", "again"]].concat();
    let (code, out, err) = recount(&to_topic);
    let outcome: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &outcome["accepted"], &outcome["skipped"]), (Some(0), &1.into(), &1.into()), "{err}{out}");
    let again = topics.consume("again");
    assert_eq!((again.len(), &again[0].key, again[0].value.as_deref()), (1, &None, Some(&b"gone"[..])));
    assert_eq!(again[0].headers, []);

    let daemon = start(&dir, &file).await;
    let service = ["quarantine", "replay", "--json", "--addr", &daemon.grpc.to_string(), "--to-topic", "again"];
    let (code, out, err) = recount(&[&service[..], &["--bootstrap", &broker().servers()]].concat());
    let outcome: Value = serde_json::from_str(&out).unwrap();
    let quarantined = outcome["accepted"].as_u64().unwrap();
    assert!(code == Some(0) && quarantined >= 2, "{err}{out}");
    let again: Vec<_> = topics.consume("again").into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(again.len() as u64, 1 + quarantined);
    assert!(again.contains(&json_click(&"u".repeat(50_000)).into_bytes()), "the service has all of it");
    let letters = at_least("dlq.old", 3).await;
    published(&daemon).await;
    assert_eq!((letters.len(), header(&letters[2], "offset").as_deref()), (3, Some("2")));
    assert_eq!(daemon.stop().await.0, Some(0));
    assert_eq!(topics.consume("dlq.old").len(), 3);
}

/// A time that Kafka does not take stops nothing: a topic that is made for dead letters takes any, and where one is there that does not
/// a header says it.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_the_future_is_a_dead_letter_too() {
    const AHEAD_MS: i64 = 2 * 86_400_000;
    let topics = topics();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for (topic, is_there) in [("ahead1", false), ("ahead2", true)] {
        let home = tempfile::tempdir().unwrap();
        let (dir, dlq) = (home.path().join("dir"), format!("dlq.{topic}"));
        topics.create(topic, 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
        if is_there {
            topics.create(&dlq, 1, &[]);
        }
        let at = |ms, value: &str| Record { timestamp_ms: Some(ms), ..json(value).keyed("k") };
        let sent = [at(now_ms, "0"), at(now_ms + AHEAD_MS, "1"), at(now_ms + 1, "2"), at(now_ms + AHEAD_MS + 1, "3")];
        topics.produce(topic, &sent);
        let daemon = start(&dir, &settings(home.path(), topic, Some(&dlq))).await;
        let letters = at_least(&dlq, sent.len()).await;
        published(&daemon).await;
        assert_eq!(daemon.stop().await.0, Some(0));
        let letters: BTreeMap<_, _> = letters.iter().map(|letter| (letter.value.clone(), letter)).collect();
        assert_eq!(letters.len(), sent.len());
        for record in &sent {
            let (letter, is_ahead) = (letters[&record.value], record.timestamp_ms > Some(now_ms + 1));
            let said = letter.header(&format!("{PREFIX}timestamp")).map(|ms| ms.parse::<i64>().unwrap());
            match is_there && is_ahead {
                false => assert_eq!((letter.timestamp_ms, said), (record.timestamp_ms, None)),
                true => {
                    assert_eq!(said, record.timestamp_ms);
                    let sent_ms = letter.timestamp_ms.unwrap();
                    assert!((now_ms..now_ms + AHEAD_MS).contains(&sent_ms), "{sent_ms} is no time of sending");
                }
            }
        }
    }
}
