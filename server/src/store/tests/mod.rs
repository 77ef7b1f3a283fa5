//! Two writers over one directory whose lock does not hold.

mod memory;
mod watched;

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use recount_connectors::Format;
use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::log::{Log, LogSettings};
use recount_connectors::store::Place;
use recount_dataflow::checkpoint::{CheckpointError, Checkpointer, Checkpoints};
use recount_dataflow::engine::{Engine, Settings};
use recount_dataflow::read::Reader;

use self::watched::Watched;
use super::{Begun, Pace, Records, Store, StoreSettings};
use crate::feed::Feed;

const RECORDS: u64 = 2_000;

/// What is done once, when the first manifest is about to be made.
type Amid = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A writer as `serve` joins it, whose checkpoints are asked for by hand.
struct Writer {
    dir: Arc<DataDir>,
    log: Arc<Log>,
    reader: Reader,
    files: Arc<Watched>,
    amid: Amid,
    checkpointer: Checkpointer,
    feed: Feed,
}

impl Writer {
    /// Takes the directory from whoever has it.
    fn start(path: &Path) -> Writer {
        let lock = path.join("LOCK");
        if lock.exists() {
            std::fs::remove_file(lock).unwrap();
        }
        let settings = StoreSettings {
            dir: path.to_owned(),
            new: NewStore { id: 1, hash_secret: [7; 16], partitions: 2, source: StoreSource::Log },
            log: LogSettings::default(),
            checkpoints: Place::Directory,
            pace: Pace { interval: Duration::from_secs(3_600), records: u64::MAX, memory_budget: None },
            checkpoints_kept: 2,
            kafka: None,
        };
        let chosen = Begun::begin(&settings, Settings::default().rules, &AtomicBool::new(false))
            .unwrap()
            .choose(u64::MAX)
            .unwrap();
        let store = chosen.take_over(u64::MAX, Arc::new(AtomicBool::new(false))).unwrap();
        let Store { dir, records, checkpoint, recorded, bindings, source, files, .. } = store;
        let Records::Log(log, _failure) = records else { panic!("the store has a log of its own") };
        let engine = Settings { key: dir.hash_key(), ..Settings::default() };
        let engine = Engine::restore(engine, source.streams(), checkpoint, Box::new(bindings)).unwrap();
        let reader = engine.reader();
        let amid = Amid::default();
        let due = amid.clone();
        let before_create = Box::new(move |name: &str| {
            let amid = due.lock().unwrap().take_if(|_| name.ends_with(".manifest"));
            amid.into_iter().for_each(|amid| amid());
        });
        let files = Arc::new(Watched { files, before_create });
        let fence = dir.fence();
        let number = fence.writer().into();
        let fence = move || fence.check().map_err(io::Error::other);
        let checkpointer = Checkpointer::open(files.clone(), reader.clone(), number, 2, fence).unwrap();
        let feed = Feed::start(engine, source, Box::new(recorded), Duration::from_millis(5), None, None).unwrap();
        Writer { dir, log, reader, files, amid, checkpointer, feed }
    }

    fn append(&self, round: u64) {
        append(&self.log, &self.reader, round);
    }

    fn checkpoint(&mut self) -> Result<u64, CheckpointError> {
        self.checkpointer.write().map(|written| written.unwrap().number)
    }
}

/// Takes in some records, and waits until they are readable.
fn append(log: &Log, reader: &Reader, round: u64) {
    let mut append = log.begin(1_800_000_000_000);
    for n in round * RECORDS..(round + 1) * RECORDS {
        let at_ms = 1_790_000_000_000 + n as i64;
        let line = format!("{{\"click\":{{\"click_id\":\"c{n}\",\"ad_id\":\"a\",\"timestamp\":{at_ms}}}}}");
        append.push(Format::JsonLines, line.as_bytes()).unwrap();
    }
    log.append_and_wait(append).unwrap();
    while reader.snapshot(None).unwrap().totals().records_in < (round + 1) * RECORDS {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_writer_that_is_replaced_amid_a_checkpoint_makes_none_and_deletes_nothing() {
    let path = tempfile::tempdir().unwrap();
    let mut old = Writer::start(path.path());
    old.append(0);
    assert_eq!(old.checkpoint().unwrap(), 1);
    // Amid the second checkpoint one more epoch comes to be, and another process takes over.
    old.append(1);
    let taken_over = Arc::new(Mutex::new(None));
    let (log, reader, place, new) =
        (old.log.clone(), old.reader.clone(), path.path().to_owned(), Arc::clone(&taken_over));
    *old.amid.lock().unwrap() = Some(Box::new(move || {
        append(&log, &reader, 2);
        *new.lock().unwrap() = Some(Writer::start(&place));
    }));
    let replaced = |made: Result<u64, CheckpointError>| match made {
        Err(error @ CheckpointError::Replaced { .. }) => assert!(!error.is_retryable(), "{error}"),
        made => panic!("{made:?} by a writer that was replaced"),
    };
    replaced(old.checkpoint());
    let mut new = taken_over.lock().unwrap().take().unwrap();
    assert_eq!(new.reader.restored_from(), Some(1));
    replaced(old.checkpoint());
    assert!(recount_connectors::bindings::delete_bindings_below(&old.dir, u64::MAX).is_err());

    // What the first one holds is still there, and the next ones name it.
    new.append(3);
    let written = [new.checkpoint().unwrap()];
    new.append(4);
    let written = [written[0], new.checkpoint().unwrap()];
    let checkpoints = Checkpoints::new(new.files.clone());
    let kept: Vec<u64> = checkpoints.list().unwrap().iter().map(|listed| listed.number).collect();
    assert_eq!(kept, written);
    kept.into_iter().for_each(|number| drop(checkpoints.load(number).unwrap()));
    old.feed.stop();
    new.feed.stop();
}
