//! Who follows the engine misses no epoch, and finds a checkpoint to go on from.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use recount_dataflow::checkpoint::{Checkpoint, Checkpointer, Checkpoints, no_fence};
use recount_dataflow::engine::{Engine, KeptWindows};
use recount_dataflow::intake::{Intake, RawRecords, unreadable};
use recount_dataflow::read::{ReadError, Reader};
use recount_dataflow::store::{BindingSink, EpochBinding};
use recount_tests::harness::{Fed, Feeder, settings, streams};
use recount_tests::history::{Cut, History};
use recount_tests::mem_store::MemStore;

/// Nothing outlives these tests.
struct NoBindings;

impl BindingSink for NoBindings {
    fn bind(&mut self, _: &EpochBinding) -> io::Result<()> {
        Ok(())
    }
}

/// A history of which the engine keeps one epoch, and none of whose rows ever go.
fn history(seed: u64) -> History {
    let mut history = History::from_seed(seed);
    (history.plan.cut, history.plan.kept, history.plan.history_epochs) = (Cut::Labels, KeptWindows::All, 1);
    history.rules.counts_retention_ms = None;
    history
}

fn start(history: &History) -> Fed {
    let sink = Box::new(NoBindings);
    let engine = Engine::restore(settings(history), streams(history), None::<Checkpoint>, sink).unwrap();
    Fed { reader: engine.reader(), engine }
}

#[test]
fn no_epoch_leaves_before_its_follower_has_read_it() {
    let mut corrections = 0;
    for seed in 70_000..70_020 {
        let history = history(seed);
        let epochs = history.deliver();
        let mut fed = start(&history);
        let (slow, fast) = (fed.reader.follow(1), fed.reader.follow(1));
        let mut feeder = Feeder::new(&history, &epochs);
        for (epoch, records) in (1..).zip(&epochs) {
            feeder.push_epoch(&mut fed.engine, epoch, records).unwrap();
            fed.engine.drain().unwrap();
            fast.advance(epoch + 1);
        }
        let upper = fed.reader.readable().upper;
        assert_eq!(fed.reader.readable().since, 1, "the slower one holds everything");
        assert!(fed.reader.is_held_back(upper - 2) && !fed.reader.is_held_back(upper - 1));
        for epoch in 1..upper {
            let of_epoch = fed.reader.snapshot(Some(epoch)).unwrap().corrections();
            assert_eq!(of_epoch, fed.reader.corrections(epoch, epoch + 1), "seed {seed}, epoch {epoch}");
            corrections += of_epoch.len();
            slow.advance(epoch + 1);
            let since = fed.reader.readable().since;
            assert_eq!(since, (epoch + 1).min(upper - 1), "what is read is let go of");
        }
        let gone = fed.reader.snapshot(Some(0)).err();
        assert!(matches!(gone, Some(ReadError::AsOfTooOld { .. })), "{gone:?}");
        assert!(!fed.reader.is_held_back(0), "nobody is behind");
    }
    assert!(corrections > 100, "{corrections}");
}

