//! A feed that is held back where the state takes more memory than it should.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use recount_connectors::Format;
use recount_connectors::data_dir::{NewStore, StoreSource};
use recount_connectors::log::LogSettings;
use recount_connectors::store::Place;
use recount_dataflow::checkpoint::{Checkpointer, MemoryBudget};
use recount_dataflow::engine::{Engine, History, Settings};
use recount_dataflow::read::Reader;

use super::watched::Watched;
use crate::feed::{Brake, Feed};
use crate::store::{Begun, Checkpointing, Pace, Records, Store, StoreSettings};

const APPENDS: u64 = 300;
const RECORDS: u64 = 1_000;

fn records_in(reader: &Reader) -> u64 {
    reader.snapshot(None).unwrap().totals().records_in
}

#[test]
fn the_feed_waits_for_checkpoints_that_are_slower_than_records_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let pace = Pace { interval: Duration::from_secs(3_600), records: u64::MAX, memory_budget: Some(1 << 20) };
    let settings = StoreSettings {
        dir: dir.path().to_owned(),
        new: NewStore { id: 1, hash_secret: [7; 16], partitions: 2, source: StoreSource::Log },
        log: LogSettings::default(),
        checkpoints: Place::Directory,
        pace,
        checkpoints_kept: 2,
        kafka: None,
    };
    let engine_settings = Settings { history: History::newest_only(), epoch_records: 10_000, ..Settings::default() };
    let stopping = Arc::new(AtomicBool::new(false));
    let chosen = Begun::begin(&settings, engine_settings.rules, &stopping).unwrap().choose(u64::MAX).unwrap();
    let store = chosen.take_over(u64::MAX, stopping).unwrap();
    let Store { dir, records, checkpoint, recorded, bindings, source, files, .. } = store;
    let retain = records.retention();
    let Records::Log(log, _failure) = records else { panic!("the store has a log of its own") };
    for number in 0..APPENDS {
        let mut append = log.begin(1_800_000_000_000);
        for click in number * RECORDS..(number + 1) * RECORDS {
            let line = format!(
                "{{\"click\":{{\"click_id\":\"c{click}\",\"ad_id\":\"a{}\",\"user_id\":\"u{click}\",\"timestamp\":{}}}}}",
                click % 1_000,
                1_790_000_000_000 + click as i64 * 1_000
            );
            append.push(Format::JsonLines, line.as_bytes()).unwrap();
        }
        log.append_and_wait(append).unwrap();
    }
    let engine = Engine::restore(engine_settings, source.streams(), checkpoint, Box::new(bindings)).unwrap();
    let reader = engine.reader();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    // Files that can not be made before somebody opens the gate.
    let held = gate.clone();
    let before_create = Box::new(move |_: &str| {
        drop(held.1.wait_while(held.0.lock().unwrap(), |is_open| !*is_open).unwrap());
    });
    let gated = Arc::new(Watched { files, before_create });
    let fence = dir.fence();
    let fence = move || fence.check().map_err(std::io::Error::other);
    let checkpointer = Checkpointer::open(gated, reader.clone(), 1, 2, fence).unwrap();
    let budget = Arc::new(MemoryBudget::new(1 << 20, reader.clone()));
    let brake = Some(Brake::new(budget.clone()));
    let feed = Feed::start(engine, source, Box::new(recorded), Duration::from_millis(5), brake, None).unwrap();
    let checkpoints = Checkpointing::start(checkpointer, dir, retain, pace, Some(budget.clone())).unwrap();

    while budget.held().is_zero() {
        assert!(records_in(&reader) < APPENDS * RECORDS, "everything came in, and {:?} is held", budget.taken());
        thread::sleep(Duration::from_millis(1));
    }
    // It stands, and is answered from, for as long as no checkpoint is written.
    let (came_in, held) = (records_in(&reader), budget.held());
    while budget.held() < held + Duration::from_millis(200) {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(records_in(&reader), came_in);
    assert!(came_in < APPENDS * RECORDS);

    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    while records_in(&reader) < APPENDS * RECORDS {
        thread::sleep(Duration::from_millis(10));
    }
    feed.stop();
    checkpoints.stop(true);
    assert_eq!(reader.snapshot(None).unwrap().totals().received, APPENDS * RECORDS);
}
