//! From files back to a state.

use std::sync::Arc;
use std::thread;

use crate::domain::fact::Position;
use crate::domain::rules::Rules;
use crate::domain::watermark::Watermark;
use crate::engine::{Dictionary, Origin, SetAsideList};
use crate::operators::context::{Bound, State, Windows};
use crate::operators::view::View;
use crate::store::{Place, Store};
use crate::trace::{Chunk, Record, Run};

use super::manifest::{Manifest, RunRecord, StateRecord};
use super::pack::Packs;
use super::{CheckpointError, manifest, names, set_aside};

/// The state after an epoch, read from files and checked: an engine can go on from it.
pub struct Checkpoint {
    manifest: Manifest,
    origin: Origin,
}

impl Checkpoint {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.manifest.number
    }

    /// The epoch that it holds the state of.
    pub fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    /// The settings that it was made under, as far as they decide results.
    pub fn rules(&self) -> &Rules {
        &self.manifest.rules
    }

    /// The next offset of every stream that had been read from: where the log goes on.
    pub fn positions(&self) -> Vec<Position> {
        self.manifest.next_positions()
    }

    /// Maps all that a manifest names and checks every byte of it.
    pub(crate) fn load(store: &dyn Store, manifest: Manifest) -> Result<Checkpoint, CheckpointError> {
        let packs = Packs::open(store, &manifest.packs)?;
        check(&packs, &manifest.places().collect::<Vec<_>>())?;
        let damaged = |what: &str| CheckpointError::damaged(&manifest::file_name(manifest.number), what);
        let dictionary = Dictionary::new();
        for piece in &manifest.names {
            let names = names::decode(packs.piece(piece.place));
            dictionary.restore(names.ok_or_else(|| damaged("a piece of names can not be read"))?);
        }
        let mut records = Vec::new();
        for piece in &manifest.set_aside {
            let read = set_aside::decode(packs.piece(piece.place));
            records.extend(read.ok_or_else(|| damaged("a piece of set aside records can not be read"))?);
        }
        let states = manifest.states.iter().map(|state| load_state(&packs, state));
        let at = |watermark_ms| Watermark::at(&manifest.rules, watermark_ms);
        let origin = Origin {
            restored_from: Some(manifest.number),
            epoch: manifest.epoch,
            bound: Some(Bound {
                watermark_before: at(manifest.watermark_before_ms),
                watermark_after: at(manifest.watermark_ms),
                wall_ms: manifest.wall_ms,
            }),
            positions: manifest.positions.clone(),
            event_ms_max: manifest.event_ms_max,
            totals: manifest.totals.totals().ok_or_else(|| damaged("it names a reason that is not known"))?,
            states: states.collect::<Result<_, _>>()?,
            dictionary,
            set_aside: SetAsideList::restore(records, manifest.set_aside_dropped),
        };
        Ok(Checkpoint { manifest, origin })
    }
}

impl From<Checkpoint> for Origin {
    fn from(checkpoint: Checkpoint) -> Origin {
        checkpoint.origin
    }
}

/// Holds pieces to their checksums, on as many threads as there are cores.
fn check(packs: &Packs, pieces: &[Place]) -> Result<(), CheckpointError> {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = pieces.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = pieces
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().try_for_each(|place| packs.check(*place))))
            .collect();
        parts.into_iter().try_for_each(|part| part.join().expect("checking does not panic"))
    })
}

fn load_state(packs: &Packs, record: &StateRecord) -> Result<State, CheckpointError> {
    let mut arrangements = record.arrangements.iter();
    let mut next = || arrangements.next().map_or(&[][..], Vec::as_slice);
    let state = State {
        ledger: load_runs(packs, next())?,
        visits: load_runs(packs, next())?,
        view: View {
            windows: Windows::ALL,
            base: load_runs(packs, next())?,
            overlaps: load_runs(packs, next())?,
            days: load_runs(packs, next())?,
            corrections: load_runs(packs, next())?,
        },
    };
    Ok(state)
}

fn load_runs<R: Record>(packs: &Packs, runs: &[RunRecord]) -> Result<Vec<Run<R>>, CheckpointError> {
    let mut loaded = Vec::with_capacity(runs.len());
    for RunRecord { skip, chunks } in runs {
        let chunk = |place: &Place| {
            let chunk = Chunk::<R>::mapped(Arc::clone(packs.file(*place)), *place);
            chunk.map(Arc::new).map_err(|cause| CheckpointError::damaged(packs.name(*place), cause.to_string()))
        };
        let chunks = chunks.iter().map(chunk).collect::<Result<Vec<_>, _>>()?;
        loaded.extend(Run::from_chunks(chunks, *skip));
    }
    Ok(loaded)
}
