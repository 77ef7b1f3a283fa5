//! Rows, changes and corrections of a snapshot.

use std::ops::Range;
use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::metrics::Metrics;
use crate::domain::retention::Retention;
use crate::domain::watermark::Watermark;
use crate::domain::window::{Granularity, WindowState};
use crate::operators::packet::owner;
use crate::operators::records::{CorrectionRecord, WINDOW_MAX, WindowCode};
use crate::operators::view::AdRow;
use crate::published::{ReadError, Shared};
use crate::trace::Record as _;

use super::Snapshot;
use super::answer::{Correction, Row, RowChange};
use super::of_ad::{Asked, RowReader};
use super::of_ads::Table;

/// Ads that are looked up together: many enough to go through runs with, and few enough that their rows stay in the cache.
const ADS_AT_ONCE: usize = 1_024;

/// An ad that a snapshot may have rows of.
#[derive(Clone, Debug)]
pub struct Ad {
    name: Arc<str>,
    fingerprint: Fingerprint,
}

/// The net change of one ad's window.
type Changed = (Fingerprint, u32, Metrics);

impl Snapshot {
    /// The rows of one ad with window start in `[start_ms, end_ms)`, by window.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn rows(
        &self,
        ad_id: &str,
        granularity: Granularity,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::new();
        self.for_each_row_in(ad_id, granularity, start_ms, end_ms, |row| rows.push(row.clone()))?;
        Ok(rows)
    }

    /// The same rows, handed out one by one.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn for_each_row_in(
        &self,
        ad_id: &str,
        granularity: Granularity,
        start_ms: i64,
        end_ms: i64,
        mut visit: impl FnMut(&Row),
    ) -> Result<(), ReadError> {
        self.check_kept(granularity)?;
        let ad = Ad { name: Arc::from(ad_id), fingerprint: self.shared.key.ad(ad_id) };
        let asked = self.asked(granularity, starting_in(granularity, start_ms, end_ms));
        if let Some(view) = self.view_of(ad.fingerprint) {
            let mut reader = RowReader::default();
            let rows = reader.read(&view.rows_of_ad(ad.fingerprint, granularity), &asked);
            self.visit_rows(&ad, rows, &asked, &mut visit);
        }
        Ok(())
    }

    /// Every row of a granularity, by (ad id bytes, window).
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn for_each_row(&self, granularity: Granularity, visit: impl FnMut(&Row)) -> Result<(), ReadError> {
        self.for_each_row_of(&self.ads(), granularity, visit)
    }

    /// Whether rows are none any more at a later epoch: whether a day leaves.
    pub fn has_rows_leaving(&self, later: &Snapshot) -> bool {
        self.first_day_row() < later.first_day_row()
    }

    fn first_day_row(&self) -> u32 {
        self.retention().first_row(Granularity::Day)
    }

    /// The rows that are none any more at a later epoch, by (ad id bytes, window), a whole day of them at once: those of the days that
    /// leave between this epoch and `later`. The smaller rows of such a day have ended to be rows in the course of the day after it.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn for_each_row_leaving(
        &self,
        later: &Snapshot,
        granularity: Granularity,
        mut visit: impl FnMut(&Row),
    ) -> Result<(), ReadError> {
        self.check_kept(granularity)?;
        let per_day = granularity.per(Granularity::Day);
        let first = |snapshot: &Snapshot| snapshot.first_day_row().saturating_mul(per_day);
        // What a day is made of is kept as long as the day is a row, so its smaller rows can be found here still.
        let windows = first(self)..first(later);
        if windows.is_empty() {
            return Ok(());
        }
        self.visit_table(&self.ads(), &Asked { granularity, windows, as_of: self.as_of() }, &mut visit);
        Ok(())
    }

    /// Every ad that may have rows, by the bytes of its id: to be read in parts, by several threads.
    pub fn ads(&self) -> Vec<Ad> {
        let sorted = self.shared.dictionary.sorted().into_iter();
        sorted.map(|(name, fingerprint)| Ad { name, fingerprint }).collect()
    }

    /// Every row of some ads, in their order, then by window.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn for_each_row_of(
        &self,
        ads: &[Ad],
        granularity: Granularity,
        mut visit: impl FnMut(&Row),
    ) -> Result<(), ReadError> {
        self.check_kept(granularity)?;
        self.visit_table(ads, &self.asked(granularity, 0..WINDOW_MAX), &mut visit);
        Ok(())
    }

    /// The net changes that take the state of the epoch before to this one, by (ad id, window). `ads` narrows to some ads.
    ///
    /// # Errors
    /// [`ReadError::NotKept`].
    pub fn changes(&self, granularity: Granularity, ads: Option<&[&str]>) -> Result<Vec<RowChange>, ReadError> {
        self.check_kept(granularity)?;
        let only: Option<Vec<Fingerprint>> = ads.map(|ads| ads.iter().map(|ad| self.shared.key.ad(ad)).collect());
        let first_row = self.retention().first_row(granularity);
        let per = self.shared.windows.base.per(granularity);
        let mut changes = Vec::new();
        for (worker, delta) in self.complete.deltas.iter().enumerate() {
            let base = delta.base.iter().flat_map(|run| run.iter());
            let rows = base.map(|record| (record.key(), record.window / per, record.metrics()));
            let overlaps = delta.overlaps.iter().flat_map(|run| run.iter());
            let of_size = overlaps.filter(|record| record.window.granularity() == granularity);
            let users = of_size.map(|record| (record.key(), record.window.window(), record.metrics()));
            let mut changed: Vec<Changed> = rows.chain(users).collect();
            changed.retain(|(ad, ..)| only.as_ref().is_none_or(|only| only.contains(ad)));
            changed.sort_by_key(|(ad, window, _)| (*ad, *window));
            changed.dedup_by(|next, kept| {
                let same = (next.0, next.1) == (kept.0, kept.1);
                if same {
                    kept.2 += next.2;
                }
                same
            });
            // A window that is no row any more is not spoken of.
            changed.retain(|(_, window, change)| first_row <= *window && !change.is_zero());
            self.visit_changes(worker, granularity, &changed, &mut changes);
        }
        changes.sort_by_cached_key(|change| {
            change.after.as_ref().or(change.before.as_ref()).expect("a change has a row before or after").place()
        });
        Ok(changes)
    }

    /// The corrections of this epoch, by (ad id, granularity, window). Of the epoch that the engine went on from they are not known
    /// here; [`Reader::corrections`](super::Reader::corrections) finds them.
    pub fn corrections(&self) -> Vec<Correction> {
        let runs = self.complete.deltas.iter().filter_map(|delta| delta.corrections.as_ref());
        corrections_of(&self.shared, runs.flat_map(|run| run.iter()).collect(), &self.retention())
    }

    fn asked(&self, granularity: Granularity, windows: Range<u32>) -> Asked {
        let first = windows.start.max(self.retention().first_row(granularity));
        Asked { granularity, windows: first..windows.end, as_of: self.as_of() }
    }

    fn visit_table(&self, ads: &[Ad], asked: &Asked, visit: &mut impl FnMut(&Row)) {
        let mut table = Table::default();
        for some in ads.chunks(ADS_AT_ONCE) {
            let fingerprints: Vec<Fingerprint> = some.iter().map(|ad| ad.fingerprint).collect();
            table.fill(&self.workers, &fingerprints, asked);
            for (ad, rows) in some.iter().zip(table.rows()) {
                self.visit_rows(ad, rows, asked, visit);
            }
        }
    }

    fn visit_rows(&self, ad: &Ad, rows: &[AdRow], asked: &Asked, visit: &mut impl FnMut(&Row)) {
        let (granularity, watermark) = (asked.granularity, self.watermark());
        // One row for all of them: the name is shared once an ad, not once a row.
        let mut of_ad = row(&ad.name, granularity, 0, Metrics::default(), 0, watermark);
        for AdRow { window, revision, metrics } in rows {
            if metrics.is_row() {
                of_ad.window_start_ms = granularity.start_ms(*window);
                of_ad.state = WindowState::of(granularity, of_ad.window_start_ms, watermark);
                (of_ad.metrics, of_ad.revision) = (*metrics, *revision);
                visit(&of_ad);
            }
        }
    }

    /// Adds the changes of one worker's ads, which are sorted by ad and window.
    fn visit_changes(
        &self,
        worker: usize,
        granularity: Granularity,
        changed: &[Changed],
        changes: &mut Vec<RowChange>,
    ) {
        let mut ads: Vec<Fingerprint> = changed.iter().map(|(ad, ..)| *ad).collect();
        ads.dedup();
        let mut known = self.workers[worker].view.rows_of_ads(&ads, granularity);
        for (number, windows) in changed.chunk_by(|a, b| a.0 == b.0).enumerate() {
            let (ad, first, last) = (windows[0].0, windows[0].1, windows[windows.len() - 1].1);
            assert_eq!(
                owner(ad.hash, self.workers.len()),
                worker,
                "ad {ad:?} changed on a worker that does not own it"
            );
            let of_ad = known.of_ad(number as u32);
            let rows = of_ad.rows(granularity, first..last + 1, self.as_of());
            let name = self.shared.dictionary.name(ad);
            for (_, window, change) in windows {
                let place = rows.binary_search_by_key(window, |row| row.window);
                let metrics = place.map_or(Metrics::default(), |place| rows[place].metrics);
                let last = of_ad.last_correction(WindowCode::new(granularity, *window), self.as_of());
                let revision = last.map_or(0, |last| last.revision);
                let corrected = last.is_some_and(|last| last.epoch == self.as_of());
                let state = |metrics: Metrics, revision: u32, watermark: Watermark| {
                    metrics.is_row().then(|| row(&name, granularity, *window, metrics, revision, watermark))
                };
                changes.push(RowChange {
                    before: state(metrics - *change, revision - u32::from(corrected), self.watermark_before()),
                    after: state(metrics, revision, self.watermark()),
                });
            }
        }
    }
}

