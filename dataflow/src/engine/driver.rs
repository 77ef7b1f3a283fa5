//! The driver: feeds sealed epochs to the workers, with a bounded number in flight.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender, unbounded};
use timely::communication::WorkerGuards;

use crate::domain::fact::Fact;
use crate::intake::Batch;
use crate::operators::context::{Start, Windows};
use crate::published::{Complete, Origin, SetAside, SetAsideList, Shared, StreamName, Streams, Timeline};
use crate::read::Reader;
use crate::store::{BindingSink, EpochBinding};
use crate::trace::Helpers;
use crate::trace::block::release_free;
use crate::worker::{self, Host as _, Setup, Share};

use super::EngineError;
use super::sequencer::{Sealed, Sequencer};
use super::settings::{KeptWindows, Settings};

/// The running engine. One thread owns it and pushes batches; readers are handed out freely.
pub struct Engine {
    sequencer: Sequencer,
    bindings: Option<Box<dyn BindingSink>>,
    epochs_in_flight: u64,
    shares: Vec<Sender<Share>>,
    shared: Arc<Shared>,
    guards: Option<WorkerGuards<()>>,
    /// They end after the workers.
    _helpers: Helpers,
    at_rest: fn(),
}

impl Engine {
    /// Starts the workers, in memory and from nothing. `streams` names the streams that batches will come from, in the order of
    /// their numbers; [`add_stream`](Engine::add_stream) names those that come later.
    ///
    /// # Errors
    /// Where threads can not be started.
    ///
    /// # Panics
    /// Where a setting is outside its range; whoever reads settings from a user checks them first.
    pub fn start(settings: Settings, streams: Vec<StreamName>) -> Result<Engine, EngineError> {
        let origin = Origin::empty(&settings.rules, SetAsideList::first(settings.stream_set_aside));
        Engine::go_on(settings, streams, origin, None)
    }

    /// Starts the workers, from a checkpoint or from nothing, with every epoch's binding made durable in `bindings` before
    /// anything of the epoch is released.
    ///
    /// # Errors
    /// Where threads can not be started.
    ///
    /// # Panics
    /// As [`start`](Engine::start).
    pub fn restore(
        settings: Settings,
        streams: Vec<StreamName>,
        origin: Option<impl Into<Origin>>,
        bindings: Box<dyn BindingSink>,
    ) -> Result<Engine, EngineError> {
        let empty = || Origin::empty(&settings.rules, SetAsideList::newest());
        let origin = origin.map_or_else(empty, Into::into);
        origin.dictionary.keep_new();
        Engine::go_on(settings, streams, origin, Some(bindings))
    }

    fn go_on(
        settings: Settings,
        streams: Vec<StreamName>,
        origin: Origin,
        bindings: Option<Box<dyn BindingSink>>,
    ) -> Result<Engine, EngineError> {
        assert!(0 < settings.workers && 0 < settings.epochs_in_flight, "an engine has workers, and epochs in flight");
        let windows = match settings.kept {
            KeptWindows::All => Windows::ALL,
            KeptWindows::Only(granularity) => Windows::only(granularity),
        };
        let workers = settings.workers;
        let sequencer = Sequencer::new(&origin.after, settings.epoch_records);
        let states = origin.deal(workers, windows);
        let (complete, epoch) = (Complete::start(&origin), origin.after.epoch);
        let Origin { restored_from, dictionary, set_aside, .. } = origin;
        let held = states.iter().cloned().map(Arc::new).collect();
        let timeline = Arc::new(Timeline::new(settings.rules, settings.history, complete, held, set_aside));
        let starts = states.into_iter().map(|state| Start { epoch, state });
        // The number of epochs in flight bounds these channels.
        let (shares, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| unbounded()).unzip();
        let begin = starts.zip(receivers).map(Some).collect();
        let helpers = Helpers::start(workers.div_ceil(2))
            .map_err(|cause| EngineError::Start { workers, cause: cause.to_string() })?;
        let (rules, at_rest) = (settings.rules, settings.at_rest);
        let setup = Setup { rules, windows, beside: helpers.beside(settings.merge_beside_min), at_rest };
        let guards = start_workers(workers, setup, begin, &timeline)?;
        let streams = Streams::new(streams);
        let shared =
            Shared { timeline, dictionary, windows, rules: settings.rules, key: settings.key, streams, restored_from };
        Ok(Engine {
            sequencer,
            bindings,
            epochs_in_flight: settings.epochs_in_flight as u64,
            shares,
            shared: Arc::new(shared),
            guards: Some(guards),
            _helpers: helpers,
            at_rest,
        })
    }

