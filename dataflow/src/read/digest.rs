//! What a snapshot comes to, in a few words: two that have the same digest give the same answers.

use std::hash::{Hash as _, Hasher as _};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::domain::ledger::Totals;
use crate::domain::window::{Granularity, WindowState};
use crate::trace::Run;

use super::Snapshot;
use super::answer::Row;
use super::rows::correction;

/// What can be asked of one epoch: its bindings and totals as they are, its rows and corrections as hashes of 128 bits. It does not
/// depend on the number of workers, on the hash key or on what the engine has forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The epoch.
    pub as_of: u64,
    /// W after it.
    pub watermark_ms: Option<i64>,
    /// The wall clock bound to it, ms since 1970.
    pub wall_ms: i64,
    /// The next offset of every stream that has been read from.
    pub positions: Vec<(u16, u64)>,
    /// The conservation ledger.
    pub totals: Totals,
    /// The rows of each granularity that is kept.
    pub rows: Vec<(Granularity, u128)>,
    /// The corrections up to the epoch.
    pub corrections: u128,
}

impl Snapshot {
    /// The digest of the epoch. It reads every row of the granularities that are kept.
    pub fn digest(&self) -> Digest {
        let mut rows = Vec::new();
        for granularity in self.shared.windows.all() {
            let mut hasher = SipHasher13::new();
            let read = self.for_each_row(granularity, |row| hash_row(row, &mut hasher));
            read.expect("only granularities that are kept are asked for");
            rows.push((granularity, hasher.finish128().as_u128()));
        }
        Digest {
            as_of: self.as_of(),
            watermark_ms: self.watermark_ms(),
            wall_ms: self.wall_ms(),
            positions: self.positions(),
            totals: self.totals().clone(),
            rows,
            corrections: self.hash_corrections(),
        }
    }

    /// The sum of the hashes of all corrections: it does not matter where each is.
    fn hash_corrections(&self) -> u128 {
        let runs = self.workers.iter().flat_map(|worker| &worker.view.corrections);
        let known = runs.flat_map(Run::iter).filter(|record| record.epoch <= self.as_of());
        let retention = self.retention();
        let known = known.filter(|record| record.window.is_row(&retention));
        known.fold(0, |sum: u128, record| {
            let correction = correction(&self.shared, record);
            let mut hasher = SipHasher13::new();
            (correction.epoch, correction.corrected_at_ms, correction.cause.as_str()).hash(&mut hasher);
            correction.before.iter().chain([&correction.after]).for_each(|row| hash_row(row, &mut hasher));
            sum.wrapping_add(hasher.finish128().as_u128())
        })
    }
}

fn hash_row(row: &Row, hasher: &mut SipHasher13) {
    let state = match row.state {
        WindowState::Open => 0_u8,
        WindowState::Closed => 1,
        WindowState::Final => 2,
    };
    hasher.write(row.ad_id.as_bytes());
    (row.granularity as u8, row.window_start_ms, state, row.revision).hash(hasher);
    let metrics = &row.metrics;
    let counts = [metrics.received, metrics.gross_clicks, metrics.invalid_clicks, metrics.unique_users];
    (counts, metrics.spend_micros, metrics.invalid_spend_micros).hash(hasher);
}
