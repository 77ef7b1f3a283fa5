//! What a data directory holds, and what a daemon answers, against the model.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use recount_connectors::Source as _;
use recount_connectors::bindings::Bindings;
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::Disk;
use recount_connectors::log::{LogSource, LogView};
use recount_dataflow::checkpoint::Checkpoint;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, Settings};
use recount_dataflow::store::{BindingSink, EpochBinding};

use super::{Daemon, Stopped, World, read_all};
use crate::disk::FaultDisk;
use crate::harness::{Case, Fed, compare, settings};
use crate::model::{Delivered, Model};

/// Nothing is bound in a replay.
struct NoBindings;

impl BindingSink for NoBindings {
    fn bind(&mut self, binding: &EpochBinding) -> io::Result<()> {
        panic!("a replay binds epoch {}", binding.epoch)
    }
}

/// Makes every bound epoch again from the log's start, beside whoever writes.
///
/// # Errors
/// Where log or bindings can not be read, or are not what they were.
pub fn replay(disk: Arc<dyn Disk>, settings: Settings) -> Result<Fed, Stopped> {
    let dir = DataDir::read_only(disk).map_err(Stopped::of)?;
    let view = LogView::read_only(&dir).map_err(Stopped::of)?;
    let mut source = LogSource::start(&view, dir.hash_key(), dir.rules(), &[]).map_err(Stopped::of)?;
    let settings = Settings { key: dir.hash_key(), ..settings };
    let engine = Engine::restore(settings, source.streams(), None::<Checkpoint>, Box::new(NoBindings));
    let mut engine = engine.map_err(Stopped::of)?;
    for binding in Bindings::read(&dir, 1).map_err(Stopped::of)? {
        let binding = binding.map_err(Stopped::of)?;
        read_all(&mut source, &binding.positions, |batch| engine.push_bound(batch))?;
        engine.close_bound(&binding).map_err(Stopped::of)?;
    }
    engine.drain().map_err(Stopped::of)?;
    Ok(Fed { reader: engine.reader(), engine })
}

/// What a daemon made of a damaged directory.
#[derive(Clone, Debug, Default)]
pub struct Aftermath {
    /// The words in which it refused, at the start or when it came to the damage.
    pub refused: Option<String>,
    /// How many checkpoints it could not use.
    pub fell_back: usize,
    /// How many epochs that were bound are not any more.
    pub epochs_lost: u64,
    /// Whether anything that was acknowledged is gone.
    pub records_lost: bool,
}

impl World {
    /// Starts a daemon on a directory of which something was damaged since it was learned, and goes on. What was readable before is
    /// readable as it was, or not at all; and whatever is answered at any epoch is what the model says of the log and its bindings.
    ///
    /// # Panics
    /// Where it is not.
    pub fn start_damaged(&self, disk: &FaultDisk) -> Aftermath {
        let mut after = self.clone();
        let mut aftermath = Aftermath::default();
        if let Err(stopped) = after.go_on_damaged(disk, &mut aftermath) {
            aftermath.refused = Some(stopped.0);
        }
        aftermath
    }

