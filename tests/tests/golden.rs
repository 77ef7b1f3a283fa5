//! Data directories that earlier versions made: every later one opens them, and answers what was answered then.
//! `tests/golden/README.md` says how one is made for a new format.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use recount_connectors::data_dir::{DataDir, FORMAT};
use recount_connectors::disk::{Disk, SystemDisk};
use recount_connectors::log::LogSettings;
use recount_dataflow::engine::{History, Settings};
use recount_dataflow::read::{Digest, Reader};
use recount_tests::daemon::{Daemon, DaemonSettings, World, replay};
use recount_tests::disk::{FaultDisk, Loss};
use serde_json::{Value, json};

/// Records of the history from which a directory is made.
const RECORDS: usize = 400;
/// What each of the processes does that make it.
const STEPS: usize = 70;
/// Bytes of the directory, at most: it is kept for good.
const BYTES_MAX: usize = 165_000;
/// Beside the directory: an epoch a line.
const EXPECTED: &str = "expected.jsonl";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// What is expected of an epoch, in words that do not depend on names in the code.
fn line(digest: &Digest) -> Value {
    let by_reason = |reasons: &BTreeMap<recount_dataflow::domain::validate::Reason, u64>| -> BTreeMap<&str, u64> {
        reasons.iter().map(|(reason, records)| (reason.as_str(), *records)).collect()
    };
    let totals = &digest.totals;
    json!({
        "epoch": digest.as_of,
        "watermark_ms": digest.watermark_ms,
        "wall_ms": digest.wall_ms,
        "positions": digest.positions,
        "records_in": totals.records_in,
        "received": totals.received,
        "verdicts": totals.verdicts,
        "parked": by_reason(&totals.parked),
        "quarantined": by_reason(&totals.quarantined),
        "conflicting_copies": totals.conflicting_copies,
        "unknown_fields": totals.unknown_fields,
        "rows": digest.rows.iter().map(|(_, hash)| format!("{hash:032x}")).collect::<Vec<_>>(),
        "corrections": format!("{:032x}", digest.corrections),
    })
}

/// The lines of every readable epoch.
fn lines(reader: &Reader) -> Vec<Value> {
    let readable = reader.readable();
    let digest = |epoch| reader.snapshot(Some(epoch)).unwrap().digest();
    (readable.since..readable.upper).map(|epoch| line(&digest(epoch))).collect()
}

fn settings(dir: &Path, workers: usize) -> DaemonSettings {
    let rules = DataDir::read_only(Arc::new(SystemDisk::open(dir).unwrap())).unwrap().rules();
    let history = History { epochs: 1 << 40, age: Duration::from_secs(1 << 30), bytes: usize::MAX };
    let engine = Settings { rules, workers, history, ..Settings::default() };
    DaemonSettings { engine, log: LogSettings::default(), bindings_bytes: 1 << 20 }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn every_store_that_was_ever_made_opens_and_answers_as_it_did() {
    let mut opened = 0;
    for format in 1..=FORMAT {
        let store = golden().join(format!("store-{format}"));
        let expected = fs::read_to_string(store.join(EXPECTED)).unwrap();
        let expected: Vec<Value> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for workers in [1, 3] {
            let dir = tempfile::tempdir().unwrap();
            copy(&store, dir.path());
            let settings = settings(dir.path(), workers);
            let disk = || -> Arc<dyn Disk> { Arc::new(SystemDisk::open(dir.path()).unwrap()) };
            let mut daemon = Daemon::start(disk(), &settings).unwrap();
            let reader = daemon.reader().clone();
            let since = reader.readable().since as usize;
            assert!(reader.restored_from().is_some() && daemon.damaged == 0, "a checkpoint is used");
            assert!(since + 1 < expected.len(), "bound epochs follow the checkpoint, and are made again");
            assert_eq!(lines(&reader), expected[since..], "restored, format {format}, {workers} workers");
            while daemon.is_behind() {
                daemon.take_batch(1).unwrap();
            }
            daemon.close_epoch(1).unwrap();
            daemon.checkpoint().unwrap();
            drop(daemon);
            let replayed = replay(disk(), settings.engine).unwrap();
            assert_eq!(lines(&replayed.reader)[..expected.len()], expected, "replayed, format {format}");
            opened += 1;
        }
    }
    assert!(opened > 0);
}

/// What processes made of a history, where it has two checkpoints and epochs after them.
fn made(seed: u64) -> Option<(FaultDisk, World)> {
    let mut world = World::large(seed, RECORDS);
    let mut disk = FaultDisk::default();
    for _ in 0..3 {
        world.live(&disk, STEPS).unwrap();
        disk = disk.restart(Loss::Nothing);
    }
    let manifests = disk.files().iter().filter(|(path, _)| path.ends_with(".manifest")).count();
    let daemon = Daemon::start(Arc::new(disk.copy()), &world.settings()).unwrap();
    let readable = daemon.reader().readable();
    world.learn_all(&disk);
    let bytes: usize = disk.files().iter().map(|(_, length)| length).sum();
    let newest = world.digests().last().unwrap();
    let totals = &newest.totals;
    let is_rich = totals.records_in > 180 && totals.received > 60 && totals.verdicts > 20 && newest.corrections != 0;
    let sets_aside = totals.parked_total() > 0 && totals.quarantined_total() > 0;
    let goes_on = readable.since + 5 <= readable.upper;
    (manifests == 2 && bytes <= BYTES_MAX && is_rich && sets_aside && goes_on).then_some((disk, world))
}

#[test]
#[ignore = "makes the directory of the newest format; see tests/golden/README.md"]
fn make_the_store_of_this_format() {
    let store = golden().join(format!("store-{FORMAT}"));
    assert!(!store.exists(), "{} is there, and is never made again", store.display());
    let (disk, world) = (0..).find_map(made).unwrap();
    for (path, length) in disk.files() {
        let path_there = store.join(&path);
        fs::create_dir_all(path_there.parent().unwrap()).unwrap();
        let bytes = disk.read(&path).unwrap();
        assert_eq!(bytes.len(), length);
        fs::write(path_there, bytes).unwrap();
    }
    let lines: String = world.digests().map(|digest| line(digest).to_string() + "\n").collect();
    fs::write(store.join(EXPECTED), lines).unwrap();
}
