//! `recount verify` and `recount checkpoint` over the real binary's directory: what they can not compare they do not pass.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::daemon::{Daemon, click, manifests, recount, refused};
use support::{MINUTE_MS, NOON_MS};

const SELDOM: &[(&str, &str)] = &[("CHECKPOINT__INTERVAL", "1h")];
/// A log of which little is left once a checkpoint is written.
const SHORT_LOG: &[(&str, &str)] = &[
    ("CHECKPOINT__INTERVAL", "1h"),
    ("STORE__PARTITIONS", "1"),
    ("STORE__SEGMENT_BYTES", "4KiB"),
    ("STORE__LOG_RETENTION_BYTES", "4KiB"),
];

/// Takes in an epoch or more, and writes a checkpoint.
async fn round(daemon: &mut Daemon, round: &str) {
    for request in 0..4 {
        let event = |n: i64| click(&format!("{round}-{request}-{n}"), &format!("ad{}", n % 7), NOON_MS + n * MINUTE_MS);
        let token = daemon.append((0..30).map(event).collect()).await.token;
        daemon.received("ad0", token).await;
    }
    assert!(daemon.checkpoint().await.written);
}

/// A directory with checkpoints after each of some rounds, whose daemon was killed.
async fn killed_after(dir: &Path, settings: &[(&str, &str)], rounds: &[&str]) {
    let mut daemon = Daemon::start_with(dir, settings).await;
    for name in rounds {
        round(&mut daemon, name).await;
    }
    daemon.kill();
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn verified(dir: &Path) -> Value {
    let (code, stdout, stderr) = recount(&["verify", "--json"], dir);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Asserts that nothing is verified, and that the words say why.
fn fails(dir: &Path, exit_code: i32, words: &str) {
    let (code, stdout, stderr) = recount(&["verify"], dir);
    assert!(code == Some(exit_code) && stderr.contains(words), "{code:?} {stdout}{stderr}");
}

fn newest_bindings(dir: &Path) -> PathBuf {
    fs::read_dir(dir.join("bindings")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_manifest_that_can_not_be_read_is_told_of_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    killed_after(dir.path(), SELDOM, &["a", "b"]).await;
    assert_eq!(verified(dir.path())["checkpoints"], 2);
    let [older, newest] = &manifests(dir.path())[..] else { panic!("two are kept") };
    for (damaged, count) in [(newest, 1), (older, 2)] {
        flip(damaged);
        fails(dir.path(), 1, "checksum");
        let (code, stdout, stderr) = recount(&["checkpoint", "verify", "--json"], dir.path());
        let whole = stdout.lines().filter(|line| line.contains(r#""state":"whole""#)).count();
        assert_eq!((code, stdout.lines().count(), whole), (Some(1), 2, 2 - count), "{stdout}{stderr}");
        assert!(stderr.contains(&format!("{count} of 2 checkpoints can not be used")), "{stderr}");
        let (code, stdout, _) = recount(&["checkpoint", "list"], dir.path());
        assert_eq!((code, stdout.matches("checksum").count()), (Some(0), count), "{stdout}");
    }
}

#[tokio::test]
async fn bindings_that_end_before_a_checkpoint_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    killed_after(dir.path(), SELDOM, &["a"]).await;
    killed_after(dir.path(), SELDOM, &["b"]).await;
    verified(dir.path());
    let newest = newest_bindings(dir.path());
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, b"").unwrap();
    fails(dir.path(), 1, "its binding is gone");
    fs::remove_file(&newest).unwrap();
    fails(dir.path(), 1, newest.to_str().unwrap());
    fs::write(&newest, bytes).unwrap();
    verified(dir.path());
}

#[tokio::test]
async fn without_the_logs_head_it_says_where_it_begins_and_passes_over_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    killed_after(dir.path(), SHORT_LOG, &["a"]).await;
    fails(dir.path(), 1, "there is no checkpoint but 1");
    killed_after(dir.path(), SHORT_LOG, &["b", "c"]).await;
    let found = verified(dir.path());
    assert_eq!((&found["from_checkpoint"], &found["checkpoints"]), (&2.into(), &1.into()), "{found}");
    assert!(found["first_epoch"].as_u64().unwrap() > 1, "{found}");
    let (_, stdout, _) = recount(&["verify"], dir.path());
    assert!(stdout.contains("from checkpoint 2 on"), "{stdout}");
    flip(&manifests(dir.path())[0]);
    fails(dir.path(), 1, "checksum");
}

#[tokio::test]
async fn a_checkpoint_of_other_records_is_a_mismatch() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    killed_after(dir.path(), SELDOM, &["a"]).await;
    copy(dir.path(), other.path());
    killed_after(dir.path(), SELDOM, &["b"]).await;
    killed_after(other.path(), SELDOM, &["x"]).await;
    // Whole, of the same store, epoch and positions, and yet not what this log comes to.
    fs::remove_dir_all(dir.path().join("runs")).unwrap();
    copy(&other.path().join("runs"), &dir.path().join("runs"));
    assert_eq!(recount(&["checkpoint", "verify"], dir.path()).0, Some(0));
    fails(dir.path(), 3, "but checkpoint 2 holds");
}

#[tokio::test]
async fn a_checkpoint_beside_another_parent_than_its_own_can_not_be_used() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    killed_after(dir.path(), SELDOM, &["a"]).await;
    copy(dir.path(), other.path());
    killed_after(dir.path(), SELDOM, &["b", "c"]).await;
    killed_after(other.path(), SELDOM, &["x"]).await;
    let foreign = manifests(other.path()).pop().unwrap();
    fs::copy(&foreign, dir.path().join("runs").join(foreign.file_name().unwrap())).unwrap();
    let (code, stdout, _) = recount(&["checkpoint", "verify"], dir.path());
    assert!(code == Some(1) && stdout.contains("another checkpoint 2"), "{stdout}");
    fails(dir.path(), 1, "another checkpoint 2");
    let (code, said) = refused(dir.path(), SELDOM).await;
    assert!(code == Some(1) && said.contains("another checkpoint 2"), "{said}");
}

