//! What numbers are made of.

use std::sync::Arc;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::read::{ClickEvidence, Snapshot, UnmatchedPlace};

use super::histories::found_row;
use super::{Case, Seen, same, same_list};
use crate::model::{Evidence, RowKey};

/// How many rows of a snapshot are explained.
const ROWS: usize = 12;

/// Some rows explained, the row beside its clicks, copies, verdicts and revisions.
///
/// # Errors
/// The first difference.
pub fn explanations(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let as_of = snapshot.as_of();
    let granularities = case.history.plan.granularities();
    let rows = case.model.state(as_of).rows.iter();
    let rows: Vec<_> = rows.filter(|(key, _)| granularities.contains(&key.granularity)).collect();
    for (key, row) in rows.iter().step_by(rows.len().div_ceil(ROWS).max(1)) {
        let expected = case.model.explain(as_of, key);
        if expected.iter().any(|click| !is_remembered(case, click)) {
            continue;
        }
        let found = snapshot
            .explain(&key.ad_id, key.granularity, key.start_ms, 10_000, None)
            .map_err(|error| format!("{key:?}: {error}"))?;
        let what = format!("{key:?}");
        let row = Seen::expected(case.model, as_of, key, row);
        same(&format!("the row of {what}"), &found.row.as_ref().map(Seen::found), &Some(row))?;
        same(&format!("whether {what} is truncated"), &found.truncated, &false)?;
        let clicks: Vec<Evidence> = found.clicks.iter().map(found_evidence).collect();
        same_list(&format!("the clicks of {what}"), &clicks, &expected)?;
        revisions(case, as_of, key, found.revisions.iter().map(found_row).collect())?;
        let limited = snapshot.explain(&key.ad_id, key.granularity, key.start_ms, 1, None);
        let limited = limited.map_err(|error| format!("{key:?}: {error}"))?;
        same(&format!("whether one click of {what} is all"), &limited.truncated, &(expected.len() > 1))?;
    }
    Ok(())
}

/// The verdicts that have met no click.
///
/// # Errors
/// The first difference.
pub fn unmatched_verdicts(case: &Case<'_>, snapshot: &Snapshot) -> Result<(), String> {
    let expected = case.model.unmatched_verdicts(snapshot.as_of());
    // What the newest epoch has forgotten may be gone as of an older one too.
    let newest = case.model.unmatched_verdicts(case.model.last_epoch());
    let found = all_unmatched(snapshot, 10_000, usize::MAX)?;
    // However it is cut into pages, the list is the same.
    let (verdicts_max, facts_max) = [(1, 64), (3, 7), (10_000, 1)][snapshot.as_of() as usize % 3];
    let in_pages = all_unmatched(snapshot, verdicts_max, facts_max)?;
    same_list(&format!("unmatched verdicts by pages of {verdicts_max}"), &in_pages, &found)?;
    same("whether they are in order", &found.is_sorted_by(|before, after| before < after), &true)?;
    let found: Vec<Position> = found.iter().map(|place| place.position).collect();
    for position in &expected.surely {
        if newest.perhaps.contains(position) && !found.contains(position) {
            return Err(format!("the verdict at {position:?} has met no click, and is not listed"));
        }
    }
    for position in &found {
        if !expected.perhaps.contains(position) {
            return Err(format!("the verdict at {position:?} is listed, and has met a click or is forgotten"));
        }
    }
    Ok(())
}

/// The verdicts that have met no click, page after page.
fn all_unmatched(snapshot: &Snapshot, verdicts_max: usize, facts_max: usize) -> Result<Vec<UnmatchedPlace>, String> {
    let mut verdicts = Vec::new();
    let mut next = Some(UnmatchedPlace::default());
    while let Some(from) = next {
        let page = snapshot.unmatched_verdicts(from, verdicts_max, facts_max, None);
        let page = page.map_err(|error| error.to_string())?;
        same("whether a page is within its bound", &(page.verdicts.len() <= verdicts_max), &true)?;
        same("whether the next page begins later", &page.next.is_none_or(|next| from < next), &true)?;
        verdicts.extend(page.verdicts);
        next = page.next;
    }
    Ok(verdicts)
}

/// Whether the newest epoch still remembers all that a click's evidence consists of.
fn is_remembered(case: &Case<'_>, click: &Evidence) -> bool {
    let newest = case.model.last_epoch();
    let (Some(from_ms), Some(floor_ms)) =
        (case.model.remembered_from_ms(newest), case.model.state(newest).marks.floor_ms)
    else {
        return true;
    };
    let skew_ms = case.history.rules.max_future_skew_ms;
    click.event_ms >= from_ms && click.verdicts.iter().all(|&(_, decided_ms, _)| decided_ms + skew_ms >= floor_ms)
}

fn revisions(case: &Case<'_>, as_of: u64, key: &RowKey, found: Vec<(u64, u32)>) -> Result<(), String> {
    let mut expected = Vec::new();
    for epoch in 1..=as_of {
        let corrections = case.model.state(epoch).corrections.iter();
        expected.extend(corrections.filter(|one| one.key == *key).map(|one| (epoch, one.after.revision)));
    }
    same_list(&format!("the revisions of {key:?}"), &found, &expected)
}

fn found_evidence(click: &ClickEvidence) -> Evidence {
    let mut verdicts: Vec<(Position, i64, bool)> =
        click.verdicts.iter().map(|one| (one.position, one.decided_ms, one.invalid)).collect();
    verdicts.sort_by_key(|&(position, decided_ms, invalid)| (decided_ms, invalid, std::cmp::Reverse(position)));
    Evidence {
        position: click.position,
        ad_id: Arc::clone(&click.ad_id),
        event_ms: click.event_ms,
        price_micros: click.price_micros,
        invalid: click.invalid,
        other_copies: (click.other_copies.iter())
            .map(|copy| (copy.position, Arc::clone(&copy.ad_id), copy.event_ms, copy.conflicting))
            .collect(),
        verdicts,
        standing: click.verdicts.iter().find(|one| one.stands).map(|one| (one.decided_ms, one.invalid)),
    }
}
