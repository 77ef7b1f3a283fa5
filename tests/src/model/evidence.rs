//! What a number is made of.

use std::sync::Arc;

use recount_dataflow::domain::fact::Position;
use recount_dataflow::domain::rules::Rules;

use super::RowKey;
use super::groups::{Copy, Group, Id, Verdict, groups_of};
use super::rows::rows_of;

/// A click that has a copy in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where the copy that counts was read.
    pub position: Position,
    /// Its ad.
    pub ad_id: Arc<str>,
    /// Its event time, ms since 1970.
    pub event_ms: i64,
    /// Its price in millionths.
    pub price_micros: i64,
    /// Whether the standing verdict is `INVALID`.
    pub invalid: bool,
    /// The other copies in copy order: where, ad, event time, whether conflicting.
    pub other_copies: Vec<(Position, Arc<str>, i64, bool)>,
    /// The id's verdicts, by time decided: where, when, whether `INVALID`.
    pub verdicts: Vec<(Position, i64, bool)>,
    /// When the standing verdict was decided, and whether it says `INVALID`.
    pub standing: Option<(i64, bool)>,
}

pub(super) fn explain(copies: &[Copy], verdicts: &[Verdict], rules: &Rules, key: &RowKey) -> Vec<Evidence> {
    let groups = groups_of(copies, verdicts, rules);
    let in_row = |group: &&Group<'_>| group.copies().any(|copy| rows_of(copy).contains(key));
    let mut evidence: Vec<Evidence> = groups.values().flatten().filter(in_row).map(of_group).collect();
    evidence.sort_by_key(|click| (click.event_ms, click.position));
    evidence
}

fn of_group(group: &Group<'_>) -> Evidence {
    let other = |copy: &&Copy| (copy.position, copy.ad_id.clone(), copy.event_ms, group.click.conflicts_with(copy));
    Evidence {
        position: group.click.position,
        ad_id: group.click.ad_id.clone(),
        event_ms: group.click.event_ms,
        price_micros: group.click.price_micros,
        invalid: group.invalid(),
        other_copies: group.duplicates.iter().map(other).collect(),
        verdicts: group.verdicts.iter().map(|one| (one.position, one.decided_ms, one.invalid)).collect(),
        standing: group.standing.map(|one| (one.decided_ms, one.invalid)),
    }
}

/// Verdicts by whether they are unmatched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Those remembered whose id has no copy at all.
    pub surely: Vec<Position>,
    /// Those remembered that apply to no remembered click, the former among them. A verdict may be about an id that has clicks,
    /// and about none of them; the contract does not say whether it has met a click then.
    pub perhaps: Vec<Position>,
}

/// A verdict is remembered until `decided + max_future_skew < F`.
pub(super) fn unmatched(copies: &[Copy], verdicts: &[Verdict], rules: &Rules, floor_ms: Option<i64>) -> Unmatched {
    let groups = groups_of(copies, verdicts, rules);
    let mut unmatched = Unmatched::default();
    for verdict in verdicts {
        let clicks = groups.get(&Id::Click(verdict.click_id.clone())).map_or(&[][..], |groups| groups);
        let clicks_ms = clicks.iter().map(|group| group.click.event_ms);
        let mut met = clicks_ms
            .filter(|&click_ms| floor_ms.is_none_or(|floor_ms| click_ms >= floor_ms - rules.dedup_horizon_ms))
            .filter(|&click_ms| verdict.applies_to(click_ms, rules));
        let forgotten = floor_ms.is_some_and(|floor_ms| verdict.decided_ms + rules.max_future_skew_ms < floor_ms);
        if forgotten || met.next().is_some() {
            continue;
        }
        unmatched.perhaps.push(verdict.position);
        if clicks.is_empty() {
            unmatched.surely.push(verdict.position);
        }
    }
    unmatched
}
