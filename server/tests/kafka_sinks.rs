//! The sinks against a real broker: whatever is killed, stopped or away in between, a reader of committed messages comes to the
//! naive model's numbers, and has read every correction once.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod published;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use prost::Message as _;
use published::{Published, Sinks, Traffic, copy, count, numbers};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use recount_proto::v1 as wire;
use recount_tests::kafka::{Broker, BrokerSettings, Operation, Record, Resource, Right, Topics};
use support::daemon::{Daemon, click};
use support::{NOON_MS, PATIENCE};
use tokio::time::{sleep, timeout};

const EXACTLY_ONCE: &str = "exactly-once";

/// The broker of all tests that leave it alone.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        // Who comes in the clear may do anything.
        let settings = BrokerSettings { has_authorizer: true, ..BrokerSettings::default() };
        Broker::start_with(settings.secured_for("ann", "s3cret"))
    })
}

fn sinks<'a>(name: &'a str, delivery: &'a str) -> Sinks<'a> {
    Sinks { servers: broker().servers(), name, delivery }
}

/// Two runs over the same bindings publish the same messages: the second starts from nothing and makes every epoch again.
#[tokio::test(flavor = "multi_thread")]
async fn published_topics_are_the_models_and_the_same_in_every_run() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let mut traffic = Traffic::new(1);
    let ours = sinks("same1", EXACTLY_ONCE);
    let mut daemon = ours.start(&first).await;
    for _ in 0..12 {
        count(&mut daemon, traffic.next(80)).await;
    }
    ours.published(&daemon).await;
    let numbers = ["messages_total", "bytes_total", "transactions_total", "transaction_seconds_count"];
    let [messages, bytes, transactions, timed] =
        daemon.metrics(numbers.map(|name| format!("sink_{name}")).each_ref().map(String::as_str)).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact() && published.corrections.len() > 100, "{}", published.corrections.len());
    let topics = Topics::of(broker().servers());
    let all: Vec<_> = ["counts", "corrections"].iter().flat_map(|sink| topics.consume(&ours.topic(sink))).collect();
    let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let expected: usize = all.iter().map(|message| length(&message.key) + length(&message.value)).sum();
    assert_eq!((messages, bytes), (all.len() as f64, expected as f64));
    // Each sink's first transaction says who the writer is, before anything is told of it.
    assert!(timed >= 2.0 && transactions >= timed + 2.0, "{timed} of {transactions} transactions");

    copy(&first, &second, &["runs"]);
    std::fs::create_dir(second.join("runs")).unwrap();
    let other = sinks("same2", EXACTLY_ONCE);
    let daemon = other.start(&second).await;
    other.published(&daemon).await;
    drop(daemon);
    let topics = Topics::of(broker().servers());
    for sink in ["counts", "corrections"] {
        let essence = |sinks: &Sinks<'_>| -> Vec<_> {
            let messages = topics.consume(&sinks.topic(sink)).into_iter();
            messages.map(|m| (m.partition, m.timestamp_ms, m.header("epoch"), m.key, m.value)).collect()
        };
        assert_eq!(essence(&ours), essence(&other), "{sink}");
    }
}

/// Killed at any moment, with whatever transaction was open: after the next start nothing is there twice and nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_publishes_nothing_twice_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("killed", EXACTLY_ONCE));
    let mut traffic = Traffic::new(2);
    for round in 0..6 {
        let mut daemon = ours.start(&dir).await;
        for _ in 0..8 {
            let events = traffic.next(60);
            let answer = daemon.append(events).await;
            assert_eq!(answer.accepted, 60);
        }
        sleep(Duration::from_millis(7 * round)).await;
        daemon.kill();
    }
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(10)).await;
    ours.published(&daemon).await;
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact());
}

