//! Topics of clicks and of verdicts, each in its own format, counted and published by the real binary: every run over them comes to the
//! naive model's numbers, and the same bindings to the same messages.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod published;
mod support;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use prost::Message as _;
use published::{Sinks, Traffic, copy};
use recount_proto::v1::event::Body;
use recount_tests::kafka::{Broker, Record, Topics};
use support::daemon::Daemon;
use support::PATIENCE;
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
