//! What is taken in, what is quarantined (1), and what is parked (5).

use std::sync::Arc;

use recount_dataflow::domain::event::Decision;
use recount_dataflow::domain::rules::Rules;
use recount_dataflow::domain::validate::Reason;

use super::groups::{Copy, Id, Verdict, groups_of};
use super::{Delivered, Marks, SetAside};
use crate::record::{self, Body};

/// What became of an epoch's records.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) copies: Vec<Copy>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) set_aside: Vec<SetAside>,
}

/// 2000-01-01 and 2100-01-01, ms since 1970.
const VALID_TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

/// Judges an epoch's records by the marks before it. `copies` and `verdicts` are those accepted in earlier epochs.
pub(super) fn judge(
    records: &[Delivered],
    marks: Marks,
    rules: &Rules,
    copies: &[Copy],
    verdicts: &[Verdict],
) -> Judged {
    let mut judged = Judged::default();
    let mut set_aside = Vec::new();
    let mut aside = |delivered: &Delivered, reason| {
        let payload = delivered.record.to_json();
        set_aside.push(SetAside { reason, position: delivered.position, payload });
    };
    let sound = |delivered: &&Delivered| broken(delivered, rules).is_none();
    for delivered in records {
        if let Some(reason) = broken(delivered, rules) {
            aside(delivered, reason);
        }
    }
    let mut all_copies = copies.to_vec();
    for delivered in records.iter().filter(sound) {
        let Body::Click(click) = &delivered.record.body else { continue };
        if marks.is_frozen(click.event_ms) {
            aside(delivered, Reason::Late);
            continue;
        }
        let copy = accepted_copy(click, delivered, all_copies.len());
        all_copies.push(copy.clone());
        judged.copies.push(copy);
    }
    // Clicks depend on no verdict, so those accepted before are enough to find them by.
    let groups = groups_of(&all_copies, verdicts, rules);
    let clicks_of = |click_id: &Arc<str>| -> Vec<i64> {
        let groups = groups.get(&Id::Click(click_id.clone())).map_or(&[][..], |groups| groups);
        groups.iter().map(|group| group.click.event_ms).collect()
    };
    for delivered in records.iter().filter(sound) {
        let Body::Verdict(verdict) = &delivered.record.body else { continue };
        let clicks_ms = clicks_of(&verdict.click_id);
        if marks.is_frozen(verdict.decided_ms) || all_remembered_are_frozen(&clicks_ms, marks, rules) {
            aside(delivered, Reason::VerdictLate);
            continue;
        }
        judged.verdicts.push(Verdict {
            click_id: verdict.click_id.clone(),
            invalid: verdict.decision == Some(Decision::Invalid),
            decided_ms: verdict.decided_ms,
            floor_ms: marks.floor_ms,
            position: delivered.position,
        });
    }
    judged.set_aside = set_aside;
    judged
}

/// Whether there are remembered clicks, and every one is frozen.
fn all_remembered_are_frozen(clicks_ms: &[i64], marks: Marks, rules: &Rules) -> bool {
    let Some(floor_ms) = marks.floor_ms else { return false };
    let remembered: Vec<i64> =
        clicks_ms.iter().copied().filter(|&click_ms| click_ms >= floor_ms - rules.dedup_horizon_ms).collect();
    !remembered.is_empty() && remembered.iter().all(|&click_ms| click_ms < floor_ms)
}

fn accepted_copy(click: &record::Click, delivered: &Delivered, number: usize) -> Copy {
    let id = match click.click_id.is_empty() {
        true => Id::Fallback(click.ad_id.clone(), click.user_id.clone(), click.event_ms.div_euclid(60_000)),
        false => Id::Click(click.click_id.clone()),
    };
    Copy {
        number,
        id,
        ad_id: click.ad_id.clone(),
        user_id: click.user_id.clone(),
        event_ms: click.event_ms,
        price_micros: click.price_micros,
        position: delivered.position,
    }
}

/// The rule that a record breaks by itself.
fn broken(delivered: &Delivered, rules: &Rules) -> Option<Reason> {
    let arrival_ms = delivered.record.arrival_ms;
    match &delivered.record.body {
        Body::Unreadable => Some(Reason::Unreadable),
        Body::Click(click) => broken_click(click, arrival_ms, rules),
        Body::Verdict(verdict) => broken_verdict(verdict, arrival_ms, rules),
    }
}

fn broken_click(click: &record::Click, arrival_ms: Option<i64>, rules: &Rules) -> Option<Reason> {
    let has_identity = !click.click_id.is_empty() || (rules.dedup_fallback && !click.user_id.is_empty());
    let received_at_ms = Some(click.received_at_ms).filter(|&received_at_ms| received_at_ms != 0);
    let taken_ms = arrival_ms.into_iter().chain(received_at_ms).min();
    let checks = [
        (!has_identity, Reason::ClickIdMissing),
        (click.click_id.len() > 128, Reason::ClickIdTooLong),
        (click.ad_id.is_empty(), Reason::AdIdMissing),
        (click.ad_id.len() > 128, Reason::AdIdTooLong),
        (click.event_ms == 0, Reason::TimestampMissing),
        (!VALID_TIMES_MS.contains(&click.event_ms), Reason::TimestampOutOfRange),
        (click.user_id.len() > 128, Reason::UserIdTooLong),
        (!(0..=10_000_000_000).contains(&click.price_micros), Reason::PriceOutOfRange),
        (click.user_agent_bytes > 1024, Reason::FieldTooLong),
        (received_at_ms.is_some_and(|ms| !VALID_TIMES_MS.contains(&ms)), Reason::ReceivedAtOutOfRange),
        (received_at_ms.is_some_and(|ms| is_ahead(ms, arrival_ms, rules)), Reason::TimestampInFuture),
        (is_ahead(click.event_ms, taken_ms, rules), Reason::TimestampInFuture),
    ];
    checks.into_iter().find(|(breaks, _)| *breaks).map(|(_, reason)| reason)
}

fn broken_verdict(verdict: &record::Verdict, arrival_ms: Option<i64>, rules: &Rules) -> Option<Reason> {
    let checks = [
        (verdict.click_id.is_empty(), Reason::ClickIdMissing),
        (verdict.click_id.len() > 128, Reason::ClickIdTooLong),
        (verdict.decision.is_none(), Reason::DecisionMissing),
        (verdict.decided_ms == 0, Reason::TimestampMissing),
        (!VALID_TIMES_MS.contains(&verdict.decided_ms), Reason::TimestampOutOfRange),
        (verdict.reason.len() > 1024, Reason::FieldTooLong),
        (is_ahead(verdict.decided_ms, arrival_ms, rules), Reason::TimestampInFuture),
    ];
    checks.into_iter().find(|(breaks, _)| *breaks).map(|(_, reason)| reason)
}

fn is_ahead(event_ms: i64, taken_ms: Option<i64>, rules: &Rules) -> bool {
    taken_ms.is_some_and(|taken_ms| event_ms > taken_ms + rules.max_future_skew_ms)
}