/// What a writer before us left open is taken back, and is never seen; when it wakes up, it can not commit it.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_left_hanging_is_never_seen() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("hanging", EXACTLY_ONCE));
    let mut traffic = Traffic::new(3);
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(300)).await;
    ours.published(&daemon).await;
    daemon.kill();
    let topics = Topics::of(broker().servers());
    let progress = topics.consume(&ours.topic("progress"));
    let key = progress.iter().filter_map(|record| record.key.clone()).find(|key| key.ends_with(b".counts")).unwrap();
    let key = String::from_utf8(key).unwrap();

    // As the killed daemon would have left it: messages and progress are there, and the commit is not.
    let zombie: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", broker().servers())
        .set("transactional.id", format!("recount.{key}"))
        .create()
        .unwrap();
    zombie.init_transactions(PATIENCE).unwrap();
    zombie.begin_transaction().unwrap();
    let store = key.split('.').next().unwrap();
    let ahead = format!(r#"{{"store":"{store}","sink":"counts","generation":0,"epoch":999999,"writer":1}}"#);
    zombie.send(BaseRecord::to(&ours.topic("counts")).key("poison").payload("{}")).unwrap();
    zombie.send(BaseRecord::to(&ours.topic("progress")).key(&key).payload(&ahead)).unwrap();
    zombie.flush(PATIENCE).unwrap();

    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(100)).await;
    ours.published(&daemon).await;
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact() && !published.rows.contains_key("poison"));
    let commit = zombie.commit_transaction(PATIENCE).unwrap_err();
    assert_eq!(code(&commit), Some(RDKafkaErrorCode::Fenced), "{commit}");
    assert!(!ours.read().rows.contains_key("poison"));
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// A daemon that was stopped for longer than its transactions may be open, while a second one took over from a copy of its
/// directory, publishes nothing when it wakes up, and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_publishes_nothing_and_stops() {
    let home = tempfile::tempdir().unwrap();
    let (first, second) = (home.path().join("first"), home.path().join("second"));
    let ours = sinks("zombie", EXACTLY_ONCE);
    let mut traffic = Traffic::new(4);
    // Another daemon would end as well, where the machine lets it wait that long amid a transaction.
    let mut zombie = ours.start_with(&first, &[("SINK__KAFKA__TRANSACTION_TIMEOUT", "3s")]).await;
    count(&mut zombie, traffic.next(300)).await;
    ours.published(&zombie).await;
    // It is stopped with something to publish.
    let answer = zombie.append(traffic.next(200)).await;
    assert_eq!(answer.accepted, 200);
    zombie.signal("STOP");
    copy(&first, &second, &[]);

    let mut daemon = ours.start(&second).await;
    count(&mut daemon, traffic.next(100)).await;
    sleep(Duration::from_secs(5)).await;
    zombie.signal("CONT");
    let event = click("zombie", "zombie", NOON_MS);
    let mut ingest = zombie.ingest.clone();
    let append = recount_proto::v1::AppendRequest { request_id: "z".into(), events: vec![event] };
    // It may have ended before it takes this.
    let _ = timeout(PATIENCE, ingest.append(append)).await;
    let (exit, said) = zombie.wait().await;
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("another process has taken over") || said.contains("was replaced"), "{said}");

    count(&mut daemon, traffic.next(50)).await;
    ours.published(&daemon).await;
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact());
}

/// A broker that goes away holds nothing up but publishing, and what waited is published when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_is_waited_for() {
    let broker = Broker::start();
    let home = tempfile::tempdir().unwrap();
    let ours = Sinks { servers: broker.servers(), name: "away", delivery: EXACTLY_ONCE };
    let mut traffic = Traffic::new(5);
    let mut daemon = ours.start(&home.path().join("dir")).await;
    count(&mut daemon, traffic.next(200)).await;
    for _ in 0..2 {
        let answer = daemon.append(traffic.next(100)).await;
        assert_eq!(answer.accepted, 100);
        broker.kill();
        // What is counted can be read while nothing can be published.
        count(&mut daemon, traffic.next(100)).await;
        let [behind] = daemon.metrics(["sink_epochs_behind"]).await;
        assert!(behind > 0.0, "nothing can be published");
        broker.restart();
        count(&mut daemon, traffic.next(100)).await;
    }
    ours.published(&daemon).await;
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact());
    assert_eq!(daemon.stop().await.0, Some(0));
}

