//! What is known of a data directory from outside: what was sent, what was acknowledged, and what was read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use recount_connectors::Format;
use recount_connectors::log::{Appended, LogSettings, Retention};
use recount_dataflow::domain::fact::Position;
use recount_dataflow::engine::KeptWindows;
use recount_dataflow::read::Digest;
use recount_dataflow::store::EpochBinding;

use super::{Daemon, DaemonSettings, Stopped};
use crate::disk::FaultDisk;
use crate::harness::{settings, wall_ms};
use crate::history::{ALL_EPOCHS, Cut, History};
use crate::record::{Body, Record};

/// Records of a history: few, so that many histories can be run.
const RECORDS_MAX: usize = 30;
/// What retention leaves of the log, in bytes.
const RETAINED_BYTES: u64 = 1_000;

/// Some records that a client sends together until they are acknowledged.
#[derive(Clone)]
struct Sending {
    records: std::ops::Range<usize>,
    sent: u64,
    acknowledged: Vec<Appended>,
}

/// A history that is sent to a daemon through crashes, and what is known of it from outside.
#[derive(Clone)]
pub struct World {
    /// The history: its records are sent in their order.
    pub history: History,
    /// When records arrive: always at the same time, or a replay could not be held against a model.
    pub(super) arrival_ms: i64,
    /// Whether the log is cut.
    pub(super) has_retention: bool,
    /// Bytes after which files of the log are full; those of bindings hold a quarter.
    file_bytes: u64,
    sendings: Vec<Sending>,
    bodies: HashMap<String, Body>,
    /// What the log was seen to hold: each record, and where it ends.
    pub(super) held: BTreeMap<Position, (String, u64)>,
    /// What was seen to be bound.
    pub(super) bound: BTreeMap<u64, EpochBinding>,
    /// What was read, by epoch.
    pub(super) digests: BTreeMap<u64, Digest>,
    pub(super) rng: ChaCha8Rng,
}

impl World {
    /// The world of a seed, in which nothing was sent yet.
    pub fn new(seed: u64) -> World {
        let mut histories = (0..).map(|more| History::from_seed(seed + 1_000_000 * more));
        let history = histories.find(|history| 12 <= history.records.len()).expect("some history is long enough");
        World::of(history, seed, RECORDS_MAX)
    }

    /// The world of a long history, whose log is never cut.
    pub fn large(seed: u64, records: usize) -> World {
        World { has_retention: false, file_bytes: 20_000, ..World::of(History::large(seed), seed, records) }
    }

