//! The real binary with its checkpoints in a real object store: killed, moved, damaged, raced for and cut off.

#![cfg(feature = "object-store")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use recount_proto::v1 as wire;
use recount_tests::s3::Bucket;
use support::daemon::{Daemon, click, command, manifests, refused};
use support::{MINUTE_MS, NOON_MS, PATIENCE};
use tokio::time::{sleep, timeout};

/// The prefix of every test's store.
const PREFIX: &str = "deep/prefix";
/// Checkpoints are written when they are asked for.
const SELDOM: (&str, &str) = ("CHECKPOINT__INTERVAL", "1h");
/// And all the time.
const OFTEN: (&str, &str) = ("CHECKPOINT__INTERVAL", "20ms");

/// The settings of a store in a bucket.
struct Settings {
    url: String,
    options: String,
}

impl Settings {
    fn of(bucket: &Bucket) -> Self {
        let options = format!(
            "{{ endpoint = \"http://{}\", allow_http = true, region = \"us-east-1\", access_key_id = \"any\", \
             secret_access_key = \"any\" }}",
            bucket.link().addr()
        );
        Settings { url: bucket.url(PREFIX), options }
    }

    fn with<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("STORE__CHECKPOINTS", self.url.as_str()),
            ("STORE__CHECKPOINTS_OPTIONS", self.options.as_str()),
            ("STORE__CHECKPOINTS_TIMEOUT", "20s"),
        ];
        [&own[..], more].concat()
    }

    /// Runs a command over a data directory: its exit code, and all that it said.
    fn recount(&self, args: &[&str], dir: &Path) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recount"));
        command.args(args).arg("--data-dir").arg(dir);
        command.envs(self.with(&[]).iter().map(|(name, value)| (format!("RECOUNT__{name}"), value)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    }
}

/// Takes in some clicks, and waits until they are counted.
async fn feed(daemon: &mut Daemon, round: i64, clicks: i64) {
    let event = |n: i64| click(&format!("{round}-{n}"), &format!("ad{}", n % 7), NOON_MS + n * MINUTE_MS);
    let token = daemon.append((0..clicks).map(event).collect()).await.token;
    daemon.received("ad0", token).await;
}

/// The copies of checkpoint files in the data directory.
fn forget_copies(dir: &Path) {
    for entry in fs::read_dir(dir.join("runs")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}

fn named(bucket: &Bucket, ending: &str) -> Vec<String> {
    let keys = bucket.keys(&format!("{PREFIX}/runs/")).into_iter();
    keys.filter(|key| key.ends_with(ending)).collect()
}

fn received(rows: &[wire::CountRow]) -> i64 {
    rows.iter().map(|row| row.metrics.unwrap().received).sum()
}

#[tokio::test]
async fn kills_and_restarts_answer_as_before_with_copies_and_without() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    for (round, budget) in ["0", "1KiB", "0", "1KiB"].into_iter().enumerate() {
        let settings = settings.with(&[OFTEN, ("STORE__MEMORY_BUDGET", budget)]);
        let mut daemon = Daemon::start_with(dir.path(), &settings).await;
        feed(&mut daemon, round as i64, 300).await;
        let (epoch, rows) = (daemon.status().await.snapshot.unwrap().as_of, daemon.newest_rows().await);
        assert_eq!(received(&rows), 300 * (round as i64 + 1));
        daemon.checkpoint().await;
        daemon.kill();
        if round % 2 == 1 {
            forget_copies(dir.path());
        }
        let mut daemon = Daemon::start_with(dir.path(), &settings).await;
        assert_eq!(daemon.rows_at(epoch).await, rows, "round {round}");
        daemon.kill();
    }
    assert_eq!(named(&bucket, ".manifest").len(), 2, "two are kept");
    let (code, said) = settings.recount(&["checkpoint", "list", "--json"], dir.path());
    assert_eq!((code, said.lines().count()), (Some(0), 2), "{said}");
    let (code, said) = settings.recount(&["checkpoint", "verify"], dir.path());
    assert!(code == Some(0) && said.matches("whole").count() == 2, "{said}");
    let (code, said) = settings.recount(&["verify"], dir.path());
    assert!(code == Some(0) && said.contains("2 checkpoints hold the same state"), "{said}");
}

#[tokio::test]
async fn what_is_made_anew_takes_the_place_of_what_was() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    feed(&mut daemon, 0, 200).await;
    let rows = daemon.newest_rows().await;
    daemon.stop().await;
    assert_eq!(named(&bucket, ".manifest").len(), 1);
    let (code, said) = settings.recount(&["rebuild", "--correction-horizon", "8d"], dir.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(named(&bucket, ""), [""; 0]);
    assert_eq!(bucket.keys(&format!("{PREFIX}/runs-000001/")).len(), 2);
    let settings = settings.with(&[SELDOM, ("RULES__CORRECTION_HORIZON", "8d")]);
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    assert_eq!(daemon.newest_rows().await, rows);
    daemon.stop().await;
}

