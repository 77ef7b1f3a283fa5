//! What reads promise beside their numbers: a bounded history with typed errors, snapshots that stay as they are, waiting,
//! and tokens.

#![allow(clippy::unwrap_used)]

use std::thread;
use std::time::{Duration, Instant};

use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, History as Kept, Settings};
use recount_dataflow::read::{ReadError, Snapshot};
use recount_tests::harness::{Feeder, compare, feed, push_all, settings, streams, wall_ms};
use recount_tests::history::{Cut, History, Plan};
use recount_tests::model::{Delivered, Model};

/// A history of many epochs.
fn many_epochs(workers: usize) -> History {
    let mut history = (50_000..).map(History::from_seed).find(|history| history.records.len() > 120).unwrap();
    history.plan = Plan { cut: Cut::Every(5), streams: 2, ..Plan::plain(workers) };
    history
}

fn equals_the_model(model: &Model, snapshot: &Snapshot) {
    compare::rows(model, snapshot, &Granularity::ALL)
        .unwrap_or_else(|difference| panic!("as of {}: {difference}", snapshot.as_of()));
}

#[test]
fn history_is_bounded_and_says_so() {
    for (workers, epochs_kept) in [(1, 1), (2, 4), (3, 10)] {
        let history = many_epochs(workers);
        let epochs = history.deliver();
        let model = Model::new(history.rules, &epochs);
        let settings =
            Settings { history: Kept { epochs: epochs_kept, ..settings(&history).history }, ..settings(&history) };
        let mut engine = Engine::start(settings, streams(&history)).unwrap();
        push_all(&mut engine, &history, &epochs).unwrap();
        engine.drain().unwrap();

        let reader = engine.reader();
        let readable = reader.readable();
        let (since, upper) = (readable.since, readable.upper);
        assert_eq!((since, upper), (model.last_epoch() + 1 - epochs_kept, model.last_epoch() + 1));
        for as_of in since..upper {
            equals_the_model(&model, &reader.snapshot(Some(as_of)).unwrap());
        }
        assert_eq!(reader.snapshot(None).unwrap().as_of(), upper - 1);
        let error = reader.snapshot(Some(since - 1)).err();
        assert_eq!(error, Some(ReadError::AsOfTooOld { as_of: since - 1, since, upper }));
        let error = reader.snapshot(Some(upper)).err();
        assert_eq!(error, Some(ReadError::AsOfTooNew { as_of: upper, since, upper }));
        let corrections: usize = (0..upper).map(|epoch| model.state(epoch).corrections.len()).sum();
        assert_eq!(reader.corrections(0, u64::MAX).len(), corrections, "corrections outlive the readable epochs");
        engine.shutdown().unwrap();
    }
}

#[test]
fn a_snapshot_answers_alike_for_as_long_as_it_is_held() {
    let history = many_epochs(2);
    let epochs = history.deliver();
    let model = Model::new(history.rules, &epochs);
    let settings = Settings { history: Kept { epochs: 1, ..settings(&history).history }, ..settings(&history) };
    let mut engine = Engine::start(settings, streams(&history)).unwrap();
    let reader = engine.reader();
    let first = reader.snapshot(None).unwrap();
    assert_eq!(first.as_of(), 0, "epoch 0 is complete from the start");
    push_all(&mut engine, &history, &epochs).unwrap();
    let some = reader.snapshot(None).unwrap();
    engine.drain().unwrap();
    let last = reader.snapshot(None).unwrap();
    engine.shutdown().unwrap();
    for snapshot in [&first, &some, &last] {
        equals_the_model(&model, snapshot);
    }
    assert_eq!(last.as_of(), model.last_epoch());
}

#[test]
fn workers_that_rest_tidy_up_and_nothing_reads_otherwise() {
    let history = many_epochs(2);
    let epochs = history.deliver();
    let model = Model::new(history.rules, &epochs);
    // Every merge is left to threads beside, so the last ones are on their way when nothing follows.
    let mut engine = Engine::start(Settings { merge_beside_min: 0, ..settings(&history) }, streams(&history)).unwrap();
    let reader = engine.reader();
    let runs = |snapshot: &Snapshot| snapshot.state_bytes().iter().map(|arrangement| arrangement.runs).sum::<u64>();
    let mut feeder = Feeder::new(&history, &epochs);
    let (first, second) = epochs.split_at(epochs.len() / 2);
    for fed in [first, second] {
        let records: Vec<&Delivered> = fed.iter().flatten().collect();
        feeder.push(&mut engine, &records, wall_ms(&history, 0)).unwrap();
        engine.close_epoch(Some(wall_ms(&history, 0))).unwrap();
        engine.drain().unwrap();
        let busy = reader.snapshot(None).unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        let tidied = loop {
            assert!(Instant::now() < deadline, "the workers do not tidy up");
            let snapshot = reader.snapshot(None).unwrap();
            if runs(&snapshot) < runs(&busy) {
                break snapshot;
            }
            thread::sleep(Duration::from_millis(20));
        };
        for as_of in reader.readable().since..=busy.as_of() {
            equals_the_model(&model, &reader.snapshot(Some(as_of)).unwrap());
        }
        for snapshot in [&busy, &tidied] {
            equals_the_model(&model, snapshot);
        }
    }
    engine.shutdown().unwrap();
}

#[test]
fn waiting_ends_with_the_epoch_the_deadline_or_the_engine() {
    let history = many_epochs(2);
    let epochs = history.deliver();
    let fed = feed(&history, &epochs).unwrap();
    let upper = fed.reader.readable().upper;
    let soon = || Instant::now() + Duration::from_millis(20);
    assert_eq!(fed.reader.wait_for(upper - 1, soon()).unwrap().upper, upper);
    assert_eq!(fed.reader.wait_for(upper, soon()), Err(ReadError::DeadlineExceeded));
    let reader = fed.reader.clone();
    fed.engine.shutdown().unwrap();
    let late = Instant::now() + Duration::from_secs(60);
    assert_eq!(reader.wait_for(upper, late), Err(ReadError::Stopped));
}

#[test]
fn positions_lead_to_the_first_epoch_that_includes_them() {
    let history = many_epochs(2);
    let epochs = history.deliver();
    let fed = feed(&history, &epochs).unwrap();
    let mut before = Vec::new();
    for as_of in 1..=epochs.len() as u64 {
        let positions = fed.reader.snapshot(Some(as_of)).unwrap().positions();
        assert_ne!(positions, before, "every epoch reads something");
        assert_eq!(fed.reader.epoch_including(&positions), Some(as_of));
        before = positions;
    }
    let beyond: Vec<(u16, u64)> = before.iter().map(|&(stream, offset)| (stream, offset + 1_000)).collect();
    assert_eq!(fed.reader.epoch_including(&beyond), None);
    fed.engine.shutdown().unwrap();
}
