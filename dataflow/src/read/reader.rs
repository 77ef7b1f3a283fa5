//! The handle that readers hold.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::cause::Cause;
use crate::domain::rules::Rules;
use crate::domain::validate::Shelf;
use crate::operators::records::CorrectionRecord;
use crate::published::{Held, Named, Outline, ReadError, Readable, SetAside, SetAsideList, Shared, StreamName};

use super::Snapshot;
use super::answer::{Correction, SetAsideSizes};
use super::rows::corrections_of;

/// A handle for reading; cheap to clone, for any thread.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// The readable epochs now.
    pub fn readable(&self) -> Readable {
        self.shared.timeline.readable()
    }

    /// Waits until `epoch` is complete (`upper > epoch`); gives up at the deadline or when the engine stops.
    ///
    /// # Errors
    /// [`ReadError::DeadlineExceeded`] and [`ReadError::Stopped`].
    pub fn wait_for(&self, epoch: u64, deadline: Instant) -> Result<Readable, ReadError> {
        self.shared.timeline.wait_for(epoch, Some(deadline))
    }

    /// The first readable epoch whose bound positions reach every one of `positions` (next offsets by stream), or `None` while
    /// no readable epoch does.
    pub fn epoch_including(&self, positions: &[(u16, u64)]) -> Option<u64> {
        self.shared.timeline.epoch_including(positions)
    }

    /// The state at an epoch; the newest complete one where `as_of` is `None`.
    ///
    /// # Errors
    /// [`ReadError::AsOfTooOld`] and [`ReadError::AsOfTooNew`].
    pub fn snapshot(&self, as_of: Option<u64>) -> Result<Snapshot, ReadError> {
        let names = self.shared.dictionary.hold();
        Ok(Snapshot::new(Arc::clone(&self.shared), names, self.shared.timeline.hold(as_of)?))
    }

    /// Corrections of complete epochs in `[from_epoch, to_epoch)`, by epoch, then (ad id, granularity, window). They are kept as
    /// long as their rows, whatever `since` is.
    pub fn corrections(&self, from_epoch: u64, to_epoch: u64) -> Vec<Correction> {
        let _names = self.shared.dictionary.hold();
        let Ok(held) = self.shared.timeline.hold(None) else { return Vec::new() };
        let to_epoch = to_epoch.min(held.readable.upper);
        // What the history still has by epoch need not be searched for among all corrections.
        let recent = self.shared.timeline.readable_in(from_epoch..to_epoch);
        let by_epoch_from = recent.first().map_or(to_epoch, |epoch| epoch.after.epoch);
        let retention = held.retention(&self.shared.rules);
        let mut records: Vec<&CorrectionRecord> = Vec::new();
        if from_epoch < by_epoch_from {
            let runs = held.workers.iter().flat_map(|worker| &worker.view.corrections);
            let older = runs.flat_map(|run| run.iter());
            records.extend(older.filter(|record| (from_epoch..by_epoch_from).contains(&record.epoch)));
        }
        let deltas = recent.iter().flat_map(|epoch| &epoch.deltas).filter_map(|delta| delta.corrections.as_ref());
        records.extend(deltas.flat_map(|run| run.iter()));
        corrections_of(&self.shared, records, &retention)
    }

    /// Follows the epochs from `next` on: none of them leaves the history before the follower has done with it.
    pub fn follow(&self, next: u64) -> Follower {
        let number = self.shared.timeline.followers(|followers| followers.add(next));
        Follower { shared: Arc::clone(&self.shared), number }
    }

    /// Holds the records set aside from an epoch on, which may have left the history: none of them is let go of while this is there.
    pub fn hold_set_aside(&self, from_epoch: u64) -> SetAsideHold {
        let number = self.shared.timeline.holds(|holds| holds.add(from_epoch));
        SetAsideHold { shared: Arc::clone(&self.shared), number }
    }

    /// Whether somebody who follows is more than `epochs_max` complete epochs behind, or what is held for it takes more memory than the
    /// history or the records set aside may: then no more should be fed.
    pub fn is_held_back(&self, epochs_max: u64) -> bool {
        let (epochs, is_large) = self.shared.timeline.held_back();
        epochs_max < epochs || is_large
    }

    /// How many corrections there have been of each cause up to the newest complete epoch, those of rows that are rows no more
    /// included.
    pub fn corrections_by_cause(&self) -> BTreeMap<Cause, u64> {
        self.shared.timeline.hold(None).map_or_else(|_| BTreeMap::new(), |held| held.complete.after.corrections.clone())
    }

    /// The records of a shelf, oldest first, of those that are kept: a replay keeps the first of each reason, a service the newest.
    /// `reason` narrows. Each has a number that grows; the list starts after `after`.
    pub fn set_aside(&self, shelf: Shelf, reason: Option<&str>, after: u64, limit: usize) -> Vec<(u64, Arc<SetAside>)> {
        self.shared.timeline.set_aside(|list| list.list(shelf, reason, after, limit))
    }

    /// The quarantined records of complete epochs, in the order in which they were set aside. A follower keeps those of the epochs that
    /// it has not done with, and a [hold](Reader::hold_set_aside) those from its epoch on.
    pub fn quarantined(&self, epochs: Range<u64>) -> Vec<Arc<SetAside>> {
        self.shared.timeline.set_aside(|list| list.quarantined(epochs))
    }

    /// The number of the checkpoint that the engine went on from; `None` where it began with nothing.
    pub fn restored_from(&self) -> Option<u64> {
        self.shared.restored_from
    }

    /// The newest complete epoch, with the state after it.
    pub(crate) fn hold_newest(&self) -> Held {
        self.shared.timeline.hold(None).expect("the newest complete epoch can be read")
    }

    /// How many records set aside had to go, for their age or for want of room.
    pub fn set_aside_dropped(&self) -> u64 {
        self.shared.timeline.set_aside(|list| list.dropped_total())
    }

    /// The records set aside that are kept, and those that are not any more.
    pub fn set_aside_sizes(&self) -> SetAsideSizes {
        let sizes = |list: &mut SetAsideList| SetAsideSizes { bytes: list.bytes(), dropped: list.dropped().clone() };
        self.shared.timeline.set_aside(sizes)
    }

    /// Says that chunks have been written to files that may be held in their place.
    pub(crate) fn settle(&self) {
        self.shared.timeline.settle();
    }

    /// The ads that were named, new or again, since the last call.
    pub(crate) fn take_new_names(&self) -> Vec<Named> {
        self.shared.dictionary.take_new()
    }

    /// What the list of records set aside comes to, and those of epochs up to one that come after a number.
    pub(crate) fn set_aside_after(&self, after: u64, epoch: u64) -> (Outline, Vec<(u64, Arc<SetAside>)>) {
        self.shared.timeline.set_aside(|list| (list.outline(), list.after(after, epoch)))
    }

    /// What counts.
    pub(crate) fn rules(&self) -> Rules {
        self.shared.rules
    }

    /// The names of the streams, by number: those of every epoch that could be read before the call are among them.
    pub fn streams(&self) -> Arc<[StreamName]> {
        self.shared.streams.all()
    }
}

/// Somebody who needs records set aside. Dropped, it holds none any more.
pub struct SetAsideHold {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for SetAsideHold {
    fn drop(&mut self) {
        self.shared.timeline.holds(|holds| holds.remove(self.number));
    }
}

/// Somebody who follows the epochs, in order. Dropped, it holds nothing back any more.
pub struct Follower {
    shared: Arc<Shared>,
    number: u64,
}

impl Follower {
    /// It has done with every epoch below `next`, which never goes back.
    pub fn advance(&self, next: u64) {
        self.shared.timeline.followers(|followers| followers.advance(self.number, next));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.timeline.followers(|followers| followers.remove(self.number));
    }
}
