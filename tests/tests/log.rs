//! The log on a disk that crashes, tears, fails and decays: what was acknowledged is there, once, in order and whole.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use recount_connectors::Format;
use recount_connectors::log::{APPEND_BYTES_MAX, AppendError, LogSettings, Retention, SyncPolicy};
use recount_tests::disk::{Call, Fault, FaultDisk, FileKind, Loss, Point, What};
use recount_tests::durable::{ARRIVAL_MS, LogWorld, history, open_dir, settings};

const GROUPS: usize = 12;

/// How often a history of this seed changes the disk.
fn changes(seed: u64) -> u64 {
    let disk = FaultDisk::default();
    assert!(history(&disk, &mut LogWorld::default(), seed, GROUPS));
    disk.changes()
}

fn losses(seed: u64) -> [Loss; 3] {
    [Loss::Nothing, Loss::Unsynced, Loss::Some(seed)]
}

/// A history with a fault, the next process, and one more history without faults.
fn check(seed: u64, fault: Fault, loss: Loss) {
    let disk = FaultDisk::default();
    disk.plan(fault);
    let mut world = LogWorld::default();
    history(&disk, &mut world, seed, GROUPS);
    let disk = disk.restart(loss);
    world.check(&disk);
    assert!(history(&disk, &mut world, seed + 1, 3));
    world.check(&disk.restart(Loss::Unsynced));
}

