//! The real binary whose log lets go of old events: what is needed stays, and numbers outlive the records behind them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use recount_proto::v1::{self as wire, Granularity};
use support::daemon::{Daemon, click, manifests, recount};
use support::{MINUTE_MS, NOON_MS};

const LIMIT: f64 = 12.0 * 1_024.0;
const SETTINGS: &[(&str, &str)] = &[
    ("CHECKPOINT__INTERVAL", "1h"),
    ("STORE__PARTITIONS", "2"),
    ("STORE__SEGMENT_BYTES", "4KiB"),
    ("STORE__LOG_RETENTION_BYTES", "12KiB"),
];

/// Takes in more than the log may hold; every round has ids of its own.
async fn fill(daemon: &mut Daemon, round: &str) {
    for request in 0..20 {
        let event = |n: i64| click(&format!("{round}-{request}-{n}"), &format!("ad{}", n % 7), NOON_MS + n * MINUTE_MS);
        let token = daemon.append((0..30).map(event).collect()).await.token;
        daemon.received("ad0", token).await;
    }
}

fn segments(dir: &Path) -> BTreeSet<std::path::PathBuf> {
    let files = |partition| fs::read_dir(dir.join(format!("log/{partition:04}"))).unwrap();
    (0..2).flat_map(files).map(|entry| entry.unwrap().path()).collect()
}

/// The clicks of the first minute of `ad0`.
async fn evidence(daemon: &mut Daemon) -> Vec<wire::ClickEvidence> {
    let request = wire::ExplainCountRequest {
        ad_id: "ad0".into(),
        granularity: Granularity::Minute.into(),
        window_start_ms: NOON_MS,
        ..Default::default()
    };
    daemon.counts.explain_count(request).await.unwrap().into_inner().clicks
}

#[tokio::test]
async fn what_is_old_goes_and_what_a_checkpoint_needs_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SETTINGS).await;
    fill(&mut daemon, "old").await;
    let first = segments(dir.path());
    let [whole] = daemon.metrics(["log_bytes"]).await;
    assert!(whole > 2.0 * LIMIT, "without a checkpoint everything is needed: {whole} bytes");
    assert!(evidence(&mut daemon).await.iter().all(|click| click.click_id.starts_with("old-")));
    assert!(daemon.checkpoint().await.written);
    let [kept] = daemon.metrics(["log_bytes"]).await;
    assert!(kept <= LIMIT, "{kept} bytes are left of {whole}");
    assert!(segments(dir.path()).is_subset(&first) && segments(dir.path()).len() < first.len());

    fill(&mut daemon, "new").await;
    assert!(daemon.checkpoint().await.written);
    let [kept] = daemon.metrics(["log_bytes"]).await;
    assert!(kept > LIMIT, "the older checkpoint needs everything since: {kept} bytes");
    let rows = daemon.newest_rows().await;
    daemon.kill();
    // Where the newer checkpoint is lost, the older one and the log come to the same.
    fs::write(manifests(dir.path()).pop().unwrap(), b"nothing").unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SETTINGS).await;
    assert_eq!(daemon.newest_rows().await, rows);

    let clicks = evidence(&mut daemon).await;
    assert_eq!(clicks.len(), 40);
    let (expired, read): (Vec<_>, Vec<_>) = clicks.into_iter().partition(|click| click.reason == "evidence_expired");
    assert!(expired.iter().all(|click| click.click_id.is_empty() && click.timestamp_ms == NOON_MS), "{expired:?}");
    assert!(expired.len() >= 10 && read.iter().filter(|click| click.click_id.starts_with("new-")).count() == 20);
    daemon.checkpoint().await;
    let (code, _, stderr) = recount(&["verify"], dir.path());
    assert_eq!(code, Some(0), "{stderr}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_crash_amid_retention_changes_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [&SETTINGS[1..], &[("CHECKPOINT__INTERVAL", "20ms")]].concat();
    let mut rows = Vec::new();
    for round in 0..4 {
        let mut daemon = Daemon::start_with(dir.path(), &settings).await;
        assert_eq!(daemon.newest_rows().await, rows, "round {round}");
        fill(&mut daemon, &round.to_string()).await;
        rows = daemon.newest_rows().await;
        daemon.kill();
    }
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    assert_eq!(daemon.newest_rows().await, rows);
    let [kept] = daemon.metrics(["log_bytes"]).await;
    assert!(kept < 4.0 * LIMIT, "{kept} bytes are left");
    daemon.stop().await;
}

#[tokio::test]
async fn parked_records_beyond_their_room_go_and_are_counted() {
    const ROOM_BYTES: f64 = (64 << 20) as f64;
    const NAMES: [&str; 2] = ["set_aside_bytes", "set_aside_dropped_total"];
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &SETTINGS[..1]).await;
    let token = daemon.append(vec![click("first", "ad0", NOON_MS)]).await.token;
    daemon.received("ad0", token).await;
    assert_eq!(daemon.metrics(NAMES).await, [0.0, 0.0]);
    let late = |n: i64| {
        let mut event = click(&format!("late{n}"), "ad0", NOON_MS - 9 * 24 * 60 * MINUTE_MS);
        if let Some(wire::event::Body::Click(click)) = &mut event.body {
            click.user_agent = "x".repeat(1_000);
        }
        event
    };
    let mut parked = 0;
    while daemon.metrics(NAMES).await[1] == 0.0 {
        let token = daemon.append((parked..parked + 2_000).map(late).collect()).await.token;
        daemon.received("ad0", token).await;
        parked += 2_000;
        assert!(parked < 200_000, "{:?} after {parked} records", daemon.metrics(NAMES).await);
    }
    let sizes @ [bytes, dropped] = daemon.metrics(NAMES).await;
    assert!(ROOM_BYTES / 2.0 < bytes && bytes <= ROOM_BYTES && dropped < parked as f64, "{sizes:?} of {parked}");
    let text = daemon.http.get("/metrics").await.text().to_owned();
    assert!(text.contains(&format!("recount_set_aside_dropped_total{{reason=\"late\"}} {dropped}")), "{text}");
    // Neither the checkpoint at the end, nor records that come again from the log, make any of them come back.
    daemon.stop().await;
    let daemon = Daemon::start_with(dir.path(), &SETTINGS[..1]).await;
    assert_eq!(daemon.metrics(NAMES).await, sizes);
    daemon.kill();
    let daemon = Daemon::start_with(dir.path(), &SETTINGS[..1]).await;
    assert_eq!(daemon.metrics(NAMES).await, sizes);
    daemon.stop().await;
}
