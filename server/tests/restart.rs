//! The real binary, killed and started again: nothing that was acknowledged is lost, and every epoch answers as it did.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use support::daemon::{Daemon, click, manifests, recount, refused};
use support::{MINUTE_MS, NOON_MS};
use tokio::time::sleep;

/// Checkpoints are written all the time.
const OFTEN: &[(&str, &str)] = &[("CHECKPOINT__INTERVAL", "30ms")];
/// And never by themselves.
const SELDOM: &[(&str, &str)] = &[("CHECKPOINT__INTERVAL", "1h")];

#[tokio::test]
async fn a_crash_loses_nothing_and_changes_no_epoch() {
    for settings in [OFTEN, SELDOM] {
        let dir = tempfile::tempdir().unwrap();
        let (mut acknowledged, mut token, mut seen) = (0, None, None);
        for round in 0..4 {
            let mut daemon = Daemon::start_with(dir.path(), settings).await;
            if let Some((epoch, rows)) = seen.take() {
                assert_eq!(daemon.rows_at(epoch).await, rows, "round {round}, epoch {epoch}");
            }
            for n in 0..60 {
                let event = click(&format!("{round}-{n}"), &format!("ad{}", n % 7), NOON_MS + n * MINUTE_MS);
                let answer = daemon.append(vec![event]).await;
                acknowledged += answer.accepted;
                token = Some(answer.token);
            }
            daemon.received("ad0", token.clone().unwrap()).await;
            // What was acknowledged earlier may lie in a partition that is read later.
            let mut status = daemon.status().await;
            while status.received < acknowledged {
                status = daemon.status().await;
            }
            assert_eq!(status.received, acknowledged, "round {round}");
            let epoch = status.snapshot.unwrap().as_of;
            seen = Some((epoch, daemon.rows_at(epoch).await));
            daemon.kill();
        }
        let mut daemon = Daemon::start_with(dir.path(), settings).await;
        daemon.received("ad0", token.unwrap()).await;
        assert_eq!(daemon.status().await.received, acknowledged);
        let (code, stderr) = daemon.stop().await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn many_records_are_reason_enough_for_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [SELDOM[0], ("CHECKPOINT__RECORDS", "150")];
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    let clicks = |from: i64| (from..from + 100).map(|n| click(&format!("c{n}"), "ad0", NOON_MS)).collect();
    let token = daemon.append(clicks(0)).await.token;
    daemon.received("ad0", token).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(daemon.metrics(["checkpoints_total"]).await, [0.0], "100 are not enough");
    for appended in 1..4 {
        daemon.append(clicks(100 * appended)).await;
    }
    while daemon.metrics(["checkpoints_total"]).await == [0.0] {
        sleep(Duration::from_millis(10)).await;
    }
    let [bytes, took] = daemon.metrics(["checkpoint_bytes", "checkpoint_duration_seconds"]).await;
    assert!(bytes > 0.0 && took > 0.0, "{bytes} bytes in {took} s");
    daemon.stop().await;
}

#[tokio::test]
async fn a_start_reads_no_more_of_the_log_than_since_the_last_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    let token = daemon.append((0..100).map(|n| click(&format!("c{n}"), "ad0", NOON_MS)).collect()).await.token;
    daemon.received("ad0", token).await;
    let written = daemon.checkpoint().await;
    assert!(written.written && written.bytes > 0);
    assert!(!daemon.checkpoint().await.written, "there is nothing new");
    let token = daemon.append(vec![click("more", "ad0", NOON_MS)]).await.token;
    assert_eq!(daemon.received("ad0", token.clone()).await, 101);
    let metrics = daemon.http.get("/metrics").await;
    assert!(metrics.text().contains("recount_checkpoints_total 1"), "{}", metrics.text());
    daemon.kill();

    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    assert_eq!(daemon.status().await.snapshot.unwrap().since, written.epoch);
    assert_eq!(daemon.received("ad0", token).await, 101);
    // What is told of the last checkpoint does not wait for the next one.
    let metrics = daemon.http.get("/metrics").await;
    assert!(metrics.text().contains(&format!("recount_checkpoint_epoch {}", written.epoch)), "{}", metrics.text());
    let [age] = daemon.metrics(["checkpoint_age_seconds"]).await;
    assert!((0.0..3_600.0).contains(&age), "{age}");
    daemon.stop().await;
    // A graceful end leaves nothing to read again.
    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    let snapshot = daemon.status().await.snapshot.unwrap();
    assert_eq!(snapshot.since + 1, snapshot.upper);
    daemon.stop().await;
}

