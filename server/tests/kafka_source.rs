//! The real binary over a real broker: what topics hold is counted, once, through a kill; and everything says where records come from.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use recount_proto::v1 as wire;
use recount_tests::kafka::{Broker, Record, Topics};
use support::daemon::Daemon;
use support::{NOON_MS, PATIENCE, click};
use tokio::time::{sleep, timeout};
use tonic::Code;

fn settings(servers: &str) -> [(&str, &str); 4] {
    [
        ("SOURCE__KAFKA__BOOTSTRAP_SERVERS", servers),
        ("SOURCE__KAFKA__TOPICS", r#"[{ name = "clicks", format = "json" }]"#),
        ("SOURCE__KAFKA__METADATA_INTERVAL", "200ms"),
        ("CHECKPOINT__INTERVAL", "100ms"),
    ]
}

fn produce(topics: &Topics, ids: std::ops::Range<i32>) {
    let record = |id: i32| {
        let value = click(&format!("c{id}"), "ad", NOON_MS + i64::from(id));
        Record { timestamp_ms: Some(NOON_MS + i64::from(id)), ..Record::of(value).to(id % 2) }
    };
    topics.produce("clicks", &ids.map(record).collect::<Vec<_>>());
}

async fn wait_for(daemon: &mut Daemon, received: i64) {
    let counted = async {
        loop {
            let epoch = daemon.status().await.snapshot.unwrap().as_of;
            let request = wire::GetCountsRequest {
                ad_ids: vec!["ad".into()],
                start_ms: NOON_MS - 43_200_000,
                end_ms: NOON_MS + 43_200_000,
                granularity: wire::Granularity::Day.into(),
                read: Some(wire::ReadAt { at: Some(wire::read_at::At::AsOf(epoch)) }),
                ..Default::default()
            };
            let rows = daemon.counts.get_counts(request).await.unwrap().into_inner().rows;
            if rows.iter().map(|row| row.metrics.unwrap().received).sum::<i64>() == received {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
}

fn recount(dir: &Path, command: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command_line = Command::new(env!("CARGO_BIN_EXE_recount"));
    command_line.args([command, "--data-dir"]).arg(dir);
    command_line.envs(settings.iter().map(|(name, value)| (format!("RECOUNT__{name}"), value)));
    let output = command_line.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_counted_through_a_kill_and_verified() {
    let broker = Broker::start();
    let topics = Topics::of(broker.servers());
    topics.create("clicks", 2, &[("retention.ms", "-1")]);
    produce(&topics, 0..500);
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let servers = broker.servers();
    let settings = settings(&servers);

    let mut daemon = Daemon::start_with(dir, &settings).await;
    wait_for(&mut daemon, 500).await;
    let refused = daemon.ingest.append(wire::AppendRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let refused = daemon.http.post("/v1/events", &[("content-type", "application/json")], "{}").await;
    assert_eq!(refused.refusal(), (409, "RECORDS_FROM_KAFKA".to_owned()));
    produce(&topics, 500..1_000);
    daemon.kill();

    produce(&topics, 1_000..1_500);
    let mut daemon = Daemon::start_with(dir, &settings).await;
    wait_for(&mut daemon, 1_500).await;
    // The broker goes and comes back: reads go on meanwhile, and nothing is lost.
    broker.stop();
    wait_for(&mut daemon, 1_500).await;
    // Whether there is more can not be known, and the numbers do not say that there is not.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while daemon.metrics(["kafka_slowest_partition_seconds"]).await == [0.0] {
        assert!(tokio::time::Instant::now() < deadline, "nobody sees that the broker is gone");
        sleep(Duration::from_millis(20)).await;
    }
    broker.restart();
    produce(&topics, 1_500..1_600);
    wait_for(&mut daemon, 1_600).await;
    let caught_up = async {
        while daemon.metrics(["kafka_lag_records", "kafka_slowest_partition_seconds"]).await != [0.0, 0.0] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, caught_up).await.expect("there is no lag in the end");
    assert_eq!(daemon.stop().await.0, Some(0));

    let (code, said) = recount(dir, "verify", &settings);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1,600 records"), "{said}");
    let (code, said) = recount(dir, "verify", &[]);
    assert!(code == Some(1) && said.contains("the records of this store come from Kafka"), "{said}");
    let (code, said) = recount(dir, "rebuild", &settings);
    assert!(code == Some(1) && said.contains("begin a new store"), "{said}");
    let (code, said) = support::daemon::refused(dir, &[]).await;
    assert!(code == Some(1) && said.contains("by --config"), "{said}");

    // Offsets that are committed for lag tools alone hold up no end.
    let mut daemon = Daemon::start_with(dir, &settings).await;
    produce(&topics, 1_600..1_700);
    wait_for(&mut daemon, 1_700).await;
    broker.kill();
    assert_eq!(daemon.stop().await.0, Some(0));
}
