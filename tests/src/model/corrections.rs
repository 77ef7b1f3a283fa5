//! Corrections (6): which rows of CLOSED windows an epoch changed, and why.

use std::collections::{BTreeMap, BTreeSet};

use recount_dataflow::domain::cause::Cause;
use recount_dataflow::domain::window::WindowState;

use super::groups::{Copy, Group, Id};
use super::rows::rows_of;
use super::{Correction, Eight, RowKey, RowValue, State};

/// What touched each row.
pub(super) type Touched = BTreeMap<RowKey, BTreeSet<Cause>>;

/// A copy that was a click before the epoch.
struct Former<'a> {
    click: &'a Copy,
    invalid: bool,
}

/// What touched each row in an epoch. Copies numbered from `new_from` came in it.
pub(super) fn touched(
    before: &BTreeMap<Id, Vec<Group<'_>>>,
    after: &BTreeMap<Id, Vec<Group<'_>>>,
    new_from: usize,
) -> Touched {
    let mut touched = Touched::new();
    for (id, groups) in after {
        let groups_before = before.get(id).map_or(&[][..], |groups| groups);
        let formers: Vec<Former<'_>> =
            groups_before.iter().map(|group| Former { click: group.click, invalid: group.invalid() }).collect();
        for group in groups {
            touch_group(group, &formers, new_from, &mut touched);
        }
    }
    touched
}

fn touch_group(group: &Group<'_>, formers: &[Former<'_>], new_from: usize, touched: &mut Touched) {
    let mut touch = |copy: &Copy, cause| {
        for key in rows_of(copy) {
            touched.entry(key).or_default().insert(cause);
        }
    };
    let was_click = |copy: &Copy| formers.iter().any(|former| former.click.number == copy.number);
    for copy in &group.duplicates {
        if copy.number >= new_from || was_click(copy) {
            touch(copy, Cause::Duplicate);
        }
    }
    // Formers are in order of time, so this is the first of those that the group has now.
    let former = formers.iter().find(|former| group.copies().any(|copy| copy.number == former.click.number));
    let Some(former) = former else {
        assert!(group.click.number >= new_from, "only a new copy makes a click where there was none");
        return touch(group.click, Cause::Late);
    };
    if !was_click(group.click) {
        touch(group.click, Cause::Duplicate);
    }
    match (former.invalid, group.invalid()) {
        (false, true) => touch(group.click, Cause::Verdict),
        (true, false) => touch(group.click, Cause::Reversal),
        _ => {}
    }
}

/// The rows with their revisions, and the corrections, of an epoch that follows `before`.
pub(super) fn revise(
    before: &State,
    metrics: BTreeMap<RowKey, Eight>,
    touched: &Touched,
) -> (BTreeMap<RowKey, RowValue>, Vec<Correction>) {
    assert!(before.all_rows.keys().all(|key| metrics.contains_key(key)), "a row never goes");
    let mut rows = BTreeMap::new();
    let mut corrections = Vec::new();
    for (key, metrics) in metrics {
        let old = before.all_rows.get(&key).copied();
        let mut new = RowValue { metrics, revision: old.map_or(0, |old| old.revision) };
        let changed = old.is_none_or(|old| old.metrics != metrics);
        let state_before = before.marks.state_of(&key);
        assert!(!changed || state_before != WindowState::Final, "{key:?} is FINAL and changed");
        if changed && state_before == WindowState::Closed {
            new.revision += 1;
            let causes = &touched[&key];
            let cause = if causes.len() == 1 { *causes.first().unwrap() } else { Cause::Mixed };
            corrections.push(Correction { key: key.clone(), before: old, after: new, cause });
        }
        rows.insert(key, new);
    }
    (rows, corrections)
}