/// A directory that is older than what was published is refused, and so is one that another writer has gone on from.
#[tokio::test(flavor = "multi_thread")]
async fn progress_newer_than_ours_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (dir, older) = (home.path().join("dir"), home.path().join("older"));
    let ours = sinks("newer", EXACTLY_ONCE);
    let mut traffic = Traffic::new(6);
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(100)).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    copy(&dir, &older, &[]);
    let mut daemon = ours.start(&dir).await;
    for _ in 0..3 {
        count(&mut daemon, traffic.next(50)).await;
    }
    assert_eq!(daemon.stop().await.0, Some(0));

    let (exit, said) = ours.refused(&older);
    assert_eq!(exit, Some(1));
    assert!(said.contains("have been published, and the newest that this data directory has bound"), "{said}");
    // A third writer of the newest directory makes the older one's next writer an old one.
    let daemon = ours.start(&dir).await;
    ours.published(&daemon).await;
    let before = ours.read();
    drop(daemon);
    ours.start(&dir).await.kill();
    let (exit, said) = ours.refused(&older);
    assert_eq!(exit, Some(1));
    assert!(said.contains("it was replaced, or the data directory is an older copy"), "{said}");
    assert_eq!(ours.read(), before);
}

/// Without transactions messages come again after a crash between them and the progress behind them, and a reader who minds keys and
/// ids is not harmed.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_a_repetition_is_harmless() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("atleast", "at-least-once"));
    let mut traffic = Traffic::new(7);
    for round in 0..5 {
        let mut daemon = ours.start(&dir).await;
        for _ in 0..6 {
            let answer = daemon.append(traffic.next(60)).await;
            assert_eq!(answer.accepted, 60);
        }
        sleep(Duration::from_millis(5 * round)).await;
        daemon.kill();
    }
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(10)).await;
    ours.published(&daemon).await;
    daemon.kill();
    let before = ours.read();
    before.check(&traffic.rows());
    // The crash that comes behind messages and before their progress, of every sink: what it told of last is what it told of first.
    let topics = Topics::of(broker().servers());
    let progress = topics.consume(&ours.topic("progress"));
    let first_of = |sink: &str| {
        let of_sink = |record: &&Record| record.key.as_ref().is_some_and(|key| key.ends_with(sink.as_bytes()));
        progress.iter().find(of_sink).unwrap().clone().to(0)
    };
    topics.produce(&ours.topic("progress"), &[first_of(".counts"), first_of(".corrections")]);
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(10)).await;
    ours.published(&daemon).await;
    let published = ours.read();
    published.check(&traffic.rows());
    let came_again = |id: &String| published.corrections[id].1 > before.corrections[id].1;
    assert!(!before.corrections.is_empty() && before.corrections.keys().all(came_again), "all of them come again");
}

/// Messages in protobuf say what those in JSON do.
#[tokio::test(flavor = "multi_thread")]
async fn protobuf_is_the_models_too() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("proto", EXACTLY_ONCE));
    let mut traffic = Traffic::new(12);
    let formats = ["COUNTS", "CORRECTIONS"].map(|sink| format!("SINK__KAFKA__{sink}__FORMAT"));
    let mut daemon = ours.start_with(&dir, &formats.each_ref().map(|name| (name.as_str(), "protobuf"))).await;
    for _ in 0..4 {
        count(&mut daemon, traffic.next(100)).await;
    }
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let topics = Topics::of(broker().servers());
    let mut rows = BTreeMap::new();
    for message in topics.consume(&ours.topic("counts")) {
        assert_eq!(message.header("content-type").as_deref(), Some("application/x-protobuf"));
        let row = wire::CountRow::decode(&message.value.unwrap()[..]).unwrap();
        let key = String::from_utf8(message.key.unwrap()).unwrap();
        assert!(key.ends_with(&format!("/{}/{}", row.window_start_ms, row.ad_id)), "{key}");
        rows.insert(key, (numbers(&row.metrics.unwrap()), row.revision));
    }
    let model: BTreeMap<_, _> = rows.iter().map(|(key, (metrics, _))| (key.clone(), *metrics)).collect();
    assert_eq!(model, traffic.rows());
    let mut ids = BTreeSet::new();
    for message in topics.consume(&ours.topic("corrections")) {
        let correction = wire::Correction::decode(&message.value.unwrap()[..]).unwrap();
        assert_eq!(correction.after.unwrap().ad_id.as_bytes(), message.key.unwrap());
        assert!(ids.insert(correction.correction_id), "a correction is there twice");
    }
    let revisions: u64 = rows.values().map(|(_, revision)| u64::from(*revision)).sum();
    assert_eq!(ids.len() as u64, revisions, "every revision of a row is a correction");
    assert!(revisions > 0);
}

