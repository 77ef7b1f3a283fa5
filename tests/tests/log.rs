//! The log on a disk that crashes, tears, fails and decays: what was acknowledged is there, once, in order and whole.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use recount_tests::disk::{Call, Fault, FaultDisk, FileKind, Loss};
use recount_tests::durable::{LogWorld, history, open_dir};

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