#[tokio::test]
async fn damage_is_passed_over_and_a_damaged_copy_is_fetched_again() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    for round in 0..2 {
        feed(&mut daemon, round, 200).await;
        daemon.checkpoint().await;
    }
    let rows = daemon.newest_rows().await;
    daemon.kill();

    let copy = manifests(dir.path()).pop().unwrap();
    fs::write(&copy, b"damaged").unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    assert_eq!(daemon.newest_rows().await, rows);
    assert_eq!(daemon.metrics(["checkpoints_damaged"]).await, [0.0]);
    daemon.kill();

    let newest = named(&bucket, ".manifest").pop().unwrap();
    let pack = named(&bucket, ".pack").pop().unwrap();
    let whole = bucket.get(&pack);
    let mut damaged = whole.clone();
    // Of the first piece, behind the pack's first line.
    damaged[70] ^= 1;
    for damage in [Some(&damaged[..]), Some(&whole[..100]), Some(&[]), None] {
        match damage {
            Some(bytes) => bucket.put(&pack, bytes),
            None => bucket.delete(&pack),
        }
        let (code, said) = settings.recount(&["checkpoint", "verify"], dir.path());
        assert!(code == Some(1) && said.contains("1 of 2 checkpoints can not be used"), "{said}");
        forget_copies(dir.path());
        let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
        assert_eq!(daemon.metrics(["checkpoints_damaged"]).await, [1.0]);
        assert_eq!(daemon.newest_rows().await, rows);
        daemon.kill();
        bucket.put(&pack, &whole);
    }
    named(&bucket, ".manifest").iter().filter(|key| **key != newest).for_each(|key| bucket.delete(key));
    bucket.put(&newest, b"nothing");
    forget_copies(dir.path());
    let (code, said) = refused(dir.path(), &settings.with(&[SELDOM])).await;
    assert!(code == Some(1) && said.contains("none of the 1 checkpoints can be used"), "{said}");
}

