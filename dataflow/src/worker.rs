//! One worker's thread: shares of epochs in, complete epochs out.

use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use timely::worker::Worker;

use crate::domain::fact::Fact;
use crate::domain::rules::Rules;
use crate::graph;
use crate::operators::arrangements::Arrangements;
use crate::operators::context::{Bound, Context, MayForget, Start, State, Windows};
use crate::operators::counts::Delta;
use crate::operators::packet::Packet;
use crate::operators::publish::Publish;
use crate::operators::tally::Tally;
use crate::trace::Beside;
use crate::trace::block::release_free;

/// How long a worker with nothing to do sleeps at most; whoever gives it work wakes it.
const PARK: Duration = Duration::from_millis(100);

/// A worker that had nothing to do for so many such sleeps has come to rest. A shorter pause is a wait for another worker, which
/// would have to do without the memory that resting gives back.
const RESTING_PARKS: u32 = 10;

/// How many records a worker that rests merges before it looks whether there is anything else to do: a millisecond's work.
const TIDY_RECORDS: usize = 32_768;

/// What every worker is set up with.
pub(crate) struct Setup {
    /// What counts.
    pub(crate) rules: Rules,
    /// Which windows are kept.
    pub(crate) windows: Windows,
    /// Who merges beside the workers.
    pub(crate) beside: Beside,
    /// What a worker does that comes to rest.
    pub(crate) at_rest: fn(),
}

/// One worker's share of an epoch.
pub(crate) struct Share {
    /// The epoch.
    pub(crate) epoch: u64,
    /// What the operators are told of it.
    pub(crate) bound: Bound,
    /// Some of its facts, in any order.
    pub(crate) facts: Vec<Vec<Fact>>,
}

/// What a worker needs of the engine around it.
pub(crate) trait Host: Send + Sync + 'static {
    /// Makes the worker's thread known, so that it can be woken.
    fn register(&self, worker: usize, thread: Thread);

    /// What workers may do.
    fn may_forget(&self) -> MayForget;

    /// Whether any worker is gone.
    fn is_lost(&self) -> bool;

    /// Takes one worker's part of an epoch: what it brought, the state after it, and what was counted of it.
    fn publish(&self, worker: usize, epoch: u64, delta: Delta, state: State, tally: Tally);

    /// Takes the state after the newest epoch that the worker has published in other runs, of the same records.
    fn refresh(&self, worker: usize, state: State);
}

/// Publishes a worker's epochs to its host.
struct ToHost<H> {
    host: Arc<H>,
    index: usize,
}

impl<H: Host> Publish for ToHost<H> {
    fn publish(&mut self, epoch: u64, delta: Delta, state: State, tally: Tally) {
        self.host.publish(self.index, epoch, delta, state, tally);
    }
}

/// Runs a worker from `start` until its shares end and all its epochs are complete, or until any worker is lost.
pub(crate) fn run<H: Host>(worker: &mut Worker, setup: &Setup, start: Start, shares: &Receiver<Share>, host: &Arc<H>) {
    let &Setup { rules, windows, ref beside, at_rest } = setup;
    let Start { epoch, state } = start;
    let context = Context::new(rules);
    let arrangements = Arrangements::new(rules, windows, state, beside);
    let publisher = ToHost { host: Arc::clone(host), index: worker.index() };
    let mut input = worker.dataflow(|scope| graph::build(scope, epoch, &context, &arrangements, publisher));
    input.advance_to(epoch + 1);
    host.register(worker.index(), std::thread::current());
    let (mut idle_parks, mut is_tidying) = (0, false);
    loop {
        context.may_forget.set(host.may_forget());
        match shares.try_recv() {
            Ok(share) => {
                (idle_parks, is_tidying) = (0, false);
                context.bindings.borrow_mut().insert(share.epoch, share.bound);
                for facts in share.facts {
                    input.send_batch(&mut Packet(facts));
                }
                input.advance_to(share.epoch + 1);
                worker.step();
            }
            Err(TryRecvError::Empty) if is_tidying => {
                worker.step();
                is_tidying = arrangements.tidy(TIDY_RECORDS);
                // Where an epoch is on its way, the state is published with it.
                if context.bindings.borrow().is_empty() {
                    host.refresh(worker.index(), arrangements.refreshed());
                }
                if !is_tidying {
                    release_free();
                    at_rest();
                }
            }
            Err(TryRecvError::Empty) => {
                let slept_at = Instant::now();
                worker.step_or_park(Some(PARK));
                idle_parks = if PARK <= slept_at.elapsed() { idle_parks + 1 } else { 0 };
                is_tidying = idle_parks == RESTING_PARKS;
                if is_tidying {
                    release_free();
                }
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    drop(input);
    while worker.has_dataflows() && !host.is_lost() {
        context.may_forget.set(host.may_forget());
        worker.step_or_park(Some(PARK));
    }
    // Where another worker was lost, the dataflow would wait for it forever.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
