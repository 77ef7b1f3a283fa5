//! Corrections: what an epoch changed in windows that were CLOSED.

use crate::domain::cause::Causes;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::window::{Granularity, WindowState};
use crate::trace::Record as _;

use super::context::{Bound, Windows};
use super::records::{CorrectionRecord, RowUpdate, UniqueUpdate, WindowCode};
use super::view::{OfAd, View, WindowsOfAd};

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
    let base = before.windows.base;
    // The first base window is the earliest to close, and it closes before any that holds it.
    let has_closed = |of_ad: &&[RowUpdate]| base.end_ms(of_ad[0].window) <= watermark_ms;
    let ads: Vec<&[RowUpdate]> = rows.chunk_by(|a, b| a.key() == b.key()).filter(has_closed).collect();
    let windows_of = |of_ad: &&[RowUpdate]| {
        let (first, last) = (&of_ad[0], &of_ad[of_ad.len() - 1]);
        WindowsOfAd { ad: first.key(), first: first.window, last: last.window }
    };
    let mut known = before.of_ads(&ads.iter().map(windows_of).collect::<Vec<_>>());
    let mut overlaps = overlaps;
    for (number, of_ad) in (0..).zip(ads) {
        let ad = of_ad[0].key();
        overlaps = &overlaps[overlaps.partition_point(|overlap| overlap.key() < ad)..];
        let changes = Changes { rows: of_ad, overlaps, watermark_ms, windows: before.windows };
        changes.correct(epoch, bound, ad, known.of_ad(number), &mut corrections);
    }
    corrections
}

/// What an epoch changed of one ad.
struct Changes<'a> {
    rows: &'a [RowUpdate],
    /// Those of the ad, and then those of later ones.
    overlaps: &'a [UniqueUpdate],
    watermark_ms: i64,
    windows: Windows,
}

/// The net change of one closed window.
struct Change {
    window: u32,
    metrics: Metrics,
    causes: Causes,
}

impl Changes<'_> {
    fn correct(
        &self,
        epoch: u64,
        bound: &Bound,
        ad: Fingerprint,
        known: &OfAd<'_>,
        corrections: &mut Vec<CorrectionRecord>,
    ) {
        for granularity in self.windows.all() {
            for change in self.of_closed(granularity, ad) {
                let window = WindowCode::new(granularity, change.window);
                let old = known.newest(granularity, change.window);
                let new = old + change.metrics;
                assert!(
                    new.received >= new.gross_clicks
                        && new.gross_clicks >= new.invalid_clicks
                        && new.invalid_clicks >= 0,
                    "epoch {epoch}: a {granularity:?} row fell from {old:?} to {new:?}"
                );
                let revision = known.last_correction(window, epoch).map_or(0, |last| last.revision) + 1;
                let state = WindowState::of(granularity, granularity.start_ms(change.window), bound.watermark_after);
                let correction = CorrectionRecord::new(ad, window, epoch, old, change.metrics);
                corrections.push(correction.with(revision, change.causes, state, bound.wall_ms));
            }
        }
    }

    /// The net changes of the closed windows of one size, by window.
    fn of_closed(&self, granularity: Granularity, ad: Fingerprint) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        let per = self.windows.base.per(granularity);
        for row in self.rows {
            let window = row.window / per;
            if self.watermark_ms < granularity.end_ms(window) {
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
        let of_ad = self.overlaps.iter().take_while(|overlap| overlap.key() == ad);
        for overlap in of_ad.filter(|overlap| overlap.window.granularity() == granularity) {
            // A window whose overlap changed has a changed row, or it is not closed.
            if let Ok(place) = changes.binary_search_by_key(&overlap.window.window(), |change| change.window) {
                changes[place].metrics.unique_users -= overlap.users;
            }
        }
        changes.retain(|change| !change.metrics.is_zero());
        changes
    }
}
