//! What is compared, by kind of read.

mod explanations;
mod histories;
mod states;

use std::fmt::Debug;
use std::sync::Arc;

use recount_dataflow::domain::window::WindowState;
use recount_dataflow::read::{Row, Snapshot};

use super::Case;
use crate::model::{Eight, Model, RowKey, RowValue};

pub use explanations::{explanations, unmatched_verdicts};
pub use histories::{changes, corrections, listed_set_aside, set_aside};
pub use states::{point_reads, rows, state, top};

/// A row of either side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The row.
    pub key: RowKey,
    /// The eight metrics.
    pub metrics: Vec<i64>,
    /// Corrections so far.
    pub revision: u32,
    /// The window's state.
    pub state: WindowState,
}

impl Seen {
    /// What the engine has.
    pub fn found(row: &Row) -> Seen {
        let key = RowKey { ad_id: Arc::clone(&row.ad_id), granularity: row.granularity, start_ms: row.window_start_ms };
        Seen { key, metrics: numbers(&Eight::of(&row.metrics)), revision: row.revision, state: row.state }
    }

    /// What the model has as of an epoch.
    pub fn expected(model: &Model, as_of: u64, key: &RowKey, row: &RowValue) -> Seen {
        let state = model.state(as_of).marks.state_of(key);
        Seen { key: key.clone(), metrics: numbers(&row.metrics), revision: row.revision, state }
    }
}

fn numbers(metrics: &Eight) -> Vec<i64> {
    recount_dataflow::domain::metrics::Metric::ALL.iter().map(|&metric| metrics.get(metric)).collect()
}

/// Everything that can be read, as of every epoch that is readable.
///
/// # Errors
/// The first difference.
pub fn everything(case: &mut Case<'_>) -> Result<(), String> {
    let last_epoch = case.model.last_epoch();
    essentials(case)?;
    // Reads of a part are dearer to check; some epochs stand for all.
    for as_of in [last_epoch, last_epoch / 2].into_iter().filter(|&as_of| as_of >= since(case)) {
        let snapshot = snapshot(case, as_of)?;
        let within = |difference| format!("as of {as_of}: {difference}");
        point_reads(case, &snapshot).map_err(within)?;
        top(case, &snapshot).map_err(within)?;
        explanations(case, &snapshot).map_err(within)?;
        unmatched_verdicts(case, &snapshot).map_err(within)?;
    }
    Ok(())
}

/// What is cheap enough for histories of thousands of records: all rows as of every epoch, and what each epoch did.
///
/// # Errors
/// The first difference.
pub fn essentials(case: &mut Case<'_>) -> Result<(), String> {
    let readable = case.fed.reader.readable();
    let upper = case.model.last_epoch() + 1;
    same("the readable epochs", &(readable.since, readable.upper), &(since(case), upper))?;
    for as_of in since(case)..upper {
        epoch(case, as_of)?;
    }
    corrections(case)?;
    set_aside(case)
}

/// All rows as of one epoch, and what changed in it.
///
/// # Errors
/// The first difference.
pub fn epoch(case: &Case<'_>, as_of: u64) -> Result<(), String> {
    let within = |difference| format!("as of {as_of}: {difference}");
    let snapshot = snapshot(case, as_of)?;
    state(case, &snapshot, &case.history.plan.granularities()).map_err(within)?;
    changes(case, &snapshot).map_err(within)
}

/// All rows as of one epoch, whatever it changed.
///
/// # Errors
/// The first difference.
pub fn rows_at(case: &Case<'_>, as_of: u64) -> Result<(), String> {
    let within = |difference| format!("as of {as_of}: {difference}");
    let snapshot = snapshot(case, as_of)?;
    state(case, &snapshot, &case.history.plan.granularities()).map_err(within)
}

/// The oldest epoch that has to be readable after the last one.
fn since(case: &Case<'_>) -> u64 {
    (case.model.last_epoch() + 1).saturating_sub(case.history.plan.history_epochs)
}

fn snapshot(case: &Case<'_>, as_of: u64) -> Result<Snapshot, String> {
    let snapshot = case.fed.reader.snapshot(Some(as_of)).map_err(|error| error.to_string())?;
    same("as_of", &snapshot.as_of(), &as_of)?;
    Ok(snapshot)
}

fn same<T: Debug + PartialEq>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}\n  found    {found:?}\n  expected {expected:?}"))
}

/// Compares two lists, and shows no more than where they part.
fn same_list<T: Debug + PartialEq>(what: &str, found: &[T], expected: &[T]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let parted = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let show = |list: &[T]| match list.get(parted) {
        Some(item) => format!("{item:?}"),
        None => "nothing more".to_owned(),
    };
    let (found_len, expected_len) = (found.len(), expected.len());
    Err(format!(
        "{what}: {found_len} found, {expected_len} expected; item {parted}\n  found    {}\n  expected {}",
        show(found),
        show(expected)
    ))
}
