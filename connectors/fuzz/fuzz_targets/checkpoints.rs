//! Of any damage to a manifest or a pack: a checkpoint is what was written, or is refused; and where the damage is in one that is not
//! the only one, another is found.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use recount_connectors::{FileSource, SourceSettings};
use recount_connectors_fuzz::KEY;
use recount_connectors_fuzz::damage::damage;
use recount_connectors_fuzz::mem_store::MemStore;
use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, Checkpoints, no_fence};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::engine::{Engine, Settings};
use recount_dataflow::store::Store as _;

/// What a checkpoint says of itself.
type Said = (u64, u64, Rules, Vec<Position>);

/// Two checkpoints in some files, and what they say.
static WRITTEN: LazyLock<(MemStore, Vec<String>, Vec<Said>)> = LazyLock::new(|| {
    let key = HashKey::new(KEY);
    let lines: String = (0..600)
        .map(|number| {
            let late = if number % 7 == 0 { 8 * 86_400_000_i64 } else { 0 };
            let timestamp = 1_700_000_000_000 + number * 1_000 - late;
            format!(
                r#"{{"click":{{"click_id":"c{number}","ad_id":"a{}","timestamp":{timestamp},"user_id":"u"}}}}"#,
                number % 5
            ) + if number % 11 == 0 { "\n{\n" } else { "\n" }
        })
        .collect();
    let dir = tempfile::TempDir::new().expect("there is room for a file");
    let path = dir.path().join("events.jsonl");
    std::fs::write(&path, lines).expect("there is room for a file");
    let path = path.to_str().expect("the name is text");
    let settings = SourceSettings { block_bytes: 8_192, ..SourceSettings::new(key, Rules::default()) };
    let mut source = FileSource::open(&[path], settings).expect("the file was just written");
    let settings = Settings { key, epoch_records: 100, ..Settings::default() };
    let mut engine = Engine::start(settings, source.streams()).expect("threads can be started");
    let store = MemStore::default();
    let checkpointer = Checkpointer::open(Arc::new(store.clone()), engine.reader(), 1, 2, no_fence);
    let mut checkpointer = checkpointer.expect("there is memory");
    let mut batches = 0;
    while let Some(batch) = source.next_batch().expect("the file is whole") {
        engine.push(batch, None).expect("the engine runs");
        batches += 1;
        if batches == 2 {
            engine.close_epoch(None).expect("the engine runs");
            engine.drain().expect("the engine runs");
            checkpointer.write().expect("there is memory");
        }
    }
    engine.close_epoch(None).expect("the engine runs");
    engine.drain().expect("the engine runs");
    checkpointer.write().expect("there is memory");
    engine.shutdown().expect("the engine runs");
    let checkpoints = Checkpoints::new(Arc::new(store.clone()));
    let said: Vec<Said> = (checkpoints.list().expect("nothing is damaged yet").iter())
        .map(|info| said(&checkpoints.load(info.number).expect("nothing is damaged yet")))
        .collect();
    assert_eq!(said.len(), 2);
    let files = store.list().expect("it is in memory");
    (store, files, said)
});

fuzz_target!(|input: (u8, &[u8])| {
    let (store, files, written) = &*WRITTEN;
    let store = store.copy();
    let file = &files[usize::from(input.0) % files.len()];
    store.damage(file, |bytes| damage(bytes, input.1));
    let checkpoints = Checkpoints::new(Arc::new(store));
    let loaded: Vec<Said> = (written.iter())
        .filter_map(|(number, ..)| checkpoints.load(*number).ok())
        .inspect(|checkpoint| assert!(written.contains(&said(checkpoint)), "{:?}", said(checkpoint)))
        .map(|checkpoint| said(&checkpoint))
        .collect();
    let newest = checkpoints.newest().ok().and_then(|found| found.checkpoint);
    assert!(newest.map(|newest| said(&newest)).as_ref() == loaded.last(), "the newest is the last that can be loaded");
    assert!(!file.ends_with(".manifest") || !loaded.is_empty(), "one manifest was damaged, and none can be used");
});

fn said(checkpoint: &Checkpoint) -> Said {
    (checkpoint.number(), checkpoint.epoch(), *checkpoint.rules(), checkpoint.positions())
}
