//! From files back to a state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use crate::domain::cause::Cause;
use crate::domain::fact::Position;
use crate::domain::rules::Rules;
use crate::domain::watermark::Watermark;
use crate::domain::window::Granularity;
use crate::operators::context::{Bound, State, Windows};
use crate::operators::view::View;
use crate::published::{AfterEpoch, Dictionary, Named, Origin, SetAsideList};
use crate::store::{Place, Store};
use crate::trace::layout::LayoutError;
use crate::trace::{Record, Run};

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

    /// When that epoch was closed, ms since 1970.
    pub fn wall_ms(&self) -> i64 {
        self.manifest.wall_ms
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
            let names = names::decode(packs.piece(piece.place)).map(|names| dated(names, manifest.event_ms_max));
            dictionary.restore(names.ok_or_else(|| damaged("a piece of names can not be read"))?);
        }
        let mut records = Vec::new();
        for piece in &manifest.set_aside {
            let read = set_aside::decode(packs.piece(piece.place));
            records.extend(read.ok_or_else(|| damaged("a piece of set aside records can not be read"))?);
        }
        let states = manifest.states.iter().map(|state| load_state(&packs, state));
        let states = states.collect::<Result<Vec<_>, _>>()?;
        let outline = manifest
            .set_aside_outline
            .as_ref()
            .map(|record| record.outline().ok_or_else(|| damaged("it keeps records of a reason that is not known")));
        let totals = manifest.totals.totals(|| gross_clicks(&states));
        let at = |watermark_ms| Watermark::at(&manifest.rules, watermark_ms);
        let origin = Origin {
            restored_from: Some(manifest.number),
            after: AfterEpoch {
                epoch: manifest.epoch,
                bound: Bound {
                    watermark_before: at(manifest.watermark_before_ms),
                    watermark_after: at(manifest.watermark_ms),
                    wall_ms: manifest.wall_ms,
                },
                positions: manifest.positions.clone(),
                event_ms_max: manifest.event_ms_max,
                totals: totals.ok_or_else(|| damaged("it names a reason that is not known"))?,
                corrections: match &manifest.corrections {
                    None => corrections(&states),
                    Some(by_name) => named(by_name).ok_or_else(|| damaged("it names a cause that is not known"))?,
                },
            },
            states,
            dictionary,
            set_aside: SetAsideList::restore(records, manifest.set_aside_dropped, outline.transpose()?),
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
        let check_part = |part: &[Place]| {
            let mut buffer = Vec::new();
            part.iter().try_for_each(|place| packs.check(*place, &mut buffer))
        };
        let parts: Vec<_> = pieces.chunks(share).map(|part| scope.spawn(move || check_part(part))).collect();
        parts.into_iter().try_for_each(|part| part.join().expect("checking does not panic"))
    })
}

/// The names with a day each: the first version kept none.
fn dated(mut names: Vec<Named>, event_ms_max: i64) -> Vec<Named> {
    let newest = Granularity::Day.window_of(event_ms_max.max(0));
    names.iter_mut().filter(|named| named.day == 0).for_each(|named| named.day = newest);
    names
}

/// The clicks of all rows.
fn gross_clicks(states: &[State]) -> u64 {
    let rows = states.iter().flat_map(|state| &state.view.base).flat_map(Run::iter);
    let clicks: i64 = rows.map(|row| row.metrics().gross_clicks).sum();
    u64::try_from(clicks).expect("no row has fewer clicks than none")
}

/// The corrections of all rows, by cause.
fn corrections(states: &[State]) -> BTreeMap<Cause, u64> {
    let mut by_cause = BTreeMap::new();
    for record in states.iter().flat_map(|state| &state.view.corrections).flat_map(Run::iter) {
        *by_cause.entry(record.causes().cause()).or_default() += 1;
    }
    by_cause
}

/// Counts by the causes that are named; `None` where one is not known.
fn named(by_name: &BTreeMap<String, u64>) -> Option<BTreeMap<Cause, u64>> {
    by_name.iter().map(|(name, count)| Some((Cause::named(name)?, *count))).collect()
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
        let chunks: Vec<_> = chunks.iter().map(|place| (Arc::clone(packs.file(*place)), *place)).collect();
        let damaged =
            |(place, cause): (Place, LayoutError)| CheckpointError::damaged(packs.name(place), cause.to_string());
        loaded.extend(Run::load(&chunks, *skip).map_err(damaged)?);
    }
    Ok(loaded)
}
