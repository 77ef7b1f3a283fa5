//! Corrections: what an epoch changed in windows that were CLOSED.

use crate::domain::cause::Causes;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::{Granularity, WindowState};
use crate::trace::Record as _;

use super::context::Bound;
use super::records::{CorrectionRecord, RowUpdate, UniqueUpdate, WindowCode};
use super::view::View;

/// The corrections of an epoch. `rows` and `overlaps` are its changes, sorted and folded; `before` is the state before it.
pub(crate) fn corrections(
    epoch: u64,
    bound: &Bound,
    rows: &[RowUpdate],
    overlaps: &[UniqueUpdate],
    before: &View,
) -> Vec<CorrectionRecord> {
    let mut corrections = Vec::new();
    let Some(watermark_ms) = bound.watermark_before.watermark_ms() else { return corrections };
    let mut overlaps = overlaps;
    for of_ad in rows.chunk_by(|a, b| a.key() == b.key()) {
        let ad = of_ad[0].key();
        let skipped = overlaps.partition_point(|overlap| overlap.key() < ad);
        let len = overlaps[skipped..].iter().take_while(|overlap| overlap.key() == ad).count();
        let overlaps_of_ad = &overlaps[skipped..skipped + len];
        overlaps = &overlaps[skipped + len..];
        for granularity in before.windows.all() {
            let changed = changes(granularity, watermark_ms, of_ad, overlaps_of_ad, before.windows.base);
            corrections
                .extend(changed.into_iter().map(|change| correct(epoch, bound, ad, granularity, change, before)));
        }
    }
    corrections
}

/// The net change of one closed window.
struct Change {
    window: u32,
    metrics: Metrics,
    causes: Causes,
}

/// The net changes of one ad's closed windows of one size.
fn changes(
    granularity: Granularity,
    watermark_ms: i64,
    rows: &[RowUpdate],
    overlaps: &[UniqueUpdate],
    base: Granularity,
) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    let per = base.per(granularity);
    for row in rows {
        let window = row.window / per;
        if granularity.start_ms(window) + granularity.size_ms() > watermark_ms {
            // Rows are in the order of their windows: no later one is closed.
            break;
        }
        match changes.last_mut() {
            Some(change) if change.window == window => {
                change.metrics += row.metrics.widen();
                change.causes |= row.causes();
            }
            _ => changes.push(Change { window, metrics: row.metrics.widen(), causes: row.causes() }),
        }
    }
    for overlap in overlaps.iter().filter(|overlap| overlap.window.granularity() == granularity) {
        // A window whose overlap changed has a changed row, or it is not closed.
        if let Ok(place) = changes.binary_search_by_key(&overlap.window.window(), |change| change.window) {
            changes[place].metrics.unique_users -= overlap.users;
        }
    }
    changes.retain(|change| !change.metrics.is_zero());
    changes
}

fn correct(
    epoch: u64,
    bound: &Bound,
    ad: Fingerprint,
    granularity: Granularity,
    change: Change,
    before: &View,
) -> CorrectionRecord {
    let window = WindowCode::new(granularity, change.window);
    let rows = before.rows(ad, granularity, change.window..change.window + 1, epoch);
    let old = rows.first().map_or(Metrics::default(), |(_, metrics)| *metrics);
    let new = old + change.metrics;
    assert!(
        new.received >= new.gross_clicks && new.gross_clicks >= new.invalid_clicks && new.invalid_clicks >= 0,
        "epoch {epoch}: a {granularity:?} row fell from {old:?} to {new:?}"
    );
    let revision = before.last_correction(ad, window, epoch).map_or(0, |last| last.revision);
    let state = WindowState::of(granularity, granularity.start_ms(change.window), bound.watermark_after);
    CorrectionRecord::new(ad, window, epoch, old, new).with(revision + 1, change.causes, state, bound.wall_ms)
}
