//! What each epoch did: changes, corrections, and records set aside.

use std::collections::BTreeMap;
use std::sync::Arc;

use recount_dataflow::domain::cause::Cause;
use recount_dataflow::domain::validate::Shelf;
use recount_dataflow::read::SetAside;
use recount_dataflow::read::{Correction, Snapshot};

use super::{Case, Seen, same, same_list};
use crate::harness::wall_ms;
use crate::model::{self, RowKey, RowValue};

/// A row before and after an epoch.
type SeenChange = (Option<Seen>, Option<Seen>);

/// How many records of a reason the reader keeps.
const LISTED_PER_REASON: usize = 1_000;

/// The net changes of an epoch, of all ads and of one.
///
/// # Errors
/// The first difference.
pub fn changes(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let as_of = snapshot.as_of();
    let Some(before) = as_of.checked_sub(1) else { return Ok(()) };
    let (old, new) = (&case.model.state(before).rows, &case.model.state(as_of).rows);
    for granularity in case.history.plan.granularities() {
        let expected: Vec<SeenChange> = (new.iter())
            .filter(|(key, row)| key.granularity == granularity && is_change(old.get(key), row))
            .map(|(key, row)| {
                let before = old.get(key).map(|row| Seen::expected(case.model, before, key, row));
                (before, Some(Seen::expected(case.model, as_of, key, row)))
            })
            .collect();
        let read = |ads: Option<&[&str]>| -> Result<Vec<SeenChange>, String> {
            let found = snapshot.changes(granularity, ads).map_err(|error| error.to_string())?;
            let seen = |row: &Option<recount_dataflow::read::Row>| row.as_ref().map(Seen::found);
            Ok(found.iter().map(|change| (seen(&change.before), seen(&change.after))).collect())
        };
        same_list("changes", &read(None)?, &expected)?;
        if let Some((_, Some(row))) = expected.last() {
            let of_ad = |change: &&SeenChange| change.1.as_ref().is_some_and(|after| after.key.ad_id == row.key.ad_id);
            let expected: Vec<_> = expected.iter().filter(of_ad).cloned().collect();
            same_list("changes of one ad", &read(Some(&[&row.key.ad_id]))?, &expected)?;
        }
    }
    Ok(())
}

fn is_change(old: Option<&RowValue>, new: &RowValue) -> bool {
    old.is_none_or(|old| old.metrics != new.metrics)
}

/// A correction of either side.
#[derive(Clone, Debug, PartialEq)]
struct SeenCorrection {
    epoch: u64,
    corrected_at_ms: i64,
    before: Option<Seen>,
    after: Seen,
    cause: Cause,
}

/// Every correction; and that the first published state and all corrections make up the current state.
///
/// # Errors
/// The first difference.
pub fn corrections(case: &Case<'_>) -> Result<(), String> {
    let last_epoch = case.model.last_epoch();
    let granularities = case.history.plan.granularities();
    let mut expected = Vec::new();
    let mut by_cause = BTreeMap::new();
    for epoch in 1..=last_epoch {
        for correction in &case.model.state(epoch).corrections {
            if granularities.contains(&correction.key.granularity) {
                *by_cause.entry(correction.cause).or_default() += 1;
            }
            let is_row = case.model.state(last_epoch).marks.is_row(&correction.key, &case.history.rules);
            if is_row && granularities.contains(&correction.key.granularity) {
                expected.push(expected_correction(case, epoch, correction));
            }
        }
    }
    let read = |from_epoch, to_epoch| -> Vec<SeenCorrection> {
        case.fed.reader.corrections(from_epoch, to_epoch).iter().map(found_correction).collect()
    };
    same("corrections by cause", &case.fed.reader.corrections_by_cause(), &by_cause)?;
    same_list("corrections", &read(0, u64::MAX), &expected)?;
    let (from_epoch, to_epoch) = (last_epoch / 3, last_epoch - last_epoch / 3);
    expected.retain(|correction| (from_epoch..to_epoch).contains(&correction.epoch));
    same_list("corrections of some epochs", &read(from_epoch, to_epoch), &expected)?;
    add_up(case)
}

pub(super) fn found_row(correction: &Correction) -> (u64, u32) {
    (correction.epoch, correction.after.revision)
}

fn found_correction(correction: &Correction) -> SeenCorrection {
    SeenCorrection {
        epoch: correction.epoch,
        corrected_at_ms: correction.corrected_at_ms,
        before: correction.before.as_ref().map(Seen::found),
        after: Seen::found(&correction.after),
        cause: correction.cause,
    }
}

fn expected_correction(case: &Case<'_>, epoch: u64, correction: &model::Correction) -> SeenCorrection {
    let key = &correction.key;
    SeenCorrection {
        epoch,
        corrected_at_ms: wall_ms(case.history, epoch),
        before: correction.before.map(|row| Seen::expected(case.model, epoch - 1, key, &row)),
        after: Seen::expected(case.model, epoch, key, &correction.after),
        cause: correction.cause,
    }
}