#[test]
fn nothing_acknowledged_is_lost_wherever_it_crashes() {
    for seed in 0..4 {
        for change in 0..changes(seed) {
            for loss in losses(1_000 * seed + change) {
                check(seed, Fault::crash_before(change), loss);
                check(seed, Fault::crash_amid(change), loss);
                check(seed, Fault::crash_after(change), loss);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_recovery_crashes_too() {
    let seed = 5;
    for change in (0..changes(seed)).step_by(3) {
        let mut recovering = 0;
        loop {
            let disk = FaultDisk::default();
            disk.plan(Fault::crash_amid(change));
            let mut world = LogWorld::default();
            history(&disk, &mut world, seed, GROUPS);
            let disk = disk.restart(Loss::Some(change));
            let done_before = disk.changes();
            disk.plan(Fault::crash_after(done_before + recovering));
            let went_well = history(&disk, &mut world, seed + 1, 2);
            let disk = disk.restart(Loss::Some(change + recovering));
            world.check(&disk);
            if went_well {
                break;
            }
            recovering += 1;
        }
    }
}

#[test]
fn a_device_that_fails_ends_the_log_and_loses_nothing() {
    for change in 0..changes(7) {
        check(7, Fault::broken(change), Loss::Nothing);
        check(7, Fault::broken(change), Loss::Unsynced);
        check(7, Fault::broken(change), Loss::Some(change));
    }
}

#[test]
fn a_full_disk_refuses_and_heals() {
    for seed in 0..20 {
        let disk = FaultDisk::default();
        let dir = open_dir(&disk).unwrap();
        let mut world = LogWorld::default();
        let log = world.open(&dir);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for round in 0..6 {
            assert!(world.append_group(&log, &mut rng, 4).iter().all(Result::is_ok));
            // By turns there is no room for bytes, and none for new segments.
            let call = if round % 2 == 0 { Call::Write } else { Call::CreateNew };
            disk.plan(Fault::always_full(call, FileKind::Log));
            for outcome in (0..3).flat_map(|_| world.append_group(&log, &mut rng, 3)) {
                let Err(refusal) = outcome else { continue };
                assert!(refusal.retry_after().is_some(), "{refusal}");
                assert!(refusal.to_string().contains("memory/log/"), "{refusal}");
            }
            disk.heal();
        }
        assert!(world.append_group(&log, &mut rng, 4).iter().all(Result::is_ok));
        assert!(log.stats().refused_full > 0);
        world.check(&disk.restart(Loss::Some(seed)));
        drop((log, dir));
    }
}

/// Where a new segment can not be noted, appends that still fit go to the one before it, past the start of the one that went.
#[test]
fn a_segment_that_went_for_lack_of_room_does_not_come_back() {
    for seed in 0..40 {
        let disk = FaultDisk::default();
        let dir = open_dir(&disk).unwrap();
        let mut world = LogWorld::default();
        let log = world.open(&dir);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        assert!(world.append_group(&log, &mut rng, 4).iter().all(Result::is_ok));
        disk.plan(Fault::always_full(Call::Write, FileKind::Writer));
        let outcomes: Vec<_> = (0..40).flat_map(|_| world.append_group(&log, &mut rng, 1)).collect();
        assert!(outcomes.iter().any(Result::is_err), "no segment was to be begun");
        let first_refused = outcomes.iter().position(Result::is_err).unwrap();
        assert!(outcomes[first_refused..].iter().any(Result::is_ok), "nothing fitted any more");
        let loss = if seed % 2 == 0 { Loss::Unsynced } else { Loss::Some(seed) };
        world.check(&disk.restart(loss));
        drop((log, dir));
    }
}

#[test]
fn a_failed_sync_refuses_everything_after_it() {
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    let mut world = LogWorld::default();
    let log = world.open(&dir);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    assert!(world.append_group(&log, &mut rng, 2).iter().all(Result::is_ok));
    disk.plan(Fault::always_broken(Call::SyncData, FileKind::Log));
    assert!(world.append_group(&log, &mut rng, 2).iter().all(Result::is_err));
    disk.heal();
    for refusal in world.append_group(&log, &mut rng, 2) {
        let refusal = refusal.unwrap_err();
        assert!(refusal.retry_after().is_none() && refusal.to_string().contains("can not be synced"), "{refusal}");
    }
    world.check(&disk.restart(Loss::Unsynced));
    drop((log, dir));
}

/// The system does not write again what a sync has failed for, and says nothing of it to who syncs next.
#[test]
fn nothing_rests_on_what_an_earlier_process_could_not_sync() {
    for seed in 0..20 {
        let disk = FaultDisk::default();
        let mut world = LogWorld::default();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        {
            let dir = open_dir(&disk).unwrap();
            let log = world.open(&dir);
            assert!(world.append_group(&log, &mut rng, 3).iter().all(Result::is_ok));
            disk.plan(Fault::once(Point { call: Call::SyncData, kind: FileKind::Log }, 0, What::Broken));
            assert!(world.append_group(&log, &mut rng, 1)[0].is_err());
        }
        let disk = disk.restart(Loss::Nothing);
        {
            let dir = open_dir(&disk).unwrap();
            let log = world.open(&dir);
            assert!(world.append_group(&log, &mut rng, 4).iter().all(Result::is_ok));
        }
        let loss = if seed % 2 == 0 { Loss::Unsynced } else { Loss::Some(seed) };
        world.check(&disk.restart(loss));
    }
}

/// The weaker promise: acknowledged when written, durable and readable at the next sync.
#[test]
fn synced_now_and_then_only_what_was_not_synced_may_be_lost() {
    let interval = || LogSettings { sync: SyncPolicy::Interval(Duration::from_secs(3_600)), ..settings() };
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    let mut world = LogWorld::default();
    let log = world.open_with(&dir, interval());
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    assert!(world.append_group(&log, &mut rng, 2).iter().all(Result::is_ok));
    assert_eq!((log.view().end(0), log.view().end(1)), (0, 0), "nothing is read that is not durable");
    log.close();
    drop(dir);
    // The end of a log is a sync.
    let disk = disk.restart(Loss::Unsynced);
    world.check(&disk);
    let dir = open_dir(&disk).unwrap();
    let mut lost = LogWorld::default();
    let log = world.open_with(&dir, interval());
    let ends = [log.view().end(0), log.view().end(1)];
    assert!(lost.append_group(&log, &mut rng, 2).iter().all(Result::is_ok));
    let disk = disk.restart(Loss::Unsynced);
    drop((log, dir));
    world.check(&disk);
    let log = world.open(&open_dir(&disk).unwrap());
    assert_eq!([log.view().end(0), log.view().end(1)], ends, "what was only written is gone");
}

#[test]
fn retention_takes_what_is_old_and_no_longer_needed() {
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    let age = Duration::from_secs(60);
    let retention = Retention { age: Some(age), bytes: None };
    let mut world = LogWorld::default();
    let log = world.open_with(&dir, LogSettings { retention, ..settings() });
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..12 {
        assert!(world.append_group(&log, &mut rng, 3).iter().all(Result::is_ok));
    }
    let ends: Vec<u64> = (0..2).map(|partition| log.view().end(partition)).collect();
    let starts = || [log.view().start(0), log.view().start(1)];
    let last_ms = ARRIVAL_MS + i64::from(world.sent());
    let old_ms = last_ms + age.as_millis() as i64;
    assert_eq!(log.retain(&ends, ARRIVAL_MS + age.as_millis() as i64).unwrap(), 0, "nothing is older than that");
    assert_eq!(log.retain(&[0, 0], old_ms + 1).unwrap(), 0, "all of it is needed");
    world.allow(ends.clone());
    assert!(log.retain(&ends, (ARRIVAL_MS + last_ms) / 2 + age.as_millis() as i64).unwrap() > 0);
    let halfway = starts();
    assert!(halfway[0] > 0 && halfway[1] > 0 && halfway[0] < ends[0] && halfway[1] < ends[1], "{halfway:?}");
    assert!(log.retain(&ends, old_ms + 1).unwrap() > 0);
    assert!(starts()[0] > halfway[0] && starts()[1] > halfway[1], "{:?}", starts());
    // However long an age is, it takes nothing before its time.
    drop((log, dir));
    let disk = disk.restart(Loss::Nothing);
    let dir = open_dir(&disk).unwrap();
    let for_ever = Retention { age: Some(Duration::MAX), bytes: None };
    let log = world.open_with(&dir, LogSettings { retention: for_ever, ..settings() });
    assert_eq!(log.retain(&ends, old_ms).unwrap(), 0);
    drop((log, dir));
    world.check(&disk.restart(Loss::Unsynced));
}

#[test]
fn too_much_at_once_is_refused_with_when_to_come_again() {
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    // The first commit is done at once, and the next one waits for its time.
    let commit_window = Duration::from_secs(2);
    let settings = LogSettings { commit_window, queue_bytes: APPEND_BYTES_MAX, ..LogSettings::default() };
    let log = LogWorld::default().open_with(&dir, settings);
    let append = |bytes: usize| {
        let mut append = log.begin(ARRIVAL_MS);
        append.push(Format::JsonLines, &vec![b'x'; bytes]).unwrap();
        let (done, outcome) = mpsc::channel();
        log.append(append, move |appended| done.send(appended).unwrap());
        outcome
    };
    assert!(append(1).recv().unwrap().is_ok());
    let waiting: Vec<_> = (0..15).map(|_| append(1 << 20)).collect();
    let refused = append(1 << 20).recv().unwrap();
    assert!(
        matches!(&refused, Err(AppendError::Busy { bytes, retry_after }) if *bytes > 15 << 20 && !retry_after.is_zero())
    );
    assert_eq!(log.stats().refused_busy, 1);
    assert!(waiting.iter().all(|outcome| outcome.recv().unwrap().is_ok()), "what was taken in is acknowledged");
    assert!(append(1 << 20).recv().unwrap().is_ok());
}

#[test]
fn a_writer_that_was_replaced_acknowledges_nothing() {
    for seed in 0..10 {
        let disk = FaultDisk::default();
        let old_dir = open_dir(&disk).unwrap();
        let mut world = LogWorld::default();
        let old = world.open(&old_dir);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..4 {
            assert!(world.append_group(&old, &mut rng, 3).iter().all(Result::is_ok));
        }
        let second = disk.second_process();
        let new_dir = open_dir(&second).unwrap();
        let new = world.open(&new_dir);
        assert!(world.append_group(&new, &mut rng, 1).iter().all(Result::is_ok));
        // It wakes up, and writes where it was, also over the end of a segment.
        for refusal in (0..8).flat_map(|_| world.append_group(&old, &mut rng, 3)) {
            let refusal = refusal.unwrap_err();
            assert!(refusal.to_string().contains("replaced by a later one"), "{refusal}");
        }
        assert!(world.append_group(&new, &mut rng, 2).iter().all(Result::is_ok));
        if seed % 2 == 0 {
            // Also the segment goes by which the other's are known to be void.
            assert!((0..4).flat_map(|_| world.append_group(&new, &mut rng, 4)).all(|outcome| outcome.is_ok()));
            let ends: Vec<u64> = (0..2).map(|partition| new.view().end(partition)).collect();
            world.allow(ends.clone());
            assert!(new.retain(&ends, 0).unwrap() > 0);
        }
        drop((old, old_dir));
        world.check(&second.restart(Loss::Nothing));
        drop((new, new_dir));
    }
}

/// A log that was written and closed.
fn written(seed: u64) -> (FaultDisk, LogWorld) {
    let disk = FaultDisk::default();
    let mut world = LogWorld::default();
    assert!(history(&disk, &mut world, seed, GROUPS));
    assert!(history(&disk, &mut world, seed + 1, 2));
    (disk, world)
}

#[test]
fn decay_is_found_and_never_read() {
    let files: BTreeSet<(String, usize)> = written(3).0.files().into_iter().collect();
    for (path, length) in files {
        if !path.starts_with("log/") {
            continue;
        }
        for at in (0..length).step_by(97) {
            let (disk, world) = written(3);
            if !disk.files().iter().any(|(other, length)| *other == path && at < *length) {
                continue;
            }
            disk.damage(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            world.check_damaged(&disk);
            disk.damage(&path, |bytes| bytes.truncate(at));
            world.check_damaged(&disk);
        }
    }
}
