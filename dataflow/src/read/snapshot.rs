//! The state at one epoch.

use std::sync::Arc;

use crate::domain::fingerprint::Fingerprint;
use crate::domain::ledger::Totals;
use crate::domain::retention::Retention;
use crate::domain::watermark::Watermark;
use crate::domain::window::Granularity;
use crate::operators::context::State;
use crate::operators::packet::owner;
use crate::operators::view::View;
use crate::published::{Complete, Held, NamesHeld, ReadError, Readable, Shared};

/// The state at one epoch. It holds what it needs, so it answers alike for as long as it is held.
pub struct Snapshot {
    pub(super) shared: Arc<Shared>,
    pub(super) complete: Arc<Complete>,
    pub(super) workers: Vec<Arc<State>>,
    readable: Readable,
    /// The names of its ads stay as long as it does.
    _names: NamesHeld,
}

impl Snapshot {
    pub(super) fn new(shared: Arc<Shared>, names: NamesHeld, held: Held) -> Self {
        let Held { complete, workers, readable } = held;
        Snapshot { shared, complete, workers, readable, _names: names }
    }

    /// The epoch.
    pub fn as_of(&self) -> u64 {
        self.complete.after.epoch
    }

    /// The readable epochs when the snapshot was taken.
    pub fn readable(&self) -> Readable {
        self.readable
    }

    /// W after the epoch; `None` before the first accepted click.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark().watermark_ms()
    }

    /// The wall clock bound to the epoch, ms since 1970; 0 at epoch 0.
    pub fn wall_ms(&self) -> i64 {
        self.complete.after.bound.wall_ms
    }

    /// The next offset of every stream that has been read from, by stream number.
    pub fn positions(&self) -> Vec<(u16, u64)> {
        self.complete.after.positions.iter().map(|(stream, next)| (*stream, *next)).collect()
    }

    /// The conservation ledger.
    pub fn totals(&self) -> &Totals {
        &self.complete.after.totals
    }

    /// W and F after the epoch.
    pub(super) fn watermark(&self) -> Watermark {
        self.complete.after.bound.watermark_after
    }

    /// W and F before the epoch.
    pub(super) fn watermark_before(&self) -> Watermark {
        self.complete.after.bound.watermark_before
    }

    /// The rows of the worker that owns an ad; `None` where no worker has published, which is so at epoch 0 alone.
    pub(super) fn view_of(&self, ad: Fingerprint) -> Option<&View> {
        self.workers.get(owner(ad.hash, self.workers.len().max(1))).map(|worker| &worker.view)
    }

    /// What can be asked about at the epoch.
    pub(super) fn retention(&self) -> Retention {
        self.complete.after.retention(&self.shared.rules)
    }

    pub(super) fn check_kept(&self, granularity: Granularity) -> Result<(), ReadError> {
        match self.shared.windows.keeps(granularity) {
            true => Ok(()),
            false => Err(ReadError::NotKept { granularity }),
        }
    }
}
