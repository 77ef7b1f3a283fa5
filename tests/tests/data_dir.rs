//! The data directory, its bindings and its checkpoint files on a disk that crashes, fails and decays.

#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::sync::Arc;

use recount_connectors::bindings::{BindingLog, Bindings, delete_bindings_below};
use recount_connectors::data_dir::{DataDir, DataDirError, FORMAT, NewStore};
use recount_connectors::log::{Log, LogError, LogSettings};
use recount_connectors::store::DirectoryStore;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::store::{BindingSink as _, EpochBinding, Store as _};
use recount_tests::disk::{Call, Fault, FaultDisk, FileKind, Loss, Point, What};
use recount_tests::durable::{LogWorld, NEW_STORE, history, open_dir};

fn losses(seed: u64) -> [Loss; 3] {
    [Loss::Nothing, Loss::Unsynced, Loss::Some(seed)]
}

fn binding(epoch: u64) -> EpochBinding {
    let positions = vec![Position { stream: 0, offset: epoch * 100 }, Position { stream: 1, offset: epoch }];
    let watermark_ms = (epoch > 2).then_some(epoch as i64);
    EpochBinding { epoch, positions, watermark_ms, wall_ms: 7 * epoch as i64, records_in: epoch % 5 }
}

/// Binds epochs up to `last`, in small files; returns the newest that was bound for certain.
fn bind(disk: &FaultDisk, last: u64) -> Option<u64> {
    let dir = open_dir(disk).ok()?;
    let mut log = BindingLog::open(&dir, |_| false).ok()?.with_file_bytes(200);
    let mut bound = None;
    for epoch in log.next_epoch()..=last {
        if log.bind(&binding(epoch)).is_err() {
            break;
        }
        bound = Some(epoch);
    }
    bound
}

