//! Topics of clicks and of verdicts, each in its own format, counted and published by the real binary: every run over them comes to the
//! naive model's numbers, and the same bindings to the same messages.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod published;
mod support;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use prost::Message as _;
use published::{Sinks, Traffic, copy};
use recount_proto::v1::event::Body;
use recount_proto::v1::{CountRow, Metrics};
use recount_tests::kafka::{Broker, Record, Topics};
use support::daemon::Daemon;
use support::{NOON_MS, PATIENCE, click, verdict};
use tokio::time::{Instant, sleep};

/// The broker of all tests of this file.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start)
}

fn topics() -> Topics {
    Topics::of(broker().servers())
}

fn sinks(name: &str) -> Sinks<'_> {
    Sinks { servers: broker().servers(), name, delivery: "exactly-once" }
}

/// Starts a daemon over a topic of clicks and one of verdicts; `more` wins.
async fn start(sinks: &Sinks<'_>, dir: &Path, [clicks, verdicts]: [&str; 2], more: &[(&str, &str)]) -> Daemon {
    sinks.start_with(dir, &[&settings(&sinks.servers, &read([clicks, verdicts])), more].concat()).await
}

fn read([clicks, verdicts]: [&str; 2]) -> String {
    format!(r#"[{{ name = "{clicks}", format = "click" }}, {{ name = "{verdicts}", format = "verdict" }}]"#)
}

fn settings<'a>(servers: &'a str, topics: &'a str) -> [(&'a str, &'a str); 2] {
    [("SOURCE__KAFKA__BOOTSTRAP_SERVERS", servers), ("SOURCE__KAFKA__TOPICS", topics)]
}

/// Writes traffic as bare messages, keyed by the click: clicks to one topic, verdicts to the other.
fn produce([clicks, verdicts]: [&str; 2], traffic: &mut Traffic, events: usize) {
    let (mut of_clicks, mut of_verdicts) = (Vec::new(), Vec::new());
    for event in traffic.next(events) {
        match event.body.unwrap() {
            Body::Click(click) => of_clicks.push(Record::of(click.encode_to_vec()).keyed(click.click_id)),
            Body::Verdict(verdict) => of_verdicts.push(Record::of(verdict.encode_to_vec()).keyed(verdict.click_id)),
        }
    }
    topics().produce(clicks, &of_clicks);
    topics().produce(verdicts, &of_verdicts);
}