/// A topic that will never take what comes is said, with what to change: nobody tries it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_for_good_ends_it() {
    let topics = Topics::of(broker().servers());
    for (name, delivery) in [("refused1", EXACTLY_ONCE), ("refused2", "at-least-once")] {
        let home = tempfile::tempdir().unwrap();
        let (dir, ours) = (home.path().join("dir"), sinks(name, delivery));
        // An epoch is over before it is published.
        let now_alone = [("cleanup.policy", "compact"), ("message.timestamp.before.max.ms", "0")];
        topics.create(&ours.topic("counts"), 1, &now_alone);
        let mut daemon = ours.start(&dir).await;
        let answer = daemon.append(Traffic::new(9).next(50)).await;
        assert_eq!(answer.accepted, 50);
        let (exit, said) = daemon.wait().await;
        assert_eq!(exit, Some(1), "{said}");
        assert!(said.contains(&format!("a message to {name}.counts is refused for good")), "{said}");
        assert!(said.contains("message.timestamp.before.max.ms"), "{said}");

        // With another limit it goes on where it was.
        topics.alter(&ours.topic("counts"), &[("cleanup.policy", "compact")]);
        let mut daemon = ours.start(&dir).await;
        let mut traffic = Traffic::new(9);
        traffic.next(50);
        count(&mut daemon, traffic.next(50)).await;
        ours.published(&daemon).await;
        ours.read().check(&traffic.rows());
    }
}

/// A sink that is added to a store with a history begins with every row and every correction there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_added_later_publishes_all_there_is() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("later", EXACTLY_ONCE));
    let mut traffic = Traffic::new(8);
    let mut daemon = Daemon::start(&dir).await;
    for _ in 0..5 {
        count(&mut daemon, traffic.next(100)).await;
    }
    assert_eq!(daemon.stop().await.0, Some(0));
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(100)).await;
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let published: Published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact());
    // In order it is published before the end, so the next start has nothing to say.
    let daemon = ours.start(&dir).await;
    ours.published(&daemon).await;
    assert_eq!(ours.read(), published);
}

/// A topic that is new has nothing of what is published: all there is goes to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_deleted_or_renamed_gets_the_whole_table() {
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("renamed", EXACTLY_ONCE));
    let topics = Topics::of(broker().servers());
    let mut traffic = Traffic::new(13);
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(100)).await;
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    for deleted in ["counts", "corrections"] {
        topics.delete(&ours.topic(deleted));
    }
    let mut daemon = ours.start(&dir).await;
    count(&mut daemon, traffic.next(50)).await;
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact());

    topics.create("renamed.other", 2, &[("cleanup.policy", "compact")]);
    let daemon = ours.start_with(&dir, &[("SINK__KAFKA__COUNTS__TOPIC", "renamed.other")]).await;
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let keys = |topic: &str| -> BTreeSet<_> { topics.consume(topic).into_iter().map(|message| message.key).collect() };
    assert_eq!(keys("renamed.other"), keys(&ours.topic("counts")));
    assert_eq!(ours.read().corrections.len(), published.corrections.len());
}