/// Each correction of a row starts from where the one before ended, and the last one ends at the newest state.
fn add_up(case: &Case<'_>) -> Result<(), String> {
    let mut current: BTreeMap<RowKey, Seen> = BTreeMap::new();
    for correction in case.fed.reader.corrections(0, u64::MAX) {
        let after = Seen::found(&correction.after);
        if let Some(last) = current.get(&after.key) {
            let before = correction.before.as_ref().map(|row| Seen::found(row).metrics);
            same("where a correction starts", &before, &Some(last.metrics.clone()))?;
            same("a revision", &after.revision, &(last.revision + 1))?;
        }
        current.insert(after.key.clone(), after);
    }
    let newest = case.fed.reader.snapshot(None).map_err(|error| error.to_string())?;
    for (key, last) in current {
        let found = newest.rows(&key.ad_id, key.granularity, key.start_ms, key.end_ms());
        let found = found.map_err(|error| error.to_string())?;
        let metrics: Vec<Vec<i64>> = found.iter().map(|row| Seen::found(row).metrics).collect();
        same("where the corrections lead", &metrics, &vec![last.metrics])?;
    }
    Ok(())
}

/// A record set aside: epoch, position, reason, payload, and when by the wall clock.
type SeenAside = (u64, (u16, u64), &'static str, String, i64);

/// Everything set aside, as a stream and as lists.
///
/// # Errors
/// The first difference.
pub fn set_aside(case: &mut Case<'_>) -> Result<(), String> {
    let streamed = case.fed.engine.take_set_aside();
    let epochs: Vec<u64> = streamed.iter().map(|aside| aside.epoch).collect();
    same("whether records set aside come in order of epoch", &epochs.is_sorted(), &true)?;
    same_list("records set aside, streamed", &seen_asides(streamed.iter()), &expected_asides(case))?;
    same("records set aside, streamed twice", &case.fed.engine.take_set_aside().len(), &0)?;
    listed_set_aside(case)
}

/// Everything set aside, as lists.
///
/// # Errors
/// The first difference.
pub fn listed_set_aside(case: &Case<'_>) -> Result<(), String> {
    let expected = expected_asides(case);
    for shelf in [Shelf::Quarantined, Shelf::Parked] {
        let is_parked = |reason: &str| matches!(reason, "late" | "verdict_late");
        let listed = case.fed.reader.set_aside(shelf, None, 0, 10_000);
        let numbers: Vec<u64> = listed.iter().map(|(number, _)| *number).collect();
        same("whether their numbers grow", &numbers.is_sorted_by(|one, next| one < next), &true)?;
        let expected: Vec<SeenAside> = expected
            .iter()
            .filter(|(_, _, reason, ..)| is_parked(reason) == (shelf == Shelf::Parked))
            .cloned()
            .collect();
        let mut by_reasons: BTreeMap<&str, usize> = BTreeMap::new();
        expected.iter().for_each(|(_, _, reason, ..)| *by_reasons.entry(reason).or_default() += 1);
        let kept: usize = by_reasons.values().map(|&count| count.min(LISTED_PER_REASON)).sum();
        same("how many records set aside are listed", &listed.len(), &kept)?;
        if kept < expected.len() {
            continue;
        }
        let found = seen_asides(listed.iter().map(|(_, aside)| aside.as_ref()));
        same_list("records set aside, listed", &found, &expected)?;
        by_reason(case, shelf, &expected)?;
    }
    Ok(())
}

fn expected_asides(case: &Case<'_>) -> Vec<SeenAside> {
    let mut expected: Vec<SeenAside> = Vec::new();
    for epoch in 1..=case.model.last_epoch() {
        for aside in &case.model.state(epoch).set_aside {
            let position = (aside.position.stream, aside.position.offset);
            let at_ms = wall_ms(case.history, epoch);
            expected.push((epoch, position, aside.reason.as_str(), aside.payload.clone(), at_ms));
        }
    }
    expected.sort();
    expected
}

/// One reason alone, page by page.
fn by_reason(case: &Case<'_>, shelf: Shelf, expected: &[SeenAside]) -> Result<(), String> {
    let Some(reason) = expected.first().map(|(_, _, reason, ..)| *reason) else { return Ok(()) };
    let mut listed: Vec<Arc<SetAside>> = Vec::new();
    let mut after = 0;
    loop {
        let page = case.fed.reader.set_aside(shelf, Some(reason), after, 2);
        let Some((last, _)) = page.last() else { break };
        after = *last;
        listed.extend(page.into_iter().map(|(_, aside)| aside));
    }
    let expected: Vec<SeenAside> = expected.iter().filter(|(_, _, one, ..)| *one == reason).cloned().collect();
    same_list("records set aside for one reason", &seen_asides(listed.iter().map(Arc::as_ref)), &expected)
}

fn seen_asides<'a>(asides: impl Iterator<Item = &'a SetAside>) -> Vec<SeenAside> {
    let mut seen: Vec<SeenAside> = asides
        .map(|aside| {
            let position = (aside.position.stream, aside.position.offset);
            let payload = String::from_utf8_lossy(&aside.payload).into_owned();
            (aside.epoch, position, aside.reason.as_str(), payload, aside.set_aside_at_ms)
        })
        .collect();
    seen.sort();
    seen
}