    /// Names a stream that came while the engine runs, and returns its number: one more than the last. It is called before the
    /// stream's first batch is pushed.
    ///
    /// # Panics
    /// Where there are as many streams as can be numbered.
    pub fn add_stream(&self, name: StreamName) -> u16 {
        self.shared.streams.add(name)
    }

    /// Takes in a batch, in the order of the records. Whenever `settings.epoch_records` are reached an epoch closes. Blocks
    /// while too many epochs are in flight. `wall_ms` is bound to the epochs that this closes; `None` takes the greatest time
    /// that any record has carried, so that a replay does not depend on a clock.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn push(&mut self, mut batch: Batch, wall_ms: Option<i64>) -> Result<(), EngineError> {
        self.shared.dictionary.extend(std::mem::take(&mut batch.ads));
        let mut rest = Some(batch);
        while let Some(batch) = rest {
            rest = self.sequencer.take(batch);
            if self.sequencer.is_full() {
                self.close_epoch(wall_ms)?;
            }
        }
        Ok(())
    }

    /// Closes the open epoch if it holds any record, and returns the newest epoch closed.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn close_epoch(&mut self, wall_ms: Option<i64>) -> Result<u64, EngineError> {
        if self.sequencer.open_records() > 0 {
            let sealed = self.sequencer.seal(wall_ms);
            // Bind before release: a replay must cut epochs at the same offsets.
            if let Some(bindings) = &mut self.bindings {
                let epoch = sealed.binding.epoch;
                let bound = bindings.bind(&sealed.binding.durable());
                bound.map_err(|cause| EngineError::Bind { epoch, cause })?;
            }
            self.release(sealed)?;
        }
        Ok(self.sequencer.newest())
    }

    /// Takes in a batch of an epoch that was bound before; it closes with [`close_bound`](Engine::close_bound) alone.
    pub fn push_bound(&mut self, mut batch: Batch) {
        self.shared.dictionary.extend(std::mem::take(&mut batch.ads));
        self.sequencer.take_all(batch);
    }

    /// Closes the open epoch as it was bound before.
    ///
    /// # Errors
    /// Where it is not what was bound, or a worker was lost.
    pub fn close_bound(&mut self, binding: &EpochBinding) -> Result<(), EngineError> {
        let sealed = self.sequencer.seal(Some(binding.wall_ms));
        let found = sealed.binding.durable();
        if found != *binding {
            let (bound, found) = (format!("{binding:?}"), format!("{found:?}"));
            return Err(EngineError::Rebound { epoch: binding.epoch, bound, found });
        }
        self.release(sealed)
    }

    fn release(&self, sealed: Sealed) -> Result<(), EngineError> {
        let Sealed { binding, facts } = sealed;
        let (epoch, bound) = (binding.epoch, binding.bound);
        self.wait_for(epoch.saturating_sub(self.epochs_in_flight))?;
        self.shared.dictionary.forget(&self.shared.timeline.may_forget().retention);
        self.shared.timeline.bind(binding);
        for (sender, facts) in self.shares.iter().zip(deal(facts, self.shares.len())) {
            let sent = sender.send(Share { epoch, bound, facts });
            sent.map_err(|_| self.worker_lost())?;
        }
        self.shared.timeline.wake();
        Ok(())
    }

    /// How many records the open epoch holds.
    pub fn open_records(&self) -> usize {
        self.sequencer.open_records()
    }

    /// Waits until every closed epoch is complete, and returns the newest.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn drain(&mut self) -> Result<u64, EngineError> {
        let newest = self.sequencer.newest();
        self.wait_for(newest)?;
        Ok(newest)
    }

    /// Gives back the memory that is held for epochs to come, as workers do by themselves when nothing has come for a while: for whoever
    /// knows that nothing will.
    pub fn rest(&self) {
        release_free();
        (self.at_rest)();
    }

    /// Takes what was set aside (quarantined and parked) in complete epochs since the last call, every record once, by epoch and
    /// position. Empty unless `settings.stream_set_aside`.
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        self.shared.timeline.set_aside(|list| list.take())
    }

    /// A handle for reading, for any thread.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Stops the workers after the epochs in flight.
    ///
    /// # Errors
    /// Where a worker was lost.
    pub fn shutdown(mut self) -> Result<(), EngineError> {
        self.drain().map(|_| ())
    }

    fn wait_for(&self, epoch: u64) -> Result<(), EngineError> {
        let waited = self.shared.timeline.wait_for(epoch, None);
        waited.map(|_| ()).map_err(|_| self.worker_lost())
    }

    fn worker_lost(&self) -> EngineError {
        EngineError::WorkerLost { epoch: self.shared.timeline.readable().upper - 1 }
    }
}