    fn go_on_damaged(&mut self, disk: &FaultDisk, aftermath: &mut Aftermath) -> Result<(), Stopped> {
        let mut daemon = Daemon::start(Arc::new(disk.clone()), &self.settings())?;
        aftermath.fell_back = daemon.damaged;
        let readable = daemon.reader().readable();
        for epoch in readable.since..readable.upper {
            let digest = daemon.reader().snapshot(Some(epoch)).unwrap().digest();
            assert_eq!(self.digests[&epoch], digest, "epoch {epoch} is not what it was");
        }
        let known = self.bound.last_key_value().map_or(0, |(epoch, _)| *epoch);
        aftermath.epochs_lost = (known + 1).saturating_sub(readable.upper);
        while daemon.is_behind() {
            self.feed(&mut daemon)?;
        }
        daemon.checkpoint()?;
        // Epochs that are not bound any more are bound anew, and may be cut otherwise.
        self.bound.split_off(&readable.upper);
        // The log and the bindings may start later now, as if retention had taken what was before.
        let mut fresh = self.clone();
        fresh.has_retention = true;
        fresh.held.clear();
        fresh.bound.clear();
        fresh.try_learn(disk)?;
        aftermath.records_lost = self.held.keys().any(|position| {
            let end = Position { stream: position.stream, offset: u64::MAX };
            fresh.held.range(*position..=end).next().is_none()
        });
        for (epoch, binding) in &fresh.bound {
            let known = self.bound.entry(*epoch).or_insert_with(|| binding.clone());
            assert_eq!(known, binding, "epoch {epoch} is not bound as it was");
        }
        let epochs = self.epochs().unwrap_or_else(|difference| panic!("{difference}"));
        let model = Model::new(self.history.rules, &epochs);
        self.compare(&model, &epochs, &mut daemon.fed).unwrap_or_else(|difference| panic!("{difference}"));
        Ok(())
    }

    /// Reads every bound epoch by a replay, and remembers it; what the log holds and what is bound too.
    ///
    /// # Panics
    /// Where anything is not as it was, or not as the model says.
    pub fn learn_all(&mut self, disk: &FaultDisk) {
        self.learn(disk);
        let fed = replay(Arc::new(disk.observer()), settings(&self.history));
        let mut fed = fed.unwrap_or_else(|stopped| panic!("a replay stopped: {}", stopped.0));
        for epoch in 0..fed.reader.readable().upper {
            let digest = fed.reader.snapshot(Some(epoch)).unwrap().digest();
            let seen = self.digests.entry(epoch).or_insert_with(|| digest.clone());
            assert_eq!(*seen, digest, "epoch {epoch} is not what it was");
        }
        let epochs = self.epochs().unwrap_or_else(|difference| panic!("{difference}"));
        let model = Model::new(self.history.rules, &epochs);
        self.compare(&model, &epochs, &mut fed).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// Looks at what the log holds and what is bound; what was seen before is still the same, but for what retention took.
    ///
    /// # Panics
    /// Where it is not.
    pub(super) fn learn(&mut self, disk: &FaultDisk) {
        self.try_learn(disk).unwrap_or_else(|stopped| panic!("{}", stopped.0));
    }

    /// The same, where something may be damaged.
    pub(super) fn try_learn(&mut self, disk: &FaultDisk) -> Result<(), Stopped> {
        let dir = DataDir::read_only(Arc::new(disk.observer())).map_err(Stopped::of)?;
        let view = LogView::read_only(&dir).map_err(Stopped::of)?;
        let each = |of: fn(&LogView, u16) -> u64| {
            let position = |stream| Position { stream, offset: of(&view, stream) };
            (0..view.partitions()).map(position).collect::<Vec<Position>>()
        };
        let starts = each(LogView::start);
        let mut source = LogSource::start(&view, dir.hash_key(), dir.rules(), &starts).map_err(Stopped::of)?;
        read_all(&mut source, &each(LogView::end), |batch| {
            let facts = batch.facts.iter().map(|fact| fact.position());
            for position in facts.chain(batch.broken.iter().map(|broken| broken.position)) {
                let (payload, end) = batch.raw.record(position.offset);
                let held = (String::from_utf8(payload.to_vec()).expect("records are text"), end);
                let known = self.held.entry(position).or_insert_with(|| held.clone());
                assert_eq!(*known, held, "{position:?} does not hold what it did");
            }
        })?;
        // Retention takes bindings too, whole files at a time.
        let first = if self.has_retention { self.first_bound(&dir)? } else { 1 };
        for binding in Bindings::read(&dir, first).map_err(Stopped::of)? {
            let binding = binding.map_err(Stopped::of)?;
            let known = self.bound.entry(binding.epoch).or_insert_with(|| binding.clone());
            assert_eq!(*known, binding, "epoch {} is not bound as it was", binding.epoch);
        }
        Ok(())
    }

    fn first_bound(&self, dir: &DataDir) -> Result<u64, Stopped> {
        let names = dir.disk().list("bindings").map_err(Stopped::of)?;
        let start = |name: &String| name.split('-').next().and_then(|start| start.parse().ok());
        Ok(names.first().and_then(start).unwrap_or(1))
    }

    /// The records of each bound epoch.
    pub(super) fn epochs(&self) -> Result<Vec<Vec<Delivered>>, String> {
        let mut next: BTreeMap<u16, u64> = BTreeMap::new();
        let mut epochs = Vec::new();
        for (number, (epoch, binding)) in (1..).zip(&self.bound) {
            if number != *epoch {
                return Err(format!("the binding of epoch {number} was never seen"));
            }
            let mut records = Vec::new();
            for Position { stream, offset } in &binding.positions {
                let from = next.insert(*stream, *offset).unwrap_or_default();
                let of = |offset| Position { stream: *stream, offset };
                for (position, (payload, _)) in self.held.range(of(from)..of(*offset)) {
                    records.push(Delivered { record: self.record(payload, *stream), position: *position });
                }
            }
            if records.len() as u64 != binding.records_in {
                return Err(format!(
                    "epoch {epoch} has {} records, and {} are bound",
                    records.len(),
                    binding.records_in
                ));
            }
            epochs.push(records);
        }
        Ok(epochs)
    }

    /// Holds everything against the model: the log, every readable epoch, and a replay from the log's start.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn check(&mut self, daemon: &mut Daemon, disk: &FaultDisk) -> Result<(), String> {
        self.check_log()?;
        let epochs = self.epochs()?;
        let delivered: usize = epochs.iter().map(Vec::len).sum();
        if delivered != self.held.len() {
            return Err(format!("{} records lie in the log, {delivered} are in epochs", self.held.len()));
        }
        let model = Model::new(self.history.rules, &epochs);
        self.compare(&model, &epochs, &mut daemon.fed)?;
        if !self.has_retention {
            self.check_replay(&model, &epochs, disk)?;
        }
        Ok(())
    }