#[tokio::test]
async fn where_it_is_cut_off_a_start_is_refused_and_a_service_goes_on() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let often = settings.with(&[OFTEN, ("STORE__CHECKPOINTS_TIMEOUT", "3s")]);
    let mut daemon = Daemon::start_with(dir.path(), &often).await;
    feed(&mut daemon, 0, 200).await;
    daemon.checkpoint().await;
    for (round, silent) in [(1, false), (2, true)] {
        if silent {
            bucket.link().silence()
        } else {
            bucket.link().cut()
        }
        let [written, failed] = daemon.metrics(["checkpoints_total", "checkpoint_failures_total"]).await;
        feed(&mut daemon, round, 200).await;
        let failing = async {
            while daemon.metrics(["checkpoint_failures_total"]).await[0] <= failed {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, failing).await.expect("checkpoints fail and are counted");
        assert_eq!(received(&daemon.newest_rows().await), 200 * (round + 1), "ingest and reads go on");
        bucket.link().mend();
        let healing = async {
            while daemon.metrics(["checkpoints_total"]).await[0] <= written {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, healing).await.expect("checkpoints are written again");
    }
    // What nobody could write before the end is in the log.
    bucket.link().cut();
    feed(&mut daemon, 3, 200).await;
    let rows = daemon.newest_rows().await;
    daemon.kill();
    for silent in [false, true] {
        if silent {
            bucket.link().silence()
        } else {
            bucket.link().cut()
        }
        let (code, said) = refused(dir.path(), &often).await;
        assert_eq!(code, Some(1), "{said}");
        let place = format!("{}/store.json: can not be read", bucket.url(PREFIX));
        assert!(said.contains(&place) && said.contains("check the network, and endpoint"), "{said}");
    }
    bucket.link().mend();
    let mut daemon = Daemon::start_with(dir.path(), &often).await;
    assert_eq!(daemon.newest_rows().await, rows);
    let (code, _) = daemon.stop().await;
    assert_eq!(code, Some(0));
}

/// Only what a checkpoint holds may leave the log, and a checkpoint that did not reach its bucket holds nothing.
#[tokio::test]
async fn retention_waits_for_a_bucket_that_is_away() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let small = [
        OFTEN,
        ("STORE__CHECKPOINTS_TIMEOUT", "3s"),
        ("STORE__PARTITIONS", "1"),
        ("STORE__SEGMENT_BYTES", "4KiB"),
        ("STORE__LOG_RETENTION_BYTES", "8KiB"),
    ];
    let settings = settings.with(&small);
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    feed(&mut daemon, 0, 400).await;
    daemon.checkpoint().await;
    let [held] = daemon.metrics(["log_bytes"]).await;
    bucket.link().cut();
    let [failed] = daemon.metrics(["checkpoint_failures_total"]).await;
    for round in 1..5 {
        feed(&mut daemon, round, 400).await;
    }
    let failing = async {
        while daemon.metrics(["checkpoint_failures_total"]).await[0] <= failed {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, failing).await.expect("checkpoints fail and are counted");
    let [kept] = daemon.metrics(["log_bytes"]).await;
    assert!(kept > held + 3.0 * 8_192.0, "{kept} bytes are in the log, {held} were before the bucket was away");
    let rows = daemon.newest_rows().await;
    daemon.kill();
    bucket.link().mend();
    // Nothing but the log knows of the last rounds.
    let mut daemon = Daemon::start_with(dir.path(), &settings).await;
    assert_eq!(daemon.newest_rows().await, rows);
    assert_eq!(received(&rows), 5 * 400);
    let letting_go = async {
        while daemon.metrics(["log_bytes"]).await[0] >= kept {
            feed(&mut daemon, 5, 1).await;
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, letting_go).await.expect("the log lets go once the bucket is back");
    let (code, said) = daemon.stop().await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn of_two_writers_that_make_the_same_checkpoint_the_later_one_is_right() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    feed(&mut daemon, 0, 200).await;
    let first = daemon.checkpoint().await;
    let manifest = String::from_utf8(bucket.get(&named(&bucket, ".manifest")[0])).unwrap();
    // One who was stopped before this one came, and woke up: its number is passed over.
    let next = first.number + 1;
    put_manifest(&bucket, &manifest, next, 0);
    feed(&mut daemon, 1, 200).await;
    assert_eq!(daemon.checkpoint().await.number, next + 1);
    // One that came after it: it has lost, and stops.
    put_manifest(&bucket, &manifest, next + 2, 9);
    feed(&mut daemon, 2, 200).await;
    let mut admin =
        wire::admin_service_client::AdminServiceClient::connect(format!("http://{}", daemon.grpc)).await.unwrap();
    let lost = admin.checkpoint(wire::CheckpointRequest {}).await.unwrap_err();
    assert!(lost.message().contains("was written by another process"), "{lost}");
    let (code, said) = daemon.wait().await;
    assert!(code == Some(1) && said.contains("this one has lost the data directory"), "{said}");
}

/// Puts a manifest as another writer would have written it.
fn put_manifest(bucket: &Bucket, like: &str, number: u64, writer: u64) {
    let mut body: serde_json::Value = serde_json::from_str(like.split_once('\n').unwrap().1).unwrap();
    (body["number"], body["writer"]) = (number.into(), writer.into());
    let body = body.to_string();
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    let line = format!("recount manifest 2 {:08x}\n", crc.sum());
    bucket.put(&format!("{PREFIX}/runs/{number:010}.manifest"), (line + &body).as_bytes());
}

#[tokio::test]
async fn a_store_moves_in_and_is_looked_for_nowhere_else() {
    let bucket = Bucket::make();
    let settings = Settings::of(&bucket);
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start_with(dir.path(), &[SELDOM]).await;
    feed(&mut daemon, 0, 200).await;
    let epoch = daemon.checkpoint().await.epoch;
    let rows = daemon.newest_rows().await;
    daemon.kill();
    let (code, said) = settings.recount(&["checkpoint", "list"], dir.path());
    assert!(code == Some(1) && said.contains("they move to s3://"), "{said}");

    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    assert_eq!(daemon.newest_rows().await, rows);
    assert_eq!(daemon.status().await.snapshot.unwrap().since, epoch, "it went on from the checkpoint");
    daemon.kill();
    assert_eq!(named(&bucket, ".manifest").len(), 1);
    forget_copies(dir.path());

    for elsewhere in [None, Some("s3://another/prefix")] {
        let mut settings = settings.with(&[SELDOM]);
        match elsewhere {
            Some(url) => settings[0].1 = url,
            None => drop(settings.drain(..3)),
        }
        let (code, said) = refused(dir.path(), &settings).await;
        let place = format!("the checkpoints of this store are in {}", bucket.url(PREFIX));
        assert!(code == Some(1) && said.contains(&place), "{said}");
    }
    let other = tempfile::tempdir().unwrap();
    let (code, said) = refused(other.path(), &settings.with(&[SELDOM])).await;
    assert!(code == Some(1) && said.contains("holds the checkpoints of another store"), "{said}");
    let mut daemon = Daemon::start_with(dir.path(), &settings.with(&[SELDOM])).await;
    assert_eq!(daemon.newest_rows().await, rows);
    daemon.stop().await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for (settings, why) in [
        (vec![("STORE__CHECKPOINTS", "/mnt/checkpoints")], "write s3://bucket/prefix"),
        (vec![("STORE__CHECKPOINTS_OPTIONS", "{ region = \"x\" }")], "without store.checkpoints"),
        (vec![("STORE__CHECKPOINTS", "s3://b/p"), ("STORE__CHECKPOINTS_OPTIONS", "{ regio = \"x\" }")], "is not known"),
    ] {
        let mut command = command(&data, &settings);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{said}");
        assert!(!data.exists());
    }
    let (mut settings, bucket) = (Settings::of(&Bucket::make()), "s3://nowhere/prefix");
    settings.url = bucket.to_owned();
    let (code, said) = refused(&data, &settings.with(&[])).await;
    assert!(code == Some(1) && said.contains(bucket) && said.contains("check that there is such a bucket"), "{said}");
}
