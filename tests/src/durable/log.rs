//! What was sent to a log, what it acknowledged, and what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use recount_connectors::data_dir::{DataDir, DataDirError, NewStore, StoreSource};
use recount_connectors::log::{AppendError, Appended, Log, LogSettings, LogSource, LogView, Retention};
use recount_connectors::{Format, Next, Source as _, SourceError};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::fingerprint::HashKey;
use recount_dataflow::domain::rules::Rules;

use crate::disk::FaultDisk;

/// The store of these tests.
pub const NEW_STORE: NewStore =
    NewStore { id: 0xfeed_5eed_0bad_cafe, hash_secret: [9; 16], source: StoreSource::Log, partitions: 2 };
/// When the first record arrives; each comes a millisecond after the one before.
pub const ARRIVAL_MS: i64 = 1_700_000_000_000;
/// What retention leaves, in bytes.
const RETAINED: u64 = 6_000;

/// Everything that is known of a log from outside.
#[derive(Default)]
pub struct LogWorld {
    /// Records sent so far; each carries its number.
    sent: u32,
    /// Appends that were acknowledged: where, and the numbers in them.
    acked: Vec<(Appended, Vec<u32>)>,
    /// The floor that retention was last given.
    floor: Vec<u64>,
}

/// What a partition holds: the number in each record, and where the record ends.
type Held = BTreeMap<u16, Vec<(u32, u64)>>;

/// Opens the data directory of these tests.
///
/// # Errors
/// As [`DataDir::open`].
pub fn open_dir(disk: &FaultDisk) -> Result<DataDir, DataDirError> {
    DataDir::open(Arc::new(disk.clone()), &NEW_STORE, Rules::default())
}

/// The settings of these tests.
pub fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 2_500,
        commit_window: Duration::ZERO,
        retention: Retention { age: None, bytes: Some(RETAINED) },
        ..LogSettings::default()
    }
}

/// Opens the log and appends by a seed, in groups, until something fails or `groups` are done; says whether all went well.
pub fn history(disk: &FaultDisk, world: &mut LogWorld, seed: u64, groups: usize) -> bool {
    let Ok(dir) = open_dir(disk) else { return false };
    let Ok(log) = Log::open(&dir, settings(), |_| false, |_| {}) else { return false };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..groups {
        let appends = rng.random_range(1..4);
        if world.append_group(&log, &mut rng, appends).iter().any(Result::is_err) {
            return false;
        }
        if rng.random_bool(0.1) && !world.retain(&log, &mut rng) {
            return false;
        }
    }
    true
}

impl LogWorld {
    /// Opens the log for more.
    ///
    /// # Panics
    /// Where it does not open.
    pub fn open(&self, dir: &DataDir) -> Log {
        self.open_with(dir, settings())
    }

    /// Opens the log with other settings.
    ///
    /// # Panics
    /// Where it does not open.
    pub fn open_with(&self, dir: &DataDir, settings: LogSettings) -> Log {
        Log::open(dir, settings, |_| false, |_| {}).unwrap()
    }

    /// How many records were sent.
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// Says below which offsets retention may take what it takes.
    pub fn allow(&mut self, floor: Vec<u64>) {
        self.floor = floor;
    }

    /// Sends some appends at once and waits for all; returns what became of each.
    pub fn append_group(
        &mut self,
        log: &Log,
        rng: &mut ChaCha8Rng,
        appends: usize,
    ) -> Vec<Result<Appended, AppendError>> {
        let waiting: Vec<_> = (0..appends)
            .map(|_| {
                let mut append = log.begin(ARRIVAL_MS + i64::from(self.sent));
                let first = self.sent;
                self.sent += rng.random_range(1..5);
                for number in first..self.sent {
                    let format = if number % 2 == 0 { Format::JsonLines } else { Format::Protobuf };
                    let pad = rng.random_range(0..400);
                    append.push(format, format!("{number}:{}", "x".repeat(pad)).as_bytes()).unwrap();
                }
                let (done, outcome) = mpsc::channel();
                log.append(append, move |appended| done.send(appended).unwrap());
                (first..self.sent, outcome)
            })
            .collect();
        let outcomes = waiting.into_iter().map(|(numbers, outcome)| {
            let outcome = outcome.recv().expect("every append is told what became of it");
            if let Ok(appended) = &outcome {
                self.acked.push((*appended, numbers.collect()));
            }
            outcome
        });
        outcomes.collect()
    }

