//! Of any damage to a segment of the log: what is read is a beginning of what was written, to the byte, and where that is not all,
//! the tail was torn or an error says what is wrong.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use recount_connectors::data_dir::{DataDir, NewStore, StoreSource};
use recount_connectors::log::{Log, LogSettings, LogSource, LogView};
use recount_connectors::{Format, Next, Source as _};
use recount_connectors_fuzz::KEY;
use recount_connectors_fuzz::damage::damage;
use recount_connectors_fuzz::disk::{FaultDisk, Loss};
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;

const STORE: NewStore = NewStore { id: 0xfeed_5eed, hash_secret: KEY, source: StoreSource::Log, partitions: 1 };
/// Long enough for any machine: the log that is read does not grow.
const WAIT: Duration = Duration::from_secs(60);

/// A record: where it starts, and its bytes.
type Records = Vec<(u64, Vec<u8>)>;

/// A log of several segments, the paths of these, and its records.
static WRITTEN: LazyLock<(FaultDisk, Vec<String>, Records)> = LazyLock::new(|| {
    let disk = FaultDisk::default();
    let dir = DataDir::open(Arc::new(disk.clone()), &STORE, Rules::default()).expect("the disk is empty and sound");
    let settings = LogSettings { segment_bytes: 1_200, commit_window: Duration::ZERO, ..LogSettings::default() };
    let log = Log::open(&dir, settings, |_| false, |failure| panic!("{failure}")).expect("the disk is sound");
    for group in 0..8 {
        let mut append = log.begin(1_700_000_000_000 + group);
        for number in 0..3 {
            let line = format!(
                r#"{{"click":{{"click_id":"{group}-{number}","ad_id":"a","timestamp":1700000000000,"user_id":"{}"}}}}"#,
                "u".repeat(group as usize * 7)
            );
            append.push(Format::JsonLines, line.as_bytes()).expect("a record is short");
        }
        append.push(Format::Protobuf, &[0x0a, 3, 0x0a, 1, b'c']).expect("a record is short");
        log.append_and_wait(append).expect("the disk is sound");
    }
    drop((log, dir));
    let disk = disk.restart(Loss::Nothing);
    let segments = disk.files().into_iter().filter(|(path, bytes)| path.starts_with("log/") && *bytes > 0);
    let segments: Vec<String> = segments.map(|(path, _)| path).collect();
    assert!(segments.len() > 2, "{segments:?}");
    let records = read(&disk).expect("nothing is damaged yet");
    assert_eq!(records.len(), 32);
    (disk, segments, records)
});

fuzz_target!(|input: (u8, &[u8])| {
    let (disk, segments, written) = &*WRITTEN;
    let number = usize::from(input.0) % segments.len();
    let disk = disk.copy();
    disk.damage(&segments[number], |bytes| damage(bytes, input.1));
    if let Ok(read) = read(&disk) {
        assert!(written.starts_with(&read), "{read:?}");
        assert!(read.len() == written.len() || number + 1 == segments.len(), "only the last segment may be torn");
    }
});

/// All records, or why they can not be had.
fn read(disk: &FaultDisk) -> Result<Records, String> {
    let dir = DataDir::read_only(Arc::new(disk.clone())).map_err(|error| error.to_string())?;
    let view = LogView::read_only(&dir).map_err(|error| error.to_string())?;
    let source = LogSource::start(&view, HashKey::new(KEY), Rules::default(), &[]);
    let mut source = source.map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    loop {
        match source.next_within(WAIT).map_err(|error| error.to_string())? {
            Next::End => break,
            Next::Waiting => panic!("a log that does not grow is not waited for"),
            Next::Batch(batch) => {
                let positions = batch.facts.iter().map(|fact| fact.position());
                let positions = positions.chain(batch.broken.iter().map(|broken| broken.position));
                records
                    .extend(positions.map(|position| (position.offset, batch.raw.record(position.offset).0.to_vec())));
            }
        }
    }
    records.sort();
    let raw = source.raw_store();
    for (offset, bytes) in &records {
        assert_eq!(&raw.record(0, *offset).expect("the source has just read it").bytes, bytes);
    }
    Ok(records)
}