/// A row that retention takes away leaves the table too: its key comes without a value.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_gone_gets_a_tombstone() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("gone", EXACTLY_ONCE));
    let short = [
        ("RULES__CORRECTION_HORIZON", "1h"),
        ("RULES__DEDUP_HORIZON", "1h"),
        ("RULES__COUNTS_RETENTION", "1d"),
        // Less than leaves at once.
        ("SINK__KAFKA__TRANSACTION_MESSAGES", "5"),
    ];
    let mut daemon = ours.start_with(&dir, &short).await;
    let clicks = |name: &str, day: i64| -> Vec<_> {
        (0..9).map(|n| click(&format!("{name}{n}"), &format!("{name}{}", n % 3), NOON_MS + day * DAY_MS)).collect()
    };
    count(&mut daemon, clicks("old", 0)).await;
    ours.published(&daemon).await;
    // Three ads, in four sizes of windows.
    assert_eq!((ours.read().rows.len(), ours.read().tombstones), (12, 0));
    count(&mut daemon, clicks("new", 3)).await;
    ours.published(&daemon).await;
    let published = ours.read();
    assert_eq!((published.rows.len(), published.tombstones), (12, 12));
    assert!(published.rows.keys().all(|key| key.contains("/new")), "{:?}", published.rows.keys());
    assert_eq!(daemon.stop().await.0, Some(0));
}

/// A user that may do what the documentation asks for and nothing else, over SASL and TLS: it reads and publishes, and makes no topic
/// but the one that it may make.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_rights_are_enough() {
    const POISON: usize = 3;
    let home = tempfile::tempdir().unwrap();
    let (dir, ours) = (home.path().join("dir"), sinks("rights", EXACTLY_ONCE));
    let topics = Topics::of(broker().servers());
    let right = |resource, prefix, operation| Right { user: "ann", resource, prefix, operation };
    topics.allow(&[
        right(Resource::Topic, "rights.clicks", Operation::Read),
        right(Resource::Group, "rights.group", Operation::Read),
        right(Resource::Topic, "rights.progress", Operation::Read),
        right(Resource::Topic, "rights.progress", Operation::Write),
        right(Resource::Topic, "rights.counts", Operation::Write),
        right(Resource::Topic, "rights.corrections", Operation::Write),
        right(Resource::Topic, "rights.dlq", Operation::Write),
        right(Resource::Topic, "rights.dlq", Operation::Create),
        right(Resource::TransactionalId, "recount.", Operation::Write),
    ]);
    topics.create("rights.clicks", 2, &[]);
    topics.create("rights.counts", 3, &[("cleanup.policy", "compact")]);
    topics.create("rights.corrections", 2, &[]);
    topics.create("rights.progress", 1, &[("cleanup.policy", "compact")]);

    let authority = broker().certificates().authority.display();
    let login = format!(
        r#"{{ "security.protocol" = "sasl_ssl", "ssl.ca.location" = "{authority}", "sasl.mechanism" = "SCRAM-SHA-512", "sasl.username" = "ann", "sasl.password" = "s3cret" }}"#
    );
    let servers = broker().sasl_servers();
    let settings = [
        ("SOURCE__KAFKA__BOOTSTRAP_SERVERS", servers.as_str()),
        ("SOURCE__KAFKA__TOPICS", r#"[{ name = "rights.clicks", format = "event", dlq = "rights.dlq" }]"#),
        ("SOURCE__KAFKA__GROUP", "rights.group"),
        ("SOURCE__KAFKA__PROPERTIES", &login),
        ("SINK__KAFKA__PROPERTIES", &login),
    ];
    let theirs = Sinks { servers: servers.clone(), ..sinks("rights", EXACTLY_ONCE) };
    let mut traffic = Traffic::new(11);
    for round in 1..=2 {
        let mut daemon = theirs.start_with(&dir, &settings).await;
        let events = traffic.next(200).into_iter().map(|event| Record::of(event.encode_to_vec()));
        let poison = (0..POISON).map(|_| Record::of("no event"));
        topics.produce("rights.clicks", &events.chain(poison).collect::<Vec<_>>());
        let deadline = Instant::now() + PATIENCE;
        while daemon.status().await.records_in < round * (200 + POISON as u64) {
            assert!(Instant::now() < deadline, "the records do not come in");
            sleep(Duration::from_millis(20)).await;
        }
        theirs.all_published(&daemon, 3).await;
        let (code, said) = daemon.stop().await;
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(said.contains("this user may not see the topic's settings"), round == 1, "{said}");
        // The settings need not be seen, but may be.
        topics.allow(&[right(Resource::Topic, "rights.", Operation::DescribeConfigs)]);
    }
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact() && !published.corrections.is_empty());
    assert_eq!(topics.consume("rights.dlq").len(), 2 * POISON);
}