async fn counted(daemon: &mut Daemon, records: usize) {
    let deadline = Instant::now() + PATIENCE;
    while daemon.status().await.records_in < records as u64 {
        assert!(Instant::now() < deadline, "{records} records do not come in");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A run; another that cuts the same topics into other epochs; and one that has the bindings of the first and makes its epochs again.
#[tokio::test(flavor = "multi_thread")]
async fn every_run_over_topics_comes_to_the_model_and_the_same_bindings_to_the_same_messages() {
    const NAMES: [&str; 2] = ["bare-clicks", "bare-verdicts"];
    let home = tempfile::tempdir().unwrap();
    let (first, other, again) = (home.path().join("first"), home.path().join("other"), home.path().join("again"));
    topics().create(NAMES[0], 3, &[("retention.ms", "-1")]);
    topics().create(NAMES[1], 2, &[("retention.ms", "-1")]);
    let mut traffic = Traffic::new(9);
    produce(NAMES, &mut traffic, 700);

    let ours = sinks("topics1");
    let mut daemon = start(&ours, &first, NAMES, &[("ENGINE__EPOCH_RECORDS", "40")]).await;
    counted(&mut daemon, 700).await;
    // Some come while it reads.
    produce(NAMES, &mut traffic, 300);
    counted(&mut daemon, 1_000).await;
    ours.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    let published = ours.read();
    published.check(&traffic.rows());
    assert!(published.is_exact() && published.corrections.len() > 50, "{}", published.corrections.len());

    // What was counted is held against both topics, also where one of them was taken out of the settings since.
    let servers = broker().servers();
    let only_clicks = format!(r#"[{{ name = "{}", format = "click" }}]"#, NAMES[0]);
    let (code, said) = recount(&first, "verify", &settings(&servers, &only_clicks));
    assert!(code == Some(0) && said.contains("1,000 records from its beginning"), "{said}");

    let cut_otherwise = sinks("topics2");
    let mut daemon = start(&cut_otherwise, &other, NAMES, &[("ENGINE__EPOCH_RECORDS", "7")]).await;
    counted(&mut daemon, 1_000).await;
    cut_otherwise.published(&daemon).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    cut_otherwise.read().check(&traffic.rows());

    copy(&first, &again, &["runs"]);
    std::fs::create_dir(again.join("runs")).unwrap();
    let repeated = sinks("topics3");
    let daemon = start(&repeated, &again, NAMES, &[]).await;
    repeated.published(&daemon).await;
    drop(daemon);
    for sink in ["counts", "corrections"] {
        let essence = |sinks: &Sinks<'_>| -> Vec<_> {
            let messages = topics().consume(&sinks.topic(sink)).into_iter();
            messages.map(|m| (m.partition, m.timestamp_ms, m.header("epoch"), m.key, m.value)).collect()
        };
        assert_eq!(essence(&ours), essence(&repeated), "{sink}");
    }
}

/// Writes a verdict for each of these clicks, of its own second.
fn judge(topic: &str, clicks: std::ops::Range<i64>, decision: &str, second: i64) {
    let at_ms = NOON_MS + second * 1_000;
    let record = |click: i64| {
        let value = verdict(&format!("c{click}"), decision, at_ms);
        Record { timestamp_ms: Some(at_ms), ..Record::of(value).keyed(format!("c{click}")) }
    };
    topics().produce(topic, &clicks.map(record).collect::<Vec<_>>());
}

/// Waits until the cleaner has left so many records of a topic.
async fn compacted(topic: &str, left: usize) {
    let deadline = Instant::now() + PATIENCE * 2;
    while topics().consume(topic).len() > left {
        assert!(Instant::now() < deadline, "{topic} is not compacted: {}", topics().consume(topic).len());
        sleep(Duration::from_millis(200)).await;
    }
}

/// Verdicts by click in a topic that Kafka really compacts: it comes to the same counts as one that keeps all of them, and verifying
/// begins with a checkpoint. A start that needs what was compacted names the topic; the data directory is not said to be damaged.
#[tokio::test(flavor = "multi_thread")]
async fn verdicts_may_be_compacted_once_a_checkpoint_holds_them() {
    const CLICKS: i64 = 60;
    let home = tempfile::tempdir().unwrap();
    let (whole, compact) = (home.path().join("whole"), home.path().join("compact"));
    let quick = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01"), ("segment.ms", "1000")];
    topics().create("kept-clicks", 1, &[("retention.ms", "-1")]);
    topics().create("kept-verdicts", 1, &[("retention.ms", "-1")]);
    topics().create("last-verdicts", 1, &quick);
    let judge_both = |clicks: std::ops::Range<i64>, decision: &str, second| {
        judge("kept-verdicts", clicks.clone(), decision, second);
        judge("last-verdicts", clicks, decision, second);
    };
    let clicks = (0..CLICKS).map(|id| Record::of(click(&format!("c{id}"), &format!("ad{}", id % 7), NOON_MS)));
    topics().produce("kept-clicks", &clicks.collect::<Vec<_>>());
    judge_both(0..CLICKS, "INVALID", 10);
    judge_both(0..30, "VALID", 20);
    judge_both(0..10, "INVALID", 30);
    // The newest segment is never compacted, and these begin one.
    judge_both(CLICKS..CLICKS + 1, "VALID", 40);
    compacted("last-verdicts", CLICKS as usize + 1).await;

    let servers = broker().servers();
    let json = |verdicts: &str| {
        format!(r#"[{{ name = "kept-clicks", format = "json" }}, {{ name = "{verdicts}", format = "json" }}]"#)
    };
    let (kept, last) = (json("kept-verdicts"), json("last-verdicts"));
    let mut daemon = Daemon::start_with(&whole, &settings(&servers, &kept)).await;
    counted(&mut daemon, (2 * CLICKS + 30 + 10 + 1) as usize).await;
    let rows = metrics(daemon.newest_rows().await);
    assert_eq!(daemon.stop().await.0, Some(0));
    let settings = [&settings(&servers, &last)[..], &[("CHECKPOINT__INTERVAL", "1h")]].concat();
    let mut daemon = Daemon::start_with(&compact, &settings).await;
    counted(&mut daemon, (2 * CLICKS + 1) as usize).await;
    assert_eq!(metrics(daemon.newest_rows().await), rows);
    assert_eq!(rows.iter().map(|(_, metrics)| metrics.invalid_clicks).sum::<i64>(), CLICKS - 20);

    // What was counted of these is compacted later, and a checkpoint holds it; so does a second one what came since.
    judge("last-verdicts", 0..CLICKS, "VALID", 50);
    counted(&mut daemon, (3 * CLICKS + 1) as usize).await;
    daemon.checkpoint().await;
    topics().produce("kept-clicks", &[Record::of(click("late", "ad0", NOON_MS))]);
    counted(&mut daemon, (3 * CLICKS + 2) as usize).await;
    assert_eq!(daemon.stop().await.0, Some(0));
    judge("last-verdicts", 0..CLICKS, "INVALID", 60);
    judge("last-verdicts", CLICKS..CLICKS + 1, "VALID", 70);
    compacted("last-verdicts", CLICKS as usize + 2).await;
    let (code, said) = recount(&compact, "verify", &settings);
    assert!(code == Some(0) && said.contains("from checkpoint"), "{said}");

    // And these are bound when the service is killed, and no checkpoint holds them.
    let mut daemon = Daemon::start_with(&compact, &settings).await;
    counted(&mut daemon, (4 * CLICKS + 3) as usize).await;
    daemon.kill();
    judge("last-verdicts", 0..CLICKS, "VALID", 80);
    judge("last-verdicts", CLICKS..CLICKS + 1, "VALID", 90);
    compacted("last-verdicts", CLICKS as usize + 2).await;
    let (code, said) = support::daemon::refused(&compact, &settings).await;
    let names = |said: &str| said.contains("last-verdicts") && said.contains("min.compaction.lag.ms");
    assert!(code == Some(1) && names(&said) && !said.contains("damaged"), "{said}");
    let (code, said) = recount(&compact, "verify", &settings);
    assert!(code != Some(0) && names(&said), "{code:?}: {said}");
}

fn metrics(rows: Vec<CountRow>) -> Vec<(String, Metrics)> {
    rows.into_iter().map(|row| (format!("{}/{}", row.ad_id, row.window_start_ms), row.metrics.unwrap())).collect()
}

fn recount(dir: &Path, command: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut line = Command::new(env!("CARGO_BIN_EXE_recount"));
    line.args([command, "--data-dir"]).arg(dir);
    line.envs(settings.iter().map(|(name, value)| (format!("RECOUNT__{name}"), value)));
    let output = line.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}
