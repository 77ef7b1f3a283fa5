//! Real clicks: 106,704 events made from a public sample, whose totals are known. The data is not part of the project: it is
//! read from `../shared/data` beside the workspace, or from `RECOUNT_DATA`; without it the test says so and passes.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::read::GzDecoder;
use recount_dataflow::domain::event::{Click, Decision, Event, Verdict};
use recount_dataflow::domain::metrics::Metric;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::engine::{Engine, Settings, StreamName};
use recount_dataflow::intake::{Intake, RawRecords};
use recount_dataflow::read::Snapshot;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Click { click_id: String, ad_id: String, timestamp: i64, user_id: Option<String>, price_micros: Option<i64> },
    Verdict { click_id: String, decision: String, timestamp: i64 },
}

struct Text(String);

impl RawRecords for Text {
    fn record(&self, offset: u64) -> (&[u8], u64) {
        let from = &self.0.as_bytes()[offset as usize..];
        let length = from.iter().position(|&byte| byte == b'\n').unwrap_or(from.len());
        (&from[..length], offset + length as u64 + 1)
    }
}

#[test]
fn the_totals_of_talkingdata_come_out() {
    let directory = std::env::var_os("RECOUNT_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")), PathBuf::from);
    let events = directory.join("talkingdata.events.jsonl.gz");
    let Ok(file) = File::open(&events) else {
        println!("skipped: {} is not there", events.display());
        return;
    };
    let mut text = String::new();
    GzDecoder::new(BufReader::new(file)).read_to_string(&mut text).unwrap();
    let expected = File::open(directory.join("talkingdata.expected.json")).unwrap();
    let expected: Value = serde_json::from_reader(BufReader::new(expected)).unwrap();

    let text = Arc::new(Text(text));
    for (workers, epoch_records) in [(1, 200_000), (2, 10_000), (3, 997)] {
        let snapshot = replay(&text, workers, epoch_records);
        check(&snapshot, &expected, workers);
    }
}

fn replay(text: &Arc<Text>, workers: usize, epoch_records: usize) -> Snapshot {
    let settings = Settings { workers, epoch_records, ..Settings::default() };
    let mut intake = Intake::new(settings.key, settings.rules);
    let stream = StreamName { source: "talkingdata".to_owned(), partition: 0 };
    let mut engine = Engine::start(settings, vec![stream]).unwrap();
    let mut offset = 0;
    let lines: Vec<&str> = text.0.lines().collect();
    for lines in lines.chunks(4_096) {
        let mut batch = intake.batch(0, lines.len(), text.clone());
        for line in lines {
            let event: Line = serde_json::from_str(line).unwrap();
            batch.push(&event.to_event(), offset, line.as_bytes(), None);
            offset += line.len() as u64 + 1;
        }
        engine.push(batch.finish(), None).unwrap();
    }
    engine.close_epoch(None).unwrap();
    engine.drain().unwrap();
    let snapshot = engine.reader().snapshot(None).unwrap();
    engine.shutdown().unwrap();
    snapshot
}

impl Line {
    fn to_event(&self) -> Event<'_> {
        match self {
            Line::Click { click_id, ad_id, timestamp, user_id, price_micros } => Event::Click(Click {
                click_id: click_id.as_str().into(),
                ad_id: ad_id.as_str().into(),
                event_ms: *timestamp,
                user_id: user_id.as_deref().unwrap_or_default().into(),
                price_micros: price_micros.unwrap_or_default(),
                ..Click::default()
            }),
            Line::Verdict { click_id, decision, timestamp } => Event::Verdict(Verdict {
                click_id: click_id.as_str().into(),
                decision: match decision.as_str() {
                    "INVALID" => Some(Decision::Invalid),
                    "VALID" => Some(Decision::Valid),
                    _ => None,
                },
                decided_ms: *timestamp,
                ..Verdict::default()
            }),
        }
    }
}

fn check(snapshot: &Snapshot, expected: &Value, workers: usize) {
    let totals = snapshot.totals();
    let found = [("records_in", totals.records_in), ("received", totals.received), ("verdicts", totals.verdicts)];
    for (name, found) in found {
        assert_eq!(expected["ledger"][name], found, "{name} at {workers} workers");
    }
    let granularities = [
        ("minute", Granularity::Minute),
        ("five_minutes", Granularity::FiveMinutes),
        ("hour", Granularity::Hour),
        ("day", Granularity::Day),
    ];
    for (name, granularity) in granularities {
        let (mut rows, mut sums) = (0, [0i64; 8]);
        let read = snapshot.for_each_row(granularity, |row| {
            rows += 1;
            for (sum, metric) in sums.iter_mut().zip(Metric::ALL) {
                *sum += row.metrics.get(metric);
            }
        });
        read.unwrap();
        assert_eq!(expected[name]["rows"], rows, "{name} rows at {workers} workers");
        for (sum, metric) in sums.into_iter().zip(Metric::ALL) {
            assert_eq!(expected[name][metric.as_str()], sum, "{name} {} at {workers} workers", metric.as_str());
        }
    }
}