#[test]
fn a_checkpoint_that_somebody_may_go_on_from_is_kept() {
    let history = (70_100..).map(history).find(|history| history.deliver().len() >= 8).unwrap();
    let epochs = history.deliver();
    let mut fed = start(&history);
    let store = Arc::new(MemStore::default());
    let mut checkpointer = Checkpointer::open(store.clone(), fed.reader.clone(), 1, 2, no_fence).unwrap();
    let published = Arc::new(AtomicU64::new(0));
    let needed = published.clone();
    checkpointer.keep_up_to(move || needed.load(Ordering::Relaxed));
    let mut feeder = Feeder::new(&history, &epochs);
    let kept = || -> Vec<u64> {
        let listed = Checkpoints::new(store.clone()).list().unwrap();
        listed.into_iter().map(|listed| listed.info.unwrap().epoch).collect()
    };
    for (epoch, records) in (1..=8).zip(&epochs) {
        feeder.push_epoch(&mut fed.engine, epoch, records).unwrap();
        fed.engine.drain().unwrap();
        // Who follows stands still at epoch 3, and comes to epoch 7 later.
        published.store(if epoch < 8 { epoch.min(3) } else { 7 }, Ordering::Relaxed);
        checkpointer.write().unwrap();
        let expected: &[u64] = match epoch {
            1 => &[1],
            2 => &[1, 2],
            3 => &[2, 3],
            4 => &[3, 4],
            5 => &[3, 4, 5],
            6 => &[3, 5, 6],
            7 => &[3, 6, 7],
            _ => &[7, 8],
        };
        assert_eq!(kept(), expected, "after epoch {epoch}");
    }
    let checkpoints = Checkpoints::new(store.clone());
    let found = |epoch_max| checkpoints.newest_up_to(epoch_max).unwrap().checkpoint.unwrap().epoch();
    assert_eq!((found(u64::MAX), found(8), found(7)), (8, 8, 7));
    // Where none is as old, the newest is as good as any.
    assert_eq!(found(6), 8);
}

/// Records of a mebibyte that nobody can read: more of one reason than are kept where nobody needs them.
struct Unreadable(Vec<u8>);

const UNREADABLE: u64 = 80;

impl RawRecords for Unreadable {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        (&self.0, offset + 1)
    }
}

/// Feeds one of them an epoch.
fn feed_unreadable(fed: &mut Fed, history: &History) {
    let raw = Arc::new(Unreadable(vec![b'x'; 1 << 20]));
    let mut intake = Intake::new(settings(history).key, history.rules);
    for offset in 0..UNREADABLE {
        let mut builder = intake.batch(0, 1, raw.clone());
        builder.push_broken(unreadable("cut short"), offset, &raw.0, raw.0.len() as u64);
        fed.engine.push(builder.finish(), Some(1_800_000_000_000)).unwrap();
        fed.engine.close_epoch(Some(1_800_000_000_000)).unwrap();
        fed.engine.drain().unwrap();
    }
}

fn epochs_of_quarantined(reader: &Reader) -> Vec<u64> {
    reader.quarantined(1..u64::MAX).iter().map(|record| record.epoch).collect()
}

#[test]
fn records_set_aside_outlive_restarts_until_nobody_holds_them() {
    let history = history(70_200);
    let mut fed = start(&history);
    let hold = fed.reader.hold_set_aside(3);
    feed_unreadable(&mut fed, &history);
    let all: Vec<u64> = (3..=UNREADABLE).collect();
    assert!(epochs_of_quarantined(&fed.reader).ends_with(&all));
    let store = Arc::new(MemStore::default());
    Checkpointer::open(store.clone(), fed.reader.clone(), 1, 2, no_fence).unwrap().write().unwrap();
    drop((hold, fed));

    // Who has published up to epoch 2 and follows from the restored one on is killed before it has caught up, again and again.
    for writer in 2..4 {
        let found = Checkpoints::new(store.clone()).newest().unwrap().checkpoint;
        let engine = Engine::restore(settings(&history), streams(&history), found, Box::new(NoBindings)).unwrap();
        let reader = engine.reader();
        let _hold = reader.hold_set_aside(3);
        let _follower = reader.follow(UNREADABLE + 1);
        assert!(epochs_of_quarantined(&reader).ends_with(&all), "writer {writer}");
        Checkpointer::open(store.clone(), reader.clone(), writer, 2, no_fence).unwrap().write().unwrap();
    }
    let found = Checkpoints::new(store).newest().unwrap().checkpoint;
    let engine = Engine::restore(settings(&history), streams(&history), found, Box::new(NoBindings)).unwrap();
    let reader = engine.reader();
    let hold = reader.hold_set_aside(3);
    let _follower = reader.follow(UNREADABLE + 1);
    drop(hold);
    let kept = epochs_of_quarantined(&reader);
    assert!(10 < kept[0] && kept.last() == Some(&UNREADABLE), "what nobody needs goes: {kept:?}");
}
