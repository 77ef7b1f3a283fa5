//! The engine against the naive model, at every epoch of random histories.
//!
//! `RECOUNT_HISTORIES=N` runs N histories, `RECOUNT_SEED=S` the one of a seed (with both: N seeds from S on).

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::KeptWindows;
use recount_dataflow::read::ReadError;
use recount_tests::harness::{compare, hold_engine_against, push_all, soak, start};
use recount_tests::history::{Cut, History, Plan};
use recount_tests::model::Model;

/// Histories, where the environment names no other number.
const HISTORIES: u64 = 1_000;
/// Of these, at least so many at each number of workers.
const HISTORIES_PER_WORKERS: u64 = 150;

#[test]
fn the_engine_equals_the_model_at_every_epoch() {
    let histories = soak::histories(HISTORIES);
    let tally = soak::run(soak::seeds(histories, 0), History::from_seed, |history| {
        hold_engine_against(history, compare::everything)
    });
    println!("{tally:?}");
    if std::env::var_os("RECOUNT_SEED").is_none() && histories >= HISTORIES {
        for workers in [1, 2, 3, 4, 8] {
            let ran = tally.by_workers.get(&workers).copied().unwrap_or(0);
            assert!(ran >= HISTORIES_PER_WORKERS, "{ran} histories ran at {workers} workers");
        }
        assert!(tally.minute_horizons >= histories / 2, "{} histories froze anything", tally.minute_horizons);
    }
}

/// Histories of thousands of records: runs of many chunks, merged often.
#[test]
fn the_engine_equals_the_model_over_large_histories() {
    soak::run(soak::seeds(6, 40_000), History::large, |history| hold_engine_against(history, compare::essentials));
}

/// An engine that keeps one granularity has the same rows of it.
#[test]
fn one_granularity_alone_equals_the_model() {
    for granularity in Granularity::ALL {
        let make = |seed| {
            let mut history = History::from_seed(seed);
            history.plan.kept = KeptWindows::Only(granularity);
            history
        };
        let first = 10_000 + 100 * granularity as u64;
        soak::run(first..first + 15, make, |history| hold_engine_against(history, compare::everything));
    }
}

/// Workers, streams, batches and the order inside an epoch change no answer: one history, delivered in many ways, has the
/// same rows, corrections and totals in each.
#[test]
fn delivery_does_not_matter() {
    for seed in 20_000..20_006 {
        let plain = History { plan: Plan::plain(1), ..History::from_seed(seed) };
        let reference = Model::new(plain.rules, &plain.deliver());
        for workers in [1, 2, 3, 4, 8] {
            let mut history = plain.clone();
            history.plan.workers = workers;
            history.plan.streams = 1 + workers as u16 % 2;
            history.plan.batch_records = workers * 3 - 2;
            history.plan.shuffle = Some(workers as u64);
            let found = hold_engine_against(&history, |case| {
                compare::everything(case)?;
                for as_of in 0..=reference.last_epoch() {
                    let snapshot = case.fed.reader.snapshot(Some(as_of)).map_err(|error| error.to_string())?;
                    compare::rows(&reference, &snapshot, &Granularity::ALL)?;
                }
                Ok(())
            });
            found.unwrap_or_else(|difference| panic!("{workers} workers: {difference}\n{}", history.describe()));
        }
    }
}

/// Readers on other threads, while epochs pass: each answer is the model's at its `as_of`.
#[test]
fn readers_see_whole_epochs_while_more_pass() {
    for seed in 30_000..30_012 {
        let history = eager(seed);
        let epochs = history.deliver();
        let model = Model::new(history.rules, &epochs);
        let mut engine = start(&history).unwrap();
        let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|reader_number| {
                    let reader = engine.reader();
                    let (model, history, stop, answers) = (&model, &history, &stop, &answers);
                    scope.spawn(move || {
                        let mut asked = reader_number;
                        while !stop.load(Ordering::Relaxed) {
                            let readable = reader.readable();
                            asked += 1;
                            let as_of = match asked % 2 {
                                0 => None,
                                _ => Some(readable.since + asked * 7919 % (readable.upper - readable.since)),
                            };
                            let snapshot = match reader.snapshot(as_of) {
                                Err(ReadError::AsOfTooOld { .. }) if as_of.is_some() => continue,
                                snapshot => snapshot.unwrap(),
                            };
                            assert!(as_of.is_some() || snapshot.as_of() + 1 >= readable.upper, "an old snapshot");
                            compare::rows(model, &snapshot, &history.plan.granularities())
                                .unwrap_or_else(|difference| panic!("RECOUNT_SEED={}: {difference}", history.seed));
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            push_all(&mut engine, &history, &epochs).unwrap();
            engine.drain().unwrap();
            // A reader that panicked is found out when the scope ends.
            while answers.load(Ordering::Relaxed) < 50 && !readers.iter().any(|reader| reader.is_finished()) {
                thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        engine.shutdown().unwrap();
    }
}

/// A history of many small epochs.
fn eager(seed: u64) -> History {
    let mut history = (seed * 100..).map(History::from_seed).find(|history| history.records.len() > 100).unwrap();
    history.plan.cut = Cut::Every(2);
    history.plan.workers = 1 + seed as usize % 3;
    history.plan.kept = KeptWindows::All;
    history
}
