//! One worker's thread: shares of epochs in, complete epochs out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use timely::worker::Worker;

use crate::domain::fact::Fact;
use crate::domain::rules::Rules;
use crate::engine::timeline::{Published, Timeline};
use crate::graph;
use crate::operators::context::{Bound, Context, Windows};
use crate::operators::counts::{Delta, Publish};
use crate::operators::packet::Packet;
use crate::operators::tally::Tally;
use crate::operators::view::View;
use crate::trace::block::release_free;

/// How long a worker with nothing to do sleeps at most; whoever gives it work wakes it.
const PARK: Duration = Duration::from_millis(100);

/// One worker's share of an epoch.
pub(crate) struct Share {
    /// The epoch.
    pub(crate) epoch: u64,
    /// What the operators are told of it.
    pub(crate) bound: Bound,
    /// Some of its facts, in any order.
    pub(crate) facts: Vec<Vec<Fact>>,
}

/// Publishes a worker's epochs to the readers.
struct ToTimeline {
    timeline: Arc<Timeline>,
    index: usize,
    context: std::rc::Rc<Context>,
}

impl Publish for ToTimeline {
    fn publish(&mut self, epoch: u64, delta: Delta, view: View, tally: Tally) {
        let published = Published { view, ledger: self.context.ledger.borrow().clone() };
        self.timeline.publish(self.index, epoch, delta, published, tally);
    }
}

/// Runs a worker until its shares end and all its epochs are complete, or until any worker is lost.
pub(crate) fn run(
    worker: &mut Worker,
    rules: Rules,
    windows: Windows,
    shares: &Receiver<Share>,
    timeline: &Arc<Timeline>,
) {
    let context = Context::new(rules, windows);
    let publisher =
        ToTimeline { timeline: Arc::clone(timeline), index: worker.index(), context: std::rc::Rc::clone(&context) };
    let mut input = worker.dataflow(|scope| graph::build(scope, &context, publisher));
    input.advance_to(1);
    timeline.register(worker.index(), std::thread::current());
    let mut resting = false;
    loop {
        context.since.set(timeline.readable().since);
        match shares.try_recv() {
            Ok(share) => {
                resting = false;
                context.bindings.borrow_mut().insert(share.epoch, share.bound);
                for facts in share.facts {
                    input.send_batch(&mut Packet(facts));
                }
                input.advance_to(share.epoch + 1);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                let parked = Instant::now();
                worker.step_or_park(Some(PARK));
                if !resting && PARK <= parked.elapsed() {
                    resting = true;
                    release_free();
                }
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
    drop(input);
    while worker.has_dataflows() && !timeline.is_lost() {
        context.since.set(timeline.readable().since);
        worker.step_or_park(Some(PARK));
    }
    // Where another worker was lost, the dataflow would wait for it forever.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
