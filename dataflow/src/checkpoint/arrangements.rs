//! The arrangements of a state, as manifests name them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::operators::context::State;
use crate::operators::view::View;
use crate::store::{Mapped, Place};
use crate::trace::{Record, Run};

use super::CheckpointError;
use super::manifest::{RunRecord, StateRecord};
use super::pack::PackWriter;

/// Looks at every arrangement of a state in turn, whatever its records are.
pub(super) trait EachArrangement {
    /// Looks at the runs of one.
    fn look<R: Record>(&mut self, runs: &[Run<R>]) -> Result<(), CheckpointError>;

    /// Looks at all, in the order of manifests.
    fn look_at(&mut self, state: &State) -> Result<(), CheckpointError> {
        let State { ledger, visits, view } = state;
        let View { base, overlaps, days, corrections, windows: _ } = view;
        self.look(ledger)?;
        self.look(visits)?;
        self.look(base)?;
        self.look(overlaps)?;
        self.look(days)?;
        self.look(corrections)
    }
}

/// How many bytes of each pack are still part of a state.
#[derive(Default)]
pub(super) struct Live {
    pub(super) bytes: BTreeMap<u64, u64>,
}

impl Live {
    /// Counts a place.
    pub(super) fn add(&mut self, place: Place) {
        *self.bytes.entry(place.pack).or_default() += place.bytes;
    }
}

impl EachArrangement for Live {
    fn look<R: Record>(&mut self, runs: &[Run<R>]) -> Result<(), CheckpointError> {
        let homes = runs.iter().flat_map(Run::chunks).filter_map(|chunk| chunk.home());
        homes.for_each(|place| self.add(place));
        Ok(())
    }
}

/// Writes the chunks that no pack holds yet, or one that is stale.
pub(super) struct ChunkWriter<'a, 'p> {
    pub(super) pack: &'a mut PackWriter<'p>,
    pub(super) stale: &'a BTreeSet<u64>,
    /// Whether files are to be held in place of memory.
    release: bool,
    record: StateRecord,
    /// Tells each chunk where it is, once the pack is durable.
    homes: Homes,
}

/// What tells chunks where they are.
pub(super) type Homes = Vec<Box<dyn FnOnce(&Arc<dyn Mapped>)>>;

impl<'a, 'p> ChunkWriter<'a, 'p> {
    /// A writer into a pack.
    pub(super) fn new(pack: &'a mut PackWriter<'p>, stale: &'a BTreeSet<u64>, release: bool) -> Self {
        ChunkWriter { pack, stale, release, record: StateRecord::default(), homes: Vec::new() }
    }

    /// Writes states; returns what manifests say of them, and what is to be called when the pack is durable.
    pub(super) fn write(mut self, states: &[Arc<State>]) -> Result<(Vec<StateRecord>, Homes), CheckpointError> {
        let mut records = Vec::new();
        for state in states {
            self.look_at(state)?;
            records.push(std::mem::take(&mut self.record));
        }
        Ok((records, self.homes))
    }
}

impl EachArrangement for ChunkWriter<'_, '_> {
    fn look<R: Record>(&mut self, runs: &[Run<R>]) -> Result<(), CheckpointError> {
        let mut records = Vec::with_capacity(runs.len());
        for run in runs {
            let mut places = Vec::with_capacity(run.chunks().len());
            for chunk in run.chunks() {
                let home = chunk.home().filter(|place| !self.stale.contains(&place.pack));
                places.push(match home {
                    Some(place) => place,
                    None => {
                        let place = self.pack.append(chunk.as_bytes())?;
                        let (chunk, release) = (Arc::clone(chunk), self.release);
                        self.homes.push(Box::new(move |file| {
                            chunk.set_home(place);
                            if release {
                                chunk.succeed_by(file);
                            }
                        }));
                        place
                    }
                });
            }
            records.push(RunRecord { skip: run.skip(), chunks: places });
        }
        self.record.arrangements.push(records);
        Ok(())
    }
}
