//! The engine from end to end on a handful of records: what every other test takes for granted.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use recount_dataflow::domain::event::{Click, Decision, Event, Verdict};
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, Settings, StreamName};
use recount_dataflow::intake::{Batch, Intake, RawRecords};
use recount_dataflow::read::Snapshot;

const START_MS: i64 = 1_767_225_600_000;
const MINUTE_MS: i64 = 60_000;

struct NoBytes;

impl RawRecords for NoBytes {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        (b"{}", offset + 1)
    }
}

struct Script {
    engine: Engine,
    intake: Intake,
    offset: u64,
}

impl Script {
    fn new(workers: usize) -> Self {
        let settings = Settings { workers, ..Settings::default() };
        let intake = Intake::new(settings.key, settings.rules);
        let streams = vec![StreamName { source: "script".into(), partition: 0 }];
        Script { engine: Engine::start(settings, streams).unwrap(), intake, offset: 0 }
    }

    fn epoch(&mut self, events: &[Event<'_>]) -> Snapshot {
        let mut builder = self.intake.batch(0, events.len(), Arc::new(NoBytes));
        for event in events {
            builder.push(event, self.offset, b"{}", None);
            self.offset += 1;
        }
        let batch: Batch = builder.finish();
        self.engine.push(batch, None).unwrap();
        self.engine.close_epoch(None).unwrap();
        self.engine.drain().unwrap();
        self.engine.reader().snapshot(None).unwrap()
    }
}

fn click<'a>(id: &'a str, user: &'a str, minute: i64) -> Event<'a> {
    let event_ms = START_MS + minute * MINUTE_MS;
    let (click_id, user_id) = (id.into(), user.into());
    Event::Click(Click { click_id, ad_id: "ad".into(), user_id, event_ms, price_micros: 5, ..Click::default() })
}

fn verdict(id: &str, decision: Decision, minute: i64) -> Event<'_> {
    let decided_ms = START_MS + minute * MINUTE_MS;
    Event::Verdict(Verdict { click_id: id.into(), decision: Some(decision), decided_ms, ..Verdict::default() })
}

fn rows(snapshot: &Snapshot, granularity: Granularity) -> Vec<[i64; 7]> {
    let mut rows = Vec::new();
    let collect = |row: &recount_dataflow::read::Row| {
        let m = row.metrics;
        let minute = (row.window_start_ms - START_MS) / MINUTE_MS;
        rows.push([
            minute,
            m.received,
            m.duplicates(),
            m.clicks(),
            m.unique_users,
            m.spend_micros,
            i64::from(row.revision),
        ]);
    };
    snapshot.for_each_row(granularity, collect).unwrap();
    rows
}

#[test]
fn a_click_its_copy_its_verdict_and_its_reversal() {
    for workers in 1..4 {
        let mut script = Script::new(workers);
        let first = script.epoch(&[click("c1", "u", 0), click("c1", "u", 0), click("c2", "u", 2)]);
        assert_eq!(rows(&first, Granularity::Minute), [[0, 2, 1, 1, 1, 5, 0], [2, 1, 0, 1, 1, 5, 0]]);
        assert_eq!(rows(&first, Granularity::Hour), [[0, 3, 1, 2, 1, 10, 0]]);
        assert_eq!(rows(&first, Granularity::Day), [[0, 3, 1, 2, 1, 10, 0]]);

        let second = script.epoch(&[verdict("c1", Decision::Invalid, 2), click("c3", "v", 10)]);
        // The first minute was CLOSED before the epoch, so its change is a correction.
        let minutes = [[0, 2, 1, 0, 0, 0, 1], [2, 1, 0, 1, 1, 5, 0], [10, 1, 0, 1, 1, 5, 0]];
        assert_eq!(rows(&second, Granularity::Minute), minutes);
        assert_eq!(rows(&second, Granularity::Hour), [[0, 4, 1, 2, 2, 10, 0]]);

        let third = script.epoch(&[verdict("c1", Decision::Valid, 3)]);
        assert_eq!(rows(&third, Granularity::Minute)[0], [0, 2, 1, 1, 1, 5, 2]);
        assert_eq!(rows(&third, Granularity::FiveMinutes)[0], [0, 3, 1, 2, 1, 10, 1]);
        assert_eq!(rows(&first, Granularity::Minute)[0], [0, 2, 1, 1, 1, 5, 0], "a snapshot never changes");
        assert_eq!(third.totals().records_in, 6);
    }
}

#[test]
fn a_stream_that_comes_later_has_the_next_number_and_is_named_to_readers() {
    let mut script = Script::new(2);
    script.epoch(&[click("c1", "u1", 0)]);
    let reader = script.engine.reader();
    let later = StreamName { source: "script".into(), partition: 1 };
    assert_eq!(script.engine.add_stream(later.clone()), 1);
    let mut builder = script.intake.batch(1, 1, Arc::new(NoBytes));
    builder.push(&click("c2", "u2", 0), 0, b"{}", None);
    script.engine.push(builder.finish(), None).unwrap();
    let epoch = script.engine.close_epoch(None).unwrap();
    script.engine.drain().unwrap();
    assert_eq!(reader.snapshot(Some(epoch)).unwrap().positions(), [(0, 1), (1, 1)]);
    assert_eq!(reader.streams()[1], later);
}
