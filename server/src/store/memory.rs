//! What holds the feed back where the state takes more memory than it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use recount_dataflow::checkpoint::MemoryBudget;

/// Time between two lines about it.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// The feed's side of the budget.
pub(crate) struct Brake {
    budget: Arc<MemoryBudget>,
    said: Option<Instant>,
}

impl Brake {
    /// What keeps a feed to a budget.
    pub(crate) fn new(budget: Arc<MemoryBudget>) -> Self {
        Brake { budget, said: None }
    }

    /// Whether to close the open epoch, let the engine complete it, and [`hold`](Brake::hold).
    pub(crate) fn is_due(&self) -> bool {
        self.budget.is_due()
    }

    /// Waits while too much is in memory, until the next checkpoint at the latest.
    pub(crate) fn hold(&mut self, is_stopped: impl Fn() -> bool) {
        if self.budget.hold(is_stopped) && self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            let (taken, budget_bytes, held) = (self.budget.taken(), self.budget.bytes(), self.budget.held());
            tracing::warn!(
                ?taken,
                budget_bytes,
                ?held,
                "records come in faster than checkpoints can give memory back, so they wait; what was acknowledged is safe, and \
                 reads go on; a larger store.memory_budget or a faster disk helps"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::{Condvar, Mutex};

    use recount_connectors::Format;
    use recount_connectors::data_dir::{NewStore, StoreSource};
    use recount_connectors::log::LogSettings;
    use recount_connectors::store::Place;
    use recount_dataflow::checkpoint::Checkpointer;
    use recount_dataflow::engine::{Engine, History, Settings};
    use recount_dataflow::read::Reader;

    use super::super::watched::Watched;
    use super::*;
    use crate::feed::Feed;
    use crate::store::{Begun, Checkpointing, Pace, Records, Store, StoreSettings};

    const APPENDS: u64 = 300;
    const RECORDS: u64 = 1_000;

    fn records_in(reader: &Reader) -> u64 {
        reader.snapshot(None).unwrap().totals().records_in
    }

    #[test]
    fn the_feed_waits_for_checkpoints_that_are_slower_than_records_come_in() {
        let dir = tempfile::tempdir().unwrap();
        let pace = Pace { interval: Duration::from_secs(3_600), records: u64::MAX, memory_budget: Some(1 << 20) };
        let settings = StoreSettings {
            dir: dir.path().to_owned(),
            new: NewStore { id: 1, hash_secret: [7; 16], partitions: 2, source: StoreSource::Log },
            log: LogSettings::default(),
            checkpoints: Place::Directory,
            pace,
            checkpoints_kept: 2,
            kafka: None,
        };
        let engine_settings =
            Settings { history: History::newest_only(), epoch_records: 10_000, ..Settings::default() };
        let stopping = Arc::new(AtomicBool::new(false));
        let chosen =
            Begun::begin(&settings, engine_settings.rules, &AtomicBool::new(false)).unwrap().choose(u64::MAX).unwrap();
        let store = chosen.take_over(u64::MAX, stopping).unwrap();
        let Store { dir, records, checkpoint, recorded, bindings, source, files, .. } = store;
        let retain = records.retention();
        let Records::Log(log, _failure) = records else { panic!("the store has a log of its own") };
        for number in 0..APPENDS {
            let mut append = log.begin(1_800_000_000_000);
            for click in number * RECORDS..(number + 1) * RECORDS {
                let line = format!(
                    "{{\"click\":{{\"click_id\":\"c{click}\",\"ad_id\":\"a{}\",\"user_id\":\"u{click}\",\"timestamp\":{}}}}}",
                    click % 1_000,
                    1_790_000_000_000 + click as i64 * 1_000
                );
                append.push(Format::JsonLines, line.as_bytes()).unwrap();
            }
            log.append_and_wait(append).unwrap();
        }
        let engine = Engine::restore(engine_settings, source.streams(), checkpoint, Box::new(bindings)).unwrap();
        let reader = engine.reader();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        // Files that can not be made before somebody opens the gate.
        let held = gate.clone();
        let before_create = Box::new(move |_: &str| {
            drop(held.1.wait_while(held.0.lock().unwrap(), |is_open| !*is_open).unwrap());
        });
        let gated = Arc::new(Watched { files, before_create });
        let fence = dir.fence();
        let fence = move || fence.check().map_err(std::io::Error::other);
        let checkpointer = Checkpointer::open(gated, reader.clone(), 1, 2, fence).unwrap();
        let budget = Arc::new(MemoryBudget::new(1 << 20, reader.clone()));
        let brake = Some(Brake::new(budget.clone()));
        let feed = Feed::start(engine, source, Box::new(recorded), Duration::from_millis(5), brake, None).unwrap();
        let checkpoints = Checkpointing::start(checkpointer, dir, retain, pace, Some(budget.clone())).unwrap();

        while budget.held().is_zero() {
            assert!(records_in(&reader) < APPENDS * RECORDS, "everything came in, and {:?} is held", budget.taken());
            std::thread::sleep(Duration::from_millis(1));
        }
        // It stands, and is answered from, for as long as no checkpoint is written.
        let (came_in, held) = (records_in(&reader), budget.held());
        while budget.held() < held + Duration::from_millis(200) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(records_in(&reader), came_in);
        assert!(came_in < APPENDS * RECORDS);

        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        while records_in(&reader) < APPENDS * RECORDS {
            std::thread::sleep(Duration::from_millis(10));
        }
        feed.stop();
        checkpoints.stop(true);
        assert_eq!(reader.snapshot(None).unwrap().totals().received, APPENDS * RECORDS);
    }
}