    fn of(mut history: History, seed: u64, records_max: usize) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        history.records.truncate(records_max);
        history.plan.kept = KeptWindows::All;
        history.plan.history_epochs = ALL_EPOCHS;
        history.plan.cut = if rng.random_bool(0.5) { Cut::Labels } else { Cut::Every(rng.random_range(2..9)) };
        let latest_ms = history.records.iter().filter_map(event_ms).max().unwrap_or_default();
        let arrival_ms = match rng.random_bool(0.7) {
            true => latest_ms,
            // The latest are ahead of their arrival, and are quarantined.
            false => latest_ms - history.rules.max_future_skew_ms - 1,
        };
        let (mut sendings, mut first) = (Vec::new(), 0);
        while first < history.records.len() {
            let next = (first + rng.random_range(1..5)).min(history.records.len());
            sendings.push(Sending { records: first..next, sent: 0, acknowledged: Vec::new() });
            first = next;
        }
        let bodies = history.records.iter().map(|record| (record.to_json(), record.body.clone())).collect();
        let has_retention = rng.random_bool(0.4);
        let (held, bound, digests) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let file_bytes = 700;
        World { history, arrival_ms, has_retention, file_bytes, sendings, bodies, held, bound, digests, rng }
    }

    /// The same, of a log that is never cut.
    pub fn uncut(seed: u64) -> World {
        World { has_retention: false, ..World::new(seed) }
    }

    /// What was read of every epoch, in their order.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.digests.values()
    }

    /// What the next process runs with: any number of workers.
    pub fn settings(&mut self) -> DaemonSettings {
        self.history.plan.workers = self.rng.random_range(1..4);
        let bytes = self.has_retention.then_some(RETAINED_BYTES);
        let log = LogSettings {
            segment_bytes: self.file_bytes,
            commit_window: Duration::ZERO,
            retention: Retention { age: None, bytes },
            ..LogSettings::default()
        };
        DaemonSettings { engine: settings(&self.history), log, bindings_bytes: self.file_bytes / 4 }
    }

    /// The life of one process: it starts, does `steps` things, and shuts down or is killed, unless it is stopped before.
    ///
    /// # Errors
    /// Where it was stopped.
    pub fn live(&mut self, disk: &FaultDisk, steps: usize) -> Result<(), Stopped> {
        let mut daemon = Daemon::start(Arc::new(disk.clone()), &self.settings())?;
        self.observe(&daemon);
        for _ in 0..steps {
            match self.rng.random_range(0..10) {
                0..4 => self.send(&daemon)?,
                4..7 => self.feed(&mut daemon)?,
                7 => self.observe(&daemon),
                _ => {
                    self.learn(disk);
                    daemon.checkpoint()?;
                }
            }
        }
        // Some end as they are asked to; the others are killed.
        if self.rng.random_bool(0.5) {
            self.learn(disk);
            daemon.shut_down()?;
        }
        Ok(())
    }

    /// One more process, that does all that is left, and in which everything is held against the model.
    ///
    /// # Panics
    /// Where it can not, or where anything is wrong.
    pub fn finish(&mut self, disk: &FaultDisk) {
        let finished = self.try_finish(disk);
        finished.unwrap_or_else(|stopped| panic!("the last process stopped: {}", stopped.0));
    }

    fn try_finish(&mut self, disk: &FaultDisk) -> Result<(), Stopped> {
        let mut daemon = Daemon::start(Arc::new(disk.clone()), &self.settings())?;
        self.observe(&daemon);
        while self.sendings.iter().any(|sending| sending.acknowledged.is_empty()) {
            self.send(&daemon)?;
        }
        while daemon.is_behind() {
            self.feed(&mut daemon)?;
        }
        self.learn(disk);
        daemon.checkpoint()?;
        self.observe(&daemon);
        self.check(&mut daemon, disk).unwrap_or_else(|difference| panic!("{difference}"));
        Ok(())
    }

    /// Sends what comes next until it is acknowledged, now and then something once more: its acknowledgement got lost.
    fn send(&mut self, daemon: &Daemon) -> Result<(), Stopped> {
        let next = self.sendings.iter().position(|sending| sending.acknowledged.is_empty());
        let again = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..self.sendings.len()));
        let Some(number) = again.filter(|number| next.is_none_or(|next| *number < next)).or(next) else {
            return Ok(());
        };
        let sending = &mut self.sendings[number];
        let mut append = daemon.begin(self.arrival_ms);
        for record in &self.history.records[sending.records.clone()] {
            append.push(Format::JsonLines, record.to_json().as_bytes()).expect("records are short");
        }
        sending.sent += 1;
        sending.acknowledged.extend(daemon.append(append)?);
        Ok(())
    }

    /// Takes records in, all there are or some, and closes an epoch.
    pub(super) fn feed(&mut self, daemon: &mut Daemon) -> Result<(), Stopped> {
        while daemon.is_behind() {
            daemon.take_batch(self.wall_ms(daemon))?;
            if self.rng.random_bool(0.3) {
                break;
            }
        }
        daemon.close_epoch(self.wall_ms(daemon))
    }

    fn wall_ms(&self, daemon: &Daemon) -> i64 {
        wall_ms(&self.history, daemon.reader().readable().upper)
    }

    /// Reads every readable epoch: what was read before is read again.
    ///
    /// # Panics
    /// Where it is not as it was.
    fn observe(&mut self, daemon: &Daemon) {
        let readable = daemon.reader().readable();
        let known = self.digests.last_key_value().map_or(0, |(epoch, _)| *epoch);
        assert!(known < readable.upper, "epoch {known} was read, and is gone: {readable:?}");
        for epoch in readable.since..readable.upper {
            let digest = daemon.reader().snapshot(Some(epoch)).unwrap().digest();
            let seen = self.digests.entry(epoch).or_insert_with(|| digest.clone());
            assert_eq!(*seen, digest, "epoch {epoch} is not what it was");
        }
    }

    /// Every acknowledged append lies in the log, whole, and no record lies there more often than it was sent.
    pub(super) fn check_log(&self) -> Result<(), String> {
        let mut times: HashMap<&str, u64> = HashMap::new();
        self.held.values().for_each(|(payload, _)| *times.entry(payload).or_default() += 1);
        let mut sent: HashMap<String, (u64, u64)> = HashMap::new();
        for sending in &self.sendings {
            let payloads: Vec<String> =
                self.history.records[sending.records.clone()].iter().map(Record::to_json).collect();
            for payload in &payloads {
                let (least, most) = sent.entry(payload.clone()).or_default();
                *least += sending.acknowledged.len() as u64;
                *most += sending.sent;
            }
            for Appended { partition, end } in &sending.acknowledged {
                let until = Position { stream: *partition, offset: *end };
                let held: Vec<&(String, u64)> =
                    self.held.range(..until).rev().take(payloads.len()).map(|(_, held)| held).collect();
                let is_whole = held.iter().rev().map(|(payload, _)| payload).eq(&payloads) && held[0].1 == *end;
                if !is_whole {
                    return Err(format!("what was acknowledged at {partition}/{end} is not there: {payloads:?}"));
                }
            }
        }
        for (payload, (least, most)) in sent {
            let times = times.remove(&*payload).unwrap_or_default();
            if !(least..=most).contains(&times) {
                return Err(format!("{payload} lies {times} times in the log, and was sent {least} to {most} times"));
            }
        }
        if times.is_empty() { Ok(()) } else { Err(format!("{times:?} lie in the log and were not sent")) }
    }

    /// A record of the log, as the model takes it.
    pub(super) fn record(&self, payload: &str, stream: u16) -> Record {
        let body = self.bodies.get(payload).unwrap_or_else(|| panic!("{payload} was not sent"));
        Record { label: 0, stream, arrival_ms: Some(self.arrival_ms), body: body.clone() }
    }
}

/// When a record says that something happened.
fn event_ms(record: &Record) -> Option<i64> {
    match &record.body {
        Body::Click(click) => Some(click.event_ms),
        Body::Verdict(verdict) => Some(verdict.decided_ms),
        Body::Unreadable => None,
    }
}
