//! Which verdict stands.
//!
//! For a click at time c: of the verdicts of its id with `decided >= c - max_future_skew`, the one decided last; among equal
//! times `INVALID` over `VALID`, then the order of contents. A verdict never touches a click that was frozen when it came.

use super::event::Decision;
use super::fact::{Fact, FactKind};
use super::rules::Rules;

/// The verdict in force for a click at `click_ms`, of all verdicts of its id in any order; `None` where there is none.
pub fn standing<'a>(verdicts: &'a [Fact], click_ms: i64, rules: &Rules) -> Option<&'a Fact> {
    let touches = |verdict: &&Fact| {
        verdict.event_ms() >= click_ms - rules.max_future_skew_ms && verdict.accepted_floor_ms() <= click_ms
    };
    verdicts.iter().filter(touches).max_by_key(|verdict| {
        let position = std::cmp::Reverse(verdict.position());
        (verdict.event_ms(), is_invalid(verdict), verdict.order(), position)
    })
}

/// Whether a verdict says `INVALID`.
pub fn is_invalid(verdict: &Fact) -> bool {
    verdict.kind() == FactKind::Verdict(Decision::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Verdict;
    use crate::domain::fact::Position;
    use crate::domain::fingerprint::HashKey;
    use crate::domain::rules::MINUTE_MS;

    const CLICK_MS: i64 = 1_700_000_000_000;

    fn verdict(decision: Decision, after_click_ms: i64) -> Fact {
        let verdict = Verdict {
            click_id: "c".into(),
            decision: Some(decision),
            decided_ms: CLICK_MS + after_click_ms,
            ..Verdict::default()
        };
        Fact::verdict(&verdict, Position::default(), &HashKey::new([0; 16])).accepted_at(None)
    }

    fn stands(verdicts: &[Fact]) -> Option<bool> {
        standing(verdicts, CLICK_MS, &Rules::default()).map(is_invalid)
    }

    #[test]
    fn the_last_decided_stands_whatever_came_last() {
        let (reject, accept) = (verdict(Decision::Invalid, 1_000), verdict(Decision::Valid, 2_000));
        assert_eq!(stands(&[]), None);
        assert_eq!(stands(&[reject]), Some(true));
        assert_eq!(stands(&[reject, accept]), Some(false));
        assert_eq!(stands(&[accept, reject]), Some(false));
    }

    #[test]
    fn of_equal_times_invalid_stands() {
        let (reject, accept) = (verdict(Decision::Invalid, 0), verdict(Decision::Valid, 0));
        assert_eq!(stands(&[reject, accept]), Some(true));
        assert_eq!(stands(&[accept, reject]), Some(true));
    }

    #[test]
    fn a_verdict_is_not_about_a_click_still_to_come() {
        let skew_ms = Rules::default().max_future_skew_ms;
        assert_eq!(stands(&[verdict(Decision::Invalid, -skew_ms)]), Some(true));
        assert_eq!(stands(&[verdict(Decision::Invalid, -skew_ms - 1)]), None);
    }

    #[test]
    fn a_verdict_leaves_frozen_clicks_alone() {
        let floor_ms = (CLICK_MS / MINUTE_MS + 1) * MINUTE_MS;
        assert_eq!(stands(&[verdict(Decision::Invalid, MINUTE_MS).accepted_at(Some(floor_ms))]), None);
        assert_eq!(
            stands(&[verdict(Decision::Invalid, MINUTE_MS).accepted_at(Some(floor_ms - MINUTE_MS))]),
            Some(true)
        );
    }
}
