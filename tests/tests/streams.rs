//! The list of streams on a disk that crashes: a change is there whole, or not there.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::streams::{Change, EndReason, Stream, StreamEnd, Streams};
use recount_dataflow::domain::rules::Rules;
use recount_tests::disk::{Fault, FaultDisk, Loss, What, When};
use recount_tests::durable::NEW_STORE;

const NEW: NewStore = NewStore { source: StoreSource::Kafka, ..NEW_STORE };

fn stream(partition: i32, first_offset: u64) -> Stream {
    Stream { topic: "clicks".into(), topic_id: "A".into(), partition, format: "event".into(), first_offset }
}

/// Opens the list and makes the changes that it has not, as far as the disk lets it.
fn change(disk: &FaultDisk) -> Result<(), String> {
    let dir = DataDir::open(Arc::new(disk.clone()), &NEW, Rules::default()).map_err(|error| error.to_string())?;
    let mut list = Streams::open(&dir).map_err(|error| error.to_string())?;
    if list.all().is_empty() {
        let begins = vec![stream(0, 5), stream(1, 7)];
        list.add(Change { begins, ..Change::default() }).map_err(|error| error.to_string())?;
    }
    assert_eq!((list.current("clicks", 0), list.current("clicks", 2)), (Some(0), None));
    if list.end(1).is_none() {
        let end = StreamEnd { stream: 1, at: 9, until: Some(20), reason: EndReason::Removed };
        let change = Change { ends: vec![end], begins: vec![stream(1, 20)] };
        list.add(change).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn a_change_is_whole_whatever_crashes() {
    let whole = vec![stream(0, 5), stream(1, 7), stream(1, 20)];
    let mut crashes = 0;
    for at in 0..80 {
        for (what, loss) in [
            (What::CrashBefore, Loss::Unsynced),
            (What::CrashAfter, Loss::Unsynced),
            (What::CrashBefore, Loss::Some(at)),
            (What::CrashAfter, Loss::Nothing),
        ] {
            let disk = FaultDisk::default();
            disk.plan(Fault { when: When::Change(at), what });
            crashes += usize::from(change(&disk).is_err());
            let disk = disk.restart(loss);
            // The next process finds all of a change or nothing, and makes what is missing.
            change(&disk).unwrap();
            let dir = DataDir::read_only(Arc::new(disk.observer())).unwrap();
            let list = Streams::open(&dir).unwrap();
            assert_eq!(list.all(), whole);
            assert_eq!((list.current("clicks", 1), list.end(1).unwrap().until), (Some(2), Some(20)));
        }
    }
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn a_change_that_was_found_stays() {
    let open = |disk: &FaultDisk| {
        let dir = DataDir::open(Arc::new(disk.clone()), &NEW, Rules::default()).unwrap();
        Streams::open(&dir).unwrap().all().to_vec()
    };
    for at in 0..80 {
        let disk = FaultDisk::default();
        disk.plan(Fault::crash_before(at));
        let _ = change(&disk);
        // Killed, without a power cut: the change may have its name, which is not durable.
        let disk = disk.restart(Loss::Nothing);
        let found = open(&disk);
        let disk = disk.restart(Loss::Unsynced);
        assert_eq!(open(&disk), found, "after a crash before change {at}");
    }
}

#[test]
fn a_damaged_or_missing_change_is_refused() {
    let disk = FaultDisk::default();
    change(&disk).unwrap();
    let open = |disk: &FaultDisk| {
        let dir = DataDir::read_only(Arc::new(disk.observer())).unwrap();
        Streams::open(&dir).err().map(|error| error.to_string())
    };
    assert_eq!(open(&disk), None);
    let path = "streams/00000000.json";
    recount_connectors::disk::Disk::delete(&disk, path).unwrap();
    let said = open(&disk).unwrap();
    assert!(said.contains("00000000.json: is damaged (it is missing)"), "{said}");
}
