//! The log, its source and the rest of the data directory on the system's own disk.

#![allow(clippy::unwrap_used)]

#[expect(dead_code, reason = "half of it is for reading files")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_connectors::data_dir::{DataDir, DataDirError, NewStore, StoreSource};
use recount_connectors::disk::SystemDisk;
use recount_connectors::log::{Appended, Log, LogSettings, LogSource, LogView};
use recount_connectors::{Format, Next, Source};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::intake::Batch;
use support::{click, message};
use tempfile::tempdir;

const NEW: NewStore = NewStore { id: 0x1234_5678_9abc, hash_secret: [7; 16], source: StoreSource::Log, partitions: 2 };
const ARRIVAL_MS: i64 = 1_700_000_000_000;

fn open(path: &Path) -> Result<DataDir, DataDirError> {
    DataDir::open(Arc::new(SystemDisk::create(path).unwrap()), &NEW, Rules::default())
}

fn open_log(dir: &DataDir, settings: LogSettings) -> Log {
    Log::open(dir, settings, |_| false, |failure| panic!("{failure}")).unwrap()
}

/// Appends clicks with these numbers, JSON and protobuf by turns.
fn append(log: &Log, numbers: impl IntoIterator<Item = u32>) -> Appended {
    let mut append = log.begin(ARRIVAL_MS);
    for number in numbers {
        match number % 2 {
            0 => append.push(Format::JsonLines, click(number).as_bytes()).unwrap(),
            _ => append.push(Format::Protobuf, &message(number)[1..]).unwrap(),
        }
    }
    log.append_and_wait(append).unwrap()
}

fn start(view: &Arc<LogView>, positions: &[Position]) -> LogSource {
    LogSource::start(view, HashKey::new([7; 16]), Rules::default(), positions).unwrap()
}

fn read(source: &mut LogSource, records: usize) -> Vec<Position> {
    let mut seen = Vec::new();
    while seen.len() < records {
        match source.next_within(Duration::from_secs(20)).unwrap() {
            Next::Batch(batch) => seen.extend(positions(&batch)),
            Next::Waiting => panic!("{} of {records} records came", seen.len()),
            Next::End => panic!("the source ended"),
        }
    }
    seen
}

fn positions(batch: &Batch) -> Vec<Position> {
    assert_eq!(batch.broken, []);
    batch.facts.iter().map(|fact| fact.position()).collect()
}

#[test]
fn what_is_appended_comes_out_of_the_source_and_after_a_restart_again() {
    let temp = tempdir().unwrap();
    let dir = open(temp.path()).unwrap();
    let log = open_log(&dir, LogSettings::default());
    let mut source = start(&log.view(), &[]);
    let ends: Vec<Appended> = (0..10).map(|number| append(&log, number * 10..number * 10 + 10)).collect();
    let mut seen = read(&mut source, 100);
    seen.sort();
    let raw = source.raw_store();
    assert_eq!(raw.record(seen[0].stream, seen[0].offset).unwrap().bytes, click(0).as_bytes());
    drop((source, log, dir));

    let dir = open(temp.path()).unwrap();
    let log = open_log(&dir, LogSettings::default());
    for end in &ends {
        assert!(end.end <= log.view().end(end.partition));
    }
    let mut source = start(&log.view(), &[]);
    append(&log, 100..110);
    let mut again = read(&mut source, 110);
    again.sort();
    assert!(seen.iter().all(|position| again.binary_search(position).is_ok()));
    let raw = source.raw_store();
    let found: Vec<u8> = raw.record(again[0].stream, again[0].offset).unwrap().bytes;
    assert_eq!(found, click(0).as_bytes());
}

#[test]
fn a_recorded_epoch_is_cut_again_where_it_was() {
    let temp = tempdir().unwrap();
    let dir = open(temp.path()).unwrap();
    let log = open_log(&dir, LogSettings { segment_bytes: 2_000, ..LogSettings::default() });
    for number in 0..20 {
        append(&log, number * 10..number * 10 + 10);
    }
    let mut whole = read(&mut start(&log.view(), &[]), 200);
    whole.sort();
    let of_first: Vec<Position> = whole.iter().copied().filter(|position| position.stream == 0).collect();
    for cut in [0, 1, 9, 10, 11, 55, 99] {
        let end = of_first[cut].offset;
        let mut source = start(&log.view(), &[]);
        let mut first = Vec::new();
        while let Next::Batch(batch) = source.next_of(0, end, Duration::from_secs(20)).unwrap() {
            first.extend(positions(&batch));
        }
        assert_eq!(first, of_first[..cut]);
        let mut rest = [first, read(&mut source, 200 - cut)].concat();
        rest.sort();
        assert_eq!(rest, whole, "cut at {cut}");
        // And a source that starts there.
        let at = [Position { stream: 0, offset: end }, Position { stream: 1, offset: log.view().end(1) }];
        assert_eq!(read(&mut start(&log.view(), &at), 100 - cut), of_first[cut..]);
    }
    let inside = Position { stream: 0, offset: of_first[5].offset + 1 };
    assert!(LogSource::start(&log.view(), HashKey::new([7; 16]), Rules::default(), &[inside]).is_err());
}

#[test]
fn a_second_process_is_refused_and_told_by_whom() {
    let temp = tempdir().unwrap();
    let first = open(temp.path()).unwrap();
    let refused = open(temp.path()).err().unwrap();
    let said = refused.to_string();
    assert!(said.contains(&format!("pid {}", std::process::id())) && said.contains(temp.path().to_str().unwrap()));
    drop(first);
    assert_eq!(open(temp.path()).unwrap().fence().writer(), 2);
}

#[test]
fn a_lone_append_is_visible_at_once() {
    let temp = tempdir().unwrap();
    let dir = open(temp.path()).unwrap();
    let log = open_log(&dir, LogSettings { commit_window: Duration::from_secs(5), ..LogSettings::default() });
    let mut source = start(&log.view(), &[]);
    let started = Instant::now();
    append(&log, 0..10);
    read(&mut source, 10);
    assert!(started.elapsed() < Duration::from_secs(2), "the commit window made a lone append wait");
}