impl Drop for Engine {
    /// Lets the workers end, and waits for them.
    fn drop(&mut self) {
        self.shares.clear();
        self.shared.timeline.wake();
        drop(self.guards.take());
        self.shared.timeline.stop();
    }
}

fn start_workers(
    workers: usize,
    setup: Setup,
    begin: Vec<Option<(Start, Receiver<Share>)>>,
    timeline: &Arc<Timeline>,
) -> Result<WorkerGuards<()>, EngineError> {
    let (begin, timeline) = (Mutex::new(begin), Arc::clone(timeline));
    let run = move |worker: &mut timely::worker::Worker| {
        let mut begin = begin.lock().expect("nothing panics while it holds what workers begin with");
        let (start, shares) = begin[worker.index()].take().expect("every worker starts once");
        drop(begin);
        // The panic itself was reported by the panic hook; what is left is to let go of everybody who waits.
        if catch_unwind(AssertUnwindSafe(|| worker::run(worker, &setup, start, &shares, &timeline))).is_err() {
            timeline.lose();
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
        }
    };
    timely::execute(timely::Config::process(workers), run).map_err(|cause| EngineError::Start { workers, cause })
}

/// Deals an epoch's facts to the workers in about equal parts. Who gets which does not matter: the first edge exchanges them.
fn deal(facts: Vec<Vec<Fact>>, workers: usize) -> Vec<Vec<Vec<Fact>>> {
    let mut hands: Vec<Vec<Vec<Fact>>> = (0..workers).map(|_| Vec::new()).collect();
    let piece_len_max = facts.iter().map(Vec::len).sum::<usize>().div_ceil(workers).max(1);
    let mut dealt = 0;
    for mut piece in facts {
        while !piece.is_empty() {
            let hand = dealt / piece_len_max;
            let room = (hand + 1) * piece_len_max - dealt;
            let rest = if room < piece.len() { piece.split_off(room) } else { Vec::new() };
            dealt += piece.len();
            hands[hand].push(std::mem::replace(&mut piece, rest));
        }
    }
    hands
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    #[test]
    fn facts_are_dealt_evenly_and_none_is_lost() {
        for (pieces, workers) in [(vec![10, 1, 1], 3), (vec![1], 4), (vec![], 2), (vec![5, 5], 1)] {
            let facts: Vec<Vec<Fact>> = pieces.iter().map(|len| vec![Fact::zeroed(); *len]).collect();
            let hands: Vec<usize> = deal(facts, workers).iter().map(|hand| hand.iter().map(Vec::len).sum()).collect();
            let total: usize = pieces.iter().sum();
            assert_eq!(hands.iter().sum::<usize>(), total);
            assert!(hands.iter().all(|hand| *hand <= total.div_ceil(workers)), "{hands:?}");
        }
    }
}