/// The numbers of the windows that start in `[start_ms, end_ms)`.
pub(super) fn starting_in(granularity: Granularity, start_ms: i64, end_ms: i64) -> Range<u32> {
    let size_ms = granularity.size_ms();
    // A window starts at or after a time where its number is at least that time divided, rounded up.
    let first_from = |time_ms: i64| ((time_ms.clamp(0, size_ms << 27) + size_ms - 1) / size_ms) as u32;
    first_from(start_ms).min(WINDOW_MAX)..first_from(end_ms).min(WINDOW_MAX)
}

pub(super) fn row(
    name: &Arc<str>,
    granularity: Granularity,
    window: u32,
    metrics: Metrics,
    revision: u32,
    watermark: Watermark,
) -> Row {
    let window_start_ms = granularity.start_ms(window);
    let state = WindowState::of(granularity, window_start_ms, watermark);
    Row { ad_id: Arc::clone(name), granularity, window_start_ms, metrics, state, revision }
}

/// The corrections that some records tell of, as far as their rows are kept, in the order in which corrections are listed.
pub(super) fn corrections_of(
    shared: &Shared,
    mut records: Vec<&CorrectionRecord>,
    retention: &Retention,
) -> Vec<Correction> {
    // What is no row any more may have no name any more.
    records.retain(|record| record.window.is_row(retention));
    let mut corrections: Vec<Correction> = records.into_iter().map(|record| correction(shared, record)).collect();
    corrections.sort_by_cached_key(|correction| (correction.epoch, correction.after.place()));
    corrections
}

/// The correction that a record tells of.
pub(super) fn correction(shared: &Shared, record: &CorrectionRecord) -> Correction {
    let ad_id = shared.dictionary.name(record.key());
    let granularity = record.window.granularity();
    let window_start_ms = granularity.start_ms(record.window.window());
    let row = |metrics, state, revision| Row {
        ad_id: Arc::clone(&ad_id),
        granularity,
        window_start_ms,
        metrics,
        state,
        revision,
    };
    let before = record.before();
    Correction {
        epoch: record.epoch,
        corrected_at_ms: record.wall_ms,
        before: before.is_row().then(|| row(before, WindowState::Closed, record.revision - 1)),
        after: row(record.after(), record.state(), record.revision),
        cause: record.causes().cause(),
    }
}