#[tokio::test]
async fn a_checkpoint_by_other_rules_than_the_stores_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    killed_after(dir.path(), SELDOM, &["a"]).await;
    copy(dir.path(), other.path());
    assert_eq!(recount(&["rebuild", "--correction-horizon", "14d"], other.path()).0, Some(0));
    fs::remove_dir_all(dir.path().join("runs")).unwrap();
    copy(&other.path().join("runs-000001"), &dir.path().join("runs"));
    assert_eq!(recount(&["checkpoint", "verify"], dir.path()).0, Some(0));
    let words =
        "checkpoint 1 was made by other settings than store.json has (correction_horizon was 14d and is now 7d)";
    fails(dir.path(), 1, words);
    let (code, said) = refused(dir.path(), SELDOM).await;
    assert!(code == Some(1) && said.contains(words), "{said}");
}

#[tokio::test]
async fn a_checkpoint_that_somebody_deletes_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    round(&mut daemon, "a").await;
    round(&mut daemon, "b").await;
    assert_eq!(daemon.metrics(["checkpoints_gone_total"]).await, [0.0]);
    fs::remove_file(manifests(dir.path()).pop().unwrap()).unwrap();
    round(&mut daemon, "c").await;
    assert_eq!(daemon.metrics(["checkpoints_gone_total"]).await, [1.0]);
    assert_eq!(verified(dir.path())["checkpoints"], 2);
    let (_, said) = daemon.stop().await;
    assert!(said.contains("deleted by somebody else"), "{said}");
}

#[tokio::test]
async fn a_service_that_writes_checkpoints_all_the_time_does_not_run_away_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &[("CHECKPOINT__INTERVAL", "10ms")]).await;
    let mut requests = 0..;
    for _ in 0..20 {
        append(&mut daemon, requests.next().unwrap(), 1_000).await;
    }
    let path = dir.path().to_owned();
    let verifying = tokio::task::spawn_blocking(move || [verified(&path), verified(&path)]);
    let [before] = daemon.metrics(["checkpoints_total"]).await;
    while !verifying.is_finished() {
        append(&mut daemon, requests.next().unwrap(), 10).await;
    }
    let [after] = daemon.metrics(["checkpoints_total"]).await;
    for found in verifying.await.unwrap() {
        assert!(found["checkpoints"].as_u64().unwrap() > 0, "{found}");
    }
    assert!(before + 4.0 < after, "{before} checkpoints were written before and {after} after, and two are kept");
    daemon.stop().await;
}

/// Takes in some clicks of a request's own, and waits until they are readable.
async fn append(daemon: &mut Daemon, request: u64, clicks: i64) {
    let clicks = (0..clicks).map(|n| click(&format!("{request}-{n}"), "ad0", NOON_MS + n)).collect();
    let token = daemon.append(clicks).await.token;
    daemon.received("ad0", token).await;
}
