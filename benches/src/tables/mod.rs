//! The baseline: hash tables behind timely's exchange. They count the same metrics in the same windows, take the same
//! duplicates, early verdicts and reversals, and keep nothing else: no history, no snapshots, no corrections, nothing to recover.
//!
//! ```text
//! facts ──exchange by click──▶ [clicks] ──exchange by ad──▶ [visits] → [rows]
//! ```
//!
//! It is made to be fast, and may do what an engine can not: it assumes that all copies of a click lie within the dedup horizon
//! and that nothing is late, so one copy and one verdict a click are all that it has to remember.

mod clicks;
mod rows;
mod visits;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use recount_dataflow::domain::rules::Rules;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::{Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};

use crate::checksum::Checksums;
use crate::facts::{FactFile, Words};
use crate::measure::{millis, resident_bytes};
use crate::outcome::Outcome;
use clicks::{Clicks, Update};
use rows::Rows;

/// Epochs that may be under way, as in the engine.
const EPOCHS_IN_FLIGHT: usize = 4;

/// Counts a file of facts with `workers` threads, an epoch every `epoch_records`. `preload` reads all input before the clock
/// starts; without it the memory held at the end is that of the tables alone.
pub(crate) fn run(file: &FactFile, workers: usize, epoch_records: usize, preload: bool) -> Outcome {
    let start_bytes = resident_bytes();
    let started = Arc::new(Barrier::new(workers));
    let file = file.clone();
    let config = timely::Config::process(workers);
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let shares = file.shares(epoch_records, index, peers);
        let shares: Box<dyn Iterator<Item = Vec<Words>>> = match preload {
            true => Box::new(shares.collect::<Vec<_>>().into_iter()),
            false => Box::new(shares),
        };
        started.wait();
        let clock = Instant::now();
        let rows = Rc::new(RefCell::new(Rows::default()));
        let latencies_ms = count(worker, shares, &rows);
        let elapsed = clock.elapsed();
        started.wait();
        let retained_bytes = resident_bytes().saturating_sub(start_bytes);
        let checksums = rows.borrow().checksums();
        (elapsed, latencies_ms, retained_bytes, checksums)
    })
    .expect("threads can be started");
    let done: Vec<_> = guards.join().into_iter().map(|result| result.expect("no worker panics")).collect();
    let checksums = done.iter().fold(Checksums::default(), |sums, (.., own)| sums + *own);
    let (elapsed, latencies_ms, retained_bytes, _) = done.into_iter().next().expect("there is a worker");
    Outcome::new(elapsed, latencies_ms, retained_bytes, checksums)
}

/// One worker's part: builds the graph, feeds it, and returns how long each epoch took from its close, in milliseconds.
fn count(
    worker: &mut timely::worker::Worker,
    shares: impl Iterator<Item = Vec<Words>>,
    rows: &Rc<RefCell<Rows>>,
) -> Vec<f64> {
    let mut input = InputHandle::new();
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let rows = Rc::clone(rows);
        // By the high half: tables look at the low bits first, which must not be alike on one worker.
        let by_click = Exchange::new(|fact: &Words| fact[0] >> 32);
        let by_ad = Exchange::new(|update: &Update| update.ad_hash >> 32);
        input
            .to_stream(scope)
            .unary(by_click, "Clicks", |_, _| {
                let mut clicks = Clicks::new(Rules::default());
                move |input, output| {
                    input.for_each(|stamp, facts| {
                        let mut session = output.session(&stamp);
                        for fact in facts.drain(..) {
                            clicks.take(bytemuck::cast(fact), &mut |update| session.give(update));
                        }
                    });
                }
            })
            .container::<Vec<Update>>()
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(by_ad, "Rows", |_, _| {
                move |input, _| {
                    let mut rows = rows.borrow_mut();
                    // One sender's updates keep their order, so no visit is taken away before it is added.
                    input.for_each(|_, updates| {
                        for update in updates.drain(..) {
                            rows.apply(&update);
                        }
                    });
                }
            })
            .probe_with(&probe);
    });
    feed(worker, input, &probe, shares)
}

fn feed(
    worker: &mut timely::worker::Worker,
    mut input: InputHandle<u64, CapacityContainerBuilder<Vec<Words>>>,
    probe: &ProbeHandle<u64>,
    shares: impl Iterator<Item = Vec<Words>>,
) -> Vec<f64> {
    let mut closed: Vec<Instant> = Vec::new();
    let mut latencies_ms: Vec<f64> = Vec::new();
    let complete = |latencies_ms: &mut Vec<f64>, closed: &[Instant]| {
        while latencies_ms.len() < closed.len() && !probe.less_equal(&(latencies_ms.len() as u64)) {
            latencies_ms.push(millis(closed[latencies_ms.len()].elapsed()));
        }
    };
    for mut share in shares {
        input.send_batch(&mut share);
        closed.push(Instant::now());
        input.advance_to(closed.len() as u64);
        while closed.len() - latencies_ms.len() >= EPOCHS_IN_FLIGHT {
            worker.step_or_park(Some(Duration::from_millis(1)));
            complete(&mut latencies_ms, &closed);
        }
    }
    input.close();
    while latencies_ms.len() < closed.len() {
        worker.step_or_park(Some(Duration::from_millis(1)));
        complete(&mut latencies_ms, &closed);
    }
    latencies_ms
}