#[tokio::test]
async fn a_state_that_files_hold_answers_as_one_in_memory() {
    const STATE: [&str; 5] =
        ["state_resident_bytes", "state_bytes", "checkpoints_total", "state_runs", "binding_sync_seconds_count"];
    let mut answers = Vec::new();
    for budget in ["0", "1KiB"] {
        let settings = [SELDOM[0], ("STORE__MEMORY_BUDGET", budget)];
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start_with(dir.path(), &settings).await;
        for round in 0..20 {
            let event = |n| click(&format!("{round}-{n}"), &format!("ad{}", n % 7), NOON_MS + n * MINUTE_MS / 4);
            let token = daemon.append((0..500).map(event).collect()).await.token;
            daemon.received("ad0", token).await;
        }
        let epoch = daemon.status().await.snapshot.unwrap().as_of;
        let rows = daemon.rows_at(epoch).await;
        // Nobody asked for a checkpoint, and it is not time for one: what is in memory asks for it.
        let (mut state, mut more) = (daemon.metrics(STATE).await, 0..200);
        while budget != "0" && state[0] >= state[1] {
            let n = more.next().expect("the state goes to files");
            let token = daemon.append(vec![click(&format!("more{n}"), "other", NOON_MS)]).await.token;
            daemon.received("other", token).await;
            sleep(Duration::from_millis(10)).await;
            state = daemon.metrics(STATE).await;
        }
        let [resident, bytes, written, runs, syncs] = state;
        assert!(bytes > 0.0 && runs > 0.0 && syncs > 0.0, "{state:?}");
        match budget {
            "0" => assert!(written == 0.0 && resident >= bytes, "{state:?}"),
            _ => assert!(written >= 1.0 && resident < bytes, "{state:?}"),
        }
        assert_eq!(daemon.rows_at(epoch).await, rows);
        daemon.kill();
        let mut daemon = Daemon::start_with(dir.path(), &settings).await;
        let newest = daemon.status().await.snapshot.unwrap().as_of;
        assert_eq!(daemon.rows_at(newest).await, rows);
        daemon.stop().await;
        answers.push(rows);
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    let mut token = Vec::new();
    for n in 0..3 {
        token = daemon.append(vec![click(&format!("c{n}"), "ad0", NOON_MS)]).await.token;
        daemon.received("ad0", token.clone()).await;
        assert!(daemon.checkpoint().await.written);
    }
    daemon.kill();
    let newest = manifests(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();

    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    assert_eq!(daemon.received("ad0", token).await, 3);
    let metrics = daemon.http.get("/metrics").await;
    assert!(metrics.text().contains("recount_checkpoints_damaged 1"), "{}", metrics.text());
    daemon.kill();

    for manifest in manifests(dir.path()) {
        fs::write(manifest, b"nothing").unwrap();
    }
    let (code, said) = refused(dir.path(), SELDOM).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("recount rebuild"), "{said}");
}

#[tokio::test]
async fn a_data_directory_is_verified_beside_its_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), SELDOM).await;
    for round in 0..3 {
        let clicks = (0..50).map(|n| click(&format!("{round}-{n}"), &format!("ad{}", n % 7), NOON_MS + n)).collect();
        let token = daemon.append(clicks).await.token;
        daemon.received("ad0", token).await;
        daemon.checkpoint().await;
    }
    let (code, stdout, stderr) = recount(&["verify", "--json"], dir.path());
    assert_eq!(code, Some(0), "{stderr}");
    let verified: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&verified["records"], &verified["checkpoints"]), (&150.into(), &2.into()));
    let (code, stdout, _) = recount(&["checkpoint", "list", "--json"], dir.path());
    assert_eq!((code, stdout.lines().count()), (Some(0), 2));
    assert_eq!(recount(&["checkpoint", "verify"], dir.path()).0, Some(0));
    daemon.kill();

    let pack = fs::read_dir(dir.path().join("runs")).unwrap().map(|entry| entry.unwrap().path());
    let pack = pack.filter(|path| path.extension().is_some_and(|ext| ext == "pack")).max().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[100] ^= 1;
    fs::write(&pack, bytes).unwrap();
    let (code, stdout, stderr) = recount(&["checkpoint", "verify"], dir.path());
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    let (code, _, stderr) = recount(&["verify"], &dir.path().join("elsewhere"));
    assert_eq!(code, Some(1), "{stderr}");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path()).await;
    let (code, said) = refused(dir.path(), &[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("another process") && said.contains(dir.path().to_str().unwrap()), "{said}");
    assert_eq!(daemon.http.get("/readyz").await.status, 200, "the first goes on");
    daemon.stop().await;
}

#[tokio::test]
async fn rules_that_decide_what_counts_can_not_just_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    Daemon::start(dir.path()).await.stop().await;
    let (code, said) = refused(dir.path(), &[("RULES__DEDUP_HORIZON", "1d")]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("recount rebuild"), "{said}");
    Daemon::start(dir.path()).await.stop().await;
}

#[tokio::test]
async fn what_is_weaker_or_has_no_effect_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &[("STORE__PARTITIONS", "2")]).await;
    let token = daemon.append(vec![click("c", "ad0", NOON_MS)]).await.token;
    assert_eq!(daemon.received("ad0", token).await, 1);
    let grpc = daemon.grpc.to_string();
    let now =
        Command::new(env!("CARGO_BIN_EXE_recount")).args(["checkpoint", "now", "--addr", &grpc]).output().unwrap();
    assert!(now.status.success() && String::from_utf8_lossy(&now.stdout).contains("checkpoint 1"), "{now:?}");
    daemon.stop().await;
    let settings = [("STORE__PARTITIONS", "3"), ("STORE__SYNC", "interval"), ("STORE__SYNC_INTERVAL", "20ms")];
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    let token = daemon.append(vec![click("d", "ad0", NOON_MS)]).await.token;
    assert_eq!(daemon.received("ad0", token).await, 2);
    let (code, stderr) = daemon.stop().await;
    assert_eq!(code, Some(0));
    assert!(stderr.contains("acknowledged BEFORE they are durable"), "{stderr}");
    assert!(stderr.contains("store.partitions is for a new store"), "{stderr}");
}