    /// Lets retention take what it may, below a floor drawn from what was acknowledged.
    fn retain(&mut self, log: &Log, rng: &mut ChaCha8Rng) -> bool {
        let view = log.view();
        let floor =
            (0..view.partitions()).map(|partition| rng.random_range(view.start(partition)..=view.end(partition)));
        self.floor = floor.collect();
        log.retain(&self.floor, 0).is_ok()
    }

    /// The offset up to which a partition was acknowledged.
    pub fn end(&self, partition: u16) -> u64 {
        self.acked.iter().filter(|(at, _)| at.partition == partition).map(|(at, _)| at.end).max().unwrap_or(0)
    }

    /// Everything acknowledged is there, or was taken by retention, below the floor; nothing is there twice, out of order or
    /// torn; and there is nothing that was not sent.
    ///
    /// # Panics
    /// Where it is not so.
    pub fn check(&self, disk: &FaultDisk) {
        let dir = open_dir(disk).unwrap_or_else(|error| panic!("{error}"));
        let before = read(&LogView::read_only(&dir).unwrap_or_else(|error| panic!("{error}")));
        let log = Log::open(&dir, settings(), |_| false, |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let held = read(&log.view());
        self.check_held(&log.view(), &held);
        assert_eq!(before, held, "a reader beside the writer sees the same");
    }

    /// The same, of what was read already.
    fn check_held(&self, view: &LogView, held: &Held) {
        let mut seen = BTreeSet::new();
        for records in held.values() {
            assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0), "records changed places: {records:?}");
            assert!(records.iter().all(|(number, _)| *number < self.sent && seen.insert(*number)), "{records:?}");
        }
        for (at, numbers) in &self.acked {
            let records = &held[&at.partition];
            if at.end <= view.start(at.partition) {
                assert!(at.end <= self.floor[usize::from(at.partition)], "retention took what is behind its floor");
                continue;
            }
            let last = records.partition_point(|(_, end)| *end < at.end);
            assert_eq!(
                records.get(last).map(|(_, end)| *end),
                Some(at.end),
                "an acknowledged append is gone: {numbers:?}"
            );
            let found: Vec<u32> = records[last + 1 - numbers.len()..=last].iter().map(|(number, _)| *number).collect();
            assert_eq!(&found, numbers, "an acknowledged append is not what it was");
        }
    }

    /// Reads everything that was acknowledged, as a replay of bound epochs does: it is as it was, or an error says that it is
    /// not.
    ///
    /// # Panics
    /// Where anything is read that was not sent, or is silently missing.
    pub fn check_damaged(&self, disk: &FaultDisk) {
        let Ok(dir) = DataDir::read_only(Arc::new(disk.clone())) else { return };
        let Ok(view) = LogView::read_only(&dir) else { return };
        let ends: Vec<u64> = (0..view.partitions()).map(|partition| self.end(partition)).collect();
        if let Ok(held) = read_to(&view, &ends) {
            self.check_held(&view, &held);
        }
    }
}

/// All that a log holds.
fn read(view: &Arc<LogView>) -> Held {
    let ends: Vec<u64> = (0..view.partitions()).map(|partition| view.end(partition)).collect();
    read_to(view, &ends).unwrap_or_else(|error| panic!("{error}"))
}

/// What the partitions hold up to these offsets.
fn read_to(view: &Arc<LogView>, ends: &[u64]) -> Result<Held, SourceError> {
    let starts = (0..view.partitions()).map(|stream| Position { stream, offset: view.start(stream) });
    let starts: Vec<Position> = starts.collect();
    let mut source = LogSource::start(view, HashKey::new([9; 16]), Rules::default(), &starts)?;
    let mut held = Held::new();
    for (partition, end) in (0..).zip(ends) {
        let records = held.entry(partition).or_default();
        loop {
            match source.next_of(partition, *end, Duration::from_secs(20))? {
                Next::Batch(batch) => {
                    // No record of these is an event, so all are broken, and keep their bytes.
                    assert!(batch.facts.is_empty());
                    records.extend(batch.broken.iter().map(|broken| {
                        let (payload, end) = batch.raw.record(broken.position.offset);
                        assert_eq!(payload, &*broken.payload);
                        (number(payload), end)
                    }));
                }
                Next::End => break,
                Next::Waiting => panic!("partition {partition} stands still before {end}"),
            }
        }
    }
    Ok(held)
}

fn number(payload: &[u8]) -> u32 {
    let text = std::str::from_utf8(payload).unwrap();
    let (number, pad) = text.split_once(':').unwrap();
    assert!(pad.bytes().all(|byte| byte == b'x'), "a torn record: {text}");
    number.parse().unwrap()
}
