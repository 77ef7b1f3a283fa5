//! Everything that can be read afterwards: rows over gRPC at every readable epoch, and both topics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use recount_connectors::bindings::Bindings;
use recount_connectors::data_dir::DataDir;
use recount_connectors::disk::SystemDisk;
use recount_connectors::streams::Streams;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::window::WindowState;
use recount_proto::v1 as wire;
use recount_tests::kafka::Topics;
use recount_tests::model::{Delivered, Model};
use recount_tests::record::{Body, Record};
use serde_json::Value;

use super::Chaos;
use crate::published::{Sinks, eight, metrics, name, name_of, numbers};
use crate::support::daemon::Daemon;

/// How many readable epochs are compared, the newest among them.
const EPOCHS: usize = 8;
/// Years that records can be of, by the longest range of one read.
const DECADES_MS: std::ops::RangeInclusive<i64> = 3..=13;
const DECADE_MS: i64 = 3_652 * 24 * 3_600_000;

/// Metrics, revision and state of a row.
type Seen = ([i64; 8], u32, i32);
/// Epoch, row, revision, cause, and the metrics before and after.
type SeenCorrection = (u64, String, u64, String, Option<[i64; 8]>, [i64; 8]);

impl Chaos {
    /// Reads everything, ends the daemon in order, and compares.
    pub(super) async fn check(&self, mut daemon: Daemon, sinks: &Sinks<'_>, dir: &Path) {
        let status = daemon.status().await;
        let snapshot = status.snapshot.clone().unwrap();
        let readable: Vec<u64> = (snapshot.since.max(1)..=snapshot.as_of).rev().collect();
        let mut seen = BTreeMap::new();
        for &epoch in readable.iter().step_by(readable.len().div_ceil(EPOCHS)) {
            seen.insert(epoch, self.rows(&mut daemon, epoch).await);
        }
        let (exit, said) = daemon.stop().await;
        assert_eq!(exit, Some(0), "{said}");

        let epochs = self.epochs(dir);
        let model = Model::new(self.history.rules, &epochs);
        assert_eq!(model.last_epoch(), snapshot.as_of);
        for (epoch, rows) in seen {
            assert_eq!(rows, expected_rows(&model, epoch), "epoch {epoch}");
        }
        check_ledger(&model, &status);
        let published = sinks.read();
        let newest = model.state(snapshot.as_of).rows.iter();
        published.check(&newest.map(|(key, row)| (name(key), eight(row))).collect());
        assert!(published.is_exact(), "{} rows came twice", published.repeated);
        let found: BTreeSet<SeenCorrection> = published.corrections.values().map(|(one, _)| correction(one)).collect();
        assert_eq!(found, expected_corrections(&model));
        println!("{}: {} epochs, {} corrections", self.name, epochs.len(), found.len());
    }

    /// Every row as of an epoch, over gRPC.
    async fn rows(&self, daemon: &mut Daemon, epoch: u64) -> BTreeMap<String, Seen> {
        let clicks = self.history.records.iter().filter_map(|record| match &record.body {
            Body::Click(click) => Some(click.ad_id.to_string()),
            _ => None,
        });
        let ads: BTreeSet<String> = clicks.filter(|ad_id| (1..=128).contains(&ad_id.len())).collect();
        let mut rows = BTreeMap::new();
        let granularities = [
            wire::Granularity::Minute,
            wire::Granularity::FiveMinutes,
            wire::Granularity::Hour,
            wire::Granularity::Day,
        ];
        for (granularity, decade) in granularities.into_iter().flat_map(|one| DECADES_MS.map(move |n| (one, n))) {
            let request = wire::GetCountsRequest {
                ad_ids: ads.iter().cloned().collect(),
                start_ms: decade * DECADE_MS,
                end_ms: (decade + 1) * DECADE_MS,
                granularity: granularity.into(),
                read: Some(wire::ReadAt { at: Some(wire::read_at::At::AsOf(epoch)) }),
                ..Default::default()
            };
            let answer = daemon.counts.get_counts(request).await.unwrap().into_inner();
            assert!(answer.next_page_token.is_empty());
            for row in answer.rows {
                let key = format!("{}/{}/{}", granularity.as_str_name(), row.window_start_ms, row.ad_id);
                rows.insert(key, (numbers(&row.metrics.unwrap()), row.revision, row.state));
            }
        }
        rows
    }

