//! Checkpoints and restoring: a history that is interrupted at random comes to the same answers at every epoch.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, Checkpoints, no_fence};
use recount_dataflow::engine::{Engine, KeptWindows};
use recount_dataflow::store::{BindingSink, EpochBinding};
use recount_tests::harness::{Case, Fed, Feeder, compare, settings, soak, streams};
use recount_tests::history::{ALL_EPOCHS, Cut, History};
use recount_tests::mem_store::MemStore;
use recount_tests::model::{Delivered, Model};

/// The bindings that were made, as a log would keep them.
#[derive(Clone, Default)]
struct Bindings(Arc<Mutex<Vec<EpochBinding>>>);

impl BindingSink for Bindings {
    fn bind(&mut self, binding: &EpochBinding) -> io::Result<()> {
        self.0.lock().unwrap().push(binding.clone());
        Ok(())
    }
}

/// A history's engine, and what outlives it.
struct Daemon<'a> {
    history: History,
    epochs: &'a [Vec<Delivered>],
    model: &'a Model,
    store: MemStore,
    bindings: Bindings,
    writer: u64,
}

impl Daemon<'_> {
    /// Starts an engine from what there is, and takes in again what was bound after the newest checkpoint.
    fn start(&mut self, random: &mut ChaCha8Rng) -> (Fed, Feeder, Checkpointer) {
        self.writer += 1;
        self.history.plan.workers = random.random_range(1..5);
        let found = Checkpoints::new(Arc::new(self.store.clone())).newest().unwrap();
        let restored = found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.epoch());
        let streams = streams(&self.history);
        let sink = Box::new(self.bindings.clone());
        let mut engine = Engine::restore(settings(&self.history), streams, found.checkpoint, sink).unwrap();
        let mut feeder = Feeder::new(&self.history, self.epochs);
        let bound = self.bindings.0.lock().unwrap().clone();
        for binding in bound.iter().filter(|binding| restored < binding.epoch) {
            feeder.replay_epoch(&mut engine, binding, &self.epochs[binding.epoch as usize - 1]).unwrap();
        }
        engine.drain().unwrap();
        let reader = engine.reader();
        let mut checkpointer =
            Checkpointer::open(Arc::new(self.store.clone()), reader.clone(), self.writer, 2, no_fence).unwrap();
        if random.random_bool(0.5) {
            checkpointer.release_memory();
        }
        (Fed { engine, reader }, feeder, checkpointer)
    }

    /// Holds every readable epoch against the model.
    fn compare(&self, fed: &mut Fed) -> Result<(), String> {
        let readable = fed.reader.readable();
        let case = Case { history: &self.history, epochs: self.epochs, model: self.model, fed };
        for as_of in readable.since.max(1)..readable.upper {
            // What the restored epoch changed is not known any more.
            if as_of == readable.since { compare::rows_at(&case, as_of)? } else { compare::epoch(&case, as_of)? }
        }
        if readable.upper > self.model.last_epoch() { compare::corrections(&case) } else { Ok(()) }
    }
}

fn history(seed: u64) -> History {
    let mut history = History::from_seed(seed);
    history.plan.cut = Cut::Labels;
    history.plan.kept = KeptWindows::All;
    history.plan.history_epochs = ALL_EPOCHS;
    history
}

#[test]
fn a_history_that_is_interrupted_comes_to_the_same_answers() {
    let histories = soak::histories(300);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut restarts, mut checkpoints) = (0, 0);
    for seed in soak::seeds(histories, 50_000) {
        let history = history(seed);
        let epochs = history.deliver();
        let model = Model::new(history.rules, &epochs);
        let (store, bindings) = (MemStore::default(), Bindings::default());
        let mut daemon = Daemon { history, epochs: &epochs, model: &model, store, bindings, writer: 0 };
        let (mut fed, mut feeder, mut checkpointer) = daemon.start(&mut random);
        for (epoch, records) in (1..).zip(&epochs) {
            feeder.push_epoch(&mut fed.engine, epoch, records).unwrap();
            fed.engine.drain().unwrap();
            if random.random_bool(0.3) {
                checkpoints += u64::from(checkpointer.write().unwrap().is_some());
            }
            if random.random_bool(0.3) {
                let compared = daemon.compare(&mut fed);
                compared.unwrap_or_else(|difference| panic!("RECOUNT_SEED={seed}, epoch {epoch}: {difference}"));
                drop(fed);
                (fed, feeder, checkpointer) = daemon.start(&mut random);
                restarts += 1;
            }
        }
        let compared = daemon.compare(&mut fed);
        compared.unwrap_or_else(|difference| panic!("RECOUNT_SEED={seed}, at the end: {difference}"));
    }
    println!("{histories} histories, {restarts} restarts, {checkpoints} checkpoints");
    assert!(restarts > histories && checkpoints > histories, "{restarts} restarts, {checkpoints} checkpoints");
}

/// Histories of thousands of records, whose runs have many chunks: most of the state lies in files, and answers are the same.
#[test]
fn a_state_that_files_hold_gives_the_same_answers() {
    for seed in 60_000..60_003 {
        let mut history = History::large(seed);
        history.plan.kept = KeptWindows::All;
        history.plan.history_epochs = ALL_EPOCHS;
        let epochs = history.deliver();
        let model = Model::new(history.rules, &epochs);
        let store = MemStore::default();
        let sink = Box::new(Bindings::default());
        let engine = Engine::restore(settings(&history), streams(&history), None::<Checkpoint>, sink).unwrap();
        let mut fed = Fed { reader: engine.reader(), engine };
        let mut checkpointer = Checkpointer::open(Arc::new(store.clone()), fed.reader.clone(), 1, 2, no_fence).unwrap();
        checkpointer.release_memory();
        let mut feeder = Feeder::new(&history, &epochs);
        let (mut held, mut resident) = (0, 0);
        for (epoch, records) in (1..).zip(&epochs) {
            feeder.push_epoch(&mut fed.engine, epoch, records).unwrap();
            fed.engine.drain().unwrap();
            let sizes = fed.reader.snapshot(None).unwrap().state_bytes();
            held += sizes.iter().map(|size| size.bytes).sum::<u64>();
            resident += checkpointer.resident_bytes();
            checkpointer.write().unwrap();
        }
        assert!(resident < held / 2, "{resident} of {held} bytes were in memory, over all epochs");
        let case = Case { history: &history, epochs: &epochs, model: &model, fed: &mut fed };
        let compared = (0..=model.last_epoch()).try_for_each(|as_of| compare::epoch(&case, as_of));
        let compared = compared.and_then(|()| compare::corrections(&case));
        compared.unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
    }
}
