//! The real binary on a disk that fills up: ingest is refused with when to come again, reads go on, and when there is room it heals,
//! with everything that was acknowledged counted, once. The disk is a small file system in memory, in a mount namespace of the test's
//! own; where this user may not make one, the test says so and does nothing.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use recount_proto::v1 as wire;
use serde_json::json;
use support::daemon::{Daemon, click, recount};
use support::{NOON_MS, PATIENCE};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Names the small disk, where there is one.
const SMALL_DISK: &str = "RECOUNT_TEST_SMALL_DISK";
const EVENTS: u64 = 50;
/// What takes the room that is left.
const REST: &str = "rest";
/// Far more than the disk takes.
const REQUESTS_MAX: u64 = 2_000;

#[test]
fn a_full_disk_refuses_events_and_heals_and_loses_nothing() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(fill_and_heal(Path::new(&disk)));
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$0\"";
    let namespace = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command
    };
    if !namespace().arg(mount).arg(dir.path()).status().is_ok_and(|status| status.success()) {
        println!("skipped: this user may not mount a file system in a namespace of its own");
        return;
    }
    let again =
        format!("{mount} && exec \"$1\" --exact a_full_disk_refuses_events_and_heals_and_loses_nothing --nocapture");
    let mut inside = namespace();
    inside.arg(again).arg(dir.path()).arg(std::env::current_exe().unwrap()).env(SMALL_DISK, dir.path());
    assert!(inside.status().unwrap().success(), "see above");
}

/// Clicks of about a kilobyte each, on seven ads.
fn request(number: u64) -> wire::AppendRequest {
    let event = |n: u64| {
        let mut event = click(&format!("c{n}"), &format!("ad{}", n % 7), NOON_MS + (n as i64 % 100) * 60_000);
        if let Some(wire::event::Body::Click(click)) = &mut event.body {
            click.user_agent = "x".repeat(900);
        }
        event
    };
    let events = (number * EVENTS..(number + 1) * EVENTS).map(event).collect();
    wire::AppendRequest { request_id: number.to_string(), events }
}

/// The same clicks as lines of JSON.
fn lines(number: u64) -> String {
    let line = |event: wire::Event| match event.body.unwrap() {
        wire::event::Body::Click(click) => {
            let fields = json!({
                "click_id": click.click_id,
                "ad_id": click.ad_id,
                "timestamp": click.timestamp_ms,
                "user_id": click.user_id,
                "user_agent": click.user_agent,
            });
            format!("{}\n", json!({ "click": fields }))
        }
        other => panic!("{other:?} is no click"),
    };
    request(number).events.into_iter().map(line).collect()
}

/// What every ad must have when so many requests are taken in, whatever was sent twice.
fn expected(requests: u64) -> BTreeMap<String, i64> {
    let mut clicks = BTreeMap::new();
    (0..requests * EVENTS).for_each(|n| *clicks.entry(format!("ad{}", n % 7)).or_default() += 1);
    clicks
}

async fn clicks(daemon: &mut Daemon) -> BTreeMap<String, i64> {
    let mut clicks = BTreeMap::new();
    for row in daemon.newest_rows().await {
        *clicks.entry(row.ad_id).or_default() += row.metrics.unwrap().gross_clicks;
    }
    clicks
}

/// A daemon that is started while nothing fits: it waits for room too.
async fn started_without_room(
    disk: &Path,
    dir: &Path,
    settings: [(&'static str, &'static str); 2],
) -> JoinHandle<Daemon> {
    assert!(fs::write(disk.join(REST), vec![1; 24 << 20]).is_err(), "the disk is not full");
    let dir = dir.to_owned();
    let starting = tokio::spawn(async move { Daemon::start_with(&dir, &settings).await });
    sleep(Duration::from_millis(500)).await;
    assert!(!starting.is_finished());
    starting
}

/// Sends requests until one is refused; returns how many were taken in, how many events were readable meanwhile, and the refusal.
async fn fill(daemon: &mut Daemon) -> (u64, u64, Status) {
    let mut readable = 0;
    for next in 0..REQUESTS_MAX {
        match daemon.ingest.append(request(next)).await {
            Ok(answer) => assert_eq!(answer.into_inner().accepted, EVENTS),
            Err(refused) => return (next, readable, refused),
        }
        readable = readable.max(daemon.status().await.received);
    }
    panic!("the disk takes everything");
}

async fn fill_and_heal(disk: &Path) {
    let (dir, ballast) = (disk.join("data"), disk.join("ballast"));
    fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let settings = [("STORE__SEGMENT_BYTES", "512KiB"), ("CHECKPOINT__INTERVAL", "200ms")];
    let mut daemon = Daemon::start_with(&dir, &settings).await;
    let (mut next, readable, refused) = fill(&mut daemon).await;
    let details = refused.get_error_details();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(details.error_info().unwrap().reason, "DISK_FULL");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert!(next > 10, "{next} requests were taken before the disk was full");

    // The other door says the same, as soon as the disk is full again: a checkpoint that found no room has given back what it had
    // written. What could be read before can be read.
    let refused = loop {
        assert!(next < REQUESTS_MAX, "the disk takes everything");
        let answer = daemon.http.post("/v1/events", &[("content-type", "application/x-ndjson")], lines(next)).await;
        if answer.status != 202 {
            break answer;
        }
        next += 1;
    };
    assert_eq!(refused.refusal(), (503, "DISK_FULL".into()));
    assert!(daemon.http.get("/livez").await.status == 200 && daemon.http.get("/readyz").await.status == 200);
    assert!(daemon.status().await.received >= readable);
    let held: i64 = clicks(&mut daemon).await.values().sum();
    assert!(held as u64 >= readable && held as u64 <= next * EVENTS, "{held} clicks, {readable} were readable");

    daemon.kill();
    let starting = started_without_room(disk, &dir, settings).await;

    // There is room, and a client that comes again is served, with nobody having done anything to the service.
    fs::remove_file(disk.join(REST)).unwrap();
    fs::remove_file(&ballast).unwrap();
    let mut daemon = starting.await.unwrap();
    let all = next + 20;
    let retrying = async {
        while next < all {
            match daemon.ingest.append(request(next)).await {
                Ok(_) => next += 1,
                Err(refused) => {
                    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        while daemon.status().await.received < all * EVENTS {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, retrying).await.unwrap();
    assert_eq!(clicks(&mut daemon).await, expected(all));
    daemon.kill();

    let mut daemon = Daemon::start_with(&dir, &settings).await;
    assert_eq!(clicks(&mut daemon).await, expected(all));
    let (code, _) = daemon.stop().await;
    assert_eq!(code, Some(0));
    let (code, _, stderr) = recount(&["verify"], &dir);
    assert_eq!(code, Some(0), "{stderr}");
}
