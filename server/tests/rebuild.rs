//! The real binary makes everything anew by other rules: the numbers are those of a fresh count, and a crash at any moment leaves
//! a store that answers.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use recount_proto::v1 as wire;
use serde_json::Value;
use support::daemon::{Daemon, click, recount, refused};
use support::{MINUTE_MS, NOON_MS};

const SHORT: &[(&str, &str)] = &[("RULES__CORRECTION_HORIZON", "1h")];
/// Events of an epoch.
const EVENTS: i64 = 100;

/// Clicks around noon, then clicks and copies of ten hours before: by a horizon of an hour they are too late.
fn events() -> Vec<Vec<wire::Event>> {
    let of = |round: i64, n: i64| {
        let at_ms = NOON_MS + n % 9 * MINUTE_MS - round % 2 * 600 * MINUTE_MS;
        click(&format!("c{}", (round * EVENTS + n) % 350), &format!("ad{}", n % 7), at_ms)
    };
    (0..4).map(|round| (0..EVENTS).map(|n| of(round, n)).collect()).collect()
}

/// A store that holds all events, and the token of the last.
async fn filled(dir: &Path) -> Vec<u8> {
    let mut daemon = Daemon::start(dir).await;
    let mut token = Vec::new();
    for events in events() {
        token = daemon.append(events).await.token;
        daemon.received("ad0", token.clone()).await;
    }
    daemon.kill();
    token
}

type Rows = BTreeMap<(String, i64), [i64; 6]>;

async fn rows(daemon: &mut Daemon) -> Rows {
    let row = |row: wire::CountRow| {
        let m = row.metrics.unwrap();
        let metrics = [m.received, m.duplicates, m.gross_clicks, m.clicks, m.unique_users, m.spend_micros];
        ((row.ad_id, row.window_start_ms), metrics)
    };
    daemon.newest_rows().await.into_iter().map(row).collect()
}

/// What a fresh count of the same events comes to.
fn counted(horizon: &str) -> Rows {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("events.jsonl"), dir.path().join("rows.jsonl"));
    let mut lines = String::new();
    for event in events().concat() {
        let Some(wire::event::Body::Click(click)) = event.body else { unreachable!() };
        writeln!(lines, "{}", support::click(&click.click_id, &click.ad_id, click.timestamp_ms)).unwrap();
    }
    fs::write(&file, lines).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_recount"))
        .args(["replay", "--epoch-records", &EVENTS.to_string(), "--correction-horizon", horizon, "--out"])
        .args([&out, &file])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let names = ["received", "duplicates", "gross_clicks", "clicks", "unique_users", "spend_micros"];
        let metrics = names.map(|name| row["metrics"][name].as_i64().unwrap());
        ((row["ad_id"].as_str().unwrap().to_owned(), row["window_start_ms"].as_i64().unwrap()), metrics)
    };
    fs::read_to_string(out).unwrap().lines().map(row).collect()
}

