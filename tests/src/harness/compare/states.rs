//! The state as of an epoch: all rows, rows of one ad, top ads, the ledger, the watermark, positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use recount_dataflow::domain::metrics::Metric;
use recount_dataflow::domain::window::Granularity;
use recount_dataflow::read::{ReadError, Snapshot};

use super::{Case, Seen, numbers, same, same_list};
use crate::harness::wall_ms;
use crate::model::{Eight, Model, RowKey};

/// Everything that one snapshot says of the state.
///
/// # Errors
/// The first difference.
pub fn state(case: &Case<'_>, snapshot: &Snapshot, granularities: &[Granularity]) -> Result<(), String> {
    rows(case.model, snapshot, granularities)?;
    let as_of = snapshot.as_of();
    if as_of > 0 {
        same("the wall clock", &snapshot.wall_ms(), &wall_ms(case.history, as_of))?;
    }
    positions(case, snapshot)
}

/// Every row of some granularities, the watermark and the ledger.
///
/// # Errors
/// The first difference.
pub fn rows(model: &Model, snapshot: &Snapshot, granularities: &[Granularity]) -> Result<(), String> {
    let as_of = snapshot.as_of();
    let state = model.state(as_of);
    same("the watermark", &snapshot.watermark_ms(), &state.marks.watermark_ms)?;
    same("the ledger", snapshot.totals(), &state.totals)?;
    for granularity in Granularity::ALL {
        let mut found = Vec::new();
        let result = snapshot.for_each_row(granularity, |row| found.push(Seen::found(row)));
        if !granularities.contains(&granularity) {
            same("reading what is not kept", &result, &Err(ReadError::NotKept { granularity }))?;
            continue;
        }
        result.map_err(|error| error.to_string())?;
        let expected: Vec<Seen> = (state.rows.iter())
            .filter(|(key, _)| key.granularity == granularity)
            .map(|(key, row)| Seen::expected(model, as_of, key, row))
            .collect();
        same_list("rows", &found, &expected)?;
    }
    Ok(())
}

fn positions(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let mut last: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    for delivered in case.epochs.iter().take(snapshot.as_of() as usize).flatten() {
        let offset = delivered.position.offset;
        let end = offset + delivered.record.to_json().len() as u64 + 1;
        last.insert(delivered.position.stream, (offset, end));
    }
    let found = snapshot.positions();
    let streams: Vec<u16> = found.iter().map(|(stream, _)| *stream).collect();
    same_list("streams with a position", &streams, &last.keys().copied().collect::<Vec<_>>())?;
    for (stream, next_offset) in found {
        let (offset, end) = last[&stream];
        if !(offset + 1..=end).contains(&next_offset) {
            return Err(format!("stream {stream} is bound to {next_offset}, and its last record is [{offset}, {end})"));
        }
    }
    Ok(())
}

/// Rows of single ads, over ranges that cut into what is there.
///
/// # Errors
/// The first difference.
pub fn point_reads(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let as_of = snapshot.as_of();
    let state = case.model.state(as_of);
    for granularity in case.history.plan.granularities() {
        let mut by_ad: BTreeMap<&Arc<str>, Vec<i64>> = BTreeMap::new();
        for key in state.rows.keys().filter(|key| key.granularity == granularity) {
            by_ad.entry(&key.ad_id).or_default().push(key.start_ms);
        }
        for (ad_id, starts_ms) in by_ad {
            let (first_ms, last_ms) = (starts_ms[0], starts_ms[starts_ms.len() - 1]);
            let middle_ms = starts_ms[starts_ms.len() / 2];
            let ranges =
                [(i64::MIN, i64::MAX), (first_ms, last_ms), (first_ms + 1, last_ms + 1), (middle_ms, middle_ms + 1)];
            for (start_ms, end_ms) in ranges {
                let found = snapshot.rows(ad_id, granularity, start_ms, end_ms).map_err(|error| error.to_string())?;
                let found: Vec<Seen> = found.iter().map(Seen::found).collect();
                let expected: Vec<Seen> = (state.rows.iter())
                    .filter(|(key, _)| key.granularity == granularity && key.ad_id == *ad_id)
                    .filter(|(key, _)| (start_ms..end_ms).contains(&key.start_ms))
                    .map(|(key, row)| Seen::expected(case.model, as_of, key, row))
                    .collect();
                same_list(&format!("rows of {ad_id} in [{start_ms}, {end_ms})"), &found, &expected)?;
            }
        }
        let nobody = snapshot.rows("no such ad", granularity, i64::MIN, i64::MAX);
        same("rows of no ad", &nobody, &Ok(Vec::new()))?;
    }
    Ok(())
}

/// Top ads by every metric, over one window of each granularity and over ranges that are none.
///
/// # Errors
/// The first difference.
pub fn top(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    if case.history.plan.granularities().len() < Granularity::ALL.len() {
        return Ok(());
    }
    let state = case.model.state(snapshot.as_of());
    let mut ranges: Vec<(i64, i64, bool)> = Vec::new();
    for granularity in Granularity::ALL {
        let starts = state.rows.keys().filter(|key| key.granularity == granularity);
        let starts: Vec<&RowKey> = starts.collect();
        if let Some(key) = starts.get(starts.len() / 2) {
            ranges.push((key.start_ms, key.end_ms(), true));
            // One minute more on either side is no window.
            ranges.push((key.start_ms - 60_000, key.end_ms(), false));
            ranges.push((key.start_ms, key.end_ms() + 60_000, false));
        }
    }
    for (start_ms, end_ms, is_window) in ranges {
        for metric in Metric::ALL {
            if metric == Metric::UniqueUsers && !is_window {
                continue;
            }
            let expected = expected_top(case, snapshot.as_of(), (start_ms, end_ms), is_window, metric);
            for limit in [1, 3, 1_000] {
                let found = snapshot.top(start_ms, end_ms, metric, limit, None).map_err(|error| error.to_string())?;
                let found: Vec<(Arc<str>, Vec<i64>)> =
                    found.into_iter().map(|(ad_id, metrics)| (ad_id, numbers(&Eight::of(&metrics)))).collect();
                let what = format!("top {limit} by {} in [{start_ms}, {end_ms})", metric.as_str());
                same_list(&what, &found, &expected[..limit.min(expected.len())])?;
            }
        }
    }
    Ok(())
}

fn expected_top(
    case: &Case<'_>,
    as_of: u64,
    (start_ms, end_ms): (i64, i64),
    is_window: bool,
    metric: Metric,
) -> Vec<(Arc<str>, Vec<i64>)> {
    let rows = &case.model.state(as_of).rows;
    let mut ads: BTreeMap<Arc<str>, Eight> = BTreeMap::new();
    // One window is a row; any other range is the sum of its minutes, of which the users can not be told.
    for (key, row) in rows {
        let is_asked = match is_window {
            true => key.start_ms == start_ms && key.end_ms() == end_ms,
            false => key.granularity == Granularity::Minute && (start_ms..end_ms).contains(&key.start_ms),
        };
        if is_asked {
            *ads.entry(key.ad_id.clone()).or_default() += row.metrics;
        }
    }
    ads.values_mut().filter(|_| !is_window).for_each(|metrics| metrics.unique_users = 0);
    let mut ads: Vec<(Arc<str>, Eight)> = ads.into_iter().collect();
    // The sort is stable, so ties stay in order of ad id.
    ads.sort_by_key(|(_, metrics)| std::cmp::Reverse(metrics.get(metric)));
    ads.into_iter().map(|(ad_id, metrics)| (ad_id, numbers(&metrics))).collect()
}