    /// Every epoch is what it was when it was read first, and what the model says.
    fn check_replay(&self, model: &Model, epochs: &[Vec<Delivered>], disk: &FaultDisk) -> Result<(), String> {
        let replayed = replay(Arc::new(disk.observer()), settings(&self.history));
        let mut replayed = replayed.map_err(|stopped| format!("a replay stopped: {}", stopped.0))?;
        self.compare(model, epochs, &mut replayed)?;
        for (epoch, digest) in &self.digests {
            let again = replayed.reader.snapshot(Some(*epoch)).map(|snapshot| snapshot.digest());
            if again.as_ref() != Ok(digest) {
                return Err(format!("epoch {epoch} was\n  {digest:?}\nand replayed is\n  {again:?}"));
            }
        }
        Ok(())
    }

    /// Every readable epoch, the corrections and the records set aside are what the model says.
    pub(super) fn compare(&self, model: &Model, epochs: &[Vec<Delivered>], fed: &mut Fed) -> Result<(), String> {
        let readable = fed.reader.readable();
        if readable.upper != model.last_epoch() + 1 {
            return Err(format!("{readable:?}, and epoch {} is the last", model.last_epoch()));
        }
        let case = Case { history: &self.history, epochs, model, fed };
        for as_of in readable.since..readable.upper {
            let within = |difference| format!("as of {as_of}: {difference}");
            let snapshot = case.fed.reader.snapshot(Some(as_of)).map_err(|error| error.to_string())?;
            compare::rows(model, &snapshot, &Granularity::ALL).map_err(within)?;
            // What the restored epoch changed is not known any more.
            if readable.since < as_of {
                compare::changes(&case, &snapshot).map_err(within)?;
            }
        }
        compare::corrections(&case)?;
        compare::listed_set_aside(&case)
    }
}