#[tokio::test]
async fn other_rules_come_to_a_fresh_count() {
    let dir = tempfile::tempdir().unwrap();
    let token = filled(dir.path()).await;
    let (code, said) = refused(dir.path(), SHORT).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("recount rebuild"), "{said}");

    let (code, stdout, stderr) = recount(&["rebuild", "--correction-horizon", "1h", "--json"], dir.path());
    assert_eq!(code, Some(0), "{stderr}");
    let rebuilt: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&rebuilt["records"], &rebuilt["parked"]), (&400.into(), &200.into()), "{rebuilt}");
    assert_eq!((&rebuilt["generation"], &rebuilt["epochs_cut_anew"]), (&1.into(), &0.into()), "{rebuilt}");
    for old in ["bindings", "runs"] {
        assert_eq!(fs::read_dir(dir.path().join(old)).unwrap().count(), 0, "{old}");
    }
    assert_eq!(refused(dir.path(), &[]).await.0, Some(1), "the old rules are refused now");

    let mut daemon = Daemon::start_with(dir.path(), SHORT).await;
    let (code, _, stderr) = recount(&["rebuild"], dir.path());
    assert!(code == Some(1) && stderr.contains("another process"), "{stderr}");
    let short = rows(&mut daemon).await;
    assert_eq!(short, counted("1h"));
    let request = wire::GetCountsRequest {
        ad_ids: vec!["ad0".into()],
        start_ms: NOON_MS,
        end_ms: NOON_MS + MINUTE_MS,
        granularity: wire::Granularity::Minute.into(),
        read: Some(wire::ReadAt { at: Some(wire::read_at::At::AtLeast(token)) }),
        ..Default::default()
    };
    let foreign = daemon.counts.get_counts(request).await.unwrap_err();
    assert!(foreign.message().contains("another run of the service"), "{foreign}");
    let token = daemon.append(vec![click("new", "ad0", NOON_MS)]).await.token;
    daemon.received("ad0", token).await;
    daemon.kill();
    let mut daemon = Daemon::start_with(dir.path(), SHORT).await;
    assert_eq!(daemon.status().await.received, 201);
    assert_eq!(recount(&["verify"], dir.path()).0, Some(0));
    daemon.stop().await;

    assert_eq!(recount(&["rebuild"], dir.path()).0, Some(0));
    let mut daemon = Daemon::start(dir.path()).await;
    let long = rows(&mut daemon).await;
    assert_ne!(long, short);
    let copies: i64 = long.values().map(|[received, ..]| received).sum();
    assert_eq!(copies, 401);
    daemon.stop().await;
}

#[tokio::test]
async fn a_rebuild_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let expected = [("7d", counted("7d")), ("1h", counted("1h"))];
    let (mut current, mut changed, mut stayed) = (0, 0, 0);
    for attempt in 0..24 {
        let mut rebuilding = Command::new(env!("CARGO_BIN_EXE_recount"))
            .args(["rebuild", "--workers", "2", "--correction-horizon", expected[1 - current].0, "--data-dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(attempt * 3)).await;
        rebuilding.kill().unwrap();
        rebuilding.wait().unwrap();
        let store: Value = serde_json::from_slice(&fs::read(dir.path().join("store.json")).unwrap()).unwrap();
        let now = usize::from(store["rules"]["correction_horizon_ms"] == 3_600_000);
        if now == current {
            stayed += 1
        } else {
            changed += 1
        }
        current = now;
        let (horizon, rows_then) = &expected[current];
        let mut daemon = Daemon::start_with(dir.path(), &[("RULES__CORRECTION_HORIZON", horizon)]).await;
        assert_eq!(&rows(&mut daemon).await, rows_then, "attempt {attempt}");
        daemon.kill();
    }
    assert!(stayed > 0, "{changed} came to their end before they were killed");
    assert_eq!(recount(&["rebuild", "--correction-horizon", "1h"], dir.path()).0, Some(0));
    let mut daemon = Daemon::start_with(dir.path(), SHORT).await;
    assert_eq!(rows(&mut daemon).await, expected[1].1);
    daemon.stop().await;
}

#[tokio::test]
async fn what_was_bound_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path()).await;
    let file = fs::read_dir(dir.path().join("bindings")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, bytes).unwrap();
    let (code, said) = refused(dir.path(), &[]).await;
    assert!(code == Some(1) && said.contains("rebuild the store from its log"), "{said}");
    let (code, _, stderr) = recount(&["rebuild"], dir.path());
    assert_eq!(code, Some(0), "{stderr}");
    let mut daemon = Daemon::start(dir.path()).await;
    assert_eq!(rows(&mut daemon).await, counted("7d"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_log_without_its_head_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        [("STORE__PARTITIONS", "1"), ("STORE__SEGMENT_BYTES", "4KiB"), ("STORE__LOG_RETENTION_BYTES", "4KiB")];
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    for events in events() {
        let token = daemon.append(events).await.token;
        daemon.received("ad0", token).await;
    }
    daemon.checkpoint().await;
    let before = rows(&mut daemon).await;
    daemon.stop().await;
    let (code, _, stderr) = recount(&["rebuild", "--correction-horizon", "1h"], dir.path());
    assert!(code == Some(1) && stderr.contains("retention has taken"), "{stderr}");
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    assert_eq!(rows(&mut daemon).await, before);
    daemon.stop().await;
}
