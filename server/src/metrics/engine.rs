//! The engine's numbers, read from its newest complete epoch.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use recount_dataflow::domain::ledger::Totals;
use recount_dataflow::domain::validate::Reason;
use recount_dataflow::read::{ArrangementSize, SetAsideSizes, Snapshot};

use super::write::Writer;
use crate::api::Shared;
use crate::clock::wall_ms;

/// Reads the engine when it is asked.
pub(super) struct EngineCollector {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for EngineCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineCollector").finish_non_exhaustive()
    }
}

impl Collector for EngineCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer::new(encoder);
        if let Ok(snapshot) = self.shared.reader.snapshot(None) {
            records(&mut writer, snapshot.totals())?;
            epochs(&mut writer, &snapshot)?;
            state(&mut writer, &snapshot)?;
            let by_cause = self.shared.reader.corrections_by_cause();
            let by_cause = by_cause.iter().map(|(cause, &corrections)| ([("cause", cause.as_str())], corrections));
            writer.counters("corrections", "Corrections, by cause", by_cause)?;
        }
        set_aside(&mut writer, &self.shared.reader.set_aside_sizes())?;
        let bounds = &self.shared.bounds;
        let reads = bounds.concurrent_reads - self.shared.reads.available_permits();
        writer.gauge("reads", "Reads that run on a thread of their own", reads as u64)?;
        let subscribers = bounds.subscribers - self.shared.subscribers.available_permits();
        writer.gauge("subscribers", "Subscriptions that are open", subscribers as u64)
    }
}

/// What became of every record.
fn records(writer: &mut Writer<'_>, totals: &Totals) -> fmt::Result {
    let parked = |reason| totals.parked.get(&reason).copied().unwrap_or_default();
    let outcomes = [
        ([("kind", "click"), ("outcome", "received")], totals.received),
        ([("kind", "click"), ("outcome", "parked")], parked(Reason::Late)),
        ([("kind", "verdict"), ("outcome", "received")], totals.verdicts),
        ([("kind", "verdict"), ("outcome", "parked")], parked(Reason::VerdictLate)),
        ([("kind", "unknown"), ("outcome", "quarantined")], totals.quarantined_total()),
    ];
    writer.counters("records", "Records that came in, by what became of them", outcomes)?;
    let quarantined = totals.quarantined.iter().map(|(reason, &records)| ([("reason", reason.as_str())], records));
    writer.counters("quarantined_records", "Records that break a rule, by the rule", quarantined)?;
    // No counter: a copy that comes between two clicks can make a duplicate of the later one.
    writer.gauge("clicks", "Copies that are clicks, whatever their verdict", totals.gross_clicks)?;
    writer.counter("duplicates", "Copies that are not clicks", totals.duplicates())?;
    let conflicting = totals.conflicting_copies;
    writer.counter("conflicting_copies", "Copies of a click that differ in ad, user or price", conflicting)?;
    let unknown = totals.unknown_fields;
    writer.counter("unknown_fields", "Fields that no version of the contract names", unknown)
}

/// The records in no window that can be listed, and those that had to go.
fn set_aside(writer: &mut Writer<'_>, sizes: &SetAsideSizes) -> fmt::Result {
    writer.gauge("set_aside_bytes", "Bytes of the parked and quarantined records that are kept", sizes.bytes)?;
    let dropped = sizes.dropped.iter().map(|(reason, &records)| ([("reason", reason.as_str())], records));
    let help =
        "Parked and quarantined records that are not kept any more, for their age or for want of room, by reason";
    writer.counters("set_aside_dropped", help, dropped)
}

/// What is remembered, by arrangement.
fn state(writer: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
    let sizes = snapshot.state_bytes();
    let each = |of: fn(&ArrangementSize) -> u64| sizes.iter().map(move |size| ([("arrangement", size.name)], of(size)));
    writer.gauges("state_records", "Records of the state", each(|size| size.records))?;
    writer.gauges("state_bytes", "Bytes of the state, in memory or in files", each(|size| size.bytes))?;
    writer.gauges("state_resident_bytes", "Bytes of the state in memory", each(|size| size.resident_bytes))?;
    writer.gauges("state_runs", "Runs of the state", each(|size| size.runs))
}

/// How far the engine is, and how far behind the world.
fn epochs(writer: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
    writer.gauge("epoch", "The newest complete epoch", snapshot.as_of())?;
    writer.gauge("epoch_since", "The oldest epoch that can be read", snapshot.readable().since)?;
    let now_ms = wall_ms();
    let age = |since_ms: i64| (now_ms - since_ms) as f64 / 1_000.0;
    let event = snapshot.watermark_ms().map(|watermark_ms| ([("clock", "event")], age(watermark_ms)));
    let wall = (snapshot.wall_ms() > 0).then(|| ([("clock", "wall")], age(snapshot.wall_ms())));
    let help = "Time since the newest complete epoch was closed, and since its watermark";
    writer.seconds("freshness", help, [event, wall].into_iter().flatten())
}