    /// The records of each epoch, as they lie in the topic and as they were bound.
    fn epochs(&self, dir: &Path) -> Vec<Vec<Delivered>> {
        let disk = Arc::new(SystemDisk::open(dir).unwrap());
        let dir = DataDir::read_only(disk).unwrap();
        let streams = Streams::open(&dir).unwrap();
        let mut held: BTreeMap<Position, Record> = BTreeMap::new();
        for message in Topics::of(self.kafka.servers()).consume(&self.name) {
            let stream = streams.current(&self.name, message.partition.unwrap()).unwrap();
            let body = self.bodies[std::str::from_utf8(message.value.as_ref().unwrap()).unwrap()].clone();
            let record = Record { label: 1, stream, arrival_ms: message.timestamp_ms, body };
            held.insert(Position { stream, offset: message.offset as u64 }, record);
        }
        let mut next: BTreeMap<u16, u64> = BTreeMap::new();
        let mut epochs = Vec::new();
        for (epoch, binding) in (1..).zip(Bindings::read(&dir, 1).unwrap()) {
            let binding = binding.unwrap();
            assert_eq!(binding.epoch, epoch);
            let mut records = Vec::new();
            for &Position { stream, offset } in &binding.positions {
                let from = next.insert(stream, offset).unwrap_or_default();
                let of = |offset| Position { stream, offset };
                let bound = held.range(of(from)..of(offset));
                records
                    .extend(bound.map(|(position, record)| Delivered { record: record.clone(), position: *position }));
            }
            assert_eq!(records.len() as u64, binding.records_in, "epoch {epoch}");
            epochs.push(records);
        }
        assert_eq!(epochs.iter().map(Vec::len).sum::<usize>(), held.len(), "every record is in an epoch, once");
        epochs
    }
}

fn expected_rows(model: &Model, epoch: u64) -> BTreeMap<String, Seen> {
    let state = model.state(epoch);
    let rows = state.rows.iter().map(|(key, row)| {
        let of_window = match state.marks.state_of(key) {
            WindowState::Open => wire::WindowState::Open,
            WindowState::Closed => wire::WindowState::Closed,
            WindowState::Final => wire::WindowState::Final,
        };
        (name(key), (eight(row), row.revision, of_window.into()))
    });
    rows.collect()
}

fn check_ledger(model: &Model, status: &wire::GetStatusResponse) {
    let totals = &model.state(model.last_epoch()).totals;
    let found = (status.records_in, status.received, status.verdicts, status.conflicting_copies);
    assert_eq!(found, (totals.records_in, totals.received, totals.verdicts, totals.conflicting_copies));
    let by_reason = |expected: &BTreeMap<recount_dataflow::domain::validate::Reason, u64>| -> BTreeMap<String, u64> {
        expected.iter().map(|(reason, count)| (reason.as_str().to_owned(), *count)).collect()
    };
    assert_eq!(BTreeMap::from_iter(status.parked_by_reason.clone()), by_reason(&totals.parked));
    assert_eq!(BTreeMap::from_iter(status.quarantined_by_reason.clone()), by_reason(&totals.quarantined));
}

fn expected_corrections(model: &Model) -> BTreeSet<SeenCorrection> {
    let mut expected = BTreeSet::new();
    for epoch in 1..=model.last_epoch() {
        for one in &model.state(epoch).corrections {
            let (before, after) = (one.before.as_ref().map(eight), eight(&one.after));
            let revision = one.after.revision.into();
            expected.insert((epoch, name(&one.key), revision, one.cause.as_str().to_owned(), before, after));
        }
    }
    expected
}

fn correction(json: &Value) -> SeenCorrection {
    let after = &json["after"];
    let before = Some(&json["before"]).filter(|before| !before.is_null()).map(metrics);
    let cause = json["cause"].as_str().unwrap().to_owned();
    let (epoch, revision) = (json["epoch"].as_u64().unwrap(), after["revision"].as_u64().unwrap());
    (epoch, name_of(after), revision, cause, before, metrics(after))
}
