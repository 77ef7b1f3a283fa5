//! From the engine's answers to messages.

use recount_dataflow::domain::cause::Cause;
use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::metrics::Metrics;
use recount_dataflow::domain::window::{Granularity, WindowState};
use recount_dataflow::engine::StreamName;
use recount_dataflow::read::{Correction, Readable, Row, RowChange, SetAside, Snapshot};

use super::wire;

/// The number of a granularity.
pub fn granularity(granularity: Granularity) -> wire::Granularity {
    match granularity {
        Granularity::Minute => wire::Granularity::Minute,
        Granularity::FiveMinutes => wire::Granularity::FiveMinutes,
        Granularity::Hour => wire::Granularity::Hour,
        Granularity::Day => wire::Granularity::Day,
    }
}

/// All eight metrics, the derived ones too.
pub fn metrics(metrics: &Metrics) -> wire::Metrics {
    wire::Metrics {
        received: metrics.received,
        duplicates: metrics.duplicates(),
        gross_clicks: metrics.gross_clicks,
        invalid_clicks: metrics.invalid_clicks,
        clicks: metrics.clicks(),
        unique_users: metrics.unique_users,
        spend_micros: metrics.spend_micros,
        invalid_spend_micros: metrics.invalid_spend_micros,
    }
}

/// A row.
pub fn row(row: &Row) -> wire::CountRow {
    let state = match row.state {
        WindowState::Open => wire::WindowState::Open,
        WindowState::Closed => wire::WindowState::Closed,
        WindowState::Final => wire::WindowState::Final,
    };
    wire::CountRow {
        ad_id: row.ad_id.to_string(),
        granularity: granularity(row.granularity).into(),
        window_start_ms: row.window_start_ms,
        metrics: Some(metrics(&row.metrics)),
        state: state.into(),
        revision: row.revision,
    }
}

/// A row's change.
pub fn row_change(change: &RowChange) -> wire::RowChange {
    wire::RowChange { before: change.before.as_ref().map(row), after: change.after.as_ref().map(row) }
}

/// A correction, with the id that makes it the same on every delivery: see [`correction_id`].
pub fn correction(correction: &Correction, lineage: &str) -> wire::Correction {
    use wire::correction::Cause as WireCause;
    let cause = match correction.cause {
        Cause::Late => WireCause::Late,
        Cause::Duplicate => WireCause::Duplicate,
        Cause::Verdict => WireCause::Verdict,
        Cause::Reversal => WireCause::Reversal,
        Cause::Mixed => WireCause::Mixed,
    };
    wire::Correction {
        before: correction.before.as_ref().map(row),
        after: Some(row(&correction.after)),
        cause: cause.into(),
        corrected_at_ms: correction.corrected_at_ms,
        correction_id: correction_id(correction, lineage),
    }
}

/// The identity of a correction: `lineage/granularity/window_start_ms/revision/ad_id`, for example
/// `replay/HOUR/1700002800000/2/ad-17`. The ad comes last because it alone may hold any character.
pub fn correction_id(correction: &Correction, lineage: &str) -> String {
    let after = &correction.after;
    let (granularity, start_ms, revision) = (after.granularity.as_str(), after.window_start_ms, after.revision);
    format!("{lineage}/{granularity}/{start_ms}/{revision}/{}", after.ad_id)
}

/// A place in a stream: the record's own offset, or the next one to read.
pub fn position(streams: &[StreamName], stream: u16, offset: u64) -> wire::SourcePosition {
    let name = &streams[stream as usize];
    wire::SourcePosition { source: name.source.clone(), partition: name.partition, next_offset: offset as i64 }
}

/// Where one record was read.
pub fn record_position(streams: &[StreamName], at: Position) -> wire::SourcePosition {
    position(streams, at.stream, at.offset)
}

/// What an answer was read at. `readable` are the readable epochs now.
pub fn snapshot(snapshot: &Snapshot, readable: Readable, streams: &[StreamName]) -> wire::Snapshot {
    wire::Snapshot {
        as_of: snapshot.as_of(),
        since: readable.since,
        upper: readable.upper,
        watermark_ms: snapshot.watermark_ms().unwrap_or(0),
        positions: snapshot.positions().into_iter().map(|(stream, next)| position(streams, stream, next)).collect(),
    }
}

/// A record that was set aside.
pub fn set_aside(record: &SetAside, streams: &[StreamName]) -> wire::SetAside {
    wire::SetAside {
        reason: record.reason.as_str().to_string(),
        detail: record.detail.clone(),
        position: Some(record_position(streams, record.position)),
        payload: record.payload.to_vec(),
        payload_length: record.payload_length as i64,
        set_aside_at_ms: record.set_aside_at_ms,
    }
}

/// The state of the service as of an epoch: the readable range and the conservation ledger.
pub fn status(at: &Snapshot, readable: Readable, streams: &[StreamName]) -> wire::GetStatusResponse {
    let totals = at.totals();
    wire::GetStatusResponse {
        snapshot: Some(snapshot(at, readable, streams)),
        records_in: totals.records_in,
        received: totals.received,
        verdicts: totals.verdicts,
        parked: totals.parked_total(),
        quarantined: totals.quarantined_total(),
        parked_by_reason: totals.parked.iter().map(|(reason, &n)| (reason.as_str().to_string(), n)).collect(),
        quarantined_by_reason: totals.quarantined.iter().map(|(reason, &n)| (reason.as_str().to_string(), n)).collect(),
        conflicting_copies: totals.conflicting_copies,
        unknown_fields: totals.unknown_fields,
    }
}