fn read_bindings(disk: &FaultDisk, from_epoch: u64) -> Result<Vec<EpochBinding>, String> {
    let dir = DataDir::read_only(Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    let bindings = Bindings::read(&dir, from_epoch).map_err(|error| error.to_string())?;
    bindings.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
}

/// Writes some files, as a checkpoint does; returns those that were finished.
fn put(disk: &FaultDisk, round: u8) -> Vec<String> {
    let mut finished = Vec::new();
    let Ok(store) = open_dir(disk).map(|dir| DirectoryStore::open(&dir)) else { return finished };
    let Ok(store) = store else { return finished };
    for number in 0..3 {
        let name = format!("run-{round}-{number}");
        let Ok(mut file) = store.create(&name) else { break };
        if contents(&name).chunks(300).any(|piece| file.write_all(piece).is_err()) || file.finish().is_err() {
            break;
        }
        finished.push(name);
    }
    finished
}

fn contents(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(1_500).collect()
}

#[test]
fn what_is_bound_stays_bound_wherever_it_crashes() {
    let disk = FaultDisk::default();
    assert_eq!(bind(&disk, 12), Some(12));
    let fault = [Fault::crash_before, Fault::crash_amid, Fault::crash_after, Fault::broken, Fault::full];
    for change in 0..disk.changes() {
        for (fault, loss) in fault.iter().flat_map(|fault| losses(change).map(|loss| (fault, loss))) {
            let disk = FaultDisk::default();
            disk.plan(fault(change));
            let bound = bind(&disk, 12).unwrap_or(0);
            let disk = disk.restart(loss);
            // One more may have been bound than was said.
            assert!(bind(&disk, 20).is_some());
            let found = read_bindings(&disk.restart(Loss::Unsynced), 1).unwrap();
            assert_eq!(found, (1..=20).map(binding).collect::<Vec<_>>(), "bound up to {bound}");
        }
    }
}

#[test]
fn a_binding_that_was_said_to_be_bound_is_found_before_anything_else_is_bound() {
    let disk = FaultDisk::default();
    assert_eq!(bind(&disk, 12), Some(12));
    for change in 0..disk.changes() {
        for loss in losses(change) {
            let disk = FaultDisk::default();
            disk.plan(Fault::crash_after(change));
            let bound = bind(&disk, 12).unwrap_or(0);
            let disk = disk.restart(loss);
            let dir = open_dir(&disk).unwrap();
            let next = BindingLog::open(&dir, |_| false).unwrap().next_epoch();
            assert!(next == bound + 1 || next == bound + 2, "{bound} epochs were bound, and {next} is next");
        }
    }
}

/// The system does not write again what a sync has failed for, and says nothing of it to who syncs next.
#[test]
fn a_binding_that_could_not_be_synced_is_written_again() {
    let disk = FaultDisk::default();
    assert_eq!(bind(&disk, 3), Some(3));
    disk.plan(Fault::once(Point { call: Call::SyncData, kind: FileKind::Binding }, 1, What::Broken));
    // The first sync is of the newest one, written again.
    assert_eq!(bind(&disk, 6), None);
    let disk = disk.restart(Loss::Nothing);
    assert_eq!(bind(&disk, 8), Some(8));
    let disk = disk.restart(Loss::Unsynced);
    assert_eq!(read_bindings(&disk, 1).unwrap(), (1..=8).map(binding).collect::<Vec<_>>());
}

#[test]
fn old_bindings_go_and_the_rest_is_read_from_any_epoch() {
    let disk = FaultDisk::default();
    assert_eq!(bind(&disk, 20), Some(20));
    for from in 1..=21 {
        assert_eq!(read_bindings(&disk, from).unwrap(), (from..=20).map(binding).collect::<Vec<_>>());
    }
    let beyond = read_bindings(&disk, 22).unwrap_err();
    assert!(beyond.contains("epoch 21 has a checkpoint") && beyond.contains("end before epoch 21"), "{beyond}");
    let dir = open_dir(&disk).unwrap();
    assert!(delete_bindings_below(&dir, 11).unwrap() > 1);
    assert_eq!(read_bindings(&disk, 11).unwrap(), (11..=20).map(binding).collect::<Vec<_>>());
    assert!(read_bindings(&disk, 1).unwrap_err().contains("is gone"));
}

#[test]
fn a_full_disk_makes_binding_wait() {
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    let healing = disk.clone();
    let mut log = BindingLog::open(&dir, move |error| {
        assert!(error.is_full());
        healing.heal();
        true
    })
    .unwrap();
    log.bind(&binding(1)).unwrap();
    disk.plan(Fault::always_full(Call::Write, FileKind::Binding));
    log.bind(&binding(2)).unwrap();
    log.bind(&binding(3)).unwrap();
    assert_eq!(read_bindings(&disk, 1).unwrap(), (1..=3).map(binding).collect::<Vec<_>>());
}

#[test]
fn a_replaced_writer_binds_nothing() {
    let disk = FaultDisk::default();
    let old_dir = open_dir(&disk).unwrap();
    let mut old = BindingLog::open(&old_dir, |_| false).unwrap();
    old.bind(&binding(1)).unwrap();
    let second = disk.second_process();
    let new_dir = open_dir(&second).unwrap();
    let mut new = BindingLog::open(&new_dir, |_| false).unwrap();
    let stale = EpochBinding { records_in: 99, ..binding(2) };
    assert!(old.bind(&stale).unwrap_err().to_string().contains("replaced by a later one"));
    new.bind(&binding(2)).unwrap();
    assert_eq!(read_bindings(&second, 1).unwrap(), [binding(1), binding(2)]);
}

#[test]
fn decayed_bindings_are_never_read() {
    let disk = FaultDisk::default();
    assert_eq!(bind(&disk, 12), Some(12));
    let all: Vec<EpochBinding> = (1..=12).map(binding).collect();
    for (path, length) in disk.files().into_iter().filter(|(path, _)| path.starts_with("bindings/")) {
        for at in 0..length {
            for cut in [false, true] {
                let disk = FaultDisk::default();
                assert_eq!(bind(&disk, 12), Some(12));
                disk.damage(&path, |bytes| match cut {
                    true => bytes.truncate(at),
                    false => bytes[at] ^= 1 << (at % 8),
                });
                // The end of the last file looks like a torn write. All else is refused.
                let Ok(found) = read_bindings(&disk, 1) else { continue };
                assert_eq!(found, all[..found.len()]);
                assert!(found.len() >= 8, "{path} at {at}: only {} are left", found.len());
            }
        }
    }
}

#[test]
fn a_checkpoint_file_is_there_whole_or_not_at_all() {
    let disk = FaultDisk::default();
    assert_eq!(put(&disk, 0).len(), 3);
    let fault = [Fault::crash_before, Fault::crash_amid, Fault::crash_after, Fault::broken, Fault::full];
    for change in 0..disk.changes() {
        for (fault, loss) in fault.iter().flat_map(|fault| losses(change).map(|loss| (fault, loss))) {
            let disk = FaultDisk::default();
            disk.plan(fault(change));
            let mut finished = put(&disk, 0);
            let disk = disk.restart(loss);
            finished.extend(put(&disk, 1));
            let dir = open_dir(&disk).unwrap();
            let store = DirectoryStore::open(&dir).unwrap();
            let names = store.list().unwrap();
            assert!(finished.iter().all(|name| names.contains(name)), "{finished:?} of {names:?}");
            for name in &names {
                assert_eq!(store.map(name).unwrap().bytes(), contents(name));
                store.delete(name).unwrap();
            }
            let left = disk.files().into_iter().filter(|(path, _)| path.starts_with("runs/")).count();
            assert_eq!(left, 0, "what a crash left half written is removed");
        }
    }
}

#[test]
fn a_checkpoint_file_that_was_found_stays_whoever_made_it() {
    let disk = FaultDisk::default();
    put(&disk, 0);
    for change in 0..disk.changes() {
        let disk = FaultDisk::default();
        disk.plan(Fault::crash_before(change));
        put(&disk, 0);
        // Killed, without a power cut: the file may have its name, which is not durable.
        let disk = disk.restart(Loss::Nothing);
        let found = DirectoryStore::open(&open_dir(&disk).unwrap()).unwrap().list().unwrap();
        let disk = disk.restart(Loss::Unsynced);
        let left = DirectoryStore::open(&open_dir(&disk).unwrap()).unwrap().list().unwrap();
        assert_eq!(found, left, "after a crash before change {change}");
    }
}

#[test]
fn a_checkpoint_file_is_never_overwritten() {
    let disk = FaultDisk::default();
    let store = DirectoryStore::open(&open_dir(&disk).unwrap()).unwrap();
    let write = |bytes: &[u8]| {
        let mut file = store.create("manifest-1")?;
        file.write_all(bytes)?;
        file.finish()
    };
    write(b"first").unwrap();
    assert_eq!(write(b"second").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(store.map("manifest-1").unwrap().bytes(), b"first");
    assert_eq!(store.map("manifest-2").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(store.list().unwrap(), ["manifest-1"]);
}

#[test]
fn a_store_is_made_once_wherever_it_crashes() {
    let disk = FaultDisk::default();
    drop(open_dir(&disk).unwrap());
    for change in 0..disk.changes() {
        for loss in losses(change) {
            for fault in [Fault::crash_before(change), Fault::crash_amid(change), Fault::crash_after(change)] {
                let disk = FaultDisk::default();
                disk.plan(fault);
                let _ = open_dir(&disk);
                let disk = disk.restart(loss);
                // Another identity is offered: once there is one, it stays.
                let other = NewStore { id: 1, ..NEW_STORE };
                let open = |new: &NewStore| DataDir::open(Arc::new(disk.clone()), new, Rules::default()).unwrap();
                let id = open(&other).store_id();
                assert!(id == 1 || id == NEW_STORE.id);
                assert_eq!(open(&NEW_STORE).store_id(), id);
            }
        }
    }
}

#[test]
fn one_writer_at_a_time_and_each_has_its_number() {
    let disk = FaultDisk::default();
    let first = open_dir(&disk).unwrap();
    let refused = open_dir(&disk.honest_process()).err().unwrap();
    assert!(matches!(&refused, DataDirError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{refused}");
    let fence = first.fence();
    fence.check().unwrap();
    drop(first);
    fence.check().unwrap();
    let second = open_dir(&disk).unwrap();
    assert_eq!((fence.writer(), second.fence().writer()), (1, 2));
    assert!(fence.check().unwrap_err().to_string().contains("replaced"));
}

#[test]
fn other_rules_other_formats_and_decay_are_refused_with_what_to_do() {
    let disk = FaultDisk::default();
    drop(open_dir(&disk).unwrap());
    let rules = Rules { allowed_lateness_ms: 1, dedup_fallback: true, ..Rules::default() };
    let open = |rules: Rules| DataDir::open(Arc::new(disk.clone()), &NEW_STORE, rules);
    let said = open(rules).err().unwrap().to_string();
    assert!(said.contains("allowed_lateness was 30s and is now 1ms") && said.contains("recount rebuild"), "{said}");

    let mut dir = DataDir::open_for_rebuild(Arc::new(disk.clone())).unwrap();
    dir.begin_generation(rules).unwrap();
    assert_eq!(DataDir::read_only(Arc::new(disk.clone())).unwrap().rules(), Rules::default(), "it is only begun");
    dir.finish_generation().unwrap();
    drop(dir);
    assert_eq!(open(rules).unwrap().rules(), rules);

    let text = String::from_utf8(recount_connectors::disk::Disk::read(&disk, "store.json").unwrap()).unwrap();
    for at in (0..text.len()).filter(|at| !text.as_bytes()[*at].is_ascii_whitespace()) {
        disk.damage("store.json", |bytes| bytes[at] ^= 1);
        let refused = open(rules).err();
        assert!(refused.is_some_and(|error| !error.is_retryable()), "byte {at} of {text}");
        disk.damage("store.json", |bytes| bytes[at] ^= 1);
    }
    let (ours, later) = (format!("\"format\": {FORMAT}"), format!("\"format\": {}", FORMAT + 1));
    disk.damage("store.json", |bytes| *bytes = text.replace(&ours, &later).into_bytes());
    assert!(open(rules).err().unwrap().to_string().contains("use a newer version"));
}

#[test]
fn a_generation_is_the_stores_wholly_or_not_at_all() {
    let rules = Rules { allowed_lateness_ms: 1, ..Rules::default() };
    let rebuild = |disk: &FaultDisk| {
        let mut dir = DataDir::open_for_rebuild(Arc::new(disk.clone()))?;
        dir.begin_generation(rules)?;
        let store = DirectoryStore::open(&dir)?;
        let write = || {
            let mut file = store.create("new")?;
            file.write_all(b"new")?;
            file.finish()
        };
        let is_durable = write().is_ok();
        Ok::<_, DataDirError>(is_durable && dir.finish_generation().is_ok())
    };
    let made = || {
        let disk = FaultDisk::default();
        let store = DirectoryStore::open(&open_dir(&disk).unwrap()).unwrap();
        let mut file = store.create("old").unwrap();
        file.write_all(b"old").unwrap();
        file.finish().unwrap();
        disk.restart(Loss::Nothing)
    };
    let disk = made();
    let before = disk.changes();
    assert!(rebuild(&disk).unwrap());
    for change in before..disk.changes() {
        for loss in losses(change) {
            for fault in [Fault::crash_before(change), Fault::crash_amid(change), Fault::crash_after(change)] {
                let disk = made();
                disk.plan(fault.clone());
                let finished = rebuild(&disk).unwrap_or(false);
                let disk = disk.restart(loss);
                let new = DataDir::read_only(Arc::new(disk.clone())).unwrap().rules() == rules;
                assert!(new || !finished, "change {change}, {loss:?}");
                let given = if new { rules } else { Rules::default() };
                let dir = DataDir::open(Arc::new(disk.clone()), &NEW_STORE, given).unwrap();
                let held = DirectoryStore::open(&dir).unwrap().list().unwrap();
                assert_eq!(held, [if new { "new" } else { "old" }], "change {change}, {loss:?}");
                drop(dir);
                assert!(rebuild(&disk).unwrap(), "a second one completes it");
            }
        }
    }
}

#[test]
fn data_without_their_store_file_are_refused() {
    let disk = FaultDisk::default();
    assert!(history(&disk, &mut LogWorld::default(), 1, 2));
    recount_connectors::disk::Disk::delete(&disk, "store.json").unwrap();
    assert!(matches!(open_dir(&disk), Err(DataDirError::StoreFileMissing { .. })));
}

#[test]
fn damage_amid_the_log_names_the_file_and_the_byte() {
    let disk = FaultDisk::default();
    let dir = open_dir(&disk).unwrap();
    let log = Log::open(&dir, LogSettings::default(), |_| false, |_| {}).unwrap();
    let mut ends = Vec::new();
    for number in 0..10 {
        let mut append = log.begin(1);
        append.push(recount_connectors::Format::JsonLines, format!("{number}").as_bytes()).unwrap();
        ends.push(log.append_and_wait(append).unwrap());
    }
    drop((log, dir));
    let (path, _) =
        disk.files().into_iter().find(|(path, length)| path.starts_with("log/0000") && *length > 0).unwrap();
    disk.damage(&path, |bytes| bytes[ends[0].end as usize + 50] ^= 1);
    // The segment of the process that is gone is the last: no writer came after it.
    let error = Log::open(&open_dir(&disk).unwrap(), LogSettings::default(), |_| false, |_| {}).err().unwrap();
    assert!(matches!(error, LogError::Damaged { offset, .. } if offset == ends[0].end), "{error}");
    assert!(error.to_string().contains(&path), "{error}");
}
